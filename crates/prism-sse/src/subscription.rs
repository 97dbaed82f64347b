//! A subscription: one audience, read in one order, from one position.
//!
//! Its state is the index of the record it looks at next and the last place it told the reader.
//! Replay after a reconnect, live delivery and catching up after a slow spell are the same act. The
//! type knows no lock, no clock and no transport; a response body and a delivery thread drive it
//! alike.

use crate::audience::Audience;
use crate::limits;
use crate::log::{Class, EVERYONE, Gap, Gone, Log, Record, TopicKey, Walk};
use crate::wire::EARLIEST;

/// Where a subscription begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// After the event with this id, the hub's or a publisher's. Where that cannot be done
    /// completely the reader is told of a gap and gets what is kept, of what came after it if its
    /// place is known. A manager without history begins [`Now`](Self::Now).
    After(String),
    /// With the newest kept event of each topic, in order; then what comes.
    Latest,
    /// With what comes.
    #[default]
    Now,
    /// With the oldest kept event.
    Oldest,
}

/// Who reads, as far as reading is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) audience: &'a Audience,
    pub(crate) walk: Walk<'a>,
}

/// What reading found.
#[derive(Debug)]
pub(crate) enum Read<'a> {
    /// The next record for this reader; the subscription stands after it.
    Record(&'a Record),
    /// Nothing more for now.
    AtEnd,
    /// Nothing yet, after as many records as one turn may look at.
    Budget,
    /// Something for this reader is no longer there.
    Gap(Gap),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    /// Index of the record it looks at next.
    next: u64,
    /// Sequence number of the last place the reader was told, with or without an event.
    told: u64,
    /// Index from which records came while the reader was there; lag counts from here.
    since: u64,
    /// What was evicted when the reader was last told that it gets what is kept, of a class of
    /// which that begins later: everything before this index. The reader misses none of it.
    gone_until: u64,
    /// Index up to which `waiting` counts what waits for the reader; 0 while nothing is counted.
    counted: u64,
    /// Bytes that wait, of what was counted and not delivered.
    waiting: u32,
    /// Of that class; apart, because a [`Gone`] has padding that each connection would pay for.
    gone_class: Class,
    /// Records before `since` are delivered only if they are their topic's newest.
    newest_only: bool,
    /// The reader was told that nothing follows.
    told_end: bool,
}

impl Subscription {
    /// A subscription, and the gap it begins with.
    pub(crate) fn open(log: &Log, reader: Reader<'_>, start: &Start) -> (Self, Option<Gap>) {
        let end = log.end();
        let told = log.applied();
        let now = Self::standing(end, told);
        let kept_from = |next| Self { next, told: log.place_before(next), ..now }.around_holes(log);
        let oldest = kept_from(log.first());
        match start {
            Start::Now => (now, None),
            Start::Oldest => (oldest, None),
            // A reader cut off before it has them all must not be told that it is past them.
            Start::Latest => (Self { newest_only: true, ..oldest }, None),
            Start::After(id) if id == EARLIEST => (oldest, None),
            Start::After(id) => match log.resolve(id) {
                Ok(place) if !reader.may_know(log, id, place.seq) => (oldest, Some(Gap::Unknown)),
                Ok(place) => match log.seek(place.seq, reader.walk) {
                    Some(next) if !place.is_expired => {
                        (Self { next, told: place.seq, ..now }, None)
                    }
                    // What it got may be kept longer than what it lost, and does not come again.
                    _ => (kept_from(log.index_after(place.seq)), Some(Gap::Expired)),
                },
                Err(gap) => (oldest, Some(gap)),
            },
        }
    }

    /// A subscription that was told everything up to `told` and reads on from index `next`.
    pub(crate) fn standing(next: u64, told: u64) -> Self {
        Self {
            next,
            told,
            since: next,
            counted: 0,
            gone_until: Gone::NOTHING.until,
            waiting: 0,
            gone_class: Gone::NOTHING.class,
            newest_only: false,
            told_end: false,
        }
    }

    /// Takes what was evicted behind its place for what it need not be told of.
    fn around_holes(mut self, log: &Log) -> Self {
        Gone { class: self.gone_class, until: self.gone_until } = log.gone_behind(self.next);
        self
    }

    fn gone(&self) -> Gone {
        Gone { class: self.gone_class, until: self.gone_until }
    }

