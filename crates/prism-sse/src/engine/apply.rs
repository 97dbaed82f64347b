//! What the engine layer calls in the manager above it, and the wake-ups that result.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use super::durability::Durability;
use super::publication::Publication;
use super::receipt::{Ack, AckError, AckSender};
use crate::wire::Epoch;

/// The manager as the engine layer sees it. The manager is a layer above, so that it is named by a
/// trait.
pub(crate) trait Apply: fmt::Debug + Send + Sync {
    /// Where the order goes on, if a store has kept its beginning.
    fn restored(&self) -> Option<OrderEnd>;
    fn begin_epoch(&self, epoch: Epoch, after: u64) -> Wakes;
    fn apply(&self, seq: u64, publication: Publication) -> Wakes;
    fn apply_ephemeral(&self, publication: Publication, sender: AckSender) -> Wakes;
    fn acknowledge(&self, seq: u64, durability: Durability, sender: AckSender) -> Wakes;
    /// Wakes the response bodies that are due.
    fn wake_readers(self: Arc<Self>);
}

/// The end of an order that was kept by a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderEnd {
    /// The last epoch.
    pub epoch: Epoch,
    /// The sequence number after which the next epoch begins.
    pub seq: u64,
    /// No sequence number above this one was handed out. It is above [`seq`](Self::seq) where the
    /// end of the order was lost.
    pub reserved: u64,
}

/// Readers and publishers to wake, outside every lock.
#[derive(Debug, Default)]
#[must_use = "readers wait until `wake` is called"]
pub struct Wakes {
    /// Set if `bodies` is.
    readers_of: Option<Arc<dyn Apply>>,
    /// Whether response bodies are due.
    bodies: bool,
    /// Delivery shards that are due.
    shards: Vec<Waker>,
    acks: Vec<(AckSender, Result<Ack, AckError>)>,
}

impl Wakes {
    /// Wakes the readers that are due and completes receipts. Call it with no lock held.
    pub fn wake(self) {
        for (sender, result) in self.acks {
            sender.send(result);
        }
        self.shards.into_iter().for_each(Waker::wake);
        if let Some(apply) = self.readers_of {
            apply.wake_readers();
        }
    }

    /// Joins two, so that a batch wakes its readers once.
    pub fn and(mut self, other: Self) -> Self {
        self.acks.extend(other.acks);
        self.shards.extend(other.shards);
        self.bodies |= other.bodies;
        self.readers_of = other.readers_of.or(self.readers_of);
        self
    }

    /// Says whose response bodies are due, if any are.
    pub(crate) fn of(mut self, apply: Arc<dyn Apply>) -> Self {
        self.readers_of = self.bodies.then_some(apply);
        self
    }

    pub(crate) fn ack(sender: AckSender, result: Result<Ack, AckError>) -> Self {
        Self { acks: vec![(sender, result)], ..Self::default() }
    }

    /// Adds whether response bodies are due, and the shards that are.
    pub(crate) fn readers(&mut self, bodies: bool, shards: &mut Vec<Waker>) {
        self.bodies |= bodies;
        self.shards.append(shards);
    }

    pub(crate) fn push(&mut self, sender: AckSender, result: Result<Ack, AckError>) {
        self.acks.push((sender, result));
    }
}
