//! The log: one ring of records in one order, and an index into it for each topic.
//!
//! The log is plain data. It knows no clock (`now` is a parameter), no lock, no reader and no
//! transport. Records enter at the end through [`Log::append`] and leave at the front when
//! [`Log::trim`] finds that there are too many, too many bytes, or that they are too old.
//!
//! A record has two numbers. Its *sequence number* is its place in the hub's order and part of the
//! id a browser sees; a shared engine assigns it, perhaps with holes. Its *index* counts what was
//! appended here, without holes; a reader's whole state is the index of the record it reads next.
//! Records that are not part of the order, such as an event sent to one connection, have an index
//! of their own and the sequence number of the record before them.
//!
//! What was evicted is remembered as a *floor*, for the ring and for each topic: reading from below
//! a floor is a gap. Topics are dropped with their last record and last reader; their floors are
//! folded into a table of fixed size, where topics that share a place share the later floor. So a
//! dropped topic can raise a false alarm, and never hides a gap.

mod ids;
mod topics;

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::selector::Topic;
use crate::wire::{EARLIEST, Epoch, EventId, Framed, Position};
use ids::PublisherIds;
pub(crate) use topics::{EVERYONE, TopicKey};
use topics::{Floor, Topics};

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
        [("count", self.count == 0), ("bytes", self.bytes == 0), ("age", self.age.is_zero())]
            .into_iter()
            .find_map(|(name, zero)| zero.then_some(name))
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
    pub(crate) seq: u64,
    /// When it was applied, in milliseconds of the manager's clock.
    pub(crate) at: u64,
    /// Keys of its topics, each once.
    pub(crate) topics: Box<[TopicKey]>,
    pub(crate) private: bool,
    /// Not part of the order: for one connection, and gone with it.
    pub(crate) ephemeral: bool,
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
pub(crate) enum Walk<'a> {
    /// The ring.
    All,
    /// The indexes of these topics, merged by index.
    Topics(&'a [TopicKey]),
}

