//! Why events are not published or sent.

use std::fmt;

use crate::engine::EngineError;
use crate::limits;
use crate::selector::InvalidTopic;
use crate::wire::ConnectionId;

/// Why an event was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The engine did not accept it.
    Engine(EngineError),
    /// The idempotency key was used with other content within the window.
    KeyReused,
    /// A topic is not valid.
    Topic(InvalidTopic),
    /// The id begins with `#` or is `earliest`, and the manager keeps history.
    ReservedId,
    /// The name begins with `prism.`.
    ReservedName,
    /// The text has more bytes than allowed.
    TooLarge {
        /// How many bytes it has.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// The publisher used more idempotency keys within the window than can be remembered beside
    /// those of others. Trying again later may succeed.
    TooManyKeys {
        /// How many bytes the keys of all publishers may take.
        max: usize,
    },
}

impl From<EngineError> for PublishError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<InvalidTopic> for PublishError {
    fn from(error: InvalidTopic) -> Self {
        Self::Topic(error)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::KeyReused => {
                f.write_str("the idempotency key was used for another event a short time ago")
            }
            Self::Topic(error) => error.fmt(f),
            Self::ReservedId => {
                f.write_str("an event's id must not begin with `#` and must not be `earliest`")
            }
            Self::ReservedName => {
                write!(f, "an event's name must not begin with `prism.`, which is reserved")
            }
            Self::TooLarge { len, max } => {
                write!(f, "an event has {len} bytes of text; at most {max} are allowed")
            }
            Self::TooManyKeys { max } => {
                write!(f, "too many of the publisher's keys are remembered, of {max} bytes in all")
            }
        }
    }
}

impl std::error::Error for PublishError {}

/// Why an event was not sent to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Too many bytes are unread that were sent to single connections: more than
    /// [`limits::CONNECTION_SENT_BYTES`] for this one, or more than [`limits::SENT_BYTES`] for all
    /// of them. A later attempt may succeed.
    Full,
    /// The event has an id, which a manager with history could not resume from.
    IdNotKept,
    /// No open connection has this id.
    NoSuchConnection {
        /// The id.
        id: ConnectionId,
    },
    /// The event was not published.
    Publish(PublishError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(
                f,
                "too many bytes are unread: at most {} may be sent to one connection, {} to all",
                limits::CONNECTION_SENT_BYTES,
                limits::SENT_BYTES
            ),
            Self::IdNotKept => {
                f.write_str("an event to one connection is not kept, and so cannot carry an id")
            }
            Self::NoSuchConnection { id } => write!(f, "no open connection has the id {id}"),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}
