//! The rings of all classes, read as one sequence by index.
//!
//! Most logs have records of one class only. The empty ring then costs each access one branch.

use std::sync::Arc;

use super::class::{Class, PerClass};
use super::floors::{Floor, Floors};
use super::record::Record;
use super::retention::Retention;
use super::ring::{Ring, RingPart};

/// Evicted records: those of one class before an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EvictedSpan {
    pub(crate) class: Class,
    pub(crate) until: u64,
}

impl EvictedSpan {
    /// No records.
    pub(crate) const NONE: Self = Self { class: Class::History, until: 0 };
}

#[derive(Debug)]
pub(super) struct ClassRings {
    classes: PerClass<ClassRing>,
}

/// The retained records of one class.
#[derive(Debug)]
struct ClassRing {
    ring: Ring,
    /// How far records were evicted from the ring.
    floors: Floors,
}

impl ClassRings {
    pub(super) fn new(retention: PerClass<Retention>) -> Self {
        let ring = |retention| ClassRing { ring: Ring::new(retention), floors: Floors::default() };
        Self { classes: retention.map(ring) }
    }

    pub(super) fn push(&mut self, record: Arc<Record>) {
        self.classes[record.class].ring.push(record);
    }

    /// Removes the oldest record of a class.
    pub(super) fn pop(&mut self, class: Class) -> Option<Arc<Record>> {
        self.classes[class].ring.pop()
    }

    /// Removes the oldest record of a class if its retention does not cover it at `now`.
    /// `index_bytes` is what indexes hold for the records of the class.
    pub(super) fn pop_exceeding(
        &mut self,
        class: Class,
        now: u64,
        index_bytes: usize,
    ) -> Option<Arc<Record>> {
        self.classes[class].ring.pop_exceeding(now, index_bytes)
    }

    /// Whether the retention of a class does not cover its oldest record at `now`.
    pub(super) fn exceeds(&self, class: Class, now: u64, index_bytes: usize) -> bool {
        self.classes[class].ring.exceeds(now, index_bytes)
    }

    /// Raises the floor of an evicted record's class.
    pub(super) fn raise_floor(&mut self, record: &Record, floor: Floor) {
        self.classes[record.class].floors.raise(record.private, floor);
    }

    /// Sets the floors of every class to `floor`, where the order begins.
    pub(super) fn reset_floors(&mut self, floor: Floor) {
        for class in Class::ALL {
            self.reset_floors_of(class, floor);
        }
    }

    /// Sets the floors of a class to `floor`.
    pub(super) fn reset_floors_of(&mut self, class: Class, floor: Floor) {
        self.classes[class].floors = Floors::both(floor);
    }

    /// The floors of a class.
    pub(super) fn floors(&self, class: Class) -> Floors {
        self.classes[class].floors
    }

    /// What was evicted after `next`, the index of a retained record. It is of one class at most,
    /// because the record's own class lost nothing after it.
    pub(super) fn evicted_after(&self, next: u64) -> EvictedSpan {
        let span = |class| EvictedSpan { class, until: self.floors(class).of(true).index };
        let mut spans = Class::ALL.map(span).into_iter();
        spans.find(|span| span.until > next).unwrap_or(EvictedSpan::NONE)
    }

    /// Sequence number of the newest record that was evicted, of any class.
    pub(super) fn floor_seq(&self) -> u64 {
        self.classes.iter().map(|class| class.floors.of(true).seq).max().unwrap_or(0)
    }

    /// The oldest record of a class.
    pub(super) fn oldest_of(&self, class: Class) -> Option<&Arc<Record>> {
        self.classes[class].ring.oldest()
    }

    /// The oldest record.
    pub(super) fn oldest(&self) -> Option<&Arc<Record>> {
        self.earliest(Ring::oldest)
    }

    /// The record with this index.
    pub(super) fn get(&self, index: u64) -> Option<&Arc<Record>> {
        self.classes.iter().find_map(|class| class.ring.get(index))
    }

    /// The record of a class with this index.
    pub(super) fn get_of(&self, class: Class, index: u64) -> Option<&Arc<Record>> {
        self.classes[class].ring.get(index)
    }

    /// The first record at or after `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<&Arc<Record>> {
        self.earliest(|ring| ring.first_from(from))
    }

    /// The first record with a sequence number from `seq` on.
    pub(super) fn first_from_seq(&self, seq: u64) -> Option<&Arc<Record>> {
        self.earliest(|ring| ring.first_from_seq(seq))
    }

    /// The first record of a class with a sequence number from `seq` on.
    pub(super) fn first_of_from_seq(&self, class: Class, seq: u64) -> Option<&Arc<Record>> {
        self.classes[class].ring.first_from_seq(seq)
    }

    /// What a class has from `from` on; see [`parts_from`](Self::parts_from).
    pub(super) fn part_of_from(&self, class: Class, from: u64, end: u64) -> RingPart {
        self.classes[class].ring.part_from(from, end)
    }

    /// The index from which on reading looks at the tails of the rings alone.
    pub(super) fn live_from(&self) -> u64 {
        self.classes.iter().map(|class| class.ring.live_from()).max().unwrap_or(0)
    }

    /// What each class has from `from` on, as far as one chunk or a part of its tail reaches. `end`
    /// is the index behind the newest record.
    pub(super) fn parts_from(&self, from: u64, end: u64) -> PerClass<RingPart> {
        PerClass::of(|class| self.classes[class].ring.part_from(from, end))
    }

    /// When a record will next exceed the age of its retention.
    pub(super) fn expires(&self) -> Option<u64> {
        self.classes.iter().filter_map(|class| class.ring.expires()).min()
    }

    /// Retained records of a class.
    pub(super) fn len(&self, class: Class) -> usize {
        self.classes[class].ring.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.classes.iter().map(|class| class.ring.bytes()).sum()
    }

    fn earliest<'a>(
        &'a self,
        of: impl Fn(&'a Ring) -> Option<&'a Arc<Record>>,
    ) -> Option<&'a Arc<Record>> {
        let [history, transient] = Class::ALL.map(|class| of(&self.classes[class].ring));
        match (history, transient) {
            (Some(one), Some(other)) if other.index < one.index => Some(other),
            (None, other) => other,
            (one, _) => one,
        }
    }
}