#[derive(Debug)]
pub(crate) struct Log {
    retention: Retention,
    records: VecDeque<Record>,
    /// Index of `records[0]`.
    first: u64,
    bytes: usize,
    /// Bytes of all records ever appended, so that a difference tells what lies between two.
    appended_bytes: u64,
    floor: Floor,
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
            retention,
            records: VecDeque::new(),
            first: 0,
            bytes: 0,
            appended_bytes: 0,
            floor: Floor::default(),
            applied: 0,
            epochs: VecDeque::new(),
            topics: Topics::new(),
            ids: resumable.then(PublisherIds::new),
            replaced: 0,
        }
    }

    /// Begins a new epoch whose positions follow `after`.
    ///
    /// Where the order goes on (`after` is not below the applied mark) ids of earlier epochs stay
    /// good up to `after`. Where it does not, everything kept belongs to an order that is gone: the
    /// log forgets it, and each reader is told.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch, after: u64) {
        if after < self.applied {
            while self.evict() {}
            self.epochs.clear();
            // One index is left out, so that a reader that had everything is told as well.
            self.first += 1;
            self.replaced = self.first;
            self.topics.forget_floors();
            self.floor = Floor { index: self.end(), seq: after };
        } else if self.epochs.is_empty() {
            self.floor.seq = after;
        }
        self.topics.raise_base(self.floor);
        self.applied = after;
        if self.epochs.len() == limits::EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.epochs.push_back((epoch, after));
    }

    /// Appends a record and returns its index.
    pub(crate) fn append(&mut self, mut record: Record) -> u64 {
        let index = self.end();
        if !record.ephemeral {
            self.applied = record.seq;
        }
        for &key in &record.topics {
            self.topics[key].at.push_back(index);
        }
        if let (Some(ids), Some(id)) = (&mut self.ids, &record.id) {
            ids.insert(id, record.seq);
        }
        let size = record_size(&record);
        record.offset = self.appended_bytes;
        self.bytes += size;
        self.appended_bytes += size as u64;
        let now = record.at;
        self.records.push_back(record);
        self.trim(now);
        index
    }

    /// Evicts what the retention no longer covers at `now`.
    pub(crate) fn trim(&mut self, now: u64) {
        let age = u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX);
        while let Some(oldest) = self.records.front() {
            let crowded = self.records.len() > self.retention.count
                || (self.bytes > self.retention.bytes && self.records.len() > 1);
            if !crowded && oldest.at.saturating_add(age) > now {
                break;
            }
            self.evict();
        }
    }

    /// Index that the next record will get.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Index of the oldest record kept.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The applied mark: every record of the order up to here was appended.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// The record at `index`, if it is kept.
    pub(crate) fn get(&self, index: u64) -> Option<&Record> {
        self.records.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The record with this sequence number, if it is kept.
    pub(crate) fn find(&self, seq: u64) -> Option<&Record> {
        let at = self.records.partition_point(|record| record.seq < seq);
        self.records.get(at).filter(|record| record.seq == seq && !record.ephemeral)
    }

    /// The first record from `from` on that `walk`, or the topic `also`, leads to.
    pub(crate) fn next(
        &self,
        from: u64,
        walk: Walk<'_>,
        also: Option<TopicKey>,
    ) -> Option<(u64, &Record)> {
        let from = from.max(self.first);
        let index = match walk {
            Walk::All => from,
            Walk::Topics(keys) => keys
                .iter()
                .chain(&also)
                .filter_map(|&key| self.topics[key].first_from(from))
                .min()?,
        };
        Some((index, self.get(index)?))
    }

    /// Whether a reader at `from` lost a record of its `walk` to eviction.
    pub(crate) fn missed(&self, from: u64, walk: Walk<'_>, also: Option<TopicKey>) -> bool {
        from < self.first
            && match walk {
                Walk::All => true,
                Walk::Topics(keys) => {
                    keys.iter().chain(&also).any(|&key| self.topics[key].floor.index > from)
                }
            }
    }

    /// Whether a reader at `from` has read an order that was replaced since.
    pub(crate) fn was_replaced(&self, from: u64) -> bool {
        from < self.replaced
    }

    /// The index from which a reader that has everything up to `seq` reads on, or `None` if
    /// something of its walk after `seq` was evicted.
    pub(crate) fn seek(&self, seq: u64, walk: Walk<'_>) -> Option<u64> {
        if seq >= self.floor.seq {
            let kept = self.records.partition_point(|record| record.seq <= seq);
            return Some(self.first + kept as u64);
        }
        match walk {
            Walk::All => None,
            Walk::Topics(keys) => {
                keys.iter().all(|&key| self.topics[key].floor.seq <= seq).then_some(self.first)
            }
        }
    }

    /// The sequence number that an id from a reader stands for.
    pub(crate) fn resolve(&self, id: &str) -> Result<u64, Gap> {
        if id == EARLIEST {
            return Ok(self.floor.seq);
        }
        if id.starts_with('#') {
            let position: Position = id.parse().map_err(|_| Gap::Unknown)?;
            return self.resolve_position(position);
        }
        let seq = self.ids.as_ref().and_then(|ids| ids.first(id)).ok_or(Gap::Unknown)?;
        if seq <= self.floor.seq { Err(Gap::Expired) } else { Ok(seq) }
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

    /// The position after which the ring has everything.
    pub(crate) fn floor_seq(&self) -> u64 {
        self.floor.seq
    }

    /// Bytes appended from `from` to the end, whoever they are for.
    pub(crate) fn bytes_from(&self, from: u64) -> u64 {
        self.get(from.max(self.first)).map_or(0, |record| self.appended_bytes - record.offset)
    }

    /// Bytes the ring holds, bookkeeping included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records the ring holds.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
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
        at.range(begin..end.max(begin)).any(|&other| self.get(other).is_some_and(&readable))
    }

    fn evict(&mut self) -> bool {
        let Some(record) = self.records.pop_front() else { return false };
        self.first += 1;
        self.bytes -= record_size(&record);
        self.floor = Floor { index: self.first, seq: record.seq };
        for &key in &record.topics {
            self.topics.evict(key, self.floor);
        }
        if let (Some(ids), Some(id)) = (&mut self.ids, &record.id) {
            ids.evict(id);
        }
        true
    }
}

fn record_size(record: &Record) -> usize {
    record.framed.len() + limits::RECORD_OVERHEAD_BYTES
}
