//! Engines: who puts events into one order, and who keeps them.
//!
//! A manager hands each publication to its engine, and the engine hands what was accepted back, in
//! order, through a [`Follower`]. That is the only way into the log, for [`Memory`] too, so that
//! every engine runs the same code from there on.
//!
//! The contract, which the conformance suite of the feature `test-util` checks:
//!
//! 1. Sequence numbers rise within an epoch. They may have holes. A number that is applied again
//!    is ignored, so that a follower may repeat itself.
//! 2. What one thread appends keeps its order, ephemeral publications among the others included.
//! 3. A [`Completion`] is acknowledged only when the publication is as durable as the
//!    acknowledgement says. It may happen before or after the follower applied it; a receipt is
//!    filled when both are true.
//! 4. A completion that is dropped tells the publisher that the outcome is unknown.
//! 5. A publication with an [idempotency key](Publication::key) is handed over again only if the
//!    engine failed it or dropped its completion. An engine that cannot tell whether it has it
//!    already recognises the key, or has it twice.
//! 6. A [transient](Publication::is_transient) publication has its place in the order and is
//!    applied as every other one, but it is not stored: once the process ended its place is a hole.
//!    It is acknowledged with [`Durability::Memory`].
//! 7. [`Engine::append`] never waits. A full submission is [`EngineError::Overloaded`], and then
//!    nothing was taken.

mod follower;
mod memory;
mod publication;
mod receipt;

use std::fmt;

pub(crate) use follower::Apply;
pub use follower::{Follower, Wakes};
pub use memory::Memory;
pub(crate) use publication::Target;
pub use publication::{InvalidIdempotencyKey, InvalidPublisher, Publication};
pub use receipt::{Ack, AckError, Completion, Receipt};
pub(crate) use receipt::{AckSender, Outcome, receipt, shared_receipt};

/// Puts publications into one order and keeps them as its durability says.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Begins to hand everything accepted to `follower`, an epoch first. Called once, before the
    /// first [`append`](Self::append).
    fn follow(&self, follower: Follower);

    /// Takes a publication and returns at once.
    ///
    /// An [ephemeral](Publication::is_ephemeral) publication is not kept: the engine applies it
    /// with [`Follower::apply_ephemeral`] in its place among this node's publications.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the publication was not taken.
    fn append(&self, publication: Publication, completion: Completion) -> Result<(), EngineError>;

    /// How durable an acknowledged publication is.
    fn durability(&self) -> Durability;
}

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it is in this process's memory.
    Memory,
    /// The end of the process: the operating system has it.
    Os,
    /// A loss of power: it was synced to disk.
    Fsync,
    /// The loss of a node.
    Replicated,
}

impl Durability {
    /// The name used in acknowledgements.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Os => "os",
            Self::Fsync => "fsync",
            Self::Replicated => "replicated",
        }
    }
}

/// Why an engine did not take a publication.
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
