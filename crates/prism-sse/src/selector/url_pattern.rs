//! URL Patterns of the WHATWG: whether a topic is a URL that a pattern matches.
//!
//! The crate urlpattern parses them. A component with more than a prefix, one wildcard and a suffix
//! is compiled to an automaton. What all components of a pattern hold together is bounded, and so
//! is the work of parsing, compiling and matching it.

mod automaton;
mod component;
mod sequence;
mod syntax;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::Arc;

use url::Url;
use urlpattern::{RegexSyntax, UrlPatternInit, UrlPatternOptions};

use super::invalid::InvalidSelector;
use super::topic_size::TopicSize;
use crate::limits;
use component::{Component, ComponentCost, ExpressionText};

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
    components: Components,
    memory: usize,
}

/// The components of a URL, those first in which most topics differ.
struct Components {
    pathname: Component,
    hostname: Component,
    protocol: Component,
    port: Component,
    search: Component,
    hash: Component,
    username: Component,
    password: Component,
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
        syntax::check(text)?;
        let base = base.map(parse_base).transpose()?;
        let parsed = guard(|| parse(text, base.as_ref()))?;
        let mut own = CompiledUrlPattern::compile(text, base, parsed)?;
        own.memory = own.memory_bytes();
        if own.memory > limits::PATTERN_BYTES_MAX {
            return Err(InvalidSelector::TooLarge);
        }
        let own = Self(Arc::new(own));
        match own.match_url_cost(TopicSize::MAX) {
            0..=limits::PATTERN_STEPS_MAX => Ok(own),
            steps => Err(InvalidSelector::TooCostly { steps }),
        }
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        resolve(topic, &self.0.base).is_some_and(|url| self.matches_url(&url))
    }

    pub(super) fn matches_url(&self, url: &Url) -> bool {
        self.0.components.match_url(url)
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
        self.0.components.pathname.suffix()
    }

    /// Bytes that it holds.
    #[cfg(feature = "test-util")]
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory
    }

    /// The most steps that [`matches`](Self::matches) takes.
    pub(super) fn match_cost(&self, topic: TopicSize) -> u64 {
        resolve_cost(topic, &self.0.base) + self.match_url_cost(topic)
    }

    /// The most steps that [`matches_url`](Self::matches_url) takes.
    pub(super) fn match_url_cost(&self, topic: TopicSize) -> u64 {
        let costs = self.0.components.all().map(Component::cost);
        let fixed: u64 = costs.iter().map(|cost| cost.fixed).sum();
        // Each byte of the URL is in one component.
        let highest = costs.iter().map(|cost: &ComponentCost| cost.per_16_bytes).max();
        fixed + highest.unwrap_or_default() * url_len_max(topic, &self.0.base).div_ceil(16)
    }
}

fn parse_base(text: &str) -> Result<Url, InvalidSelector> {
    if text.len() > limits::SELECTOR_BYTES_MAX {
        return Err(InvalidSelector::Base);
    }
    let url = Url::parse(text).map_err(|_| InvalidSelector::Base)?;
    // A clone has no spare capacity.
    Ok(url.clone())
}

/// Takes a panic of the parser for a refusal. Those that are known are refused before; one that is
/// not must not end the caller's connection or thread.
fn guard<T>(
    parse: impl FnOnce() -> Result<T, InvalidSelector> + UnwindSafe,
) -> Result<T, InvalidSelector> {
    catch_unwind(parse).unwrap_or(Err(InvalidSelector::UrlPattern))
}

type ParsedUrlPattern = urlpattern::UrlPattern<ExpressionText>;

fn parse(text: &str, base: Option<&Url>) -> Result<ParsedUrlPattern, InvalidSelector> {
    let invalid = |_| InvalidSelector::UrlPattern;
    let init = UrlPatternInit::parse_constructor_string::<ExpressionText>(text, base.cloned());
    let mut init = init.map_err(invalid)?;
    if init.protocol.is_some() {
        // The base is for what is relative. The path of an absolute pattern would be put below that
        // of the base where it does not begin with a slash, as in `urn\:isbn\:*`.
        init.base_url = None;
    }
    let options = UrlPatternOptions { regex_syntax: RegexSyntax::Rust, ignore_case: false };
    ParsedUrlPattern::parse(init, options).map_err(invalid)
}

/// The URL that a topic is; `None` if it is none. A host that is not ASCII and longer than a domain
/// name can be is none either, because converting it would take long.
pub(super) fn resolve(topic: &str, base: &BaseUrl) -> Option<Url> {
    if !topic.is_ascii() && domain(topic).len() > DOMAIN_BYTES_MAX {
        return None;
    }
    Url::options().base_url(base.as_ref()).parse(topic).ok()
}

/// The most steps that [`resolve`] takes.
pub(super) fn resolve_cost(topic: TopicSize, base: &BaseUrl) -> u64 {
    let domain = if topic.is_ascii { 0 } else { topic.len.min(DOMAIN_BYTES_MAX) as u64 };
    RESOLVE_STEPS * url_len_max(topic, base) + DOMAIN_STEPS * domain
}

/// Steps of parsing a URL, for each of its bytes.
const RESOLVE_STEPS: u64 = 5;

