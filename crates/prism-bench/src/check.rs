//! Whether every subscriber received every event it should have, once and in order.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::receive::{STAMP_BYTES, Stamp};

/// The orders in which events are published, and who reads which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// One for each connection that publishes. Everybody reads all of them.
    Publishers(usize),
    /// One for each topic. Each subscriber reads one of them, in turn.
    Topics(usize),
}

impl Lanes {
    /// How many there are.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Publishers(count) | Self::Topics(count) => count,
        }
    }

    /// How many of so many subscribers read a lane.
    pub(crate) fn readers(self, lane: usize, subscribers: usize) -> usize {
        match self {
            Self::Publishers(_) => subscribers,
            Self::Topics(count) => subscribers / count + usize::from(lane < subscribers % count),
        }
    }

    /// Where a subscriber's account of a lane is kept, if it reads that.
    fn place(self, subscriber: usize, lane: usize) -> Option<usize> {
        match self {
            Self::Publishers(count) => Some(subscriber * count + lane),
            Self::Topics(count) => (subscriber % count == lane).then_some(subscriber),
        }
    }

    /// How many accounts so many subscribers have.
    fn places(self, subscribers: usize) -> usize {
        match self {
            Self::Publishers(count) => subscribers * count,
            Self::Topics(_) => subscribers,
        }
    }

    /// The lane of an account.
    fn lane(self, place: usize) -> usize {
        place % self.count()
    }
}

/// What is wrong with what subscribers received. All zero is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Events that a subscriber never received.
    pub(crate) lost: u64,
    /// Events that a subscriber received once more.
    pub(crate) doubled: u64,
    /// Events that a subscriber received after a later one.
    pub(crate) reordered: u64,
    /// Events with less text than was published, or with text that never was.
    pub(crate) damaged: u64,
    /// Events of topics that a subscriber does not read.
    pub(crate) strayed: u64,
}

impl Faults {
    /// Whether anything is wrong.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Each kind's name and number.
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

    /// The faults of both.
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

/// Checks that every subscriber receives every event once and in its lane's order.
#[derive(Debug)]
pub(crate) struct Checker {
    lanes: Lanes,
    payload: usize,
    /// How many events each lane has.
    published: Vec<u32>,
    /// What each subscriber waits for next in each lane it reads.
    next: Vec<u32>,
    /// What was skipped, by place in `next`. Empty as long as all goes well.
    skipped: HashMap<usize, BTreeSet<u32>>,
    faults: Faults,
}

impl Checker {
    /// A checker of events of `payload` bytes.
    pub(crate) fn new(subscribers: usize, lanes: Lanes, payload: usize) -> Self {
        Self {
            lanes,
            payload: payload.max(STAMP_BYTES),
            published: vec![0; lanes.count()],
            next: vec![0; lanes.places(subscribers)],
            skipped: HashMap::new(),
            faults: Faults::default(),
        }
    }

    /// The number of the event that is published to `lane` now.
    pub(crate) fn publish(&mut self, lane: usize) -> u32 {
        let published = &mut self.published[lane];
        *published += 1;
        *published - 1
    }

    /// Takes note of an event. Answers whether it counts as delivered: not if it was received
    /// before, was never published, or is of a topic that the subscriber does not read.
    pub(crate) fn receive(&mut self, subscriber: usize, stamp: Stamp, len: usize) -> bool {
        let lane = stamp.lane as usize;
        if self.published.get(lane).is_none_or(|&published| stamp.seq >= published) {
            self.faults.damaged += 1;
            return false;
        }
        let Some(place) = self.lanes.place(subscriber, lane) else {
            self.faults.strayed += 1;
            return false;
        };
        self.faults.damaged += u64::from(len < self.payload);
        let next = &mut self.next[place];
        if stamp.seq >= *next {
            if stamp.seq > *next {
                self.skipped.entry(place).or_default().extend(*next..stamp.seq);
            }
            *next = stamp.seq + 1;
            return true;
        }
        let late = self.skipped.get_mut(&place).is_some_and(|them| them.remove(&stamp.seq));
        let fault = if late { &mut self.faults.reordered } else { &mut self.faults.doubled };
        *fault += 1;
        late
    }

    /// From now on every subscriber waits for the event `from`, and all after it, once more.
    pub(crate) fn rewind(&mut self, from: u32) {
        self.faults = self.faults();
        self.skipped.clear();
        self.next.fill(from);
    }

    /// What was wrong so far, with everything counted as lost that has not come yet.
    pub(crate) fn faults(&self) -> Faults {
        let skipped: usize = self.skipped.values().map(BTreeSet::len).sum();
        let tails = self.next.iter().enumerate().map(|(place, &next)| {
            u64::from(self.published[self.lanes.lane(place)].saturating_sub(next))
        });
        let lost = self.faults.lost + skipped as u64 + tails.sum::<u64>();
        Faults { lost, ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(lane: u32, seq: u32) -> Stamp {
        Stamp { lane, seq, due: 0 }
    }

    /// The faults of a subscriber that received these of `published` events.
    fn faults(published: u32, received: &[u32]) -> Faults {
        let mut checker = Checker::new(2, Lanes::Publishers(1), 100);
        for seq in 0..published {
            assert_eq!(checker.publish(0), seq);
            assert!(checker.receive(0, stamp(0, seq), 100));
        }
        for &seq in received {
            checker.receive(1, stamp(0, seq), 100);
        }
        checker.faults()
    }

    #[test]
    fn every_event_once_and_in_order_is_right() {
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
        let mut checker = Checker::new(1, Lanes::Publishers(1), 100);
        checker.publish(0);
        assert!(checker.receive(0, stamp(0, 0), 99));
        assert!(!checker.receive(0, stamp(9, 0), 100));
        assert_eq!(checker.faults(), Faults { damaged: 2, ..Faults::default() });
    }

    #[test]
    fn order_is_each_publishers_own() {
        let mut checker = Checker::new(1, Lanes::Publishers(2), 100);
        for publisher in [0, 0, 1] {
            checker.publish(publisher);
        }
        for (publisher, seq) in [(0, 0), (1, 0), (0, 1)] {
            assert!(checker.receive(0, stamp(publisher, seq), 100));
        }
        assert!(!checker.faults().any());
    }

    #[test]
    fn a_topic_is_for_its_own_readers() {
        let lanes = Lanes::Topics(3);
        assert_eq!([0, 1, 2].map(|lane| lanes.readers(lane, 5)), [2, 2, 1]);
        let mut checker = Checker::new(5, lanes, 100);
        assert_eq!((checker.publish(1), checker.publish(1)), (0, 1));
        for subscriber in [1, 4] {
            assert!(checker.receive(subscriber, stamp(1, 0), 100));
        }
        assert!(checker.receive(4, stamp(1, 1), 100));
        assert!(!checker.receive(0, stamp(1, 1), 100));
        assert_eq!(checker.faults(), Faults { lost: 1, strayed: 1, ..Faults::default() });
    }

    #[test]
    fn what_is_replayed_is_waited_for_again() {
        let mut checker = Checker::new(2, Lanes::Publishers(1), 100);
        for seq in 0..3 {
            checker.publish(0);
            checker.receive(0, stamp(0, seq), 100);
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
