//! Floors: how far records were evicted, of a ring, of a topic or of a pattern's index.

/// How far records were evicted: the index after the last evicted record, and that record's
/// sequence number. Reading from below a floor is a gap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    pub(crate) index: u64,
    pub(crate) seq: u64,
}

/// The floors of public and of private records, apart, because not every reader reads private ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floors {
    pub(crate) public: Floor,
    pub(crate) private: Floor,
}

impl Floor {
    pub(super) fn max(self, other: Self) -> Self {
        Self { index: self.index.max(other.index), seq: self.seq.max(other.seq) }
    }
}

impl Floors {
    /// One floor for all records.
    pub(super) fn both(floor: Floor) -> Self {
        Self { public: floor, private: floor }
    }

    /// The floor for a reader that reads private records, or for one that does not.
    pub(crate) fn of(self, private: bool) -> Floor {
        if private { self.public.max(self.private) } else { self.public }
    }

    /// The floor of private records alone, or of public ones alone.
    pub(super) fn own(self, private: bool) -> Floor {
        if private { self.private } else { self.public }
    }

    pub(crate) fn raise(&mut self, private: bool, floor: Floor) {
        let own = if private { &mut self.private } else { &mut self.public };
        *own = own.max(floor);
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self { public: self.public.max(other.public), private: self.private.max(other.private) }
    }
}
