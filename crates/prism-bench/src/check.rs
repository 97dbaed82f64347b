//! Checks that every subscriber received every event it should have, once and in order.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::receive::{STAMP_BYTES, Stamp};

/// The sequences in which events are numbered, and who receives which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequences {
    /// One for each connection that publishes. Every subscriber receives all of them.
    PerPublisher(usize),
    /// One for each topic. Every subscriber receives one of them, assigned round robin.
    PerTopic(usize),
}

impl Sequences {
    /// Number of sequences.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::PerPublisher(count) | Self::PerTopic(count) => count,
        }
    }

    /// How many of these subscribers receive a sequence.
    pub(crate) fn readers(self, sequence: usize, subscribers: usize) -> usize {
        match self {
            Self::PerPublisher(_) => subscribers,
            Self::PerTopic(count) => {
                subscribers / count + usize::from(sequence < subscribers % count)
            }
        }
    }

    /// The index of a subscriber's state of a sequence, if it receives that.
    fn index(self, subscriber: usize, sequence: usize) -> Option<usize> {
        match self {
            Self::PerPublisher(count) => Some(subscriber * count + sequence),
            Self::PerTopic(count) => (subscriber % count == sequence).then_some(subscriber),
        }
    }

    /// Number of all states of these subscribers.
    fn len(self, subscribers: usize) -> usize {
        match self {
            Self::PerPublisher(count) => subscribers * count,
            Self::PerTopic(_) => subscribers,
        }
    }

    /// The sequence of the state at an index.
    fn sequence(self, index: usize) -> usize {
        index % self.count()
    }
}

/// What is wrong with what subscribers received, as numbers of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Events that a subscriber never received.
    pub(crate) lost: u64,
    /// Events that a subscriber received once more.
    pub(crate) doubled: u64,
    /// Events that a subscriber received after a later one.
    pub(crate) reordered: u64,
    /// Events with less data than was published, or with data that never was.
    pub(crate) damaged: u64,
    /// Events of topics that a subscriber did not select.
    pub(crate) strayed: u64,
}

impl Faults {
    /// Whether there is any fault.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// The name and the number of each kind.
    pub(crate) fn named(&self) -> [(&'static str, u64); 5] {
        let Self { lost, doubled, reordered, damaged, strayed } = *self;
        [
            ("lost", lost),
            ("doubled", doubled),
            ("reordered", reordered),
            ("damaged", damaged),
            ("strayed", strayed),
        ]
    }

    /// The sum of both.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
            damaged: self.damaged + other.damaged,
            strayed: self.strayed + other.strayed,
        }
    }
}

/// Checks that every subscriber receives every event once and in the order of its sequence.
#[derive(Debug)]
pub(crate) struct DeliveryChecker {
    sequences: Sequences,
    payload: usize,
    /// Number of events published to each sequence.
    published: Vec<u32>,
    /// The number that each subscriber expects next in each sequence it receives.
    next: Vec<u32>,
    /// The numbers that were skipped, by index in `next`. Empty as long as nothing is lost.
    skipped: HashMap<usize, BTreeSet<u32>>,
    faults: Faults,
}

impl DeliveryChecker {
    /// A checker of events of `payload` bytes.
    pub(crate) fn new(subscribers: usize, sequences: Sequences, payload: usize) -> Self {
        Self {
            sequences,
            payload: payload.max(STAMP_BYTES),
            published: vec![0; sequences.count()],
            next: vec![0; sequences.len(subscribers)],
            skipped: HashMap::new(),
            faults: Faults::default(),
        }
    }

    /// Returns the number of the event that is published to `sequence` now.
    pub(crate) fn publish(&mut self, sequence: usize) -> u32 {
        let published = &mut self.published[sequence];
        *published += 1;
        *published - 1
    }

    /// Checks an event. `false` if it does not count as delivered: it was received before, was
    /// never published, or is of a topic that the subscriber did not select.
    pub(crate) fn receive(&mut self, subscriber: usize, stamp: Stamp, len: usize) -> bool {
        let sequence = stamp.sequence as usize;
        if self.published.get(sequence).is_none_or(|&published| stamp.number >= published) {
            self.faults.damaged += 1;
            return false;
        }
        let Some(index) = self.sequences.index(subscriber, sequence) else {
            self.faults.strayed += 1;
            return false;
        };
        self.faults.damaged += u64::from(len < self.payload);
        let next = &mut self.next[index];
        if stamp.number >= *next {
            if stamp.number > *next {
                self.skipped.entry(index).or_default().extend(*next..stamp.number);
            }
            *next = stamp.number + 1;
            return true;
        }
        let late =
            self.skipped.get_mut(&index).is_some_and(|skipped| skipped.remove(&stamp.number));
        let fault = if late { &mut self.faults.reordered } else { &mut self.faults.doubled };
        *fault += 1;
        late
    }

    /// Expects the event `from`, and all events after it, once more at every subscriber.
    pub(crate) fn rewind(&mut self, from: u32) {
        self.faults = self.faults();
        self.skipped.clear();
        self.next.fill(from);
    }