    /// Reads one record before index `until`, looking at no more records than `budget` has.
    pub(crate) fn read<'a>(
        &mut self,
        log: &'a Log,
        reader: Reader<'_>,
        until: u64,
        budget: &mut usize,
    ) -> Read<'a> {
        if log.was_replaced(self.next) {
            return Read::Gap(Gap::Epoch);
        }
        if self.next >= until {
            return Read::AtEnd;
        }
        // A newest event that was evicted is not kept any more, and so not the newest kept one.
        let from = if self.newest_only { self.next.max(self.since) } else { self.next };
        if log.missed(from, self.gone(), reader.walk) {
            // What was there before the reader came is not its fault; what was sent to it came
            // after.
            let ordered = Walk { direct: None, ..reader.walk };
            let expired = self.next < self.since && log.missed(from, self.gone(), ordered);
            return Read::Gap(if expired { Gap::Expired } else { Gap::Lag });
        }
        while *budget > 0 {
            let found = log.next(self.next, reader.walk).filter(|record| record.index < until);
            let Some(record) = found else {
                self.next = self.next.max(until);
                *budget -= 1;
                return Read::AtEnd;
            };
            let is_old = self.newest_only && record.index < self.since;
            *budget = budget.saturating_sub(reader.work(log, record, is_old));
            self.next = record.index + 1;
            if reader.reads(log, record) && !self.is_outdated(log, reader, record) {
                if record.tells_place {
                    self.told = record.seq;
                }
                if record.index < self.counted {
                    self.waiting = self.waiting.saturating_sub(size_of(record));
                }
                return Read::Record(record);
            }
        }
        Read::Budget
    }

    /// Whether the reader is too slow: what came while it was there, and waits for it, is older
    /// than `age_ms`, or has more than `bytes` beside the event it gets next.
    ///
    /// What waits is counted a piece at each call, and the count is kept, so that no call looks at
    /// more than a turn's worth of records.
    pub(crate) fn lags(
        &mut self,
        log: &Log,
        reader: Reader<'_>,
        now: u64,
        bytes: usize,
        age_ms: u64,
    ) -> bool {
        let from = self.next.max(self.since);
        let old = |at: u64| at.saturating_add(age_ms) < now;
        // Everybody's bytes and the oldest record of all bound this reader's from above.
        let crowded = log.bytes_from(from, reader.walk) > bytes as u64;
        let stale = log.oldest_from(from, reader.walk).is_some_and(old);
        if log.was_replaced(self.next) || !(crowded || stale) {
            self.counted = 0;
            return false;
        }
        if self.counted < from {
            (self.counted, self.waiting) = (from, 0);
        }
        let mut first = log.next(from, reader.walk);
        let mut budget = limits::READ_BUDGET;
        while let Some(record) = first.filter(|record| budget > 0 && !reader.reads(log, record)) {
            budget = budget.saturating_sub(reader.work(log, record, false));
            first = log.next(record.index + 1, reader.walk);
        }
        let mut budget = limits::READ_BUDGET;
        while let Some(record) = log.next(self.counted, reader.walk).filter(|_| budget > 0) {
            budget = budget.saturating_sub(reader.work(log, record, false));
            self.counted = record.index + 1;
            if reader.reads(log, record) {
                self.waiting = self.waiting.saturating_add(size_of(record));
            }
        }
        let Some(first) = first.filter(|record| reader.reads(log, record)) else { return false };
        let beside = self.waiting.saturating_sub(size_of(first));
        beside as usize > bytes || old(first.at)
    }

    /// Goes on with what comes next, leaving out what waits.
    pub(crate) fn skip_to_end(&mut self, log: &Log) {
        self.next = log.end();
        self.told = log.applied();
        self.newest_only = false;
    }

    /// Goes on with the newest record of each topic, then with what comes.
    ///
    /// The reader keeps its place until it has got some of them, so that it can still resume from
    /// there if it is cut off.
    pub(crate) fn skip_to_newest(&mut self, log: &Log) {
        self.newest_only = true;
        self.since = log.end();
        self.next = self.next.max(log.first());
        self.told = self.told.max(log.place_before(self.next));
    }

    /// Goes on with the oldest record kept.
    pub(crate) fn skip_to_oldest(&mut self, log: &Log, walk: Walk<'_>) {
        let from = self.next.max(log.replaced());
        self.newest_only = false;
        if log.missed(from, self.gone(), walk) {
            self.next = log.first().max(from);
            *self = self.around_holes(log);
        } else {
            self.next = from;
        }
        self.told = log.place_before(self.next);
    }

    /// Whether it has read everything before index `end`.
    pub(crate) fn is_at(&self, end: u64) -> bool {
        self.next >= end
    }

    /// Whether what it reads next has holes of which it need not be told, as others must be who
    /// read from there.
    pub(crate) fn reads_around(&self, log: &Log, walk: Walk<'_>) -> bool {
        self.gone_until > self.next && log.missed(self.next, Gone::NOTHING, walk)
    }

    /// Whether it was told that it gets what is kept, and that there may be holes in it.
    pub(crate) fn has_holes(&self) -> bool {
        self.gone_until > 0
    }

    /// Says that it has everything. Whether there were holes on the way.
    pub(crate) fn leave_holes(&mut self) -> bool {
        std::mem::take(&mut self.gone_until) > 0
    }

    /// Whether it leaves out what is not its topic's newest.
    pub(crate) fn is_newest_only(&self) -> bool {
        self.newest_only
    }

    /// Says that the reader was told that nothing follows. Whether that is new.
    pub(crate) fn tell_end(&mut self) -> bool {
        !std::mem::replace(&mut self.told_end, true)
    }

    /// Goes to index `next`, having read and told all up to there.
    pub(crate) fn leap(&mut self, next: u64, told: u64) {
        (self.next, self.told) = (next, told);
        (self.counted, self.waiting) = (0, 0);
    }

    /// Goes to index `next`, before which there is nothing for the reader.
    pub(crate) fn go_to(&mut self, next: u64) {
        self.next = next;
    }

    /// Index of the record it looks at next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Sequence number of the last place the reader was told.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// Says that the reader was told that it has everything up to `seq`.
    pub(crate) fn tell(&mut self, seq: u64) {
        self.told = seq;
    }

    fn is_outdated(&self, log: &Log, reader: Reader<'_>, record: &Record) -> bool {
        let until = self.since;
        if !self.newest_only || record.index >= until || record.ephemeral {
            return false;
        }
        // A newer record about a topic that the reader selects is one that it selects.
        let readable = |record: &Record| reader.may_read(log, record);
        let mut keys = record.topics.iter().filter(|&&key| reader.selects(log, key));
        keys.all(|&key| log.has_newer(key, record.class, record.index, until, readable))
    }
}

