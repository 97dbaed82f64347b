//! A subscription: one audience, read in one order, from one position.
//!
//! Its state is the index of the record it reads next and the sequence number of the last id it
//! sent. Replay after a reconnect, live delivery and catching up after a slow phase are the same
//! operation. The type knows no lock, no clock and no transport: response bodies and delivery
//! shards use it alike.
//!
//! A live reader takes its records from the tail of the log, while its caller holds the manager's
//! lock. Whatever else is read comes from a [slice](crate::log::LogSlice) that was taken under the
//! lock and is read without it; see [`replay`](crate::subscription::replay).

use std::sync::Arc;

use crate::audience::Audience;
use crate::log::{Class, EvictedSpan, Gap, Log, PatternKey, Record, ResolvedId, Walk};
use crate::wire::EARLIEST;

pub(crate) mod replay;

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
    pub(crate) audience: &'a Arc<Audience>,
    pub(crate) walk: Walk<'a>,
    /// The patterns that grant private records, sorted.
    pub(crate) granting: &'a [PatternKey],
}

/// The result of [`Subscription::look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// Everything was read.
    AtEnd,
    /// The next records are in the tail of the log, and are read under the lock.
    Live,
    /// The next records are read without the lock.
    Behind,
    /// The next records are read from pages of the store, without the lock.
    Stored,
    /// A record for this reader was evicted before it was read.
    Gap(Gap),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    /// Index of the record to look at next; its sequence number while pages of a store are read.
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
    /// Pages of a store are read, and not the log.
    is_paging: bool,
}