/// Steps of converting a domain name that is not ASCII, for each of its bytes.
const DOMAIN_STEPS: u64 = 200;

/// The longest domain name.
const DOMAIN_BYTES_MAX: usize = 253;

/// What the parser of URLs takes for the domain name of a topic, if it takes anything for one.
fn domain(topic: &str) -> &str {
    let topic = topic.trim_start();
    let after_scheme = match topic.split_once(':') {
        Some((scheme, rest)) => {
            let special = ["http", "https", "ws", "wss", "ftp", "file"];
            special.iter().any(|other| other.eq_ignore_ascii_case(scheme)).then_some(rest)
        }
        None => None,
    };
    let is_slash = |c: char| c == '/' || c == '\\';
    let Some(rest) = after_scheme.or_else(|| topic.strip_prefix(is_slash)?.strip_prefix(is_slash))
    else {
        return "";
    };
    let rest = rest.trim_start_matches(is_slash);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

/// The most bytes of the URL that a topic is: those of the base, and three for each byte that is
/// percent-encoded.
fn url_len_max(topic: TopicSize, base: &BaseUrl) -> u64 {
    let base_len = base.as_ref().map_or(0, |base| base.as_str().len());
    (base_len + 3 * topic.len) as u64
}

/// Host and path of a URL as one text, by which patterns are indexed.
pub(super) fn host_and_path(url: &Url) -> String {
    let mut text = url.host_str().unwrap_or_default().to_owned();
    text.push_str(url.path());
    text
}

impl CompiledUrlPattern {
    /// Compiles one component after the other, each within what the others left of the limit.
    fn compile(
        text: &str,
        base: BaseUrl,
        parsed: ParsedUrlPattern,
    ) -> Result<Self, InvalidSelector> {
        let mut left = limits::PATTERN_BYTES_MAX;
        let mut compile = |component: urlpattern::component::Component<ExpressionText>| {
            let component = Component::compile(component.matcher, left)?;
            left = left.saturating_sub(component.memory_bytes());
            Ok(component)
        };
        let components = Components {
            protocol: compile(parsed.protocol)?,
            username: compile(parsed.username)?,
            password: compile(parsed.password)?,
            hostname: compile(parsed.hostname)?,
            port: compile(parsed.port)?,
            pathname: compile(parsed.pathname)?,
            search: compile(parsed.search)?,
            hash: compile(parsed.hash)?,
        };
        let prefix = components.prefix();
        Ok(Self { text: text.into(), base, prefix, components, memory: 0 })
    }

    /// Bytes that it holds, with the counts of references to it.
    fn memory_bytes(&self) -> usize {
        let base = self.base.as_ref().map_or(0, |base| base.as_str().len());
        let texts = self.text.len() + self.prefix.len() + base;
        let components: usize = self.components.all().map(Component::memory_bytes).iter().sum();
        2 * size_of::<usize>() + size_of::<Self>() + texts + components
    }
}

impl Components {
    fn match_url(&self, url: &Url) -> bool {
        self.pathname.matches(url.path())
            && self.hostname.matches(url.host_str().unwrap_or_default())
            && self.protocol.matches(url.scheme())
            && self.port.matches(url::quirks::port(url))
            && self.search.matches(url.query().unwrap_or_default())
            && self.hash.matches(url.fragment().unwrap_or_default())
            && self.username.matches(url.username())
            && self.password.matches(url.password().unwrap_or_default())
    }

    fn all(&self) -> [&Component; 8] {
        let Self { pathname, hostname, protocol, port, search, hash, username, password } = self;
        [pathname, hostname, protocol, port, search, hash, username, password]
    }

    /// What the [host and path](host_and_path) of each URL that they match begin with.
    fn prefix(&self) -> Box<str> {
        match &self.hostname {
            Component::Literal(host) => [host, self.pathname.prefix()].concat().into(),
            Component::Wildcard { .. } | Component::Expression { .. } => Box::default(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_parser_is_a_refusal() {
        let panicked = guard::<()>(|| std::panic::resume_unwind(Box::new("as a parser would")));
        assert_eq!(panicked, Err(InvalidSelector::UrlPattern));
        assert_eq!(guard(|| Ok(1)), Ok(1));
    }

    #[test]
    fn a_host_that_takes_long_to_convert_is_no_url() {
        let base = Some(Url::parse("https://hub.example/a").unwrap());
        let resolve = |topic: &str| resolve(topic, &base).is_some();
        let long = format!("{}a", "é.".repeat(90));
        for before in ["https://", "https:", "FTP:\\\\", "//", "  https:/", "\\/", "file:///"] {
            for after in ["", "/x", "?x", "#x", "\\x"] {
                let topic = format!("{before}{long}{after}");
                assert!(!resolve(&topic), "{topic}");
            }
        }
        let short = &long[..240];
        assert!(resolve(&format!("https://{short}example/{long}")));
        // What is no host may be as long as it likes.
        for before in ["", "/", "https://host/", "urn:", "é/", "x//", "https://host?//", "a:b//"] {
            assert!(resolve(&format!("{before}{long}")), "{before}");
        }
        assert!(resolve(&format!("https://{}", "a.".repeat(200))), "ASCII is not converted");
    }
}