/// Bytes of a record, as lag counts them: up to 4 GiB.
fn size_of(record: &Record) -> u32 {
    u32::try_from(record.framed.len()).unwrap_or(u32::MAX)
}

impl Reader<'_> {
    /// Whether a record that its walk leads to is for the reader.
    fn reads(&self, log: &Log, record: &Record) -> bool {
        let is_indexed = record.index >= log.indexed_from(self.walk);
        let selects = |key: &TopicKey| self.selects(log, *key);
        // The walk leads to this reader's own ephemeral records alone.
        record.ephemeral
            || ((is_indexed || record.topics.iter().any(selects)) && self.may_read(log, record))
    }

    fn selects(&self, log: &Log, topic: TopicKey) -> bool {
        self.walk.topics.is_none_or(|keys| keys.contains(&topic))
            || log.is_chosen(topic, self.walk.patterns)
    }

    /// Whether the reader may be told that there is an event with this id. An id of ours says
    /// nothing about the event; one that its publisher chose might.
    fn may_know(&self, log: &Log, id: &str, seq: u64) -> bool {
        let is_open =
            |record: &Record| !record.private || self.audience.is_granted(log.names(record));
        id.starts_with('#') || log.find(seq).is_none_or(is_open)
    }

    /// Whether the reader may read a record that it selects.
    fn may_read(&self, log: &Log, record: &Record) -> bool {
        if *record.topics == [EVERYONE] && !self.audience.wants_broadcasts() {
            return false;
        }
        !record.private || self.audience.is_granted(log.names(record))
    }

    /// What looking at a record takes, in looks: patterns may be held against each topic.
    fn work(&self, log: &Log, record: &Record, is_old: bool) -> usize {
        let patterns = self.walk.patterns.len();
        if patterns == 0 || !(is_old || record.index < log.indexed_from(self.walk)) {
            return 1;
        }
        1 + patterns * record.topics.len()
    }
}
