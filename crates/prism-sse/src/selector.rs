//! Topics, and the selectors that choose among them.
//!
//! A selector names one topic, or with `*` all of them, or those that a pattern matches. A name is
//! compared with topics byte for byte: no case folding, no percent decoding, no Unicode
//! normalisation. Matching a pattern takes time linear in the topic.

mod index;
mod invalid;
mod one_or_many;
mod positions;
mod prefix_index;
mod template;
mod topic_size;
mod trie;
#[cfg(feature = "patterns")]
mod url_pattern;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits;
pub(crate) use index::{Changes, PatternIndex, PatternSnapshot};
pub use invalid::{InvalidSelector, InvalidTopic};
pub use one_or_many::OneOrMany;
pub(crate) use one_or_many::collect;
use positions::parse_cost;
pub use template::UriTemplate;
pub(crate) use topic_size::TopicSize;
#[cfg(feature = "patterns")]
pub use url_pattern::UrlPattern;

/// What an event is about: 1 to 1,024 bytes without control characters, and not `*`.
///
/// ```
/// use prism_sse::Topic;
///
/// let topic = Topic::try_from("orders/1234")?;
/// assert_eq!(topic.as_str(), "orders/1234");
/// assert!(Topic::try_from("a\nb").is_err());
/// # Ok::<(), prism_sse::InvalidTopic>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Topic {
    type Error = InvalidTopic;

    fn try_from(text: &str) -> Result<Self, InvalidTopic> {
        if text.is_empty() {
            return Err(InvalidTopic::Empty);
        }
        if text.len() > limits::TOPIC_BYTES_MAX {
            return Err(InvalidTopic::TooLong { len: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidTopic::Control);
        }
        if text == ANY {
            return Err(InvalidTopic::Wildcard);
        }
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a subscription chooses topics by: one topic, `*` for every topic, or a pattern.
///
/// Text becomes `*` or a topic, never a pattern: patterns are asked for by name.
///
/// ```
/// use prism_sse::{Audience, Selector, Topic};
///
/// let orders = Selector::template("https://shop.example/orders/{id}{?verbose}")?;
/// assert!(orders.matches(&Topic::try_from("https://shop.example/orders/7")?));
/// assert!(!orders.matches(&Topic::try_from("https://shop.example/orders/7/items")?));
///
/// let audience = Audience::select([orders, Selector::try_from("news")?])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Selector {
    /// Every topic, and what is broadcast to everyone.
    Any,
    /// This topic alone.
    Exact(Topic),
    /// The topics that a URI Template expands to, and the topic that equals the template's text.
    Template(UriTemplate),
    /// The topics that are URLs which a URL Pattern matches. With the feature `patterns`.
    #[cfg(feature = "patterns")]
    UrlPattern(UrlPattern),
}

const ANY: &str = "*";

impl Selector {
    /// Chooses the topics that an RFC 6570 URI Template expands to, and the topic that equals the
    /// template's own text. Text without an expression is a topic, or `*`.
    ///
    /// A topic is an expansion if there are values of the variables with which the template expands
    /// to exactly this text. Each expression is matched independently, so that `{x}/{x}` chooses
    /// `a/b` too.
    ///
    /// # Errors
    ///
    /// [`InvalidSelector`] for text that is no template, and for one above the limits
    /// [`SELECTOR_BYTES_MAX`](limits::SELECTOR_BYTES_MAX),
    /// [`TEMPLATE_VARIABLES_MAX`](limits::TEMPLATE_VARIABLES_MAX),
    /// [`PATTERN_BYTES_MAX`](limits::PATTERN_BYTES_MAX) and
    /// [`PATTERN_STEPS_MAX`](limits::PATTERN_STEPS_MAX).
    pub fn template(text: &str) -> Result<Self, InvalidSelector> {
        if !text.contains('{') {
            return Self::try_from(text).map_err(InvalidSelector::Topic);
        }
        check_text(text)?;
        UriTemplate::parse(text).map(Self::Template)
    }

    /// Chooses the topics that are URLs which a WHATWG URL Pattern matches; `*` is every topic.
    ///
    /// A relative pattern and relative topics are resolved against `base`. A topic that is no URL
    /// is never chosen, nor is one whose host is not ASCII and longer than a domain name can be.
    /// Paths are compared with regard to case. Regular expressions in the pattern have the syntax
    /// of the crate regex, for ASCII: without look-around, references and Unicode classes. All
    /// components of a pattern together are compiled within a bound on memory, to automata that
    /// match in linear time.
    ///
    /// ```
    /// use prism_sse::{Selector, Topic};
    ///
    /// let hub = Some("https://hub.example/.well-known/mercure");
    /// let books = Selector::url_pattern("/books/:id", hub)?;
    /// assert!(books.matches(&Topic::try_from("https://hub.example/books/1")?));
    /// assert!(books.matches(&Topic::try_from("/books/1")?));
    /// assert!(!books.matches(&Topic::try_from("https://other.example/books/1")?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidSelector`] for text that is no URL Pattern, for a base that is no URL, and for a
    /// pattern above the limits [`SELECTOR_BYTES_MAX`](limits::SELECTOR_BYTES_MAX),
    /// [`URL_PATTERN_OPERATORS_MAX`](limits::URL_PATTERN_OPERATORS_MAX),
    /// [`PATTERN_BYTES_MAX`](limits::PATTERN_BYTES_MAX),
    /// [`PATTERN_STEPS_MAX`](limits::PATTERN_STEPS_MAX) and
    /// [`PATTERN_DEPTH_MAX`](limits::PATTERN_DEPTH_MAX).
    #[cfg(feature = "patterns")]
    pub fn url_pattern(text: &str, base: Option<&str>) -> Result<Self, InvalidSelector> {
        check_text(text)?;
        if text == ANY {
            return Ok(Self::Any);
        }
        UrlPattern::parse(text, base).map(Self::UrlPattern)
    }

    /// Whether the selector chooses this topic.
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == topic,
            Self::Template(template) => template.matches(topic.as_str()),
            #[cfg(feature = "patterns")]
            Self::UrlPattern(pattern) => pattern.matches(topic.as_str()),
        }
    }

    /// The selector as text: `*`, the topic, or the pattern as it was given.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Any => ANY,
            Self::Exact(topic) => topic.as_str(),
            Self::Template(template) => template.as_str(),
            #[cfg(feature = "patterns")]
            Self::UrlPattern(pattern) => pattern.as_str(),
        }
    }

    /// What kind of selector it is, as a word: `any`, `exact`, `template` or `urlpattern`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Exact(_) => "exact",
            Self::Template(_) => "template",
            #[cfg(feature = "patterns")]
            Self::UrlPattern(_) => "urlpattern",
        }
    }

    /// Bytes that it holds. Clones share them.
    #[cfg(feature = "test-util")]
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Exact(topic) => 2 * size_of::<usize>() + topic.as_str().len(),
            Self::Template(template) => template.memory_bytes(),
            #[cfg(feature = "patterns")]
            Self::UrlPattern(pattern) => pattern.memory_bytes(),
        }
    }

    /// The most steps that [`matches`](Self::matches) takes. A [step](limits::PATTERN_STEPS_MAX) is
    /// about a nanosecond.
    pub(crate) fn match_cost(&self, topic: TopicSize) -> u64 {
        match self {
            Self::Any => 1,
            Self::Exact(_) => 1 + topic.len as u64 / 16,
            Self::Template(template) => parse_cost(topic.len) + template.match_cost(topic),
            #[cfg(feature = "patterns")]
            Self::UrlPattern(pattern) => pattern.match_cost(topic),
        }
    }

    /// Bytes that it holds, and the most steps that matching a topic takes. For tests, which
    /// compare both with what is counted.
    #[cfg(feature = "test-util")]
    #[doc(hidden)]
    pub fn price(&self, topic: &Topic) -> (usize, u64) {
        (self.memory_bytes(), self.match_cost(TopicSize::of(topic.as_str())))
    }

    /// Whether it is a URI Template or a URL Pattern.
    pub(crate) fn is_pattern(&self) -> bool {
        !matches!(self, Self::Any | Self::Exact(_))
    }
}

