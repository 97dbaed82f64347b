//! Topics, and the selectors that choose among them.
//!
//! A selector names one topic, or with `*` all of them. It is compared with topics byte for byte:
//! no case folding, no percent decoding, no Unicode normalisation.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits;

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

/// Chooses topics: a topic chooses itself, `*` chooses every topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Selector {
    /// Every topic, and what is broadcast to everyone.
    Any,
    /// This topic alone.
    Exact(Topic),
}

const ANY: &str = "*";

impl Selector {
    /// Whether the selector chooses this topic.
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == topic,
        }
    }
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
        match self {
            Self::Any => f.write_str(ANY),
            Self::Exact(topic) => topic.fmt(f),
        }
    }
}

/// Why a topic or a selector was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTopic {
    /// A control character, a line break for instance.
    Control,
    /// No characters at all.
    Empty,
    /// More bytes than a topic may have.
    TooLong {
        /// How many bytes it has.
        len: usize,
    },
    /// More topics or selectors than one call may name.
    TooMany {
        /// How many were named.
        count: usize,
        /// How many may be named.
        max: usize,
    },
    /// `*`, which selects topics and is none.
    Wildcard,
}

impl fmt::Display for InvalidTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("a topic must not contain control characters"),
            Self::Empty => f.write_str("a topic must not be empty"),
            Self::TooLong { len } => write!(
                f,
                "a topic has {len} bytes; at most {} are allowed",
                limits::TOPIC_BYTES_MAX
            ),
            Self::TooMany { count, max } => {
                write!(f, "{count} topics were named; at most {max} are allowed")
            }
            Self::Wildcard => f.write_str("`*` selects topics and cannot be one"),
        }
    }
}

impl std::error::Error for InvalidTopic {}

/// One topic or selector, or several: text, arrays, slices and vectors of them.
///
/// ```
/// # use prism_sse::{Event, Manager};
/// let sse = Manager::new();
/// sse.publish("orders", Event::new("one topic"))?;
/// sse.publish(["orders", "users/7"], Event::new("two topics"))?;
/// # Ok::<(), prism_sse::PublishError>(())
/// ```
pub trait OneOrMany<T> {
    /// Appends what was named to `out`.
    ///
    /// # Errors
    ///
    /// The first name that is not valid.
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic>;
}

impl<T: for<'a> TryFrom<&'a str, Error = InvalidTopic>> OneOrMany<T> for &str {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        out.push(T::try_from(self)?);
        Ok(())
    }
}

impl<T: for<'a> TryFrom<&'a str, Error = InvalidTopic>> OneOrMany<T> for String {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.as_str().append_to(out)
    }
}

impl<T: for<'a> TryFrom<&'a str, Error = InvalidTopic>> OneOrMany<T> for &String {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.as_str().append_to(out)
    }
}

impl<T: From<Self>> OneOrMany<T> for Topic {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        out.push(self.into());
        Ok(())
    }
}

impl OneOrMany<Self> for Selector {
    fn append_to(self, out: &mut Vec<Self>) -> Result<(), InvalidTopic> {
        out.push(self);
        Ok(())
    }
}

impl<T, X: OneOrMany<T>, const N: usize> OneOrMany<T> for [X; N] {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.into_iter().try_for_each(|one| one.append_to(out))
    }
}

impl<T, X: OneOrMany<T>> OneOrMany<T> for Vec<X> {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.into_iter().try_for_each(|one| one.append_to(out))
    }
}

impl<T, X: OneOrMany<T> + Clone> OneOrMany<T> for &[X] {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.iter().cloned().try_for_each(|one| one.append_to(out))
    }
}

/// Collects at most `max` distinct names, sorted.
pub(crate) fn collect<T: Ord>(
    names: impl OneOrMany<T>,
    max: usize,
) -> Result<Box<[T]>, InvalidTopic> {
    let mut all = Vec::new();
    names.append_to(&mut all)?;
    if all.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    all.sort_unstable();
    all.dedup();
    if all.len() > max {
        return Err(InvalidTopic::TooMany { count: all.len(), max });
    }
    Ok(all.into())
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

    #[test]
    fn more_topics_than_the_limit_are_refused() {
        let names: Vec<String> =
            (0..=limits::TOPICS_PER_EVENT_MAX).map(|n| n.to_string()).collect();
        let error = collect::<Topic>(&names[..], limits::TOPICS_PER_EVENT_MAX).unwrap_err();
        assert_eq!(error.to_string(), "101 topics were named; at most 100 are allowed");
        assert!(collect::<Topic>(&names[1..], limits::TOPICS_PER_EVENT_MAX).is_ok());
    }
}
