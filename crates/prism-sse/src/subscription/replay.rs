//! Reading without the manager's lock.
//!
//! A [`Replay`] is taken under the lock, which costs a few references, and read after the lock was
//! released. Selectors and grants are matched with the names of topics, because the keys of the
//! log's tables are valid under the lock alone. Reading is counted in
//! [work](limits::REPLAY_WORK): a replay that has spent its budget gives way to others before it
//! goes on.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ReadScope, Subscription, size_of};
use crate::audience::Audience;
use crate::limits;
use crate::log::{Chunk, Log, LogSlice, NameFilter, NewerRecords, Record, Walk};
use crate::selector::Topic;

/// A slice of the log that a subscription is about to read, and how much it may cost.
#[derive(Debug)]
pub(crate) struct Replay {
    slice: LogSlice,
    filter: Filter,
    /// Index before which the reader reads; what is sent to it after its close is not for it.
    until: u64,
    lag: Option<LagCheck>,
    /// Work that is left.
    budget: u64,
    /// The page of the store to read, and what is merged with it.
    page: Option<PageRequest>,
}

/// A page of the store that a reader asks for.
#[derive(Debug)]
pub(crate) struct PageRequest {
    /// The sequence number of the record to look at next.
    pub(crate) from: u64,
    /// Transient records from there on.
    transient: Vec<Arc<Record>>,
    /// The sequence number before which there are no other transient records.
    until: u64,
}

/// Counts what waits for a reader that may lag.
#[derive(Debug)]
pub(crate) struct LagCheck {
    /// What it reads next, from where it is live.
    first: LogSlice,
    /// What was not counted yet.
    rest: LogSlice,
    max_bytes: usize,
    /// Records that were applied before this moment are too old.
    oldest_at: u64,
}

/// A record that is delivered unless its topics have newer ones.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) record: Arc<Record>,
    /// Its topics that the reader selects; `None` stands for a broadcast.
    topics: Vec<Option<Topic>>,
}

/// Which records are for a reader, by name.
#[derive(Debug)]
struct Filter {
    audience: Arc<Audience>,
    /// What matching gave for the topics of this slice.
    selected: HashMap<Topic, bool>,
    granted: HashMap<Topic, bool>,
}

impl Replay {
    /// The sequence number from which on a page of the store is read, if one is.
    pub(crate) fn page_from(&self) -> Option<u64> {
        self.page.as_ref().map(|page| page.from)
    }

    /// Whose page it is.
    pub(crate) fn audience(&self) -> &Audience {
        &self.filter.audience
    }

    /// Fills in the page, of which every record up to sequence number `until` is there.
    pub(crate) fn set_page(&mut self, chunk: Option<Arc<Chunk>>, until: u64) {
        let Some(page) = self.page.take() else { return };
        let until = until.saturating_add(1).min(page.until);
        self.slice = LogSlice::of_page(chunk, page.transient, until);
    }

    /// Work that it took.
    pub(crate) fn spent(&self) -> u64 {
        limits::REPLAY_WORK - self.budget
    }

    /// Whether a reader does without a candidate, given the newer records of its topics.
    pub(crate) fn is_outdated(&mut self, newer: &[NewerRecords]) -> bool {
        let Self { filter, budget, .. } = self;
        newer.iter().all(|newer| match newer {
            NewerRecords::Public => true,
            NewerRecords::Private(records) => records.iter().any(|it| filter.may_read(it, budget)),
        })
    }
}

impl Candidate {
    /// What is newer about each of its topics, before index `until`.
    pub(crate) fn newer(&self, log: &Log, until: u64) -> Vec<NewerRecords> {
        let Record { class, index, .. } = *self.record;
        self.topics.iter().map(|topic| log.newer(topic.as_ref(), class, index, until)).collect()
    }
}

impl Subscription {
    /// Takes what a reader is about to read that is not live.
    pub(crate) fn replay(
        &mut self,
        log: &Log,
        scope: ReadScope<'_>,
        until: u64,
        lag: Option<LagCheck>,
    ) -> Replay {
        let (slice, from) = log.slice(self.next, scope.walk);
        self.next = self.next.max(from);
        let audience = Arc::clone(scope.audience);
        let filter = Filter { audience, selected: HashMap::new(), granted: HashMap::new() };
        Replay { slice, filter, until, lag, budget: limits::REPLAY_WORK, page: None }
    }

    /// Takes what a reader is about to read from a page of the store.
    pub(crate) fn stored_replay(&self, log: &Log, scope: ReadScope<'_>) -> Replay {
        let audience = Arc::clone(scope.audience);
        let filter = Filter { audience, selected: HashMap::new(), granted: HashMap::new() };
        let (transient, until) = log.transient_from(self.next);
        let page = Some(PageRequest { from: self.next, transient, until });
        let slice = LogSlice::of_page(None, Vec::new(), self.next);
        let until = u64::MAX;
        Replay { slice, filter, until, lag: None, budget: limits::REPLAY_WORK, page }
    }

    /// Takes what is needed to find out whether the reader lags, by so many bytes beside what it
    /// reads next, or by a record from before `oldest_at`.
    pub(crate) fn begin_lag_check(
        &self,
        log: &Log,
        walk: Walk<'_>,
        max_bytes: usize,
        oldest_at: u64,
    ) -> LagCheck {
        let from = self.next.max(self.live_from);
        let (first, _) = log.slice(from, walk);
        let (rest, _) = log.slice(from.max(self.counted_to), walk);
        LagCheck { first, rest, max_bytes, oldest_at }
    }

