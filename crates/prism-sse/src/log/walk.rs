//! What a reader walks: the ring, or the indexes of its topics and patterns, merged.

use super::patterns::{PatternKey, Recent};
use super::topics::{Floor, Floors, TopicKey};
use super::{Log, Record};

/// Which records a reader walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// The topics whose indexes are merged; `None` walks the ring.
    pub(crate) topics: Option<&'a [TopicKey]>,
    /// The patterns whose indexes are merged with them.
    pub(crate) patterns: &'a [PatternKey],
    /// Whether private records may be for the reader.
    pub(crate) private: bool,
    /// The nameless topic of what is sent to this reader alone.
    pub(crate) direct: Option<TopicKey>,
}

impl Log {
    /// The first record from `from` on that `walk` leads to.
    ///
    /// Below the index from which on the walk's patterns are [indexed](Self::indexed_from) that is
    /// any record, which may be none that they choose.
    pub(crate) fn next(&self, from: u64, walk: Walk<'_>) -> Option<&Record> {
        let kept = match walk.topics {
            None => self.kept.first_from(from),
            Some(keys) => {
                let indexed = self.indexed_from(walk);
                let any = if from < indexed { self.kept.first_from(from) } else { None };
                any.filter(|record| record.index < indexed).or_else(|| {
                    let from = from.max(indexed);
                    let kept_from = from.max(self.first());
                    let named = keys.iter().filter_map(|&key| self.topics[key].first_from(from));
                    let chosen = walk
                        .patterns
                        .iter()
                        .filter_map(|&key| self.patterns[key].first_from(kept_from, walk.private));
                    named.chain(chosen).min().and_then(|index| self.kept.get(index))
                })
            }
        };
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        match sent.and_then(|index| self.sent.get(index)) {
            Some(sent) if kept.is_none_or(|kept| sent.index < kept.index) => Some(sent),
            _ => kept,
        }
    }

    /// The index from which on `walk` leads to nothing but what its topics and patterns choose.
    pub(crate) fn indexed_from(&self, walk: Walk<'_>) -> u64 {
        let since = walk.patterns.iter().map(|&key| self.patterns[key].since(walk.private));
        since.max().unwrap_or(0)
    }

    /// Whether one of these patterns chooses a topic.
    pub(crate) fn is_chosen(&self, topic: TopicKey, patterns: &[PatternKey]) -> bool {
        let topic = &self.topics[topic];
        match (topic.chosen_by(self.patterns.generation()), &topic.name) {
            (Some(known), _) => patterns.iter().any(|key| known.contains(key)),
            (None, Some(name)) => patterns.iter().any(|&key| self.patterns[key].chooses(name)),
            (None, None) => false,
        }
    }

    /// Whether a reader at `from` lost a record of its `walk` to eviction.
    pub(crate) fn missed(&self, from: u64, walk: Walk<'_>) -> bool {
        let lost = |floors: Floors| floors.of(walk.private).index > from;
        let kept = match walk.topics {
            None => lost(self.floors),
            Some(keys) => {
                keys.iter().any(|&key| lost(self.topics[key].floors))
                    || self
                        .recents(walk)
                        .any(|(recent, floor)| recent.missed(from, self.first(), floor))
            }
        };
        kept || walk.direct.is_some_and(|key| lost(self.topics[key].floors))
    }

    /// What the walk's patterns keep, each with the ring's floor for such records.
    fn recents<'a>(&'a self, walk: Walk<'a>) -> impl Iterator<Item = (&'a Recent, Floor)> {
        let recents = move |&key| self.patterns[key].recents(walk.private);
        walk.patterns.iter().flat_map(recents).map(|(recent, private)| {
            (recent, if private { self.floors.private } else { self.floors.public })
        })
    }

    /// The index from which a reader that has everything up to `seq` reads on, or `None` if
    /// something of its walk after `seq` was evicted.
    pub(crate) fn seek(&self, seq: u64, walk: Walk<'_>) -> Option<u64> {
        let complete = |floors: Floors| floors.of(walk.private).seq <= seq;
        let complete = seq >= self.floor_seq
            || match walk.topics {
                None => complete(self.floors),
                Some(keys) => {
                    keys.iter().all(|&key| complete(self.topics[key].floors))
                        && self
                            .recents(walk)
                            .all(|(recent, floor)| recent.is_complete(seq, self.first(), floor))
                }
            };
        let next = self.kept.first_from_seq(seq.saturating_add(1));
        complete.then(|| next.map_or(self.end, |record| record.index))
    }

    /// Bytes of what was kept from `from` to the end, whoever it is for.
    pub(crate) fn bytes_from(&self, from: u64, walk: Walk<'_>) -> u64 {
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        let sent = sent.and_then(|index| self.sent.get(index));
        let first = [self.kept.first_from(from), sent].into_iter().flatten();
        first.map(|record| self.appended_bytes - record.offset).max().unwrap_or(0)
    }

    /// When the oldest of what waits from `from` on was applied, whoever it is for.
    pub(crate) fn oldest_from(&self, from: u64, walk: Walk<'_>) -> Option<u64> {
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        let sent = sent.and_then(|index| self.sent.get(index));
        [self.kept.first_from(from), sent].into_iter().flatten().map(|record| record.at).min()
    }

    /// Whether `key` has a record after `index` and before `until` that `readable` accepts.
    pub(crate) fn has_newer(
        &self,
        key: TopicKey,
        index: u64,
        until: u64,
        readable: impl Fn(&Record) -> bool,
    ) -> bool {
        let at = &self.topics[key].at;
        let begin = at.partition_point(|&other| other <= index);
        let end = at.partition_point(|&other| other < until);
        at.range(begin..end.max(begin)).any(|&other| self.kept.get(other).is_some_and(&readable))
    }
}