impl Subscription {
    /// A subscription that begins at `start`, and the gap it begins with. `known_id` is the id of
    /// [`Start::After`] if it was looked up, and the reader may know of it.
    pub(crate) fn open(
        log: &Log,
        scope: ReadScope<'_>,
        start: &Start,
        known_id: Option<ResolvedId>,
    ) -> (Self, Option<Gap>) {
        let now = Self::at(log.end(), log.applied());
        let retained_from =
            |next| Self { next, last_sent: log.position_before(next), ..now }.with_known_gap(log);
        let oldest = match log.store_floor() {
            Some(floor) => Self { last_sent: floor, ..now }.paging_after(floor),
            None => retained_from(log.first()),
        };
        match start {
            Start::Now => (now, None),
            Start::Oldest => (oldest, None),
            // `last_sent` stays before the first of the newest records, so that a reader that is
            // cut off before it has them all gets them again.
            Start::Latest => (Self { newest_only: true, ..retained_from(log.first()) }, None),
            Start::After(id) if id == EARLIEST => (oldest, None),
            Start::After(id) => match resolve(log, id, known_id) {
                Ok(resolved) => match log.seek(resolved.seq, scope.walk) {
                    Some(next) if !resolved.is_expired => {
                        (Self { next, last_sent: resolved.seq, ..now }, None)
                    }
                    // Continue after the id and not with the oldest record: one class may retain
                    // records from before the id, which the reader has.
                    _ => log.store_floor().map_or_else(
                        || (retained_from(log.index_after(resolved.seq)), Some(Gap::Expired)),
                        |floor| {
                            let is_complete = log.store_is_complete(resolved.seq, scope.walk);
                            let seq = resolved.seq.max(floor);
                            // Known damage is told now, and not again on the way.
                            let damaged = Some(log.damaged_until()).filter(|it| *it > seq);
                            let known_gap_until = damaged.unwrap_or_default();
                            let is_told = !is_complete || resolved.is_expired || damaged.is_some();
                            let own = Self { last_sent: seq, known_gap_until, ..now };
                            (own.paging_after(seq), is_told.then_some(Gap::Expired))
                        },
                    ),
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
            is_paging: false,
        }
    }

    /// Goes on with the records of the store after sequence number `seq`.
    fn paging_after(self, seq: u64) -> Self {
        Self { next: seq + 1, is_paging: true, ..self }
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

    /// Goes from pages of the store to the log where that begins, and back to the pages if records
    /// were evicted from the log before they were read. A reader for which events wait that were
    /// sent to it alone stays, because these have places in the log alone.
    pub(crate) fn locate(&mut self, log: &Log, scope: ReadScope<'_>) {
        if self.is_paging {
            let Some(next) = log.seek_from_store(self.next - 1) else { return };
            // Events that were sent to the reader alone keep their places.
            let sent = scope.walk.sent_to.and_then(|slot| log.first_sent(slot));
            (self.next, self.is_paging) = (sent.map_or(next, |sent| next.min(sent)), false);
            // It was a sequence number.
            self.known_gap_until = 0;
        } else if scope.walk.sent_to.is_none()
            && !self.newest_only
            && self.last_sent >= log.store_floor().unwrap_or(u64::MAX)
            && !log.was_replaced(self.next)
            && log.missed(self.next, self.known_gap(), scope.walk)
        {
            *self = Self { known_gap_until: 0, ..self.paging_after(self.last_sent) };
        }
    }

    /// Whether pages of a store are read.
    pub(crate) fn is_paging(&self) -> bool {
        self.is_paging
    }

    /// Whether the reader was told at connect that records of the store are missing up to here.
    pub(crate) fn knows_missing(&self, until: u64) -> bool {
        until <= self.known_gap_until
    }

    /// Continues after a sequence number up to which records are missing in the store.
    pub(crate) fn skip_missing(&mut self, until: u64) {
        self.next = self.next.max(until + 1);
        self.last_sent = self.last_sent.max(until);
    }

    /// What a reader has to do that reads up to index `until`.
    pub(crate) fn look(&self, log: &Log, scope: ReadScope<'_>, until: u64) -> ReadState {
        if self.is_paging {
            return ReadState::Stored;
        }
        if log.was_replaced(self.next) {
            return ReadState::Gap(Gap::Epoch);
        }
        if self.next >= until {
            return ReadState::AtEnd;
        }
        // The newest retained record of a topic cannot have been evicted, so that records before
        // `live_from` cannot be missed.
        let from = if self.newest_only { self.next.max(self.live_from) } else { self.next };
        if log.missed(from, self.known_gap(), scope.walk) {
            // A record from before the connection was evicted during its replay: that is `expired`,
            // and not the reader's fault.
            let expired = self.next < self.live_from;
            return ReadState::Gap(if expired { Gap::Expired } else { Gap::Lag });
        }
        if self.is_replaying_newest() || !log.is_live(self.next, scope.walk) {
            ReadState::Behind
        } else {
            ReadState::Live
        }
    }

    /// Reads one record of the log's tail before index `until`, under the lock. Each record that it
    /// looks at is taken from `budget`.
    pub(crate) fn next_live<'a>(
        &mut self,
        log: &'a Log,
        scope: ReadScope<'_>,
        until: u64,
        budget: &mut usize,
    ) -> Option<&'a Arc<Record>> {
        while *budget > 0 {
            *budget -= 1;
            let found = log.next(self.next, scope.walk).filter(|record| record.index < until);
            let Some(record) = found else {
                self.next = self.next.max(until);
                return None;
            };
            self.next = record.index + 1;
            if scope.may_read(record) {
                self.pass(record);
                return Some(record);
            }
        }
        None
    }

    /// Records that a record was delivered, before which nothing is missing.
    fn pass(&mut self, record: &Record) {
        self.next = record.index + 1;
        if record.sends_position {
            self.last_sent = record.seq;
        }
        if record.index < self.counted_to {
            self.pending_bytes = self.pending_bytes.saturating_sub(size_of(record));
        }
    }

    /// Whether the reader may be too slow, so that a [lag check](replay::LagCheck) has to count
    /// what waits for it.
    ///
    /// The bytes and the age of all live records that it has not read, whoever they are for, are
    /// upper bounds that take constant time.
    pub(crate) fn exceeds_lag_bounds(
        &mut self,
        log: &Log,
        walk: Walk<'_>,
        now: u64,
        bytes: usize,
        age_ms: u64,
    ) -> bool {
        if self.is_paging {
            return false;
        }
        let from = self.next.max(self.live_from);
        let old = |at: u64| at.saturating_add(age_ms) < now;
        let may = !log.was_replaced(self.next)
            && (log.bytes_from(from, walk) > bytes as u64
                || log.oldest_from(from, walk).is_some_and(old));
        if !may {
            self.counted_to = 0;
        }
        may
    }

    /// Skips everything that was not read and continues live.
    pub(crate) fn skip_to_end(&mut self, log: &Log) {
        self.next = log.end();
        self.last_sent = log.applied();
        self.newest_only = false;
    }

    /// Continues with the newest record of each topic, and then live.
    ///
    /// `last_sent` does not move to the end, so that a reader that is cut off before it has them
    /// all gets them when it resumes.
    pub(crate) fn skip_to_newest(&mut self, log: &Log) {
        self.newest_only = true;
        self.live_from = log.end();
        self.next = self.next.max(log.first());
        self.last_sent = self.last_sent.max(log.position_before(self.next));
    }

    /// Continues with the oldest record retained.
    pub(crate) fn skip_to_oldest(&mut self, log: &Log, walk: Walk<'_>) {
        if self.is_paging {
            return;
        }
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
        !self.is_paging && self.next >= end
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

    /// Whether what it reads next is delivered only if it is the newest of its topic.
    pub(crate) fn is_replaying_newest(&self) -> bool {
        self.newest_only && self.next < self.live_from
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
}

/// Bytes of a record, as lag counts them: up to 4 GiB.
fn size_of(record: &Record) -> u32 {
    u32::try_from(record.framed.len()).unwrap_or(u32::MAX)
}

/// What an id stands for; one of ours needs no look-up before.
fn resolve(log: &Log, id: &str, known_id: Option<ResolvedId>) -> Result<ResolvedId, Gap> {
    if id.starts_with('#') { log.resolve_position(id) } else { known_id.ok_or(Gap::Unknown) }
}

impl ReadScope<'_> {
    /// Whether the reader may read a live record that its walk yields. That takes a look at keys
    /// alone: which patterns match was found out before the record was appended.
    fn may_read(&self, record: &Record) -> bool {
        // The walk yields no ephemeral records but this reader's own.
        if record.ephemeral {
            return true;
        }
        if record.is_broadcast() && !self.audience.wants_broadcasts() {
            return false;
        }
        !record.private || self.is_granted(record)
    }

    fn is_granted(&self, record: &Record) -> bool {
        self.audience.is_granted_by_name(record.names())
            || self.granting.iter().any(|key| record.granting.binary_search(key).is_ok())
    }
}
