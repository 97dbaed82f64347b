//! A subscription: one audience, read in one order, from one position.
//!
//! Its state is the index of the record it reads next and the sequence number of the last id it
//! sent. Replay after a reconnect, live delivery and catching up after a slow spell are the same
//! operation. The type knows no lock, no clock and no transport: response bodies and delivery shards
//! use it alike.

use crate::audience::Audience;
use crate::limits;
use crate::log::{Class, EVERYONE, EvictedSpan, Gap, Log, Record, TopicKey, Walk};
use crate::wire::EARLIEST;

/// Where a subscription begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// After the event with this id, which is the manager's or a publisher's. If events after it
    /// were evicted, or the id is unknown, the subscription begins with a gap: it continues with
    /// the oldest retained event after that position, or with the oldest of all if the position is
    /// unknown. A manager without history begins [`Now`](Self::Now).
    After(String),
    /// With the newest retained event of each topic, in order, and then live.
    Latest,
    /// With the next event that is published.
    #[default]
    Now,
    /// With the oldest retained event.
    Oldest,
}

/// What a subscription reads: an audience, and the indexes to walk for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadScope<'a> {
    pub(crate) audience: &'a Audience,
    pub(crate) walk: Walk<'a>,
}

/// The result of [`Subscription::next_record`].
#[derive(Debug)]
pub(crate) enum NextRecord<'a> {
    /// The next record for this reader; the subscription is past it.
    Record(&'a Record),
    /// Nothing more for now.
    AtEnd,
    /// Nothing for this reader among as many records as the budget allows.
    BudgetSpent,
    /// A record for this reader was evicted before it was read.
    Gap(Gap),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    /// Index of the record to look at next.
    next: u64,
    /// Sequence number of the last position sent to the reader, in an event or a control event.
    last_sent: u64,
    /// Index of the first record that was appended while the reader was connected. Lag counts from
    /// here, because older records are replay.
    live_from: u64,
    /// Everything of `known_gap_class` before this index is a known gap: it was evicted before the
    /// reader was last sent back to the oldest retained record, and is not reported again.
    known_gap_until: u64,
    /// Index up to which `pending_bytes` is counted; 0 while it is not counted.
    counted_to: u64,
    /// Bytes for this reader between `next` and `counted_to`.
    pending_bytes: u32,
    /// Stored apart from `known_gap_until`, because an [`EvictedSpan`] has padding that every
    /// connection would pay for.
    known_gap_class: Class,
    /// Of the records before `live_from`, only the newest of each topic are delivered.
    newest_only: bool,
    /// The last bytes before the close were sent.
    end_sent: bool,
}

impl Subscription {
    /// A subscription that begins at `start`, and the gap it begins with.
    pub(crate) fn open(log: &Log, scope: ReadScope<'_>, start: &Start) -> (Self, Option<Gap>) {
        let now = Self::at(log.end(), log.applied());
        let retained_from =
            |next| Self { next, last_sent: log.position_before(next), ..now }.with_known_gap(log);
        let oldest = retained_from(log.first());
        match start {
            Start::Now => (now, None),
            Start::Oldest => (oldest, None),
            // `last_sent` stays before the first of the newest records, so that a reader that is
            // cut off before it has them all gets them again.
            Start::Latest => (Self { newest_only: true, ..oldest }, None),
            Start::After(id) if id == EARLIEST => (oldest, None),
            Start::After(id) => match log.resolve(id) {
                Ok(resolved) if !scope.may_know(log, id, resolved.seq) => {
                    (oldest, Some(Gap::Unknown))
                }
                Ok(resolved) => match log.seek(resolved.seq, scope.walk) {
                    Some(next) if !resolved.is_expired => {
                        (Self { next, last_sent: resolved.seq, ..now }, None)
                    }
                    // Continue after the id and not with the oldest record: one class may retain
                    // records from before the id, which the reader has.
                    _ => (retained_from(log.index_after(resolved.seq)), Some(Gap::Expired)),
                },
                Err(gap) => (oldest, Some(gap)),
            },
        }
    }

    /// A subscription that reads on from index `next` and has sent everything up to `last_sent`.
    pub(crate) fn at(next: u64, last_sent: u64) -> Self {
        Self {
            next,
            last_sent,
            live_from: next,
            counted_to: 0,
            known_gap_until: EvictedSpan::NONE.until,
            pending_bytes: 0,
            known_gap_class: EvictedSpan::NONE.class,
            newest_only: false,
            end_sent: false,
        }
    }

    /// Records what is missing after `next` as a known gap.
    fn with_known_gap(mut self, log: &Log) -> Self {
        EvictedSpan { class: self.known_gap_class, until: self.known_gap_until } =
            log.evicted_after(self.next);
        self
    }

