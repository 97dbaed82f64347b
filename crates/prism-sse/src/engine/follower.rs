//! The follower: the one way into a manager's log.

use std::sync::Weak;

use super::apply::{Apply, OrderEnd, Wakes};
use super::completion::Completion;
use super::publication::Publication;
use crate::wire::Epoch;

/// Applies what an engine accepted to the manager's log, in the engine's order. Only one thread may
/// do so at a time.
///
/// Applying appends to the log and wakes nobody: the returned [`Wakes`] does, once the engine has
/// released its own locks.
#[derive(Clone, Debug)]
pub struct Follower {
    apply: Weak<dyn Apply>,
}

impl Follower {
    pub(crate) fn new(apply: Weak<dyn Apply>) -> Self {
        Self { apply }
    }

    /// Where the order goes on, if this node's [store](crate::Store) has kept its beginning: the
    /// engine begins an epoch with a higher number there, and hands out sequence numbers above
    /// those that were reserved.
    pub fn restored(&self) -> Option<OrderEnd> {
        self.apply.upgrade()?.restored()
    }

    /// Begins an epoch whose sequence numbers follow `after`.
    ///
    /// If `after` is not the sequence number that was applied last, the order was replaced: the log
    /// is emptied, and each reader gets a gap. An epoch that begins again, behind fewer numbers
    /// than were applied, cannot be resumed from the numbers that were applied twice.
    pub fn begin_epoch(&self, epoch: Epoch, after: u64) -> Wakes {
        self.with(|apply| apply.begin_epoch(epoch, after))
    }

    /// Applies a publication with its sequence number. A number that was applied before is ignored.
    pub fn apply(&self, seq: u64, publication: Publication) -> Wakes {
        self.with(|apply| apply.apply(seq, publication))
    }

    /// Applies a publication to one connection, which is not stored.
    pub fn apply_ephemeral(&self, publication: Publication, completion: Completion) -> Wakes {
        self.with(|apply| apply.apply_ephemeral(publication, completion.into_sender()))
    }

    /// Whether the manager was dropped, so that there is nothing left to apply to.
    pub fn is_closed(&self) -> bool {
        self.apply.strong_count() == 0
    }

    fn with(&self, act: impl FnOnce(&dyn Apply) -> Wakes) -> Wakes {
        let Some(apply) = self.apply.upgrade() else { return Wakes::default() };
        act(&*apply).of(apply)
    }
}
