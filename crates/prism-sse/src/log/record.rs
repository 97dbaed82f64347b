//! The record: an event in the log.

use std::sync::atomic::{AtomicU32, Ordering};

use super::class::Class;
use super::keys::{PatternKey, TopicKey};
use crate::selector::Topic;
use crate::wire::{EventId, Framed};

/// A record: an event with its index in the log, in the bytes that every reader receives.
///
/// Records are shared: a reader may hold one after it was evicted.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its number in the log; [`Log::append`](super::Log::append) sets it.
    pub(crate) index: u64,
    pub(crate) seq: u64,
    /// When it was applied, in milliseconds of the manager's clock.
    pub(crate) at: u64,
    /// Its topics, each once; empty if it was sent to one connection.
    pub(crate) topics: Box<[RecordTopic]>,
    pub(crate) class: Class,
    pub(crate) private: bool,
    /// Sent to one connection: not part of the order, and dropped with the connection.
    pub(crate) ephemeral: bool,
    /// Whether its bytes carry an id that a reader can resume after. Comments and ephemeral records
    /// do not.
    pub(crate) sends_position: bool,
    /// The id its publisher chose.
    pub(crate) id: Option<EventId>,
    pub(crate) framed: Framed,
    /// Of a private record, the patterns that match one of its topics, sorted: those that grant it
    /// are among them. They are the patterns of the moment at which it was applied.
    pub(crate) granting: Box<[PatternKey]>,
    /// Connections of this node whose audience matched when it was applied.
    pub(crate) receivers: AtomicU32,
    /// Bytes appended to the log before it; [`Log::append`](super::Log::append) sets it.
    pub(crate) offset: u64,
}

/// A topic of a record.
#[derive(Clone, Debug)]
pub(crate) struct RecordTopic {
    /// Valid under the manager's lock, while the record is retained.
    pub(crate) key: TopicKey,
    /// `None` for a broadcast.
    pub(crate) name: Option<Topic>,
}

impl Record {
    /// The names of its topics; none for a broadcast.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().filter_map(|topic| topic.name.as_ref())
    }

    /// Whether it was broadcast.
    pub(crate) fn is_broadcast(&self) -> bool {
        matches!(&*self.topics, [topic] if topic.name.is_none())
    }

    /// The record as it is read with pages of a store, where the sequence number is the index.
    pub(super) fn by_seq(&self) -> Self {
        Self {
            index: self.seq,
            topics: self.topics.clone(),
            id: self.id.clone(),
            framed: self.framed.clone(),
            granting: self.granting.clone(),
            receivers: AtomicU32::new(0),
            ..*self
        }
    }

    /// Connections of this node that it was for.
    pub(crate) fn receivers(&self) -> usize {
        self.receivers.load(Ordering::Relaxed) as usize
    }
}
