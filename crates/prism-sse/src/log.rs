//! The log: records in one order, in a ring for each retention class, with indexes by topic and by
//! pattern.
//!
//! The log is plain data. It knows no clock (`now` is a parameter), no lock, no reader and no
//! transport. Records enter at the end through [`Log::append`], and [`Log::trim`] evicts them from
//! the front of their ring when there are too many, too many bytes, or when they are too old.
//!
//! A ring is a list of sealed chunks and an open tail. A reader whose next record is in the tails
//! reads it with [`Log::next`], under the lock of the log's owner. A reader that is further behind
//! takes a [`LogSlice`] and reads that without the lock.
//!
//! A record has two numbers. Its *sequence number* is its position in the hub's order and part of
//! the id that a browser sees; the engine assigns it, and there may be holes. Its *index* counts
//! what was appended here, without holes; a reader's state is the index of the record it reads
//! next. An event that is sent to one connection is not part of the order: it has an index and the
//! sequence number of the record before it, and it is in no ring, so that it evicts no published
//! record.
//!
//! A *floor* says how far records were evicted, for each ring and for each topic, apart for public
//! and private records. Reading from below a floor is a gap. A topic is dropped with its last
//! record and last audience; its floors stay in a table of fixed size. So a dropped topic can cause
//! a false gap, and never a missed one.
//!
//! A pattern has an index of its newest records while an audience selects it. For older records the
//! rings' floors apply.
//!
//! Transient records are a class of their own. Each class evicts its own oldest record first; only
//! reading merges the classes, by index. So records may be missing from one class between retained
//! records of the other. A reader that begins with the oldest retained record notes what was
//! [evicted after](Log::evicted_after) it at that moment, and is not told of that as a gap.

mod audience_list;
mod chunk;
mod class;
mod class_rings;
mod dropped_floors;
mod floors;
mod ids;
mod keys;
mod lost_places;
mod pattern_match;
mod patterns;
mod record;
mod retention;
mod ring;
mod sent;
mod slice;
mod topics;
mod walk;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits;
use crate::selector::{Selector, Topic};
use crate::steps;
use crate::wire::{Epoch, Position};
pub(crate) use audience_list::AudienceList;
pub(crate) use chunk::Chunk;
pub(crate) use class::{Class, PerClass};
use class_rings::ClassRings;
pub(crate) use class_rings::EvictedSpan;
use floors::Floor;
use ids::PublisherIds;
pub(crate) use keys::{EVERYONE, PatternKey, TopicKey};
use lost_places::LostPlaces;
pub(crate) use pattern_match::{NewPatterns, PatternMatches, PatternQuery};
use patterns::Patterns;
pub(crate) use record::{Record, RecordTopic};
pub use retention::Retention;
use sent::SentEvents;
pub(crate) use slice::{LogSlice, NameFilter};
use topics::{TopicIndex, Topics};
pub(crate) use walk::{NewerRecords, Walk};

/// Why a stream is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// The id belongs to an unknown epoch, or to the end of an epoch that was lost.
    Epoch,
    /// Records after the id were evicted.
    Expired,
    /// The reader was too slow.
    Lag,
    /// The id was never assigned, as far as the log knows.
    Unknown,
}

impl Gap {
    /// The reason as written in `prism.gap` events and in the `Prism-Gap` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Expired => "expired",
            Self::Lag => "lag",
            Self::Unknown => "unknown",
        }
    }
}

/// A `Last-Event-ID` that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolvedId {
    /// The reader has everything of the order up to here.
    pub(crate) seq: u64,
    /// The id was chosen by a publisher, and its first record was evicted.
    pub(crate) is_expired: bool,
}

/// Who may know of an event.
#[derive(Clone, Debug)]
pub(crate) enum Visibility {
    Everyone,
    /// Those who are granted one of these topics, or everything.
    GrantedOneOf(Box<[Topic]>),
}

