//! The ids that publishers chose, and the sequence number after which each of them resumes.
//!
//! An id that was published several times resumes after its first record, so that a reader may get
//! events twice but loses none. Once the first record was evicted the id is expired, even while
//! later records with the same id are retained.
//!
//! The ids that were evicted last are known one by one. Of those before them a filter of fixed size
//! remembers that they were used: an id that it knows is expired when it is used again. So such an
//! id can cause a false gap, and not a missed one, for as long as the filter remembers it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::record::Record;
use crate::limits;
use crate::selector::Topic;
use crate::wire::EventId;

#[derive(Debug)]
pub(super) struct PublisherIds {
    retained: HashMap<EventId, RetainedId>,
    /// Ids without a retained record, by hash.
    evicted: HashMap<u64, EvictedId>,
    /// Their hashes, oldest first.
    evicted_order: VecDeque<u64>,
    older: UsedIds,
    hasher: RandomState,
}

#[derive(Debug)]
struct RetainedId {
    /// Sequence number of the first record ever published with the id; 0 if it was forgotten.
    first_seq: u64,
    /// Retained records with the id.
    records: usize,
    /// Some record with the id was public, so that everybody may know of it.
    is_public: bool,
}

#[derive(Debug)]
struct EvictedId {
    /// As in [`RetainedId`]. An expired id still resumes after it, so that records of the other
    /// class, which may be retained longer, are not sent twice.
    first_seq: u64,
    /// The topics of its last record if all were private, so that grants can still be checked.
    private: Option<Box<[Topic]>>,
}

/// What is known of an id.
#[derive(Debug)]
pub(super) struct KnownId<'a> {
    /// Sequence number of its first record, 0 if it was forgotten.
    pub(super) first_seq: u64,
    /// Some record with the id was public.
    pub(super) is_public: bool,
    /// If none was, and none is retained, the topics of the last one.
    pub(super) topics: &'a [Topic],
}

impl PublisherIds {
    pub(super) fn new() -> Self {
        Self {
            retained: HashMap::new(),
            evicted: HashMap::new(),
            evicted_order: VecDeque::new(),
            older: UsedIds::default(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn insert(&mut self, id: &EventId, seq: u64, private: bool) {
        if let Some(entry) = self.retained.get_mut(id) {
            entry.records += 1;
            entry.is_public |= !private;
            return;
        }
        let hash = self.hash(id.as_str());
        let (first_seq, was_public) = match self.evicted.get(&hash) {
            Some(evicted) => (evicted.first_seq, evicted.private.is_none()),
            None if self.older.contains(hash) => (0, false),
            None => (seq, false),
        };
        let is_public = was_public || !private;
        self.retained.insert(id.clone(), RetainedId { first_seq, records: 1, is_public });
    }

    /// A record with the id was evicted.
    pub(super) fn evict(&mut self, id: &EventId, record: &Record) {
        let Some(entry) = self.retained.get_mut(id) else { return };
        entry.records -= 1;
        if entry.records > 0 {
            // A private record is not known any more to have been the first.
            if record.private && entry.first_seq == record.seq {
                entry.first_seq = 0;
            }
            return;
        }
        let (first_seq, is_public) = (entry.first_seq, entry.is_public);
        self.retained.remove(id);
        let hash = self.hash(id.as_str());
        let private = (!is_public).then(|| record.names().cloned().collect());
        self.remember(hash, EvictedId { first_seq, private });
    }

    fn remember(&mut self, hash: u64, evicted: EvictedId) {
        if self.evicted.insert(hash, evicted).is_none() {
            self.evicted_order.push_back(hash);
        }
        if self.evicted_order.len() > limits::EVICTED_IDS
            && let Some(oldest) = self.evicted_order.pop_front()
        {
            self.evicted.remove(&oldest);
            self.older.insert(oldest);
        }
    }

    /// Forgets the sequence numbers of evicted ids, because the order that they belong to was
    /// replaced.
    pub(super) fn forget_sequence_numbers(&mut self) {
        self.evicted.values_mut().for_each(|evicted| evicted.first_seq = 0);
    }

    /// What is known of an id.
    pub(super) fn find(&self, id: &str) -> Option<KnownId<'_>> {
        if let Some(entry) = self.retained.get(id) {
            let RetainedId { first_seq, is_public, .. } = *entry;
            return Some(KnownId { first_seq, is_public, topics: &[] });
        }
        let evicted = self.evicted.get(&self.hash(id))?;
        Some(KnownId {
            first_seq: evicted.first_seq,
            is_public: evicted.private.is_none(),
            topics: evicted.private.as_deref().unwrap_or_default(),
        })
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }
}

/// Remembers hashes in fixed space. It may take a hash for one that it knows, about once in
/// 100,000; one of the last [`limits::USED_IDS`] it always knows.
#[derive(Debug, Default)]
struct UsedIds {
    /// The generation that is filled, and the one before.
    generations: [Vec<u64>; 2],
    filled: usize,
}

/// Bits that one hash sets.
const BITS_PER_ID: u32 = 8;

impl UsedIds {
    fn insert(&mut self, hash: u64) {
        if self.filled == limits::USED_IDS {
            self.generations.swap(0, 1);
            self.generations[0].clear();
            self.filled = 0;
        }
        // 32 bits for each id.
        let words = limits::USED_IDS / 2;
        let current = &mut self.generations[0];
        current.resize(words, 0);
        for bit in bits(hash, words) {
            current[bit / 64] |= 1 << (bit % 64);
        }
        self.filled += 1;
    }

    fn contains(&self, hash: u64) -> bool {
        self.generations.iter().filter(|generation| !generation.is_empty()).any(|generation| {
            bits(hash, generation.len()).all(|bit| generation[bit / 64] >> (bit % 64) & 1 == 1)
        })
    }
}

/// Positions of a hash's bits in so many words: two halves of it, combined.
fn bits(hash: u64, words: usize) -> impl Iterator<Item = usize> {
    let (one, other) = (hash as u32, (hash >> 32) as u32 | 1);
    (0..BITS_PER_ID).map(move |n| one.wrapping_add(n.wrapping_mul(other)) as usize % (words * 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_remembered_for_as_many_others_as_the_limit_says() {
        let mut used = UsedIds::default();
        let hasher = RandomState::new();
        let hashes: Vec<u64> =
            (0..2 * limits::USED_IDS).map(|number| hasher.hash_one(number)).collect();
        for (number, &hash) in hashes.iter().enumerate() {
            used.insert(hash);
            assert!(used.contains(hashes[number.saturating_sub(limits::USED_IDS - 1)]));
        }
        let strangers = (0..100_000).map(|number| hasher.hash_one((number, "stranger")));
        let mistaken = strangers.filter(|&hash| used.contains(hash)).count();
        assert!(mistaken < 100, "{mistaken} of 100,000 are taken for others");
    }
}
