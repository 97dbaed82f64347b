//! The ids that publishers chose, and the sequence number after which each of them resumes.
//!
//! An id that was published several times resumes after its first record, so that a reader may get
//! events twice but loses none. Once the first record was evicted the id is expired, even while later
//! records with the same id are retained. The sequence numbers of expired ids are kept in a table of
//! fixed size.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::limits;
use crate::wire::EventId;

#[derive(Debug)]
pub(super) struct PublisherIds {
    retained: HashMap<EventId, RetainedId>,
    /// Ids without a retained record, by hash modulo the table's size. An id whose entry was
    /// overwritten counts as new when it is used again.
    evicted: Box<[EvictedId]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct RetainedId {
    /// Sequence number of the first record ever published with the id; 0 if it was forgotten.
    first_seq: u64,
    /// Retained records with the id.
    records: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct EvictedId {
    /// Hash of the id; 0 in an empty entry.
    hash: u64,
    /// As in [`RetainedId`]. An expired id still resumes after it, so that records of the other
    /// class, which may be retained longer, are not sent twice.
    first_seq: u64,
}

impl PublisherIds {
    pub(super) fn new() -> Self {
        Self { retained: HashMap::new(), evicted: Box::default(), hasher: RandomState::new() }
    }

    pub(super) fn insert(&mut self, id: &EventId, seq: u64) {
        if let Some(entry) = self.retained.get_mut(id) {
            entry.records += 1;
            return;
        }
        let first_seq = self.evicted(id.as_str()).unwrap_or(seq);
        self.retained.insert(id.clone(), RetainedId { first_seq, records: 1 });
    }

    /// A record with the id was evicted. The sequence number of a private one is forgotten, because
    /// its topics are not kept and grants cannot be checked any more.
    pub(super) fn evict(&mut self, id: &EventId, seq: u64, private: bool) {
        let Some(entry) = self.retained.get_mut(id) else { return };
        entry.records -= 1;
        if private && entry.first_seq == seq {
            entry.first_seq = 0;
        }
        if entry.records > 0 {
            return;
        }
        let first_seq = entry.first_seq;
        self.retained.remove(id);
        if self.evicted.is_empty() {
            self.evicted = vec![EvictedId::default(); limits::EVICTED_IDS].into();
        }
        let hash = self.hash(id.as_str());
        self.evicted[bucket(hash)] = EvictedId { hash, first_seq };
    }

    /// Forgets the sequence numbers of evicted ids, because the order that they belong to was
    /// replaced.
    pub(super) fn forget_sequence_numbers(&mut self) {
        self.evicted.iter_mut().for_each(|evicted| evicted.first_seq = 0);
    }

    /// The sequence number of the id's first record; 0 if it was forgotten. `None` for an unknown id.
    pub(super) fn first_seq(&self, id: &str) -> Option<u64> {
        match self.retained.get(id) {
            Some(entry) => Some(entry.first_seq),
            None => self.evicted(id),
        }
    }

    fn evicted(&self, id: &str) -> Option<u64> {
        let hash = self.hash(id);
        let evicted = self.evicted.get(bucket(hash)).filter(|evicted| evicted.hash == hash)?;
        Some(evicted.first_seq)
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id).max(1)
    }
}

fn bucket(hash: u64) -> usize {
    (hash % limits::EVICTED_IDS as u64) as usize
}
