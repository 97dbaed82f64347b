//! Patterns in use: for each distinct one the newest records that it chooses, and who reads it.
//!
//! A pattern is indexed from the moment it comes into use, and its index keeps a bounded number of
//! records. A reader that is further behind walks the ring, and looks at each record's topics.

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::Record;
use super::class::{Class, PerClass};
use super::topics::Floor;
use crate::limits;
use crate::selector::{PatternIndex, Selector, Topic};

/// A pattern's place in the table. Good for as long as the pattern has a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PatternKey(u32);

#[derive(Debug)]
pub(crate) struct Pattern {
    selector: Selector,
    /// Classes apart, because each has a ring that begins elsewhere.
    recents: PerClass<Recents>,
    /// Audiences that select it, sorted. The table keeps the list for the manager.
    pub(crate) audiences: Vec<u32>,
}

/// The newest records of a pattern and a class: public and private ones apart, which not every
/// reader would read.
#[derive(Debug)]
struct Recents {
    public: Recent,
    private: Recent,
}

/// Some of the newest records of a pattern.
#[derive(Debug)]
pub(super) struct Recent {
    /// Index and sequence number of each, rising. The ring may not have the oldest any more.
    at: VecDeque<(u64, u64)>,
    /// The index from which on, and the sequence number after which, all are there.
    since: Floor,
}

impl Recents {
    fn new(since: Floor) -> PerClass<Self> {
        PerClass::of(|_| Self { public: Recent::new(since), private: Recent::new(since) })
    }
}

impl Recent {
    fn new(since: Floor) -> Self {
        Self { at: VecDeque::new(), since }
    }

    fn push(&mut self, index: u64, seq: u64) {
        if self.at.len() == limits::PATTERN_RECORDS
            && let Some((index, seq)) = self.at.pop_front()
        {
            self.since = Floor { index: index + 1, seq };
        }
        self.at.push_back((index, seq));
    }

    fn first_from(&self, from: u64) -> Option<u64> {
        // Most readers are at the end, so that one look at the newest record is enough.
        if self.at.back()?.0 < from {
            return None;
        }
        let before = self.at.partition_point(|&(index, _)| index < from);
        self.at.get(before).map(|&(index, _)| index)
    }

    /// Whether a reader at `from` lost one of them, of a ring that begins at `first`; `floor` is
    /// the ring's own.
    pub(super) fn missed(&self, from: u64, first: u64, floor: Floor) -> bool {
        if from < self.since.index {
            return floor.index > from;
        }
        self.first_from(from).is_some_and(|index| index < first)
    }

    /// Whether all of them after `seq` are there, of a ring that begins at `first`; `floor` is the
    /// ring's own.
    pub(super) fn is_complete(&self, seq: u64, first: u64, floor: Floor) -> bool {
        if seq < self.since.seq {
            return floor.seq <= seq;
        }
        let after = self.at.partition_point(|&(_, other)| other <= seq);
        self.at.get(after).is_none_or(|&(index, _)| index >= first)
    }
}

impl Pattern {
    /// The records of a class that a reader may have to do with, who reads private ones or does
    /// not.
    pub(super) fn recents(
        &self,
        class: Class,
        private: bool,
    ) -> impl Iterator<Item = (&Recent, bool)> {
        let recents = &self.recents[class];
        let private = private.then_some((&recents.private, true));
        [(&recents.public, false)].into_iter().chain(private)
    }

    /// The first of those records at or after `from`.
    pub(super) fn first_from(&self, class: Class, from: u64, private: bool) -> Option<u64> {
        self.recents(class, private).filter_map(|(recent, _)| recent.first_from(from)).min()
    }

    /// The index from which on all such records of any class are known.
    pub(super) fn since(&self, private: bool) -> u64 {
        let recents = Class::ALL.into_iter().flat_map(|class| self.recents(class, private));
        recents.map(|(recent, _)| recent.since.index).max().unwrap_or(0)
    }

    pub(super) fn chooses(&self, topic: &Topic) -> bool {
        self.selector.matches(topic)
    }
}

#[derive(Debug)]
pub(crate) struct Patterns {
    slots: Slab<Pattern>,
    by_selector: HashMap<Selector, PatternKey>,
    index: PatternIndex<PatternKey>,
    /// Counts patterns that came and went, so that one can tell an old answer.
    generation: u64,
}

impl Patterns {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            by_selector: HashMap::new(),
            index: PatternIndex::new(),
            generation: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Appends the patterns that choose a topic.
    pub(super) fn find(&self, topic: &Topic, found: &mut Vec<PatternKey>) {
        self.index.find(topic, found);
    }

    /// Whether a pattern may come into use, or is in use, where there are at most `max`.
    pub(super) fn has_room(&self, selector: &Selector, max: usize) -> bool {
        self.slots.len() < max || self.by_selector.contains_key(selector)
    }

    /// The key of a pattern. One that has none is indexed from `since` on.
    pub(super) fn intern(&mut self, selector: &Selector, since: Floor) -> PatternKey {
        if let Some(&key) = self.by_selector.get(selector) {
            return key;
        }
        let slot = self.slots.insert(Pattern {
            selector: selector.clone(),
            recents: Recents::new(since),
            audiences: Vec::new(),
        });
        let key = PatternKey(u32::try_from(slot).expect("more patterns than memory can hold"));
        self.by_selector.insert(selector.clone(), key);
        self.index.insert(selector, key);
        self.generation += 1;
        key
    }

    pub(crate) fn add_audience(&mut self, key: PatternKey, audience: u32) {
        let audiences = &mut self[key].audiences;
        if let Err(place) = audiences.binary_search(&audience) {
            audiences.insert(place, audience);
        }
    }

    /// The pattern is dropped with its last audience.
    pub(crate) fn remove_audience(&mut self, key: PatternKey, audience: u32) {
        let audiences = &mut self[key].audiences;
        if let Ok(place) = audiences.binary_search(&audience) {
            audiences.remove(place);
        }
        if audiences.is_empty() {
            let pattern = self.slots.remove(key.0 as usize);
            self.by_selector.remove(&pattern.selector);
            self.index.remove(&pattern.selector, key);
            self.generation += 1;
        }
    }

    /// Says that a pattern chooses a record.
    pub(super) fn push(&mut self, key: PatternKey, record: &Record) {
        let recents = &mut self[key].recents[record.class];
        let recent = if record.private { &mut recents.private } else { &mut recents.public };
        recent.push(record.index, record.seq);
    }

    /// The log begins at `since`: nothing is known of what was before it.
    pub(super) fn begin(&mut self, since: Floor) {
        for (_, pattern) in &mut self.slots {
            pattern.recents = Recents::new(since);
        }
    }
}

impl Index<PatternKey> for Patterns {
    type Output = Pattern;

    fn index(&self, key: PatternKey) -> &Pattern {
        &self.slots[key.0 as usize]
    }
}

impl IndexMut<PatternKey> for Patterns {
    fn index_mut(&mut self, key: PatternKey) -> &mut Pattern {
        &mut self.slots[key.0 as usize]
    }
}