#[derive(Debug)]
pub(crate) struct Log {
    rings: ClassRings,
    /// Events that were sent to one connection and wait to be read.
    sent: SentEvents,
    /// Index of the next record.
    end: u64,
    /// Bytes of all records ever appended. The difference of two values is the bytes between them.
    appended_bytes: u64,
    /// The applied mark: the sequence number up to which the order is known here.
    applied: u64,
    /// Epochs, each with the sequence number after which it begins.
    epochs: VecDeque<(Epoch, u64)>,
    lost_places: LostPlaces,
    topics: Topics,
    patterns: Patterns,
    /// The patterns that match the record which is appended next, each once.
    matching: Vec<PatternKey>,
    ids: Option<PublisherIds>,
    /// Readers below this index were reading an order that has been replaced.
    replaced: u64,
    /// The sequence number up to which a store evicted records, if there is one.
    store_floor: Option<u64>,
    /// The sequence number up to which records of the store are known to be damaged; 0 if none is.
    damaged_until: u64,
}

impl Log {
    /// An empty log. `resumable` logs index the ids that publishers chose.
    pub(crate) fn new(retention: PerClass<Retention>, resumable: bool) -> Self {
        Self {
            rings: ClassRings::new(retention),
            sent: SentEvents::default(),
            end: 0,
            appended_bytes: 0,
            applied: 0,
            epochs: VecDeque::new(),
            lost_places: LostPlaces::default(),
            topics: Topics::new(),
            patterns: Patterns::new(),
            matching: Vec::new(),
            ids: resumable.then(PublisherIds::new),
            replaced: 0,
            store_floor: None,
            damaged_until: 0,
        }
    }

