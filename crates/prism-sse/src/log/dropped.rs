//! What was evicted of topics that were dropped with their last record and last reader.
//!
//! The floors of those that were dropped last are known one by one; a storm of topics that are used
//! once, as subscription events have them, leaves those of others alone. What was known before is
//! folded into a table of fixed size, where topics that share a place share the later floor. So a
//! dropped topic can raise a false alarm, and never hides a gap.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use super::class::{Class, PerClass};
use super::topics::{Floor, Floors};
use crate::limits;
use crate::selector::Topic;

#[derive(Debug)]
pub(super) struct Dropped {
    /// Floors that are known one by one. Names are kept as hashes, under a key that is random in
    /// each process, so that nobody can make two of them meet; the last two bits are the records.
    /// With each its stamp in `order`.
    last: HashMap<u64, (Floor, u64)>,
    /// The order in which those became known, by stamps.
    order: BTreeMap<u64, u64>,
    stamp: u64,
    /// Floors of before, by hash of the name.
    folded: Box<[PerClass<Floors>]>,
    hasher: RandomState,
}

/// Which records a floor is of: their class, and whether they are private.
const RECORDS: [(Class, bool); 4] = [
    (Class::History, false),
    (Class::History, true),
    (Class::Transient, false),
    (Class::Transient, true),
];

impl Dropped {
    pub(super) fn new() -> Self {
        Self {
            last: HashMap::new(),
            order: BTreeMap::new(),
            stamp: 0,
            folded: Box::default(),
            hasher: RandomState::new(),
        }
    }

    /// The floors of a topic, as far as it was dropped.
    pub(super) fn floors(&self, topic: &Topic) -> PerClass<Floors> {
        let hash = self.hasher.hash_one(topic);
        let mut floors = self.folded.get(place(hash)).copied().unwrap_or_default();
        for (number, (class, private)) in (0..).zip(RECORDS) {
            if let Some(&(floor, _)) = self.last.get(&key(hash, number)) {
                floors[class].raise(private, floor);
            }
        }
        floors
    }

    /// Remembers the floors of a topic that is dropped, those above `base`.
    pub(super) fn add(&mut self, topic: &Topic, floors: impl Fn(Class) -> Floors, base: Floor) {
        let hash = self.hasher.hash_one(topic);
        let known = self.floors(topic);
        for (number, (class, private)) in (0..).zip(RECORDS) {
            let floor = floors(class).own(private);
            // One that is known, of others perhaps, takes no place of its own.
            if floor.index <= base.index.max(known[class].own(private).index) {
                continue;
            }
            let key = key(hash, number);
            self.stamp += 1;
            if let Some((_, stamp)) = self.last.insert(key, (floor, self.stamp)) {
                self.order.remove(&stamp);
            }
            self.order.insert(self.stamp, key);
        }
        while self.order.len() > limits::DROPPED_FLOORS {
            self.fold_oldest();
        }
    }

    fn fold_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_first() else { return };
        let Some((floor, _)) = self.last.remove(&key) else { return };
        if self.folded.is_empty() {
            self.folded = vec![PerClass::default(); limits::DROPPED_TOPICS].into();
        }
        let (class, private) = RECORDS[(key & 3) as usize];
        self.folded[place(key)][class].raise(private, floor);
    }
}

fn key(hash: u64, number: u64) -> u64 {
    hash & !3 | number
}

fn place(hash: u64) -> usize {
    ((hash >> 2) % limits::DROPPED_TOPICS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_topics_that_are_used_once_leaves_others_floors_alone_for_long_and_hides_none() {
        let mut dropped = Dropped::new();
        let topic = |n: u64| Topic::try_from(&*format!("topic {n}")).unwrap();
        let floor = |n: u64| Floor { index: n + 1, seq: n };
        let of = |n: u64| {
            move |class| match class {
                Class::History => Floors::default(),
                Class::Transient => Floors { public: Floor::default(), private: floor(n) },
            }
        };
        let count = limits::DROPPED_FLOORS as u64;
        (0..count).for_each(|n| dropped.add(&topic(n), of(n), Floor::default()));
        let index =
            |dropped: &Dropped, n: u64| dropped.floors(&topic(n))[Class::Transient].private.index;
        assert!((0..count).all(|n| index(&dropped, n) == n + 1));
        assert_eq!(index(&dropped, count), 0, "it was never dropped");
        (count..3 * count).for_each(|n| dropped.add(&topic(n), of(n), Floor::default()));
        assert!((0..3 * count).all(|n| index(&dropped, n) > n), "what was evicted is never hidden");
        assert!(
            (0..3 * count).all(|n| dropped.floors(&topic(n))[Class::History].of(true).index == 0)
        );
        assert_eq!((dropped.last.len(), dropped.order.len()), (count as usize, count as usize));
    }
}
