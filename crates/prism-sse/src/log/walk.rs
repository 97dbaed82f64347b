//! Reading the log: walking the rings, or the merged indexes of topics and patterns.

use super::Log;
use super::class::Class;
use super::class_rings::EvictedSpan;
use super::floors::Floor;
use super::keys::{PatternKey, TopicKey};
use super::patterns::PatternRecords;
use super::record::Record;

/// The indexes that a reader walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// The topics whose indexes are merged; `None` walks the rings.
    pub(crate) topics: Option<&'a [TopicKey]>,
    /// The patterns whose indexes are merged with them.
    pub(crate) patterns: &'a [PatternKey],
    /// Whether the reader has grants, so that private records count for its floors.
    pub(crate) private: bool,
    /// The unnamed topic of what is sent to this connection alone.
    pub(crate) direct: Option<TopicKey>,
}

impl Log {
    /// The first record at or after `from` that `walk` yields.
    ///
    /// Below the index from which on the walk's patterns are [indexed](Self::indexed_from) that is
    /// any record: the caller checks whether it is selected.
    pub(crate) fn next(&self, from: u64, walk: Walk<'_>) -> Option<&Record> {
        let retained = match walk.topics {
            None => self.rings.first_from(from),
            Some(keys) => {
                let indexed = self.indexed_from(walk);
                let any = if from < indexed { self.rings.first_from(from) } else { None };
                any.filter(|record| record.index < indexed).or_else(|| {
                    let from = from.max(indexed);
                    let named = keys.iter().filter_map(|&key| self.topics[key].first_from(from));
                    let index = named.chain(self.matching_from(from, walk)).min();
                    index.and_then(|index| self.rings.get(index))
                })
            }
        };
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        match sent.and_then(|index| self.sent.get(index)) {
            Some(sent) if retained.is_none_or(|it| sent.index < it.index) => Some(sent),
            _ => retained,
        }
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

    /// The index from which on `walk` yields only records that its topics and patterns select.
    pub(crate) fn indexed_from(&self, walk: Walk<'_>) -> u64 {
        let since = walk.patterns.iter().map(|&key| self.patterns[key].since(walk.private));
        since.max().unwrap_or(0)
    }

    /// Whether one of these patterns matches a topic.
    pub(crate) fn is_matched(&self, topic: TopicKey, patterns: &[PatternKey]) -> bool {
        let topic = &self.topics[topic];
        match (topic.matching_patterns(self.patterns.generation()), &topic.name) {
            (Some(cached), _) => patterns.iter().any(|key| cached.contains(key)),
            (None, Some(name)) => patterns.iter().any(|&key| self.patterns[key].matches(name)),
            (None, None) => false,
        }
    }

    /// Whether a record of `walk` at or after `from` was evicted, other than those of `known_gap`.
    ///
    /// Floors of topics are exact for each class. A ring's floors, which apply to readers that walk
    /// the ring or select a pattern that was not in use, distinguish only public and private records.
    /// So a reader with grants may be told of a gap where only private records of others were
    /// evicted: distinguishing those would require keeping the topics of evicted records.
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
        let sent = |key| self.topic_floor(key, Class::History, walk).index > from;
        Class::ALL.into_iter().any(lost) || walk.direct.is_some_and(sent)
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

    /// The index from which a reader that has everything up to `seq` reads on. `None` if a record of
    /// its walk after `seq` was evicted.
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

    /// The index of the first retained record after `seq`.
    pub(crate) fn index_after(&self, seq: u64) -> u64 {
        let next = self.rings.first_from_seq(seq.saturating_add(1));
        next.map_or(self.end, |record| record.index)
    }

    /// Bytes of all records from `from` to the end, whoever they are for.
    pub(crate) fn bytes_from(&self, from: u64, walk: Walk<'_>) -> u64 {
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        let sent = sent.and_then(|index| self.sent.get(index));
        let first = [self.rings.first_from(from), sent].into_iter().flatten();
        first.map(|record| self.appended_bytes - record.offset).max().unwrap_or(0)
    }

    /// When the oldest record at or after `from` was applied, whoever it is for.
    pub(crate) fn oldest_from(&self, from: u64, walk: Walk<'_>) -> Option<u64> {
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        let sent = sent.and_then(|index| self.sent.get(index));
        [self.rings.first_from(from), sent].into_iter().flatten().map(|record| record.at).min()
    }

    /// Whether `key` has a record of the class after `index` and before `until` that `readable`
    /// accepts. Records of the other class do not count, because they may be evicted earlier.
    pub(crate) fn has_newer(
        &self,
        key: TopicKey,
        class: Class,
        index: u64,
        until: u64,
        readable: impl Fn(&Record) -> bool,
    ) -> bool {
        let at = &self.topics[key].records(class).at;
        let begin = at.partition_point(|&other| other <= index);
        let end = at.partition_point(|&other| other < until);
        let mut newer = at.range(begin..end.max(begin));
        newer.any(|&other| self.rings.get_of(class, other).is_some_and(&readable))
    }
}
