//! The ids that publishers chose, and the sequence number from which each of them resumes.
//!
//! An id that was published several times resumes after its first record, so that a reader gets
//! some events again and loses none. Once that first record was evicted, the id is expired, even
//! while later records with it are kept.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::limits;
use crate::wire::EventId;

#[derive(Debug)]
pub(super) struct PublisherIds {
    kept: HashMap<EventId, Uses>,
    /// Hashes of ids none of whose records is kept, each at the place its hash names; 0 is empty.
    /// An id used again after so many others that its hash was overwritten counts as new.
    evicted: Box<[u64]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Uses {
    /// Of the first record ever seen with the id; 0 if that was evicted before the id came back.
    first: u64,
    kept: usize,
}

impl PublisherIds {
    pub(super) fn new() -> Self {
        Self { kept: HashMap::new(), evicted: Box::default(), hasher: RandomState::new() }
    }

    pub(super) fn insert(&mut self, id: &EventId, seq: u64) {
        if let Some(uses) = self.kept.get_mut(id) {
            uses.kept += 1;
            return;
        }
        let first = if self.was_evicted(id.as_str()) { 0 } else { seq };
        self.kept.insert(id.clone(), Uses { first, kept: 1 });
    }

    pub(super) fn evict(&mut self, id: &EventId) {
        let Some(uses) = self.kept.get_mut(id) else { return };
        uses.kept -= 1;
        if uses.kept > 0 {
            return;
        }
        self.kept.remove(id);
        if self.evicted.is_empty() {
            self.evicted = vec![0; limits::EVICTED_IDS].into();
        }
        let hash = self.hash(id.as_str());
        self.evicted[place(hash)] = hash;
    }

    /// The sequence number of the id's first record; 0 if it is known to be evicted.
    pub(super) fn first(&self, id: &str) -> Option<u64> {
        match self.kept.get(id) {
            Some(uses) => Some(uses.first),
            None => self.was_evicted(id).then_some(0),
        }
    }

    fn was_evicted(&self, id: &str) -> bool {
        let hash = self.hash(id);
        self.evicted.get(place(hash)) == Some(&hash)
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id).max(1)
    }
}

fn place(hash: u64) -> usize {
    (hash % limits::EVICTED_IDS as u64) as usize
}
