//! Why topics and selectors are refused.

use std::fmt;

use crate::limits;

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

/// Why a pattern was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSelector {
    /// The base of a URL Pattern is no URL, or longer than a pattern may be.
    Base,
    /// It is no URI Template.
    Template {
        /// The byte at which the expression or the character begins that is not valid.
        at: usize,
    },
    /// Too many variables, wildcards and groups, or groups nested too deep.
    TooComplex,
    /// Matching a topic could take more work than allowed.
    TooCostly {
        /// How many steps it takes for a topic of the greatest length.
        steps: u64,
    },
    /// Compiled, it would hold more memory than allowed, or take too long to compile.
    TooLarge,
    /// More bytes than a pattern may have.
    TooLong {
        /// How many bytes it has.
        len: usize,
    },
    /// The text is neither a pattern nor a topic.
    Topic(InvalidTopic),
    /// A regular expression names a Unicode class or sets the flag `u`.
    UnicodeExpression,
    /// It is no URL Pattern.
    UrlPattern,
}

impl fmt::Display for InvalidSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("the base of a URL pattern must be an absolute URL"),
            Self::Template { at } => write!(f, "the text is no URI template from byte {at} on"),
            Self::TooComplex => write!(
                f,
                "the pattern is too complex; at most {} variables, {} of the characters `*:({{?+`, \
                 and groups nested {} deep are allowed",
                limits::TEMPLATE_VARIABLES_MAX,
                limits::URL_PATTERN_OPERATORS_MAX,
                limits::PATTERN_DEPTH_MAX
            ),
            Self::TooCostly { steps } => write!(
                f,
                "the pattern takes {steps} steps to match a topic of {} bytes; at most {} are \
                 allowed",
                limits::TOPIC_BYTES_MAX,
                limits::PATTERN_STEPS_MAX
            ),
            Self::TooLarge => write!(
                f,
                "the pattern is too large once it is compiled; at most {} bytes are allowed",
                limits::PATTERN_BYTES_MAX
            ),
            Self::TooLong { len } => write!(
                f,
                "a pattern has {len} bytes; at most {} are allowed",
                limits::SELECTOR_BYTES_MAX
            ),
            Self::Topic(error) => error.fmt(f),
            Self::UnicodeExpression => f.write_str(
                "a regular expression in a URL pattern must be without Unicode classes and the \
                 flag `u`, because URLs are ASCII",
            ),
            Self::UrlPattern => f.write_str("the text is no URL pattern"),
        }
    }
}

impl std::error::Error for InvalidSelector {}
