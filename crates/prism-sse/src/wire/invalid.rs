//! Why events, and their ids and names, are refused.

use std::convert::Infallible;
use std::fmt;

use crate::limits;

/// Why an event, or a field of one, was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// The field is empty; leave it out instead.
    Empty {
        /// The field it was meant for.
        field: Field,
    },
    /// The value did not serialise as JSON.
    Json {
        /// What the serialiser said.
        reason: String,
    },
    /// CR or LF, which would end the line and begin another field.
    LineBreak {
        /// The field it was meant for.
        field: Field,
    },
    /// The browser would not return the id unchanged: it sends it in a request header, which loses
    /// spaces and tabs at either end and has no control characters.
    NotHeaderText {
        /// The field it was meant for.
        field: Field,
    },
    /// A comment has no id and no name.
    NoData {
        /// The field it was meant for.
        field: Field,
    },
    /// NUL, because of which clients ignore the whole field.
    Nul {
        /// The field it was meant for.
        field: Field,
    },
    /// A reconnection time with a fraction of a millisecond, which the format cannot express.
    RetryFraction,
    /// A reconnection time above what the timers of clients can hold.
    RetryTooLong {
        /// The time that was asked for, in milliseconds.
        millis: u128,
    },
    /// More bytes than the field may have.
    TooLong {
        /// The field it was meant for.
        field: Field,
        /// How many bytes it has.
        len: usize,
        /// How many bytes it may have.
        max: usize,
    },
}

/// A field of an event, as errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// A comment's text.
    Comment,
    /// The id.
    Id,
    /// The name.
    Name,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comment => "a comment",
            Self::Id => "an event's id",
            Self::Name => "an event's name",
        })
    }
}

impl fmt::Display for InvalidEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { field } => write!(f, "{field} must not be empty: leave it out instead"),
            Self::Json { reason } => write!(f, "the value does not serialise as JSON: {reason}"),
            Self::LineBreak { field } => write!(f, "{field} must not contain a line break"),
            Self::NotHeaderText { field } => write!(
                f,
                "{field} comes back in a request header: it must not contain control characters, \
                 and not begin or end with a space"
            ),
            Self::NoData { field } => write!(f, "a comment cannot carry {field}"),
            Self::Nul { field } => write!(f, "{field} must not contain NUL"),
            Self::RetryFraction => {
                f.write_str("a reconnection time must be a whole number of milliseconds")
            }
            Self::RetryTooLong { millis } => write!(
                f,
                "a reconnection time is at most {} ms, not {millis} ms",
                limits::RETRY_MS_MAX
            ),
            Self::TooLong { field, len, max } => {
                write!(f, "{field} has {len} bytes; at most {max} are allowed")
            }
        }
    }
}

impl std::error::Error for InvalidEvent {}

impl From<Infallible> for InvalidEvent {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Checks what ids and names have in common.
pub(super) fn check_token(text: &str, field: Field, max: usize) -> Result<(), InvalidEvent> {
    if text.is_empty() {
        return Err(InvalidEvent::Empty { field });
    }
    if text.len() > max {
        return Err(InvalidEvent::TooLong { field, len: text.len(), max });
    }
    if text.contains('\0') {
        return Err(InvalidEvent::Nul { field });
    }
    refuse_line_breaks(text, field)
}

/// Refuses CR and LF, each of which ends a line of the format.
pub(super) fn refuse_line_breaks(text: &str, field: Field) -> Result<(), InvalidEvent> {
    if text.contains(['\r', '\n']) {
        return Err(InvalidEvent::LineBreak { field });
    }
    Ok(())
}
