//! Topics by name: for each an index of positions into the ring, its floor, and who reads it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::limits;
use crate::selector::Topic;

/// A topic's place in the table. Good for as long as the topic has a record or a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicKey(u32);

/// What is broadcast. It has no name, so that nobody can publish to it by name.
pub(crate) const EVERYONE: TopicKey = TopicKey(0);

/// What was evicted: the index after the last evicted record, and that record's sequence number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    pub(crate) index: u64,
    pub(crate) seq: u64,
}

impl Floor {
    fn raise(&mut self, other: Self) {
        self.index = self.index.max(other.index);
        self.seq = self.seq.max(other.seq);
    }
}

#[derive(Debug)]
pub(crate) struct TopicIndex {
    /// `None` for what is broadcast and for what is sent to one connection.
    pub(crate) name: Option<Topic>,
    /// Indexes of the topic's records, rising.
    pub(crate) at: VecDeque<u64>,
    pub(crate) floor: Floor,
    /// Audiences that name the topic, sorted. The table keeps the list for the manager.
    pub(crate) audiences: Vec<u32>,
    /// Kept without records and audiences: someone holds the key.
    held: bool,
}

impl TopicIndex {
    /// The first of the topic's records at or after `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<u64> {
        // Most readers are at the end, so that one look at the newest record is enough.
        if *self.at.back()? < from {
            return None;
        }
        let before = self.at.partition_point(|&index| index < from);
        self.at.get(before).copied()
    }

    fn is_unused(&self) -> bool {
        !self.held && self.at.is_empty() && self.audiences.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct Topics {
    slots: Slab<TopicIndex>,
    by_name: HashMap<Topic, TopicKey>,
    /// Floors of topics that were dropped, by hash of the name.
    dropped: Box<[Floor]>,
    /// The floor of a topic that was never seen here: what was evicted before this log began.
    base: Floor,
    hasher: RandomState,
}

impl Topics {
    pub(super) fn new() -> Self {
        let mut slots = Slab::new();
        slots.insert(TopicIndex::new(None, Floor::default(), true));
        Self {
            slots,
            by_name: HashMap::new(),
            dropped: Box::default(),
            base: Floor::default(),
            hasher: RandomState::new(),
        }
    }

    /// The key of a topic, which gets a place if it has none.
    pub(crate) fn intern(&mut self, topic: &Topic) -> TopicKey {
        if let Some(&key) = self.by_name.get(topic) {
            return key;
        }
        let mut floor = self.base;
        if let Some(&dropped) = self.dropped.get(self.place(topic)) {
            floor.raise(dropped);
        }
        let key = self.insert(TopicIndex::new(Some(topic.clone()), floor, false));
        self.by_name.insert(topic.clone(), key);
        key
    }

    /// A topic without a name, held until [`release`](Self::release).
    pub(crate) fn unnamed(&mut self) -> TopicKey {
        self.insert(TopicIndex::new(None, Floor::default(), true))
    }

    pub(crate) fn release(&mut self, key: TopicKey) {
        self[key].held = false;
        self.drop_if_unused(key);
    }

    pub(crate) fn add_audience(&mut self, key: TopicKey, audience: u32) {
        let audiences = &mut self[key].audiences;
        if let Err(place) = audiences.binary_search(&audience) {
            audiences.insert(place, audience);
        }
    }

    pub(crate) fn remove_audience(&mut self, key: TopicKey, audience: u32) {
        let audiences = &mut self[key].audiences;
        if let Ok(place) = audiences.binary_search(&audience) {
            audiences.remove(place);
        }
        self.drop_if_unused(key);
    }

    /// How many topics have a record or a reader.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn evict(&mut self, key: TopicKey, floor: Floor) {
        let topic = &mut self[key];
        topic.at.pop_front();
        topic.floor = floor;
        self.drop_if_unused(key);
    }

    /// The log begins at `base`: nothing is known of any topic before it.
    pub(super) fn raise_base(&mut self, base: Floor) {
        self.base.raise(base);
        for (_, topic) in &mut self.slots {
            topic.floor.raise(base);
        }
    }

    /// Floors count in an order that is gone.
    pub(super) fn forget_floors(&mut self) {
        self.dropped = Box::default();
        self.base = Floor::default();
        for (_, topic) in &mut self.slots {
            topic.floor = Floor::default();
        }
    }

    fn insert(&mut self, topic: TopicIndex) -> TopicKey {
        let slot = self.slots.insert(topic);
        TopicKey(u32::try_from(slot).expect("more topics than memory can hold"))
    }

    fn drop_if_unused(&mut self, key: TopicKey) {
        if !self[key].is_unused() {
            return;
        }
        let topic = self.slots.remove(key.0 as usize);
        let Some(name) = topic.name else { return };
        self.by_name.remove(&name);
        if topic.floor.index == 0 && topic.floor.seq == 0 {
            return;
        }
        if self.dropped.is_empty() {
            self.dropped = vec![Floor::default(); limits::DROPPED_TOPICS].into();
        }
        let place = self.place(&name);
        self.dropped[place].raise(topic.floor);
    }

    fn place(&self, topic: &Topic) -> usize {
        (self.hasher.hash_one(topic) % limits::DROPPED_TOPICS as u64) as usize
    }
}

impl TopicIndex {
    fn new(name: Option<Topic>, floor: Floor, held: bool) -> Self {
        Self { name, at: VecDeque::new(), floor, audiences: Vec::new(), held }
    }
}

impl Index<TopicKey> for Topics {
    type Output = TopicIndex;

    fn index(&self, key: TopicKey) -> &TopicIndex {
        &self.slots[key.0 as usize]
    }
}

impl IndexMut<TopicKey> for Topics {
    fn index_mut(&mut self, key: TopicKey) -> &mut TopicIndex {
        &mut self.slots[key.0 as usize]
    }
}
