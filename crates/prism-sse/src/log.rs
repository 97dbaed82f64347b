//! The log: one ring of records in one order, and an index into it for each topic.
//!
//! The log is plain data. It knows no clock (`now` is a parameter), no lock, no reader and no
//! transport. Records enter at the end through [`Log::append`] and leave at the front when
//! [`Log::trim`] finds that there are too many, too many bytes, or that they are too old.
//!
//! A record has two numbers. Its *sequence number* is its place in the hub's order and part of the
//! id a browser sees; a shared engine assigns it, perhaps with holes. Its *index* counts what was
//! appended here, without holes; a reader's whole state is the index of the record it reads next.
//! An event sent to one connection is not part of the order: it has an index of its own and the
//! sequence number of the record before it, and a ring of its own, so that it pushes nothing out.
//!
//! What was evicted is remembered as a *floor*, for the ring and for each topic, apart for public
//! and private records: reading from below a floor is a gap. Topics are dropped with their last
//! record and last reader; their floors are folded into a table of fixed size, where topics that
//! share a place share the later floor. So a dropped topic can raise a false alarm, and never hides
//! a gap.
//!
//! A pattern has an index of its own while someone reads it, and the ring's floor for what was
//! before that.

mod ids;
mod patterns;
mod ring;
mod topics;
mod walk;

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::selector::{Selector, Topic};
use crate::wire::{EARLIEST, Epoch, EventId, Framed, Position};
use ids::PublisherIds;
pub(crate) use patterns::PatternKey;
use patterns::Patterns;
use ring::Ring;
pub(crate) use topics::{EVERYONE, TopicKey};
use topics::{Floor, Floors, Topics};
pub(crate) use walk::Walk;

/// How much of the past is kept: what exceeds any of the three bounds is evicted, oldest first.
///
/// ```
/// use prism_sse::Retention;
/// use std::time::Duration;
///
/// let hour = Retention::default().age(Duration::from_secs(3600)).bytes(8 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    count: usize,
    bytes: usize,
    age: Duration,
}

impl Retention {
    /// Keeps at most this many records; 10,000 unless said. `usize::MAX` leaves it to the bytes.
    #[must_use]
    pub fn count(mut self, records: usize) -> Self {
        self.count = records;
        self
    }

    /// Keeps at most this many bytes, the bookkeeping of each record included; 64 MiB unless said.
    /// The newest record is kept whatever its size.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Keeps records for this long; 24 hours unless said.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    pub(crate) fn max_age(&self) -> Duration {
        self.age
    }

    /// The bound that is zero, if one is.
    pub(crate) fn zero(&self) -> Option<&'static str> {
        [("count", self.count == 0), ("bytes", self.bytes == 0), ("age", self.age.as_millis() == 0)]
            .into_iter()
            .find_map(|(name, zero)| zero.then_some(name))
    }

    /// What is kept of events to single connections.
    fn sent() -> Self {
        Self { count: limits::SENT_RECORDS, bytes: limits::SENT_BYTES, age: limits::LIVE_AGE }
    }

    /// What a manager without history keeps for readers that are a little behind.
    pub(crate) fn live() -> Self {
        Self { count: limits::LIVE_RECORDS, bytes: limits::LIVE_BYTES, age: limits::LIVE_AGE }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            count: limits::HISTORY_RECORDS,
            bytes: limits::HISTORY_BYTES,
            age: limits::HISTORY_AGE,
        }
    }
}

/// Why a reader cannot be given everything it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// The id belongs to another opening of the log, or to a tail that was lost with one.
    Epoch,
    /// Records after the id were evicted.
    Expired,
    /// The reader was too slow.
    Lag,
    /// No such id was ever given, as far as the log knows.
    Unknown,
}

impl Gap {
    /// The reason as it stands in `prism.gap` events and the `Prism-Gap` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Expired => "expired",
            Self::Lag => "lag",
            Self::Unknown => "unknown",
        }
    }
}

/// A record: an event that happened, in the bytes every reader gets.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its number in the log; [`Log::append`] fills it in.
    pub(crate) index: u64,
    pub(crate) seq: u64,
    /// When it was applied, in milliseconds of the manager's clock.
    pub(crate) at: u64,
    /// Keys of its topics, each once.
    pub(crate) topics: Box<[TopicKey]>,
    pub(crate) private: bool,
    /// Not part of the order: for one connection, and gone with it.
    pub(crate) ephemeral: bool,
    /// Whether a reader that gets it learns of a place: neither a comment nor ephemeral.
    pub(crate) tells_place: bool,
    /// The id its publisher chose.
    pub(crate) id: Option<EventId>,
    pub(crate) framed: Framed,
    /// Connections of this node that it was for when it was applied.
    pub(crate) receivers: u32,
    /// Bytes appended before it; [`Log::append`] fills it in.
    pub(crate) offset: u64,
}

