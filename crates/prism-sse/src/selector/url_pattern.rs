//! URL Patterns of the WHATWG: whether a topic is a URL that a pattern matches.
//!
//! The crate urlpattern parses them. A component with more than a prefix, one wildcard and a suffix
//! is matched by the crate regex, in time linear in the topic.

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
pub struct UrlPattern(Arc<CompiledUrlPattern>);

/// The URL against which relative topics are resolved.
pub(super) type BaseUrl = Option<Url>;

struct CompiledUrlPattern {
    text: Box<str>,
    base: BaseUrl,
    /// What the host and path of each topic that it matches begin with.
    prefix: Box<str>,
    protocol: Matcher<ComponentRegex>,
    username: Matcher<ComponentRegex>,
    password: Matcher<ComponentRegex>,
    hostname: Matcher<ComponentRegex>,
    port: Matcher<ComponentRegex>,
    pathname: Matcher<ComponentRegex>,
    search: Matcher<ComponentRegex>,
    hash: Matcher<ComponentRegex>,
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
        let mut init =
            UrlPatternInit::parse_constructor_string::<ComponentRegex>(text, base.clone())
                .map_err(invalid)?;
        if init.protocol.is_some() {
            // The base is for what is relative. The path of an absolute pattern would be put below
            // that of the base where it does not begin with a slash, as in `urn\:isbn\:*`.
            init.base_url = None;
        }
        let options = UrlPatternOptions { regex_syntax: RegexSyntax::Rust, ignore_case: false };
        let pattern =
            urlpattern::UrlPattern::<ComponentRegex>::parse(init, options).map_err(invalid)?;
        let prefix = prefix(&pattern.hostname.matcher, &pattern.pathname.matcher);
        let compiled = CompiledUrlPattern {
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
        compiled.regexes().try_for_each(ComponentRegex::check)?;
        Ok(Self(Arc::new(compiled)))
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        resolve(topic, &self.0.base).is_some_and(|url| self.matches_url(&url))
    }

    pub(super) fn matches_url(&self, url: &Url) -> bool {
        self.0.matches(url)
    }

    pub(super) fn base_url(&self) -> &BaseUrl {
        &self.0.base
    }

    /// What the [host and path](host_and_path) of each topic that it matches begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// What the [host and path](host_and_path) of each topic that it matches end with.
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
pub(super) fn resolve(topic: &str, base: &BaseUrl) -> Option<Url> {
    Url::options().base_url(base.as_ref()).parse(topic).ok()
}

/// Host and path of a URL as one text, by which patterns are indexed.
pub(super) fn host_and_path(url: &Url) -> String {
    let mut text = url.host_str().unwrap_or_default().to_owned();
    text.push_str(url.path());
    text
}

fn prefix(hostname: &Matcher<ComponentRegex>, pathname: &Matcher<ComponentRegex>) -> Box<str> {
    let InnerMatcher::Literal { literal: host } = &hostname.inner else { return Box::default() };
    let path = match &pathname.inner {
        InnerMatcher::Literal { literal } => literal,
        InnerMatcher::SingleCapture { .. } | InnerMatcher::RegExp { .. } => &pathname.prefix,
    };
    [host.as_str(), path].concat().into()
}

impl CompiledUrlPattern {
    fn matches(&self, url: &Url) -> bool {
        let is_match =
            |matcher: &Matcher<ComponentRegex>, part: &str| matcher.matches(part).is_some();
        is_match(&self.pathname, url.path())
            && is_match(&self.hostname, url.host_str().unwrap_or_default())
            && is_match(&self.protocol, url.scheme())
            && is_match(&self.port, url::quirks::port(url))
            && is_match(&self.search, url.query().unwrap_or_default())
            && is_match(&self.hash, url.fragment().unwrap_or_default())
            && is_match(&self.username, url.username())
            && is_match(&self.password, url.password().unwrap_or_default())
    }

    fn parts(&self) -> [&Matcher<ComponentRegex>; 8] {
        let Self { protocol, username, password, hostname, port, pathname, search, hash, .. } =
            self;
        [protocol, username, password, hostname, port, pathname, search, hash]
    }

    fn regexes(&self) -> impl Iterator<Item = &ComponentRegex> {
        self.parts().into_iter().filter_map(|matcher| match &matcher.inner {
            InnerMatcher::RegExp { regexp } => regexp.as_ref().ok(),
            InnerMatcher::Literal { .. } | InnerMatcher::SingleCapture { .. } => None,
        })
    }
}

/// A regular expression of a component, compiled at its first use: the parser makes several for
/// each pattern, most of which are never used.
#[derive(Debug)]
struct ComponentRegex {
    text: Box<str>,
    compiled: OnceLock<Option<regex::Regex>>,
}

impl ComponentRegex {
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

impl RegExp for ComponentRegex {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(pattern: &str, _flags: &str, _force_eval: bool) -> Result<Self, ()> {
        Ok(Self { text: pattern.into(), compiled: OnceLock::new() })
    }

    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        // What the groups matched is not used.
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
