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

mod ids;
mod ring;
mod topics;

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::selector::Topic;
use crate::wire::{EARLIEST, Epoch, EventId, Framed, Position};
use ids::PublisherIds;
use ring::Ring;
pub(crate) use topics::{EVERYONE, TopicKey};
use topics::{Floor, Floors, Topics};

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

/// Which records a reader walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// The topics whose indexes are merged; `None` walks the ring.
    pub(crate) topics: Option<&'a [TopicKey]>,
    /// Whether private records may be for the reader.
    pub(crate) private: bool,
    /// The nameless topic of what is sent to this reader alone.
    pub(crate) direct: Option<TopicKey>,
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
            self.applied = after;
        }
        if self.epochs.len() == limits::EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.epochs.push_back((epoch, after));
        replaced
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

    /// The first record from `from` on that `walk` leads to.
    pub(crate) fn next(&self, from: u64, walk: Walk<'_>) -> Option<&Record> {
        let kept = match walk.topics {
            None => self.kept.first_from(from),
            Some(keys) => {
                let first = keys.iter().filter_map(|&key| self.topics[key].first_from(from)).min();
                first.and_then(|index| self.kept.get(index))
            }
        };
        let sent = walk.direct.and_then(|key| self.topics[key].first_from(from));
        match sent.and_then(|index| self.sent.get(index)) {
            Some(sent) if kept.is_none_or(|kept| sent.index < kept.index) => Some(sent),
            _ => kept,
        }
    }

    /// Whether a reader at `from` lost a record of its `walk` to eviction.
    pub(crate) fn missed(&self, from: u64, walk: Walk<'_>) -> bool {
        let lost = |floors: Floors| floors.of(walk.private).index > from;
        let kept = match walk.topics {
            None => lost(self.floors),
            Some(keys) => keys.iter().any(|&key| lost(self.topics[key].floors)),
        };
        kept || walk.direct.is_some_and(|key| lost(self.topics[key].floors))
    }

    /// Whether a reader at `from` has read an order that was replaced since.
    pub(crate) fn was_replaced(&self, from: u64) -> bool {
        from < self.replaced
    }

    /// The index from which the order stands that replaced the last one.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The index from which a reader that has everything up to `seq` reads on, or `None` if
    /// something of its walk after `seq` was evicted.
    pub(crate) fn seek(&self, seq: u64, walk: Walk<'_>) -> Option<u64> {
        let complete = |floors: Floors| floors.of(walk.private).seq <= seq;
        let complete = seq >= self.floor_seq
            || match walk.topics {
                None => complete(self.floors),
                Some(keys) => keys.iter().all(|&key| complete(self.topics[key].floors)),
            };
        let next = self.kept.first_from_seq(seq.saturating_add(1));
        complete.then(|| next.map_or(self.end, |record| record.index))
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

    /// Bytes the log holds, bookkeeping included.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.bytes() + self.sent.bytes() + self.topics.bytes()
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
