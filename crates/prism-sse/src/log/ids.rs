//! The ids that publishers chose, and the sequence number from which each of them resumes.
//!
//! An id that was published several times resumes after its first record, so that a reader gets
//! some events again and loses none. Once that first record was evicted, the id is expired, even
//! while later records with it are kept; its place is remembered for a while.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::limits;
use crate::wire::EventId;

#[derive(Debug)]
pub(super) struct PublisherIds {
    kept: HashMap<EventId, Uses>,
    /// Ids none of whose records is kept, each at the place its hash names. An id used again after
    /// so many others that it was overwritten counts as new.
    evicted: Box<[Evicted]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Uses {
    /// Of the first record ever seen with the id; 0 if that is not known any more.
    first: u64,
    kept: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Evicted {
    /// Of the id; 0 where there is none.
    hash: u64,
    /// As in [`Uses`]. An expired id resumes from there, so that nothing comes twice which was kept
    /// longer than its event.
    first: u64,
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
        let first = self.evicted(id.as_str()).unwrap_or(seq);
        self.kept.insert(id.clone(), Uses { first, kept: 1 });
    }

    /// Says that a record with the id was evicted. The place of a private one is not remembered,
    /// because nobody knows any more who might read it.
    pub(super) fn evict(&mut self, id: &EventId, seq: u64, private: bool) {
        let Some(uses) = self.kept.get_mut(id) else { return };
        uses.kept -= 1;
        if private && uses.first == seq {
            uses.first = 0;
        }
        if uses.kept > 0 {
            return;
        }
        let first = uses.first;
        self.kept.remove(id);
        if self.evicted.is_empty() {
            self.evicted = vec![Evicted::default(); limits::EVICTED_IDS].into();
        }
        let hash = self.hash(id.as_str());
        self.evicted[place(hash)] = Evicted { hash, first };
    }

    /// Says that the order is gone in which evicted records had their places.
    pub(super) fn forget_places(&mut self) {
        self.evicted.iter_mut().for_each(|evicted| evicted.first = 0);
    }

    /// The sequence number of the id's first record; 0 if that was evicted, and is not known.
    pub(super) fn first(&self, id: &str) -> Option<u64> {
        match self.kept.get(id) {
            Some(uses) => Some(uses.first),
            None => self.evicted(id),
        }
    }

    fn evicted(&self, id: &str) -> Option<u64> {
        let hash = self.hash(id);
        let evicted = self.evicted.get(place(hash)).filter(|evicted| evicted.hash == hash)?;
        Some(evicted.first)
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id).max(1)
    }
}

fn place(hash: u64) -> usize {
    (hash % limits::EVICTED_IDS as u64) as usize
}