    /// Whether the reader lags, by what was counted so far. One check counts a slice at most.
    pub(crate) fn lags(&mut self, replay: &mut Replay) -> bool {
        let Some(mut check) = replay.lag.take() else { return false };
        let from = self.next.max(self.live_from);
        if self.counted_to < from {
            (self.counted_to, self.pending_bytes) = (from, 0);
        }
        let Replay { filter, until, budget, .. } = replay;
        check.rest.begin(self.counted_to, filter.by_name());
        while let Some(record) = check.rest.next(*until).filter(|_| *budget > 0) {
            self.counted_to = record.index + 1;
            if filter.reads(&record, budget) {
                self.pending_bytes = self.pending_bytes.saturating_add(size_of(&record));
            }
        }
        if *budget > 0 {
            self.counted_to = self.counted_to.max(check.rest.until());
        }
        check.first.begin(from, filter.by_name());
        while let Some(record) = check.first.next(*until).filter(|_| *budget > 0) {
            if filter.reads(&record, budget) {
                // The record that it reads next does not count as bytes that wait.
                let waiting = self.pending_bytes.saturating_sub(size_of(&record));
                return waiting as usize > check.max_bytes || record.at < check.oldest_at;
            }
        }
        false
    }

    /// Goes to where the replay begins.
    pub(crate) fn begin_replay(&mut self, replay: &mut Replay) {
        replay.slice.begin(self.next, replay.filter.by_name());
    }

    /// Reads one record of the replay. `None` at its end, or once its budget is spent.
    pub(crate) fn replay_record(&mut self, replay: &mut Replay) -> Option<Arc<Record>> {
        while replay.budget > 0 {
            let Some(record) = replay.slice.next(replay.until) else {
                self.next = self.next.max(replay.slice.until().min(replay.until));
                return None;
            };
            if replay.filter.reads(&record, &mut replay.budget) {
                self.pass(&record);
                return Some(record);
            }
            self.next = record.index + 1;
        }
        None
    }

    /// Reads the records of the replay that may be the newest of their topics. The subscription
    /// goes past them; the caller says with [`deliver`](Self::deliver) which were delivered.
    pub(crate) fn candidates(&mut self, replay: &mut Replay) -> Vec<Candidate> {
        let last_sent = self.last_sent;
        let (mut candidates, mut topics) = (Vec::new(), 0);
        replay.until = replay.until.min(self.live_from);
        self.begin_replay(replay);
        while topics < limits::NEWER_LOOKUPS {
            let Some(record) = self.replay_record(replay) else { break };
            let Replay { filter, budget, .. } = &mut *replay;
            let names = record.names().filter(|topic| filter.selects(topic, budget));
            let mut selected: Vec<_> = names.cloned().map(Some).collect();
            if record.is_broadcast() {
                selected.push(None);
            }
            topics += selected.len();
            candidates.push(Candidate { record, topics: selected });
        }
        self.last_sent = last_sent;
        candidates
    }

    /// Index before which only the newest record of each topic is delivered.
    pub(crate) fn live_from(&self) -> u64 {
        self.live_from
    }

    /// Records that a candidate was delivered.
    pub(crate) fn deliver(&mut self, record: &Record) {
        let next = self.next;
        self.pass(record);
        self.next = next;
    }
}

impl Filter {
    /// What the reader selects, if that takes no patterns.
    fn by_name(&self) -> Option<NameFilter<'_>> {
        let audience = &*self.audience;
        let is_by_name = !audience.selects_any() && audience.patterns().next().is_none();
        let selectors = audience.selectors();
        is_by_name.then(|| NameFilter { selectors, broadcasts: audience.wants_broadcasts() })
    }

    /// Whether a record is for the reader.
    fn reads(&mut self, record: &Record, budget: &mut u64) -> bool {
        *budget = budget.saturating_sub(limits::RECORD_WORK);
        // A slice has no ephemeral records but this reader's own.
        record.ephemeral
            || if record.is_broadcast() {
                self.audience.wants_broadcasts() && self.may_read(record, budget)
            } else {
                record.names().any(|topic| self.selects(topic, budget))
                    && self.may_read(record, budget)
            }
    }

    fn may_read(&mut self, record: &Record, budget: &mut u64) -> bool {
        if !record.private {
            return true;
        }
        if self.audience.grants_everything() {
            return true;
        }
        let Self { audience, granted, .. } = self;
        record.names().any(|topic| {
            remember(granted, topic, audience.has_grant_patterns(), || {
                audience.is_granted(topic, budget)
            })
        })
    }

    fn selects(&mut self, topic: &Topic, budget: &mut u64) -> bool {
        if self.audience.selects_any() {
            return true;
        }
        let Self { audience, selected, .. } = self;
        let has_patterns = audience.patterns().next().is_some();
        remember(selected, topic, has_patterns, || audience.selects(topic, budget))
    }
}

/// The answer about a topic, which is kept if patterns were matched for it.
fn remember(
    known: &mut HashMap<Topic, bool>,
    topic: &Topic,
    is_kept: bool,
    find: impl FnOnce() -> bool,
) -> bool {
    if !is_kept {
        return find();
    }
    if let Some(&answer) = known.get(topic) {
        return answer;
    }
    let answer = find();
    known.insert(topic.clone(), answer);
    answer
}
