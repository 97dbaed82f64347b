//! URL Patterns of the WHATWG, held against topics.
//!
//! The crate urlpattern reads them, and the crate regex matches what is more than a prefix, a
//! wildcard and a suffix, in time linear in the topic.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use url::Url;
use urlpattern::matcher::{InnerMatcher, Matcher};
use urlpattern::regexp::RegExp;
use urlpattern::{RegexSyntax, UrlPatternInit, UrlPatternOptions};

use super::InvalidSelector;
use crate::limits;

/// A URL Pattern that chooses the topics that are URLs it matches.
///
/// [`Selector::url_pattern`](super::Selector::url_pattern) makes one.
#[derive(Clone)]
pub struct UrlPattern(Arc<Compiled>);

/// What relative topics are resolved against.
pub(super) type Base = Option<Url>;

struct Compiled {
    text: Box<str>,
    base: Base,
    /// What the place of each topic that it matches begins with.
    prefix: Box<str>,
    protocol: Matcher<Regex>,
    username: Matcher<Regex>,
    password: Matcher<Regex>,
    hostname: Matcher<Regex>,
    port: Matcher<Regex>,
    pathname: Matcher<Regex>,
    search: Matcher<Regex>,
    hash: Matcher<Regex>,
}

impl UrlPattern {
    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The URL against which relative topics are resolved, if one was given.
    pub fn base(&self) -> Option<&str> {
        self.0.base.as_ref().map(Url::as_str)
    }

    pub(super) fn parse(text: &str, base: Option<&str>) -> Result<Self, InvalidSelector> {
        let base = base.map(Url::parse).transpose().map_err(|_| InvalidSelector::Base)?;
        let invalid = |_| InvalidSelector::UrlPattern;
        let mut init = UrlPatternInit::parse_constructor_string::<Regex>(text, base.clone())
            .map_err(invalid)?;
        if init.protocol.is_some() {
            // The base is for what is relative. The path of an absolute pattern would be put below
            // that of the base where it does not begin with a slash, as in `urn\:isbn\:*`.
            init.base_url = None;
        }
        let options = UrlPatternOptions { regex_syntax: RegexSyntax::Rust, ignore_case: false };
        let pattern = urlpattern::UrlPattern::<Regex>::parse(init, options).map_err(invalid)?;
        let prefix = prefix(&pattern.hostname.matcher, &pattern.pathname.matcher);
        let compiled = Compiled {
            text: text.into(),
            base,
            prefix,
            protocol: pattern.protocol.matcher,
            username: pattern.username.matcher,
            password: pattern.password.matcher,
            hostname: pattern.hostname.matcher,
            port: pattern.port.matcher,
            pathname: pattern.pathname.matcher,
            search: pattern.search.matcher,
            hash: pattern.hash.matcher,
        };
        compiled.regexes().try_for_each(Regex::check)?;
        Ok(Self(Arc::new(compiled)))
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        resolve(topic, &self.0.base).is_some_and(|url| self.matches_url(&url))
    }

    pub(super) fn matches_url(&self, url: &Url) -> bool {
        self.0.matches(url)
    }

    pub(super) fn base_url(&self) -> &Base {
        &self.0.base
    }

    /// What the [place] of each topic that it matches begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// What the [place] of each topic that it matches ends with.
    pub(super) fn suffix(&self) -> &str {
        match &self.0.pathname.inner {
            InnerMatcher::Literal { literal } => literal,
            InnerMatcher::SingleCapture { .. } | InnerMatcher::RegExp { .. } => {
                &self.0.pathname.suffix
            }
        }
    }
}

/// The URL that a topic is; `None` if it is none.
pub(super) fn resolve(topic: &str, base: &Base) -> Option<Url> {
    Url::options().base_url(base.as_ref()).parse(topic).ok()
}

/// Host and path of a URL, by which patterns are told apart.
pub(super) fn place(url: &Url) -> String {
    let mut place = url.host_str().unwrap_or_default().to_owned();
    place.push_str(url.path());
    place
}

fn prefix(hostname: &Matcher<Regex>, pathname: &Matcher<Regex>) -> Box<str> {
    let InnerMatcher::Literal { literal: host } = &hostname.inner else { return Box::default() };
    let path = match &pathname.inner {
        InnerMatcher::Literal { literal } => literal,
        InnerMatcher::SingleCapture { .. } | InnerMatcher::RegExp { .. } => &pathname.prefix,
    };
    [host.as_str(), path].concat().into()
}

impl Compiled {
    fn matches(&self, url: &Url) -> bool {
        let is_match = |matcher: &Matcher<Regex>, part: &str| matcher.matches(part).is_some();
        is_match(&self.pathname, url.path())
            && is_match(&self.hostname, url.host_str().unwrap_or_default())
            && is_match(&self.protocol, url.scheme())
            && is_match(&self.port, url::quirks::port(url))
            && is_match(&self.search, url.query().unwrap_or_default())
            && is_match(&self.hash, url.fragment().unwrap_or_default())
            && is_match(&self.username, url.username())
            && is_match(&self.password, url.password().unwrap_or_default())
    }

    fn parts(&self) -> [&Matcher<Regex>; 8] {
        let Self { protocol, username, password, hostname, port, pathname, search, hash, .. } =
            self;
        [protocol, username, password, hostname, port, pathname, search, hash]
    }

    fn regexes(&self) -> impl Iterator<Item = &Regex> {
        self.parts().into_iter().filter_map(|matcher| match &matcher.inner {
            InnerMatcher::RegExp { regexp } => regexp.as_ref().ok(),
            InnerMatcher::Literal { .. } | InnerMatcher::SingleCapture { .. } => None,
        })
    }
}

/// A regular expression that is compiled when it is needed: the parser makes several of each
/// pattern, most of which nobody asks.
#[derive(Debug)]
struct Regex {
    text: Box<str>,
    compiled: OnceLock<Option<regex::Regex>>,
}

impl Regex {
    fn compiled(&self) -> Option<&regex::Regex> {
        let compile = || {
            let mut builder = regex::RegexBuilder::new(&self.text);
            builder.size_limit(limits::PATTERN_BYTES_MAX);
            builder.dfa_size_limit(limits::PATTERN_BYTES_MAX);
            builder.nest_limit(limits::PATTERN_DEPTH_MAX);
            builder.build().ok()
        };
        self.compiled.get_or_init(compile).as_ref()
    }

    fn check(&self) -> Result<(), InvalidSelector> {
        self.compiled().map(|_| ()).ok_or(InvalidSelector::TooComplex)
    }
}

impl RegExp for Regex {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(pattern: &str, _flags: &str, _force_eval: bool) -> Result<Self, ()> {
        Ok(Self { text: pattern.into(), compiled: OnceLock::new() })
    }

    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        // Nobody asks what the groups matched.
        self.compiled()?.is_match(text).then(Vec::new)
    }

    fn pattern_string(&self) -> &str {
        &self.text
    }
}

impl PartialEq for UrlPattern {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for UrlPattern {}

impl Hash for UrlPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.as_str(), self.base()).hash(state);
    }
}

impl PartialOrd for UrlPattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UrlPattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.as_str(), self.base()).cmp(&(other.as_str(), other.base()))
    }
}

impl fmt::Debug for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UrlPattern").field(&self.as_str()).field(&self.base()).finish()
    }
}
