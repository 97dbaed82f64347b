//! Floors of topics that were dropped with their last record and last reader.
//!
//! The floors that were added last are exact. There are so many of them that a burst of topics that
//! are used once, as subscription events are, does not displace those of other topics. Older floors
//! are folded into a hash table of fixed size without collision handling: topics in one bucket
//! share the highest floor. So a dropped topic can cause a false gap, and never a missed one.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use super::class::{Class, PerClass};
use super::floors::{Floor, Floors};
use crate::limits;
use crate::selector::Topic;

#[derive(Debug)]
pub(super) struct DroppedFloors {
    /// Exact floors, each with its stamp in `by_age`. The key is a hash of the topic, whose last
    /// two bits are replaced by the number of a row of [`RECORDS`]. The hasher is seeded at random,
    /// so that nobody can construct collisions.
    exact: HashMap<u64, (Floor, u64)>,
    /// Keys of `exact` by stamp, which rises with each addition.
    by_age: BTreeMap<u64, u64>,
    stamp: u64,
    /// Older floors, by hash of the topic modulo the table's size.
    folded: Box<[PerClass<Floors>]>,
    hasher: RandomState,
}

/// The records that have a floor of their own: a class, and whether they are private.
const RECORDS: [(Class, bool); 4] = [
    (Class::History, false),
    (Class::History, true),
    (Class::Transient, false),
    (Class::Transient, true),
];

impl DroppedFloors {
    pub(super) fn new() -> Self {
        Self {
            exact: HashMap::new(),
            by_age: BTreeMap::new(),
            stamp: 0,
            folded: Box::default(),
            hasher: RandomState::new(),
        }
    }

    /// The floors of a topic; zero if it was never dropped.
    pub(super) fn floors(&self, topic: &Topic) -> PerClass<Floors> {
        let hash = self.hasher.hash_one(topic);
        let mut floors = self.folded.get(bucket(hash)).copied().unwrap_or_default();
        for (number, (class, private)) in (0..).zip(RECORDS) {
            if let Some(&(floor, _)) = self.exact.get(&key(hash, number)) {
                floors[class].raise(private, floor);
            }
        }
        floors
    }

    /// Adds the floors of a topic that is dropped. Those up to `base` hold for every topic and are
    /// left out.
    pub(super) fn add(&mut self, topic: &Topic, floors: impl Fn(Class) -> Floors, base: Floor) {
        let hash = self.hasher.hash_one(topic);
        let known = self.floors(topic);
        for (number, (class, private)) in (0..).zip(RECORDS) {
            let floor = floors(class).own(private);
            // A floor that is covered already, perhaps by another topic's, needs no entry.
            if floor.index <= base.index.max(known[class].own(private).index) {
                continue;
            }
            let key = key(hash, number);
            self.stamp += 1;
            if let Some((_, stamp)) = self.exact.insert(key, (floor, self.stamp)) {
                self.by_age.remove(&stamp);
            }
            self.by_age.insert(self.stamp, key);
        }
        while self.by_age.len() > limits::DROPPED_FLOORS {
            self.fold_oldest();
        }
    }

    fn fold_oldest(&mut self) {
        let Some((_, key)) = self.by_age.pop_first() else { return };
        let Some((floor, _)) = self.exact.remove(&key) else { return };
        if self.folded.is_empty() {
            self.folded = vec![PerClass::default(); limits::DROPPED_TOPICS].into();
        }
        let (class, private) = RECORDS[(key & 3) as usize];
        self.folded[bucket(key)][class].raise(private, floor);
    }
}

fn key(hash: u64, number: u64) -> u64 {
    hash & !3 | number
}

fn bucket(hash: u64) -> usize {
    ((hash >> 2) % limits::DROPPED_TOPICS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_topics_that_are_used_once_displace_exact_floors_late_and_hide_no_gap() {
        let mut dropped = DroppedFloors::new();
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
        let index = |dropped: &DroppedFloors, n: u64| {
            dropped.floors(&topic(n))[Class::Transient].private.index
        };
        assert!((0..count).all(|n| index(&dropped, n) == n + 1));
        assert_eq!(index(&dropped, count), 0, "a topic that was never dropped has no floor");
        (count..3 * count).for_each(|n| dropped.add(&topic(n), of(n), Floor::default()));
        assert!((0..3 * count).all(|n| index(&dropped, n) > n), "a floor never falls");
        assert!(
            (0..3 * count).all(|n| dropped.floors(&topic(n))[Class::History].of(true).index == 0)
        );
        assert_eq!((dropped.exact.len(), dropped.by_age.len()), (count as usize, count as usize));
    }
}
