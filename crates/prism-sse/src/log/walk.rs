//! What readers do under the manager's lock: a live reader walks the tails of the rings, or the
//! merged indexes of its topics and patterns; one that is behind takes a slice; and both ask
//! whether records for them were evicted.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Log;
use super::class::Class;
use super::class_rings::EvictedSpan;
use super::floors::Floor;
use super::keys::{EVERYONE, PatternKey, TopicKey};
use super::patterns::PatternRecords;
use super::record::Record;
use super::slice::LogSlice;
use crate::limits;
use crate::selector::Topic;
use crate::steps;

/// The indexes that a reader walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// The topics whose indexes are merged; `None` walks the rings.
    pub(crate) topics: Option<&'a [TopicKey]>,
    /// The patterns whose indexes are merged with them.
    pub(crate) patterns: &'a [PatternKey],
    /// Whether the reader has grants, so that private records count for its floors.
    pub(crate) private: bool,
    /// Index from which on the patterns that grant private records were in use.
    pub(crate) granting_since: u64,
    /// The slot of the connection, if events wait that were sent to it alone.
    pub(crate) sent_to: Option<u32>,
}

/// The records of a topic that are newer than another.
#[derive(Debug)]
pub(crate) enum NewerRecords {
    /// There is a public one.
    Public,
    /// There may be these.
    Private(Vec<Arc<Record>>),
}

impl Log {
    /// Whether a reader at `from` reads records under the lock: they are in the tails of the rings,
    /// and its topics and patterns are indexed, so that each takes a constant time to find.
    pub(crate) fn is_live(&self, from: u64, walk: Walk<'_>) -> bool {
        from >= self.rings.live_from() && from >= self.indexed_from(walk)
    }

    /// The first record at or after `from` that `walk` selects. The reader [is live](Self::is_live)
    /// there.
    pub(crate) fn next(&self, from: u64, walk: Walk<'_>) -> Option<&Arc<Record>> {
        steps::count(1 + walk.topics.map_or(0, <[_]>::len) + walk.patterns.len());
        let retained = match walk.topics {
            None => self.rings.first_from(from),
            Some(keys) => {
                let named = keys.iter().filter_map(|&key| self.topics[key].first_from(from));
                let index = named.chain(self.matching_from(from, walk)).min();
                index.and_then(|index| self.rings.get(index))
            }
        };
        let sent = walk.sent_to.and_then(|slot| self.sent.first_from(slot, from));
        match sent {
            Some(sent) if retained.is_none_or(|it| sent.index < it.index) => Some(sent),
            _ => retained,
        }
    }

    /// Takes a slice that begins at `from`, or at the first later index at which the reader may
    /// have something to read, which is returned with it.
    pub(crate) fn slice(&self, mut from: u64, walk: Walk<'_>) -> (LogSlice, u64) {
        if let Some(keys) = walk.topics.filter(|_| walk.patterns.is_empty()) {
            let named = keys.iter().filter_map(|&key| self.topics[key].first_from(from));
            let sent = walk.sent_to.and_then(|slot| self.sent.first_from(slot, from));
            let sent = sent.map(|record| record.index);
            from = named.chain(sent).min().unwrap_or(self.end);
        }
        steps::count(limits::TAIL_COPY + walk.topics.map_or(0, <[_]>::len));
        let parts = self.rings.parts_from(from, self.end);
        let sent = walk.sent_to.into_iter().flat_map(|slot| self.sent.range(slot, from));
        let mut sent: VecDeque<_> = sent.take(limits::TAIL_COPY + 1).cloned().collect();
        let until = parts.iter().map(|part| part.until).min().unwrap_or(self.end);
        // What is beyond the copied references begins the next slice.
        let beyond = if sent.len() > limits::TAIL_COPY { sent.pop_back() } else { None };
        let until = beyond.map_or(until, |record| until.min(record.index));
        (LogSlice::new(parts, sent, until), from)
    }

    /// The first record at or after `from` of each of the walk's patterns and each class.
    fn matching_from<'a>(&'a self, from: u64, walk: Walk<'a>) -> impl Iterator<Item = u64> + 'a {
        let of = move |class| {
            let from = from.max(self.first_of(class));
            walk.patterns
                .iter()
                .filter_map(move |&key| self.patterns[key].first_from(class, from, walk.private))
        };
        Class::ALL.into_iter().flat_map(of)
    }

    /// The index from which on all records of the walk's patterns are indexed.
    pub(crate) fn indexed_from(&self, walk: Walk<'_>) -> u64 {
        let since = walk.patterns.iter().map(|&key| self.patterns[key].since(walk.private));
        since.fold(walk.granting_since, u64::max)
    }

    /// Whether a record of `walk` at or after `from` was evicted, other than those of `known_gap`.
    ///
    /// Floors of topics are exact for each class. A ring's floors, which apply to readers that walk
    /// the ring or select a pattern that was not in use, distinguish only public and private
    /// records. So a reader with grants may be told of a gap where only private records of others
    /// were evicted: distinguishing those would require keeping the topics of evicted records.
    pub(crate) fn missed(&self, from: u64, known_gap: EvictedSpan, walk: Walk<'_>) -> bool {
        let lost = |class| {
            let from = if class == known_gap.class { from.max(known_gap.until) } else { from };
            // What the ring did not lose, no topic or pattern lost: live readers are done here.
            self.rings.floors(class).of(walk.private).index > from
                && walk.topics.is_none_or(|keys| {
                    let first = self.first_of(class);
                    keys.iter().any(|&key| self.topic_floor(key, class, walk).index > from)
                        || self
                            .pattern_records(class, walk)
                            .any(|(records, floor)| records.missed(from, first, floor))
                })
        };
        Class::ALL.into_iter().any(lost)
    }

