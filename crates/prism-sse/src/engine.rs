//! Engines: they put publications into one order.
//!
//! A manager appends each publication to its engine, and the engine applies what it accepted, in
//! order, through a [`Follower`]. That is the only way into the log, for [`Memory`] too, so that
//! all engines share the code from there on.
//!
//! The contract, which the conformance suite of the feature `test-util` checks:
//!
//! 1. Sequence numbers rise within an epoch. They may have holes. A number that is applied again
//!    is ignored, so that an engine may repeat itself. An engine that lost the end of its order
//!    begins a new epoch. If it begins the same one again behind a lower number, no reader can
//!    resume from the numbers that are handed out twice: each is a gap, for good.
//! 2. Publications of one thread keep their order, ephemeral ones included.
//! 3. A [`Completion`] is acknowledged only when the publication is as durable as the
//!    acknowledgement says. It may happen before or after the follower applied it; the receipt is
//!    complete when both have happened.
//! 4. Dropping a completion completes the receipt as unknown.
//! 5. A publication with an [idempotency key](Publication::key) is appended again only if the
//!    engine failed it or dropped its completion. An engine that may have accepted it nevertheless
//!    has to recognise the key, or accepts it twice.
//! 6. A [transient](Publication::is_transient) publication has a sequence number and is applied
//!    like every other, but it is not stored: once the process has ended, its number is a hole. It
//!    is acknowledged with [`Durability::Memory`].
//! 7. [`Engine::append`] never waits. If the engine cannot take more, it is
//!    [`EngineError::Overloaded`], and the publication was not accepted.

mod apply;
mod completion;
mod durability;
mod follower;
mod memory;
mod publication;
mod receipt;

use std::fmt;

pub(crate) use apply::Apply;
pub use apply::{OrderEnd, Wakes};
pub use completion::Completion;
pub(crate) use completion::{receipt, shared_receipt};
pub use durability::Durability;
pub use follower::Follower;
pub use memory::Memory;
pub(crate) use publication::Target;
pub use publication::{InvalidIdempotencyKey, InvalidPublisher, Publication};
pub use receipt::{Ack, AckError, Receipt};
pub(crate) use receipt::{AckSender, Outcome};

/// Puts publications into one order, and stores them as its durability says.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// From now on everything that is accepted is applied through `follower`, an epoch first.
    /// Called once, before the first [`append`](Self::append).
    fn follow(&self, follower: Follower);

    /// Accepts a publication and returns at once.
    ///
    /// An [ephemeral](Publication::is_ephemeral) publication is not stored: the engine applies it
    /// with [`Follower::apply_ephemeral`], in order with this node's other publications.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the publication was not accepted.
    fn append(&self, publication: Publication, completion: Completion) -> Result<(), EngineError>;

    /// How durable an acknowledged publication is.
    fn durability(&self) -> Durability;
}

/// Why an engine did not accept a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// Too many publications wait for their acknowledgement. Trying again later may succeed.
    Overloaded,
    /// The engine cannot be reached or was closed.
    Unavailable,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overloaded => "too many publications wait for their acknowledgement",
            Self::Unavailable => "the engine is not available",
        })
    }
}

impl std::error::Error for EngineError {}