    /// All faults so far. What was not received yet counts as lost.
    pub(crate) fn faults(&self) -> Faults {
        let skipped: usize = self.skipped.values().map(BTreeSet::len).sum();
        let tails = self.next.iter().enumerate().map(|(index, &next)| {
            u64::from(self.published[self.sequences.sequence(index)].saturating_sub(next))
        });
        let lost = self.faults.lost + skipped as u64 + tails.sum::<u64>();
        Faults { lost, ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u32, number: u32) -> Stamp {
        Stamp { sequence, number, due: 0 }
    }

    /// The faults of a subscriber that received these of `published` events.
    fn faults(published: u32, received: &[u32]) -> Faults {
        let mut checker = DeliveryChecker::new(2, Sequences::PerPublisher(1), 100);
        for number in 0..published {
            assert_eq!(checker.publish(0), number);
            assert!(checker.receive(0, stamp(0, number), 100));
        }
        for &number in received {
            checker.receive(1, stamp(0, number), 100);
        }
        checker.faults()
    }

    #[test]
    fn every_event_once_and_in_order_is_faultless() {
        assert!(!faults(4, &[0, 1, 2, 3]).any());
        assert!(!faults(0, &[]).any());
    }

    #[test]
    fn lost_events_are_seen() {
        assert_eq!(faults(4, &[0, 1, 2]), Faults { lost: 1, ..Faults::default() });
        assert_eq!(faults(4, &[0, 3]), Faults { lost: 2, ..Faults::default() });
        assert_eq!(faults(4, &[]), Faults { lost: 4, ..Faults::default() });
    }

    #[test]
    fn doubled_events_are_seen() {
        assert_eq!(faults(3, &[0, 1, 1, 2, 0]), Faults { doubled: 2, ..Faults::default() });
    }

    #[test]
    fn reordered_events_are_seen_and_are_not_lost() {
        assert_eq!(faults(3, &[0, 2, 1]), Faults { reordered: 1, ..Faults::default() });
        let both = Faults { reordered: 1, doubled: 1, ..Faults::default() };
        assert_eq!(faults(3, &[0, 2, 1, 1]), both);
        assert_eq!(both.with(both), Faults { reordered: 2, doubled: 2, ..Faults::default() });
    }

    #[test]
    fn damaged_events_are_seen() {
        assert_eq!(faults(1, &[0, 1]), Faults { damaged: 1, ..Faults::default() });
        let mut checker = DeliveryChecker::new(1, Sequences::PerPublisher(1), 100);
        checker.publish(0);
        assert!(checker.receive(0, stamp(0, 0), 99));
        assert!(!checker.receive(0, stamp(9, 0), 100));
        assert_eq!(checker.faults(), Faults { damaged: 2, ..Faults::default() });
    }

    #[test]
    fn each_publisher_has_its_own_sequence() {
        let mut checker = DeliveryChecker::new(1, Sequences::PerPublisher(2), 100);
        for publisher in [0, 0, 1] {
            checker.publish(publisher);
        }
        for (publisher, number) in [(0, 0), (1, 0), (0, 1)] {
            assert!(checker.receive(0, stamp(publisher, number), 100));
        }
        assert!(!checker.faults().any());
    }

    #[test]
    fn an_event_is_expected_by_the_readers_of_its_topic_only() {
        let sequences = Sequences::PerTopic(3);
        assert_eq!([0, 1, 2].map(|sequence| sequences.readers(sequence, 5)), [2, 2, 1]);
        let mut checker = DeliveryChecker::new(5, sequences, 100);
        assert_eq!((checker.publish(1), checker.publish(1)), (0, 1));
        for subscriber in [1, 4] {
            assert!(checker.receive(subscriber, stamp(1, 0), 100));
        }
        assert!(checker.receive(4, stamp(1, 1), 100));
        assert!(!checker.receive(0, stamp(1, 1), 100));
        assert_eq!(checker.faults(), Faults { lost: 1, strayed: 1, ..Faults::default() });
    }

    #[test]
    fn what_is_replayed_is_expected_again() {
        let mut checker = DeliveryChecker::new(2, Sequences::PerPublisher(1), 100);
        for number in 0..3 {
            checker.publish(0);
            checker.receive(0, stamp(0, number), 100);
        }
        checker.receive(1, stamp(0, 0), 100);
        checker.rewind(1);
        let lost_before = Faults { lost: 2, ..Faults::default() };
        assert_eq!(checker.faults(), Faults { lost: 6, ..Faults::default() });
        for subscriber in [0, 1] {
            assert!(checker.receive(subscriber, stamp(0, 1), 100));
            assert!(checker.receive(subscriber, stamp(0, 2), 100));
        }
        assert_eq!(checker.faults(), lost_before);
        assert!(!checker.receive(0, stamp(0, 0), 100));
        assert_eq!(checker.faults(), Faults { doubled: 1, ..lost_before });
    }
}
