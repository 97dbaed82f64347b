//! What a reader walks: the rings, or the indexes of its topics and patterns, merged.

use super::class::Class;
use super::order::Gone;
use super::patterns::{PatternKey, Recent};
use super::topics::{Floor, TopicKey};
use super::{Log, Record};

/// Which records a reader walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// The topics whose indexes are merged; `None` walks the rings.
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
            None => self.order.first_from(from),
            Some(keys) => {
                let indexed = self.indexed_from(walk);
                let any = if from < indexed { self.order.first_from(from) } else { None };
                any.filter(|record| record.index < indexed).or_else(|| {
                    let from = from.max(indexed);
                    let named = keys.iter().filter_map(|&key| self.topics[key].first_from(from));
                    let index = named.chain(self.chosen_from(from, walk)).min();
                    index.and_then(|index| self.order.get(index))
                })
            }
        };
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        match sent.and_then(|index| self.sent.get(index)) {
            Some(sent) if kept.is_none_or(|kept| sent.index < kept.index) => Some(sent),
            _ => kept,
        }
    }

    /// The first kept record at or after `from` of each of the walk's patterns and each class.
    fn chosen_from<'a>(&'a self, from: u64, walk: Walk<'a>) -> impl Iterator<Item = u64> + 'a {
        let of = move |class| {
            let from = from.max(self.first_of(class));
            walk.patterns
                .iter()
                .filter_map(move |&key| self.patterns[key].first_from(class, from, walk.private))
        };
        Class::ALL.into_iter().flat_map(of)
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

    /// Whether a reader at `from` lost a record of its `walk` to eviction, one that was not `gone`
    /// before.
    ///
    /// Floors of topics are exact for each class. Those of a ring, which count for who walks it or
    /// has a pattern that was not in use, are apart for public and private records alone: a reader
    /// with grants may be told of a gap where only private records of others were evicted, and to
    /// tell them apart would take their topics, for as long as someone may come back.
    pub(crate) fn missed(&self, from: u64, gone: Gone, walk: Walk<'_>) -> bool {
        let lost = |class| {
            let from = if class == gone.class { from.max(gone.until) } else { from };
            // What no ring lost, no topic and no pattern lost; live readers need no other look.
            self.order.floors(class).of(walk.private).index > from
                && walk.topics.is_none_or(|keys| {
                    let first = self.first_of(class);
                    keys.iter().any(|&key| self.topic_floor(key, class, walk).index > from)
                        || self
                            .recents(class, walk)
                            .any(|(recent, floor)| recent.missed(from, first, floor))
                })
        };
        let sent = |key| self.topic_floor(key, Class::History, walk).index > from;
        Class::ALL.into_iter().any(lost) || walk.direct.is_some_and(sent)
    }

    fn topic_floor(&self, key: TopicKey, class: Class, walk: Walk<'_>) -> Floor {
        self.topics[key].kept(class).floors.of(walk.private)
    }

    /// What the walk's patterns keep of a class, each with the ring's floor for such records.
    fn recents<'a>(
        &'a self,
        class: Class,
        walk: Walk<'a>,
    ) -> impl Iterator<Item = (&'a Recent, Floor)> {
        let floors = self.order.floors(class);
        let recents = move |&key| self.patterns[key].recents(class, walk.private);
        walk.patterns.iter().flat_map(recents).map(move |(recent, private)| {
            (recent, if private { floors.private } else { floors.public })
        })
    }

    /// The index from which a reader that has everything up to `seq` reads on, or `None` if
    /// something of its walk after `seq` was evicted.
    pub(crate) fn seek(&self, seq: u64, walk: Walk<'_>) -> Option<u64> {
        let is_complete = |class| {
            self.order.floors(class).of(walk.private).seq <= seq
                || walk.topics.is_some_and(|keys| {
                    let first = self.first_of(class);
                    keys.iter().all(|&key| self.topic_floor(key, class, walk).seq <= seq)
                        && self
                            .recents(class, walk)
                            .all(|(recent, floor)| recent.is_complete(seq, first, floor))
                })
        };
        Class::ALL.into_iter().all(is_complete).then(|| self.index_after(seq))
    }

    /// The index of the first record kept after `seq`.
    pub(crate) fn index_after(&self, seq: u64) -> u64 {
        let next = self.order.first_from_seq(seq.saturating_add(1));
        next.map_or(self.end, |record| record.index)
    }

    /// Bytes of what was kept from `from` to the end, whoever it is for.
    pub(crate) fn bytes_from(&self, from: u64, walk: Walk<'_>) -> u64 {
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        let sent = sent.and_then(|index| self.sent.get(index));
        let first = [self.order.first_from(from), sent].into_iter().flatten();
        first.map(|record| self.appended_bytes - record.offset).max().unwrap_or(0)
    }

    /// When the oldest of what waits from `from` on was applied, whoever it is for.
    pub(crate) fn oldest_from(&self, from: u64, walk: Walk<'_>) -> Option<u64> {
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        let sent = sent.and_then(|index| self.sent.get(index));
        [self.order.first_from(from), sent].into_iter().flatten().map(|record| record.at).min()
    }

    /// Whether `key` has a record of the class after `index` and before `until` that `readable`
    /// accepts. One of another class may be evicted before it is read, and then says nothing.
    pub(crate) fn has_newer(
        &self,
        key: TopicKey,
        class: Class,
        index: u64,
        until: u64,
        readable: impl Fn(&Record) -> bool,
    ) -> bool {
        let at = &self.topics[key].kept(class).at;
        let begin = at.partition_point(|&other| other <= index);
        let end = at.partition_point(|&other| other < until);
        let mut newer = at.range(begin..end.max(begin));
        newer.any(|&other| self.order.get_of(class, other).is_some_and(&readable))
    }
}
