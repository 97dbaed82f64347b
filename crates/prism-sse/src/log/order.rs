//! The order: a ring for each class of records, read as one by their indexes.
//!
//! Most orders have records of one class alone. The other ring then costs each look one branch.

use super::class::{Class, PerClass};
use super::ring::Ring;
use super::topics::{Floor, Floors};
use super::{Record, Retention};

/// What was evicted of a class: everything before an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) class: Class,
    pub(crate) until: u64,
}

impl Gone {
    /// Nothing was.
    pub(crate) const NOTHING: Self = Self { class: Class::History, until: 0 };
}

#[derive(Debug)]
pub(super) struct Order {
    kept: PerClass<Kept>,
}

/// Records of one class.
#[derive(Debug)]
struct Kept {
    ring: Ring,
    /// What was evicted from the ring.
    floors: Floors,
}

impl Order {
    pub(super) fn new(retention: PerClass<Retention>) -> Self {
        let kept = |retention| Kept { ring: Ring::new(retention), floors: Floors::default() };
        Self { kept: retention.map(kept) }
    }

    pub(super) fn push(&mut self, record: Record) {
        self.kept[record.class].ring.push(record);
    }

    /// Takes the oldest record of a class.
    pub(super) fn pop(&mut self, class: Class) -> Option<Record> {
        self.kept[class].ring.pop()
    }

    /// Takes the oldest record of a class if its retention does not cover it at `now`. `beside` are
    /// bytes held for the sake of the class.
    pub(super) fn pop_exceeding(
        &mut self,
        class: Class,
        now: u64,
        beside: usize,
    ) -> Option<Record> {
        self.kept[class].ring.pop_exceeding(now, beside)
    }

    /// Says that a record was evicted.
    pub(super) fn raise(&mut self, record: &Record, floor: Floor) {
        self.kept[record.class].floors.raise(record.private, floor);
    }

    /// Says that the order begins at `floor`.
    pub(super) fn begin(&mut self, floor: Floor) {
        for class in Class::ALL {
            self.kept[class].floors = Floors::both(floor);
        }
    }

    /// What was evicted of a class.
    pub(super) fn floors(&self, class: Class) -> Floors {
        self.kept[class].floors
    }

    /// What was evicted behind `next`, the index of a kept record. That is of one class at most:
    /// the record's own lost nothing behind it.
    pub(super) fn gone_behind(&self, next: u64) -> Gone {
        let gone = |class| Gone { class, until: self.floors(class).of(true).index };
        Class::ALL.map(gone).into_iter().find(|gone| gone.until > next).unwrap_or(Gone::NOTHING)
    }

    /// Sequence number of the newest record that was evicted, of any class.
    pub(super) fn floor_seq(&self) -> u64 {
        self.kept.iter().map(|kept| kept.floors.of(true).seq).max().unwrap_or(0)
    }

    /// The oldest record of a class.
    pub(super) fn oldest_of(&self, class: Class) -> Option<&Record> {
        self.kept[class].ring.oldest()
    }

    /// The oldest record.
    pub(super) fn oldest(&self) -> Option<&Record> {
        self.earliest(Ring::oldest)
    }

    /// The record with this index.
    pub(super) fn get(&self, index: u64) -> Option<&Record> {
        self.kept.iter().find_map(|kept| kept.ring.get(index))
    }

    /// The record of a class with this index.
    pub(super) fn get_of(&self, class: Class, index: u64) -> Option<&Record> {
        self.kept[class].ring.get(index)
    }

    /// The first record at or after `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<&Record> {
        self.earliest(|ring| ring.first_from(from))
    }

    /// The first record with a sequence number from `seq` on.
    pub(super) fn first_from_seq(&self, seq: u64) -> Option<&Record> {
        self.earliest(|ring| ring.first_from_seq(seq))
    }

    /// When a record will next be too old.
    pub(super) fn expires(&self) -> Option<u64> {
        self.kept.iter().filter_map(|kept| kept.ring.expires()).min()
    }

    /// Records of a class.
    pub(super) fn len(&self, class: Class) -> usize {
        self.kept[class].ring.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.kept.iter().map(|kept| kept.ring.bytes()).sum()
    }

    fn earliest<'a>(&'a self, of: impl Fn(&'a Ring) -> Option<&'a Record>) -> Option<&'a Record> {
        let [history, transient] = Class::ALL.map(|class| of(&self.kept[class].ring));
        match (history, transient) {
            (Some(one), Some(other)) if other.index < one.index => Some(other),
            (None, other) => other,
            (one, _) => one,
        }
    }
}