#[derive(Debug)]
pub(crate) struct Log {
    kept: Ring,
    /// What was sent to single connections.
    sent: Ring,
    /// Index that the next record gets.
    end: u64,
    /// Bytes of all records ever kept, so that a difference tells what lies between two.
    appended_bytes: u64,
    floors: Floors,
    /// Sequence number of the last record evicted from the ring.
    floor_seq: u64,
    /// Sequence number up to which the order is known here: the applied mark.
    applied: u64,
    /// Openings of the order, each with the sequence number after which it begins.
    epochs: VecDeque<(Epoch, u64)>,
    topics: Topics,
    patterns: Patterns,
    /// The patterns that choose the record which is about to be appended, each once.
    chosen_by: Vec<PatternKey>,
    ids: Option<PublisherIds>,
    /// Readers below this index read an order that was replaced.
    replaced: u64,
}

impl Log {
    /// An empty log. `resumable` logs index the ids that publishers chose.
    pub(crate) fn new(retention: Retention, resumable: bool) -> Self {
        Self {
            kept: Ring::new(retention),
            sent: Ring::new(Retention::sent()),
            end: 0,
            appended_bytes: 0,
            floors: Floors::default(),
            floor_seq: 0,
            applied: 0,
            epochs: VecDeque::new(),
            topics: Topics::new(),
            patterns: Patterns::new(),
            chosen_by: Vec::new(),
            ids: resumable.then(PublisherIds::new),
            replaced: 0,
        }
    }