    /// Begins a new epoch whose positions follow `after`. Returns whether the order was replaced.
    ///
    /// If the order continues (`after` is the applied mark), ids of earlier epochs stay valid. If
    /// not, the retained records belong to an order that does not exist any more, or records
    /// between them and the new epoch are missing: the log evicts them all, and every reader gets a
    /// gap. Where the same epoch begins again, its places above `after` that were applied before
    /// stay a gap, although they are handed out again.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch, after: u64) -> bool {
        let announced_again = self.epochs.back().is_some_and(|&(last, _)| last == epoch);
        if announced_again && after == self.applied {
            return false;
        }
        let replaced = !self.epochs.is_empty() && after != self.applied;
        if replaced {
            for class in Class::ALL {
                while let Some(record) = self.rings.pop(class) {
                    self.evicted(&record);
                }
            }
            self.lost_places.replace(&self.epochs, self.applied, after);
            self.epochs.clear();
            // One index is skipped, so that a reader that had read everything gets a gap as well.
            self.end += 1;
            self.replaced = self.end;
            self.topics.forget_floors();
            if let Some(ids) = &mut self.ids {
                ids.forget_sequence_numbers();
            }
        }
        if self.epochs.is_empty() {
            let floor = Floor { index: self.end, seq: after };
            self.rings.reset_floors(floor);
            self.topics.set_base(floor);
            self.patterns.reset(floor);
            self.applied = after;
        }
        if self.epochs.len() == limits::EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.epochs.push_back((epoch, after));
        replaced
    }

    /// Goes on with an order that a store has kept: these epochs, of which the log will retain what
    /// is appended now, from after `after` on.
    pub(crate) fn restore(&mut self, epochs: &[(Epoch, u64)], after: u64) {
        let newest = epochs.len().saturating_sub(limits::EPOCHS_MAX);
        self.epochs = epochs[newest..].iter().copied().collect();
        let floor = Floor { index: self.end, seq: after };
        // Transient records of before are no part of the order any more, so that none is missing.
        self.rings.reset_floors_of(Class::History, floor);
        self.topics.set_base(floor);
        self.patterns.reset(floor);
        self.applied = after;
    }

    /// A store keeps the records above this sequence number.
    pub(crate) fn set_store_floor(&mut self, seq: u64) {
        self.store_floor = Some(seq);
    }

    /// The sequence number up to which a store evicted records, if the store keeps records that are
    /// not in this log.
    pub(crate) fn store_floor(&self) -> Option<u64> {
        self.store_floor.filter(|&floor| floor < self.rings.floors(Class::History).of(true).seq)
    }

    /// A reader came across records of the store that are damaged, up to this sequence number.
    pub(crate) fn note_damage(&mut self, seq: u64) {
        self.damaged_until = self.damaged_until.max(seq);
    }

    /// The sequence number up to which records of the store are known to be damaged.
    pub(crate) fn damaged_until(&self) -> u64 {
        self.damaged_until
    }

    /// Evicts all records that are not transient, because some of those up to `seq` are missing.
    pub(crate) fn drop_history(&mut self, seq: u64) {
        while let Some(record) = self.rings.pop(Class::History) {
            self.evicted(&record);
        }
        let floor = Floor { index: self.end, seq };
        self.rings.reset_floors_of(Class::History, floor);
        self.topics.set_base(floor);
    }

    /// The order is known up to `seq`: what lies between is no part of it.
    pub(crate) fn advance_applied(&mut self, seq: u64) {
        self.applied = self.applied.max(seq);
    }

    /// The last epoch.
    pub(crate) fn last_epoch(&self) -> Option<Epoch> {
        self.epochs.back().map(|&(epoch, _)| epoch)
    }

    /// Asks which patterns match a publication about these topics. `None` if no pattern is in use.
    pub(crate) fn pattern_query(&self, topics: &[Topic]) -> Option<PatternQuery> {
        if self.patterns.is_empty() {
            return None;
        }
        steps::count(topics.len());
        let cached = |topic| self.topics.find(topic).and_then(TopicIndex::matching_patterns);
        Some(self.patterns.query(topics.iter().map(cached)))
    }

    /// Asks what is missing in an answer that was computed a moment ago. `None` if nothing is.
    pub(crate) fn pattern_query_since(&self, matches: &PatternMatches) -> Option<PatternQuery> {
        if self.patterns.is_current(matches) {
            return None;
        }
        let known = matches.topics.iter().map(|keys| Some((&**keys, matches.generation)));
        Some(self.patterns.query(known))
    }

    /// Takes the patterns that match the record which is appended next.
    pub(crate) fn set_matching(&mut self, topics: &[RecordTopic], matches: Option<PatternMatches>) {
        self.matching.clear();
        let Some(PatternMatches { generation, topics: answers, .. }) = matches else { return };
        for (topic, mut keys) in topics.iter().zip(answers) {
            self.patterns.retain_in_use(&mut keys, generation);
            self.matching.extend_from_slice(&keys);
            self.topics.cache_matching_patterns(topic.key, generation, &keys);
        }
        self.matching.sort_unstable();
        self.matching.dedup();
    }

    /// The patterns that match the record which was appended last, sorted.
    pub(crate) fn matching(&self) -> &[PatternKey] {
        &self.matching
    }

    /// Those of them that grant private records to an audience.
    pub(crate) fn granting(&self) -> Box<[PatternKey]> {
        let grants = |key: &PatternKey| !self.patterns[*key].granted.is_empty();
        self.matching.iter().copied().filter(grants).collect()
    }

    /// Adds an audience that selects a pattern. Returns its position in the pattern's list.
    pub(crate) fn add_pattern_audience(&mut self, pattern: PatternKey, audience: u32) -> u32 {
        let since = Floor { index: self.end, seq: self.applied };
        self.patterns.add_audience(pattern, audience, since)
    }

    /// The most steps that matching a topic with the patterns in use takes.
    pub(crate) fn match_cost(&self) -> u64 {
        self.patterns.match_cost()
    }

    /// Those of some patterns that are not in use, for their [price](NewPatterns::added_cost) to be
    /// found out with the lock released. `None` if there are none.
    pub(crate) fn new_patterns<'a>(
        &self,
        patterns: impl Iterator<Item = &'a Selector>,
    ) -> Option<NewPatterns> {
        self.patterns.not_in_use(patterns)
    }

    /// Whether a pattern is in use, or fewer than `max` are.
    pub(crate) fn has_room_for(&self, selector: &Selector, max: usize) -> bool {
        self.patterns.has_room(selector, max)
    }

    /// The key of a pattern. A new pattern is indexed from now on.
    pub(crate) fn intern_pattern(&mut self, selector: &Selector) -> PatternKey {
        self.patterns.intern(selector, Floor { index: self.end, seq: self.applied })
    }

    /// The table of patterns.
    pub(crate) fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// The table of patterns.
    pub(crate) fn patterns_mut(&mut self) -> &mut Patterns {
        &mut self.patterns
    }

    /// Appends a record of the order.
    pub(crate) fn append(&mut self, mut record: Record) -> Arc<Record> {
        self.number(&mut record);
        let now = record.at;
        for topic in &record.topics {
            self.topics.push(topic.key, record.class, record.index);
        }
        self.applied = record.seq;
        if let (Some(ids), Some(id)) = (&mut self.ids, &record.id) {
            ids.insert(id, record.seq, record.private);
        }
        steps::count(record.topics.len() + self.matching.len());
        for &key in &self.matching {
            self.patterns.push(key, &record);
        }
        let record = Arc::new(record);
        self.rings.push(Arc::clone(&record));
        self.trim(now);
        record
    }

    /// Appends an event that is sent to the connection in `slot` alone. It waits there until the
    /// reader has [passed](Self::release_sent) it. Returns the bytes that it counts.
    pub(crate) fn append_sent(&mut self, slot: u32, mut record: Record) -> usize {
        self.number(&mut record);
        let bytes = sent::size(&record);
        self.sent.push(slot, Arc::new(record));
        bytes
    }

    /// Whether an event of `len` bytes may be sent to a connection, beside all that waits.
    pub(crate) fn has_room_for_sent(&self, len: usize) -> bool {
        self.sent.has_room(len)
    }

    /// Drops the oldest event that was sent to a connection, if it is before index `read`. Returns
    /// the bytes that it counted.
    pub(crate) fn release_sent(&mut self, slot: u32, read: u64) -> Option<usize> {
        self.sent.pop_read(slot, read).map(|record| sent::size(&record))
    }

    fn number(&mut self, record: &mut Record) {
        record.index = self.end;
        record.offset = self.appended_bytes;
        self.end += 1;
        self.appended_bytes += record.framed.len() as u64;
    }

    /// Evicts the records that the retention does not cover at `now`, at most
    /// [`limits::EVICTION_BATCH`] of a class.
    pub(crate) fn trim(&mut self, now: u64) {
        for class in Class::ALL {
            for _ in 0..limits::EVICTION_BATCH {
                let index_bytes = self.topics.bytes_of(class);
                let Some(record) = self.rings.pop_exceeding(class, now, index_bytes) else { break };
                steps::count(1 + record.topics.len());
                self.evicted(&record);
            }
        }
    }

    /// Whether there are records that the retention does not cover at `now`.
    pub(crate) fn exceeds_retention(&self, now: u64) -> bool {
        Class::ALL
            .into_iter()
            .any(|class| self.rings.exceeds(class, now, self.topics.bytes_of(class)))
    }

    /// When a record will next exceed the age of its retention.
    pub(crate) fn expires(&self) -> Option<u64> {
        self.rings.expires()
    }

    /// Index of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Index of the oldest retained record.
    pub(crate) fn first(&self) -> u64 {
        self.rings.oldest().map_or(self.end, |record| record.index)
    }

    /// Index of the oldest retained record of a class.
    fn first_of(&self, class: Class) -> u64 {
        self.rings.oldest_of(class).map_or(self.end, |record| record.index)
    }

    /// What was evicted after `next`, which is the index of a retained record or the end.
    pub(crate) fn evicted_after(&self, next: u64) -> EvictedSpan {
        self.rings.evicted_after(next)
    }

    /// The last sequence number that may be sent to a reader that has yet to read the retained
    /// records from index `from` on.
    ///
    /// If records of one class only were evicted, everything after that position is retained. If
    /// records of several classes were, some after it may be missing: a reader that resumes from
    /// there gets a gap again, and with it the retained records of the other class.
    pub(crate) fn position_before(&self, from: u64) -> u64 {
        let floor = self.rings.floor_seq();
        self.rings.first_from(from).map_or(floor, |record| floor.min(record.seq - 1))
    }

    /// The applied mark: all records of the order up to here were appended.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// The record with this sequence number, if it is retained.
    pub(crate) fn find(&self, seq: u64) -> Option<&Arc<Record>> {
        self.rings.first_from_seq(seq).filter(|record| record.seq == seq)
    }

    /// Whether a reader at `from` was reading an order that has been replaced since.
    pub(crate) fn was_replaced(&self, from: u64) -> bool {
        from < self.replaced
    }

    /// The index at which the order begins that replaced the last one.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// What an id stands for that a publisher chose, and who may know of it.
    ///
    /// Of an id whose records are all private, and whose first one is not retained while a later
    /// one is, nobody may know who is not granted everything: the first one's topics are forgotten.
    pub(crate) fn resolve_publisher_id(&self, id: &str) -> Option<(ResolvedId, Visibility)> {
        let known = self.ids.as_ref()?.find(id)?;
        let first = self.find(known.first_seq);
        let visibility = match first {
            _ if known.is_public && first.is_none_or(|record| !record.private) => {
                Visibility::Everyone
            }
            Some(record) if record.private => {
                Visibility::GrantedOneOf(record.names().cloned().collect())
            }
            _ => Visibility::GrantedOneOf(known.topics.into()),
        };
        Some((ResolvedId { seq: known.first_seq, is_expired: first.is_none() }, visibility))
    }

    /// What an id of ours stands for.
    pub(crate) fn resolve_position(&self, id: &str) -> Result<ResolvedId, Gap> {
        let position: Position = id.parse().map_err(|_| Gap::Unknown)?;
        Ok(ResolvedId { seq: self.seq_of(position)?, is_expired: false })
    }

    fn seq_of(&self, position: Position) -> Result<u64, Gap> {
        let at = self.epochs.iter().position(|&(epoch, _)| epoch == position.epoch);
        let at = at.ok_or(Gap::Epoch)?;
        if self.lost_places.contains(position) {
            return Err(Gap::Epoch);
        }
        let begin = self.epochs[at].1;
        let (end, beyond) = match self.epochs.get(at + 1) {
            // The position is beyond the beginning of the next epoch: the end of this one was lost.
            Some(&(_, next)) => (next, Gap::Epoch),
            None => (self.applied, Gap::Unknown),
        };
        match position.seq {
            seq if seq > end => Err(beyond),
            seq if seq < begin => Err(Gap::Unknown),
            seq => Ok(seq),
        }
    }

    /// The position of a sequence number, as it is written in ids.
    pub(crate) fn position(&self, seq: u64) -> Option<Position> {
        let at = self.epochs.partition_point(|&(_, after)| after <= seq);
        let (epoch, _) = *self.epochs.get(at.checked_sub(1)?)?;
        Some(Position { epoch, seq })
    }

    /// The position that a record with this sequence number will have once it is appended.
    pub(crate) fn next_position(&self, seq: u64) -> Option<Position> {
        let &(epoch, _) = self.epochs.back().filter(|_| seq > self.applied)?;
        Some(Position { epoch, seq })
    }

    /// Bytes of all records and of their bookkeeping.
    pub(crate) fn bytes(&self) -> usize {
        self.rings.bytes() + self.sent.bytes() + self.topics.bytes()
    }

    /// When the oldest retained record of a class was applied.
    pub(crate) fn oldest_at(&self, class: Class) -> Option<u64> {
        self.rings.oldest_of(class).map(|record| record.at)
    }

    /// Retained records of a class.
    pub(crate) fn len(&self, class: Class) -> usize {
        self.rings.len(class)
    }

    /// The table of topics.
    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The table of topics.
    pub(crate) fn topics_mut(&mut self) -> &mut Topics {
        &mut self.topics
    }

    fn evicted(&mut self, record: &Record) {
        let floor = Floor { index: record.index + 1, seq: record.seq };
        for topic in &record.topics {
            self.topics.evict(topic.key, record.class, record.private, floor);
        }
        self.rings.raise_floor(record, floor);
        if let (Some(ids), Some(id)) = (&mut self.ids, &record.id) {
            ids.evict(id, record);
        }
    }
}