    fn topic_floor(&self, key: TopicKey, class: Class, walk: Walk<'_>) -> Floor {
        self.topics[key].records(class).floors.of(walk.private)
    }

    /// The indexes of the walk's patterns for a class, each with the ring's floor for its records.
    fn pattern_records<'a>(
        &'a self,
        class: Class,
        walk: Walk<'a>,
    ) -> impl Iterator<Item = (&'a PatternRecords, Floor)> {
        let floors = self.rings.floors(class);
        let records = move |&key| self.patterns[key].records(class, walk.private);
        walk.patterns.iter().flat_map(records).map(move |(records, private)| {
            (records, if private { floors.private } else { floors.public })
        })
    }

    /// The index from which a reader that has everything up to `seq` reads on. `None` if a record
    /// of its walk after `seq` was evicted.
    pub(crate) fn seek(&self, seq: u64, walk: Walk<'_>) -> Option<u64> {
        let is_complete = |class| {
            self.rings.floors(class).of(walk.private).seq <= seq
                || walk.topics.is_some_and(|keys| {
                    let first = self.first_of(class);
                    keys.iter().all(|&key| self.topic_floor(key, class, walk).seq <= seq)
                        && self
                            .pattern_records(class, walk)
                            .all(|(records, floor)| records.is_complete(seq, first, floor))
                })
        };
        Class::ALL.into_iter().all(is_complete).then(|| self.index_after(seq))
    }

    /// Whether no record of its walk after `seq` is missing that is transient, or that a store
    /// evicted.
    pub(crate) fn store_is_complete(&self, seq: u64, walk: Walk<'_>) -> bool {
        let floors = self.rings.floors(Class::Transient);
        let transient = floors.of(walk.private).seq <= seq
            || walk.topics.is_some_and(|keys| {
                walk.patterns.is_empty()
                    && keys
                        .iter()
                        .all(|&it| self.topic_floor(it, Class::Transient, walk).seq <= seq)
            });
        transient && self.store_floor.is_some_and(|floor| floor <= seq)
    }

    /// The index from which a reader reads on that has everything up to `seq`, read from a store.
    /// `None` if the log does not reach back to there.
    pub(crate) fn seek_from_store(&self, seq: u64) -> Option<u64> {
        let floor = self.rings.floors(Class::History).of(true);
        (floor.seq <= seq).then(|| self.index_after(seq))
    }

    /// Transient records from sequence number `seq` on, as a reader of pages merges them with what
    /// it reads, and the sequence number before which there are no others.
    pub(crate) fn transient_from(&self, seq: u64) -> (Vec<Arc<Record>>, u64) {
        let first = self.rings.first_of_from_seq(Class::Transient, seq);
        let Some(first) = first else { return (Vec::new(), u64::MAX) };
        let part = self.rings.part_of_from(Class::Transient, first.index, self.end);
        let retained = match &part.chunk {
            Some(chunk) => &chunk.records()[chunk.position_from(part.from)..],
            None => &*part.tail,
        };
        let copied = retained.iter().take(limits::TAIL_COPY);
        let records: Vec<_> = copied.map(|record| Arc::new(record.by_seq())).collect();
        let is_all = part.until == self.end && records.len() == retained.len();
        let last = records.last().map_or(seq, |record| record.seq);
        (records, if is_all { u64::MAX } else { last + 1 })
    }

    /// The index of the oldest event that waits for the connection in a slot alone.
    pub(crate) fn first_sent(&self, slot: u32) -> Option<u64> {
        self.sent.first_from(slot, 0).map(|record| record.index)
    }

    /// The index of the first retained record after `seq`.
    pub(crate) fn index_after(&self, seq: u64) -> u64 {
        let next = self.rings.first_from_seq(seq.saturating_add(1));
        next.map_or(self.end, |record| record.index)
    }

    /// Bytes of all records from `from` to the end, whoever they are for.
    pub(crate) fn bytes_from(&self, from: u64, walk: Walk<'_>) -> u64 {
        let sent = walk.sent_to.and_then(|slot| self.sent.first_from(slot, from));
        let first = [self.rings.first_from(from), sent].into_iter().flatten();
        first.map(|record| self.appended_bytes - record.offset).max().unwrap_or(0)
    }

    /// When the oldest record at or after `from` was applied, whoever it is for.
    pub(crate) fn oldest_from(&self, from: u64, walk: Walk<'_>) -> Option<u64> {
        let sent = walk.sent_to.and_then(|slot| self.sent.first_from(slot, from));
        [self.rings.first_from(from), sent].into_iter().flatten().map(|record| record.at).min()
    }

    /// Looks for a record of a topic and a class after index `index` and before `until`. Public
    /// ones are for every reader; private ones are returned for the caller to check, the newest
    /// few.
    ///
    /// Records of the other class do not count, because they may be evicted earlier.
    pub(crate) fn newer(
        &self,
        topic: Option<&Topic>,
        class: Class,
        index: u64,
        until: u64,
    ) -> NewerRecords {
        let topic = match topic {
            Some(name) => self.topics.find(name),
            None => Some(&self.topics[EVERYONE]),
        };
        let Some(topic) = topic else { return NewerRecords::Private(Vec::new()) };
        let at = &topic.records(class).at;
        let end = at.partition_point(|&other| other < until);
        let newest_first = at.range(..end).rev().take_while(|&&other| other > index);
        let mut private = Vec::new();
        for &other in newest_first.take(limits::NEWER_RECORDS) {
            steps::count(1);
            match self.rings.get_of(class, other) {
                Some(record) if record.private => private.push(Arc::clone(record)),
                Some(_) => return NewerRecords::Public,
                None => {}
            }
        }
        NewerRecords::Private(private)
    }
}