    /// Begins a new epoch whose positions follow `after`. The answer says whether the order before
    /// it was replaced.
    ///
    /// Where the order goes on (`after` is the applied mark) ids of earlier epochs stay good.
    /// Where it does not, what is kept belongs to an order that is gone, or has a hole behind it:
    /// the log forgets it, and each reader is told.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch, after: u64) -> bool {
        let announced_again = self.epochs.back().is_some_and(|&(last, _)| last == epoch);
        if announced_again && after == self.applied {
            return false;
        }
        let replaced = !self.epochs.is_empty() && after != self.applied;
        if replaced {
            while let Some(record) = self.kept.pop() {
                self.evicted(&record);
            }
            self.epochs.clear();
            // One index is left out, so that a reader that had everything is told as well.
            self.end += 1;
            self.replaced = self.end;
            self.topics.forget_floors();
        }
        if self.epochs.is_empty() {
            let floor = Floor { index: self.end, seq: after };
            self.floors = Floors { public: floor, private: floor };
            self.floor_seq = after;
            self.topics.set_base(self.floors);
            self.patterns.begin(floor);
            self.applied = after;
        }
        if self.epochs.len() == limits::EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.epochs.push_back((epoch, after));
        replaced
    }

    /// Finds the patterns that choose a record of these topics, which is to be appended next.
    pub(crate) fn choose(&mut self, topics: &[TopicKey]) {
        self.chosen_by.clear();
        if self.patterns.is_empty() {
            return;
        }
        let generation = self.patterns.generation();
        for &key in topics {
            let topic = &self.topics[key];
            let Some(name) = &topic.name else { continue };
            if let Some(known) = topic.chosen_by(generation) {
                self.chosen_by.extend_from_slice(known);
                continue;
            }
            let begin = self.chosen_by.len();
            self.patterns.find(name, &mut self.chosen_by);
            self.topics.choose(key, generation, &self.chosen_by[begin..]);
        }
        if topics.len() > 1 {
            self.chosen_by.sort_unstable();
            self.chosen_by.dedup();
        }
    }

    /// Audiences that select one of the patterns which [`choose`](Self::choose) found.
    pub(crate) fn audiences_by_pattern(&self) -> impl Iterator<Item = &u32> {
        self.chosen_by.iter().flat_map(|&key| &self.patterns[key].audiences)
    }

    /// The bound that keeps a pattern from coming into use, if one does.
    pub(crate) fn pattern_bound(&self, selector: &Selector) -> Option<usize> {
        self.patterns.bound(selector)
    }

    /// The key of a pattern that someone reads from now on.
    pub(crate) fn intern_pattern(&mut self, selector: &Selector) -> PatternKey {
        self.patterns.intern(selector, Floor { index: self.end, seq: self.applied })
    }

    /// The table of patterns.
    pub(crate) fn patterns_mut(&mut self) -> &mut Patterns {
        &mut self.patterns
    }

    /// Appends a record.
    pub(crate) fn append(&mut self, mut record: Record) {
        record.index = self.end;
        record.offset = self.appended_bytes;
        self.end += 1;
        for &key in &record.topics {
            self.topics.push(key, record.index);
        }
        let now = record.at;
        self.appended_bytes += record.framed.len() as u64;
        if record.ephemeral {
            self.sent.push(record);
        } else {
            self.applied = record.seq;
            if let (Some(ids), Some(id)) = (&mut self.ids, &record.id) {
                ids.insert(id, record.seq);
            }
            for key in self.chosen_by.drain(..) {
                self.patterns.push(key, record.private, record.index, record.seq);
            }
            self.kept.push(record);
        }
        self.trim(now);
    }

    /// Evicts what the retention no longer covers at `now`.
    pub(crate) fn trim(&mut self, now: u64) {
        while let Some(record) = self.kept.pop_exceeding(now, self.topics.bytes()) {
            self.evicted(&record);
        }
        while let Some(record) = self.sent.pop_exceeding(now, 0) {
            self.evicted(&record);
        }
    }

    /// When a record will next be too old.
    pub(crate) fn expires(&self) -> Option<u64> {
        [self.kept.expires(), self.sent.expires()].into_iter().flatten().min()
    }

    /// Index that the next record will get.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Index of the oldest record kept.
    pub(crate) fn first(&self) -> u64 {
        self.kept.oldest().map_or(self.end, |record| record.index)
    }

    /// The applied mark: every record of the order up to here was appended.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// The record with this sequence number, if it is kept.
    pub(crate) fn find(&self, seq: u64) -> Option<&Record> {
        self.kept.first_from_seq(seq).filter(|record| record.seq == seq)
    }

    /// Whether a reader at `from` has read an order that was replaced since.
    pub(crate) fn was_replaced(&self, from: u64) -> bool {
        from < self.replaced
    }

    /// The index from which the order stands that replaced the last one.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The sequence number that an id from a reader stands for.
    pub(crate) fn resolve(&self, id: &str) -> Result<u64, Gap> {
        if id == EARLIEST {
            return Ok(self.floor_seq);
        }
        if id.starts_with('#') {
            let position: Position = id.parse().map_err(|_| Gap::Unknown)?;
            return self.resolve_position(position);
        }
        let seq = self.ids.as_ref().and_then(|ids| ids.first(id)).ok_or(Gap::Unknown)?;
        if seq <= self.floor_seq { Err(Gap::Expired) } else { Ok(seq) }
    }

    fn resolve_position(&self, position: Position) -> Result<u64, Gap> {
        let at = self.epochs.iter().position(|&(epoch, _)| epoch == position.epoch);
        let at = at.ok_or(Gap::Epoch)?;
        let begin = self.epochs[at].1;
        let (end, beyond) = match self.epochs.get(at + 1) {
            // The epoch went further than what the next one found: its tail was lost.
            Some(&(_, next)) => (next, Gap::Epoch),
            None => (self.applied, Gap::Unknown),
        };
        match position.seq {
            seq if seq > end => Err(beyond),
            seq if seq < begin => Err(Gap::Unknown),
            seq => Ok(seq),
        }
    }

    /// The position that a sequence number stands for in ids given from now on.
    pub(crate) fn position(&self, seq: u64) -> Option<Position> {
        let at = self.epochs.partition_point(|&(_, after)| after <= seq);
        let (epoch, _) = *self.epochs.get(at.checked_sub(1)?)?;
        Some(Position { epoch, seq })
    }

    /// The position that the record with this sequence number will have, once it is appended.
    pub(crate) fn next_position(&self, seq: u64) -> Option<Position> {
        let &(epoch, _) = self.epochs.back().filter(|_| seq > self.applied)?;
        Some(Position { epoch, seq })
    }

    /// The sequence number after which the ring has everything.
    pub(crate) fn floor_seq(&self) -> u64 {
        self.floor_seq
    }

    /// Bytes the log holds, bookkeeping included.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.bytes() + self.sent.bytes() + self.topics.bytes()
    }

    /// When the oldest record that is kept was applied.
    pub(crate) fn oldest_at(&self) -> Option<u64> {
        self.kept.oldest().map(|record| record.at)
    }

    /// Records the ring holds.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The table of topics.
    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The table of topics.
    pub(crate) fn topics_mut(&mut self) -> &mut Topics {
        &mut self.topics
    }

    /// Names of a record's topics.
    pub(crate) fn names<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a Topic> {
        record.topics.iter().filter_map(|&key| self.topics[key].name.as_ref())
    }

    fn evicted(&mut self, record: &Record) {
        let floor = Floor { index: record.index + 1, seq: record.seq };
        for &key in &record.topics {
            self.topics.evict(key, record.private, floor);
        }
        if record.ephemeral {
            return;
        }
        self.floors.raise(record.private, floor);
        self.floor_seq = record.seq;
        if let (Some(ids), Some(id)) = (&mut self.ids, &record.id) {
            ids.evict(id);
        }
    }
}
