//! The one way into a manager's log.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;

use super::{Ack, AckError, AckSender, Completion, Durability, Publication};
use crate::wire::Epoch;

/// What a follower needs of the manager; the manager is a layer above.
pub(crate) trait Apply: fmt::Debug + Send + Sync {
    fn begin_epoch(&self, epoch: Epoch, after: u64) -> Wakes;
    fn apply(&self, seq: u64, publication: Publication) -> Wakes;
    fn apply_ephemeral(&self, publication: Publication, sender: AckSender) -> Wakes;
    fn acknowledge(&self, seq: u64, durability: Durability, sender: AckSender) -> Wakes;
    /// Lets the readers run that have become due.
    fn wake_readers(self: Arc<Self>);
}

/// Applies what an engine accepted, in the engine's order. Only one thread may do so at a time.
///
/// Applying appends to the log and wakes nobody: the returned [`Wakes`] does, once the engine has
/// let go of its own locks.
#[derive(Clone, Debug)]
pub struct Follower {
    apply: Weak<dyn Apply>,
}

impl Follower {
    pub(crate) fn new(apply: Weak<dyn Apply>) -> Self {
        Self { apply }
    }

    /// Begins an epoch whose sequence numbers follow `after`.
    ///
    /// If `after` is not what was applied last, the order before it is gone, and each reader is
    /// told of a gap.
    pub fn begin_epoch(&self, epoch: Epoch, after: u64) -> Wakes {
        self.with(|apply| apply.begin_epoch(epoch, after))
    }

    /// Applies a publication that has a place in the order. A place that was applied before is
    /// ignored.
    pub fn apply(&self, seq: u64, publication: Publication) -> Wakes {
        self.with(|apply| apply.apply(seq, publication))
    }

    /// Applies a publication that is for one connection and not kept.
    pub fn apply_ephemeral(&self, publication: Publication, completion: Completion) -> Wakes {
        self.with(|apply| apply.apply_ephemeral(publication, completion.into_answer()))
    }

    /// Whether the manager is gone, so that there is nothing left to follow for.
    pub fn is_closed(&self) -> bool {
        self.apply.strong_count() == 0
    }

    fn with(&self, act: impl FnOnce(&dyn Apply) -> Wakes) -> Wakes {
        let Some(apply) = self.apply.upgrade() else { return Wakes::default() };
        let mut wakes = act(&*apply);
        wakes.readers_of = wakes.bodies.then_some(apply);
        wakes
    }
}

/// Readers and publishers to wake, outside every lock.
#[derive(Debug, Default)]
#[must_use = "readers wait until `wake` is called"]
pub struct Wakes {
    readers_of: Option<Arc<dyn Apply>>,
    /// Readers that are polled have something to do.
    bodies: bool,
    /// Shards that have something to do.
    shards: Vec<Waker>,
    acks: Vec<(AckSender, Result<Ack, AckError>)>,
}

impl Wakes {
    /// Wakes whoever is due. Call it with no lock held.
    pub fn wake(self) {
        for (sender, result) in self.acks {
            sender.send(result);
        }
        self.shards.into_iter().for_each(Waker::wake);
        if let Some(apply) = self.readers_of {
            apply.wake_readers();
        }
    }

    /// Both at once, so that a batch wakes its readers a single time.
    pub fn and(mut self, other: Self) -> Self {
        self.acks.extend(other.acks);
        self.shards.extend(other.shards);
        self.bodies |= other.bodies;
        self.readers_of = other.readers_of.or(self.readers_of);
        self
    }

    pub(crate) fn ack(sender: AckSender, result: Result<Ack, AckError>) -> Self {
        Self { acks: vec![(sender, result)], ..Self::default() }
    }

    /// Says whether readers that are polled have something to do, and which shards do.
    pub(crate) fn readers(&mut self, bodies: bool, shards: &mut Vec<Waker>) {
        self.bodies |= bodies;
        self.shards.append(shards);
    }

    pub(crate) fn push(&mut self, sender: AckSender, result: Result<Ack, AckError>) {
        self.acks.push((sender, result));
    }
}