/// What holds for patterns of every kind: length and characters.
fn check_text(text: &str) -> Result<(), InvalidSelector> {
    if text.is_empty() {
        return Err(InvalidSelector::Topic(InvalidTopic::Empty));
    }
    if text.len() > limits::SELECTOR_BYTES_MAX {
        return Err(InvalidSelector::TooLong { len: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidSelector::Topic(InvalidTopic::Control));
    }
    Ok(())
}

impl TryFrom<&str> for Selector {
    type Error = InvalidTopic;

    fn try_from(text: &str) -> Result<Self, InvalidTopic> {
        if text == ANY { Ok(Self::Any) } else { Topic::try_from(text).map(Self::Exact) }
    }
}

impl From<Topic> for Selector {
    fn from(topic: Topic) -> Self {
        Self::Exact(topic)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_topic_is_refused_with_its_reason() {
        let long = "t".repeat(limits::TOPIC_BYTES_MAX + 1);
        let cases = [
            ("", "a topic must not be empty"),
            ("a\nb", "a topic must not contain control characters"),
            ("a\0b", "a topic must not contain control characters"),
            ("a\u{85}b", "a topic must not contain control characters"),
            ("*", "`*` selects topics and cannot be one"),
            (&long, "a topic has 1025 bytes; at most 1024 are allowed"),
        ];
        for (text, message) in cases {
            assert_eq!(Topic::try_from(text).unwrap_err().to_string(), message);
        }
        assert!(Topic::try_from(&long[1..]).is_ok());
    }
}