    fn known_gap(&self) -> EvictedSpan {
        EvictedSpan { class: self.known_gap_class, until: self.known_gap_until }
    }

    /// Reads one record before index `until`. Each record that is looked at is taken from `budget`.
    pub(crate) fn next_record<'a>(
        &mut self,
        log: &'a Log,
        scope: ReadScope<'_>,
        until: u64,
        budget: &mut usize,
    ) -> NextRecord<'a> {
        if log.was_replaced(self.next) {
            return NextRecord::Gap(Gap::Epoch);
        }
        if self.next >= until {
            return NextRecord::AtEnd;
        }
        // The newest retained record of a topic cannot have been evicted, so that records before
        // `live_from` cannot be missed.
        let from = if self.newest_only { self.next.max(self.live_from) } else { self.next };
        if log.missed(from, self.known_gap(), scope.walk) {
            // A record from before the connection was evicted during its replay: that is `expired`,
            // and not the reader's fault. What was sent to it alone is always newer.
            let shared = Walk { direct: None, ..scope.walk };
            let expired = self.next < self.live_from && log.missed(from, self.known_gap(), shared);
            return NextRecord::Gap(if expired { Gap::Expired } else { Gap::Lag });
        }
        while *budget > 0 {
            let found = log.next(self.next, scope.walk).filter(|record| record.index < until);
            let Some(record) = found else {
                self.next = self.next.max(until);
                *budget -= 1;
                return NextRecord::AtEnd;
            };
            let is_old = self.newest_only && record.index < self.live_from;
            *budget = budget.saturating_sub(scope.cost(log, record, is_old));
            self.next = record.index + 1;
            if scope.reads(log, record) && !self.is_outdated(log, scope, record) {
                if record.sends_position {
                    self.last_sent = record.seq;
                }
                if record.index < self.counted_to {
                    self.pending_bytes = self.pending_bytes.saturating_sub(size_of(record));
                }
                return NextRecord::Record(record);
            }
        }
        NextRecord::BudgetSpent
    }

    /// Whether the reader is too slow: the live records that it has not read are older than
    /// `age_ms`, or have more than `bytes` beside the one it reads next.
    ///
    /// Counting is incremental: each call looks at no more records than the read budget allows, and
    /// the count is kept for the next call.
    pub(crate) fn lags(
        &mut self,
        log: &Log,
        scope: ReadScope<'_>,
        now: u64,
        bytes: usize,
        age_ms: u64,
    ) -> bool {
        let from = self.next.max(self.live_from);
        let old = |at: u64| at.saturating_add(age_ms) < now;
        // The bytes and the age of all records after `from`, whoever they are for, are upper bounds
        // that take constant time. Only a reader beyond one of them is counted exactly.
        let may_exceed_bytes = log.bytes_from(from, scope.walk) > bytes as u64;
        let may_exceed_age = log.oldest_from(from, scope.walk).is_some_and(old);
        if log.was_replaced(self.next) || !(may_exceed_bytes || may_exceed_age) {
            self.counted_to = 0;
            return false;
        }
        if self.counted_to < from {
            (self.counted_to, self.pending_bytes) = (from, 0);
        }
        let mut first = log.next(from, scope.walk);
        let mut budget = limits::READ_BUDGET;
        while let Some(record) = first.filter(|record| budget > 0 && !scope.reads(log, record)) {
            budget = budget.saturating_sub(scope.cost(log, record, false));
            first = log.next(record.index + 1, scope.walk);
        }
        let mut budget = limits::READ_BUDGET;
        while let Some(record) = log.next(self.counted_to, scope.walk).filter(|_| budget > 0) {
            budget = budget.saturating_sub(scope.cost(log, record, false));
            self.counted_to = record.index + 1;
            if scope.reads(log, record) {
                self.pending_bytes = self.pending_bytes.saturating_add(size_of(record));
            }
        }
        let Some(first) = first.filter(|record| scope.reads(log, record)) else { return false };
        let beside = self.pending_bytes.saturating_sub(size_of(first));
        beside as usize > bytes || old(first.at)
    }

    /// Skips everything that was not read and continues live.
    pub(crate) fn skip_to_end(&mut self, log: &Log) {
        self.next = log.end();
        self.last_sent = log.applied();
        self.newest_only = false;
    }

    /// Continues with the newest record of each topic, and then live.
    ///
    /// `last_sent` does not move to the end, so that a reader that is cut off before it has them all
    /// gets them when it resumes.
    pub(crate) fn skip_to_newest(&mut self, log: &Log) {
        self.newest_only = true;
        self.live_from = log.end();
        self.next = self.next.max(log.first());
        self.last_sent = self.last_sent.max(log.position_before(self.next));
    }

    /// Continues with the oldest record retained.
    pub(crate) fn skip_to_oldest(&mut self, log: &Log, walk: Walk<'_>) {
        let from = self.next.max(log.replaced());
        self.newest_only = false;
        if log.missed(from, self.known_gap(), walk) {
            self.next = log.first().max(from);
            *self = self.with_known_gap(log);
        } else {
            self.next = from;
        }
        self.last_sent = log.position_before(self.next);
    }

    /// Whether everything before index `end` was read.
    pub(crate) fn is_at(&self, end: u64) -> bool {
        self.next >= end
    }

    /// Whether a subscription that reads on from here without this one's known gap would have to
    /// report a gap.
    pub(crate) fn is_in_known_gap(&self, log: &Log, walk: Walk<'_>) -> bool {
        self.known_gap_until > self.next && log.missed(self.next, EvictedSpan::NONE, walk)
    }

    /// Whether there is a known gap, read past or not.
    pub(crate) fn has_known_gap(&self) -> bool {
        self.known_gap_until > 0
    }

    /// Forgets the known gap, once everything was read. Returns whether there was one.
    pub(crate) fn clear_known_gap(&mut self) -> bool {
        std::mem::take(&mut self.known_gap_until) > 0
    }

    /// Whether it delivers only the newest record of each topic, of those before it was live.
    pub(crate) fn is_newest_only(&self) -> bool {
        self.newest_only
    }

    /// Records that the last bytes before the close were sent. Returns `false` if they were sent
    /// before.
    pub(crate) fn set_end_sent(&mut self) -> bool {
        !std::mem::replace(&mut self.end_sent, true)
    }

    /// Moves to index `next`; everything before it was sent, up to `last_sent`.
    pub(crate) fn jump_to(&mut self, next: u64, last_sent: u64) {
        (self.next, self.last_sent) = (next, last_sent);
        (self.counted_to, self.pending_bytes) = (0, 0);
    }

    /// Moves to index `next`; nothing before it is for this reader.
    pub(crate) fn skip_to(&mut self, next: u64) {
        self.next = next;
    }

    /// Index of the record to look at next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Sequence number of the last position sent to the reader.
    pub(crate) fn last_sent(&self) -> u64 {
        self.last_sent
    }

    /// Records that the position `seq` was sent, and with it that nothing up to there is missing.
    pub(crate) fn set_last_sent(&mut self, seq: u64) {
        self.last_sent = seq;
    }

    /// Whether a record is left out because each of its topics that the reader selects has a newer
    /// one.
    fn is_outdated(&self, log: &Log, scope: ReadScope<'_>, record: &Record) -> bool {
        let until = self.live_from;
        if !self.newest_only || record.index >= until || record.ephemeral {
            return false;
        }
        // A newer record of a selected topic is selected too; only grants are left to check.
        let readable = |record: &Record| scope.may_read(log, record);
        let mut keys = record.topics.iter().filter(|&&key| scope.selects(log, key));
        keys.all(|&key| log.has_newer(key, record.class, record.index, until, readable))
    }
}

/// Bytes of a record, as lag counts them: up to 4 GiB.
fn size_of(record: &Record) -> u32 {
    u32::try_from(record.framed.len()).unwrap_or(u32::MAX)
}

impl ReadScope<'_> {
    /// Whether a record that the walk yields is for the reader.
    fn reads(&self, log: &Log, record: &Record) -> bool {
        let is_indexed = record.index >= log.indexed_from(self.walk);
        let selects = |key: &TopicKey| self.selects(log, *key);
        // The walk yields no ephemeral records but this reader's own.
        record.ephemeral
            || ((is_indexed || record.topics.iter().any(selects)) && self.may_read(log, record))
    }

    fn selects(&self, log: &Log, topic: TopicKey) -> bool {
        self.walk.topics.is_none_or(|keys| keys.contains(&topic))
            || log.is_matched(topic, self.walk.patterns)
    }

    /// Whether the reader may learn that an event with this id exists. A position tells nothing
    /// about its event; an id that a publisher chose may.
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

    /// What looking at a record takes from the read budget. Where no index helps, each pattern is
    /// matched against each topic.
    fn cost(&self, log: &Log, record: &Record, is_old: bool) -> usize {
        let patterns = self.walk.patterns.len();
        if patterns == 0 || !(is_old || record.index < log.indexed_from(self.walk)) {
            return 1;
        }
        1 + patterns * record.topics.len()
    }
}
