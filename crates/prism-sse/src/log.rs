//! The log: records in one order, in a ring for each retention class, and their index by topic.
//!
//! The log is plain data. It knows no clock (`now` is a parameter), no lock, no reader and no
//! transport. Records enter at the end through [`Log::append`] and leave at the front of their
//! ring when [`Log::trim`] finds that there are too many, too many bytes, or that they are too old.
//!
//! A record has two numbers. Its *sequence number* is its place in the hub's order and part of the
//! id a browser sees; a shared engine assigns it, perhaps with holes. Its *index* counts what was
//! appended here, without holes; a reader's whole state is the index of the record it reads next.
//! An event sent to one connection is not part of the order: it has an index of its own and the
//! sequence number of the record before it, and a ring of its own, so that it pushes nothing out.
//!
//! What was evicted is remembered as a *floor*, for each ring and for each topic, apart for public
//! and private records: reading from below a floor is a gap. Topics are dropped with their last
//! record and last reader; their floors stay, as well as a fixed size allows. So a dropped topic
//! can raise a false alarm, and never hides a gap.
//!
//! A pattern has an index of its own while someone reads it, and the rings' floors for what was
//! before that.
//!
//! Transient records are a class of their own. Whatever is evicted, kept or indexed is so within
//! one class, from its oldest on; only reading knows several, and takes the record with the lowest
//! index next. A hole that eviction left in one class may thus lie between records of the other:
//! who begins with what is kept remembers what was [gone](Log::gone_behind) then, and reads around
//! it.

mod class;
mod dropped;
mod ids;
mod order;
mod patterns;
mod retention;
mod ring;
mod topics;
mod walk;

use std::collections::VecDeque;

use crate::limits;
use crate::selector::{Selector, Topic};
use crate::wire::{Epoch, EventId, Framed, Position};
pub(crate) use class::{Class, PerClass};
use ids::PublisherIds;
pub(crate) use order::Gone;
use order::Order;
pub(crate) use patterns::PatternKey;
use patterns::Patterns;
pub use retention::Retention;
use ring::Ring;
pub(crate) use topics::{EVERYONE, TopicKey};
use topics::{Floor, Topics};
pub(crate) use walk::Walk;

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
    pub(crate) class: Class,
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

/// What an id stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The reader has what is in the order up to here.
    pub(crate) seq: u64,
    /// The event with the id its publisher chose is not kept, so that the id is not good any more.
    pub(crate) is_expired: bool,
}

#[derive(Debug)]
pub(crate) struct Log {
    order: Order,
    /// What was sent to single connections.
    sent: Ring,
    /// Index that the next record gets.
    end: u64,
    /// Bytes of all records ever kept, so that a difference tells what lies between two.
    appended_bytes: u64,
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
    pub(crate) fn new(retention: PerClass<Retention>, resumable: bool) -> Self {
        Self {
            order: Order::new(retention),
            sent: Ring::new(Retention::sent()),
            end: 0,
            appended_bytes: 0,
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
            for class in Class::ALL {
                while let Some(record) = self.order.pop(class) {
                    self.evicted(&record);
                }
            }
            self.epochs.clear();
            // One index is left out, so that a reader that had everything is told as well.
            self.end += 1;
            self.replaced = self.end;
            self.topics.forget_floors();
            if let Some(ids) = &mut self.ids {
                ids.forget_places();
            }
        }
        if self.epochs.is_empty() {
            let floor = Floor { index: self.end, seq: after };
            self.order.begin(floor);
            self.topics.set_base(floor);
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

    /// Whether a pattern may come into use, or is in use, where there are at most `max`.
    pub(crate) fn has_room_for(&self, selector: &Selector, max: usize) -> bool {
        self.patterns.has_room(selector, max)
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
            self.topics.push(key, record.class, record.index);
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
                self.patterns.push(key, &record);
            }
            self.order.push(record);
        }
        self.trim(now);
    }

    /// Evicts what the retention no longer covers at `now`.
    pub(crate) fn trim(&mut self, now: u64) {
        for class in Class::ALL {
            while let Some(record) =
                self.order.pop_exceeding(class, now, self.topics.bytes_of(class))
            {
                self.evicted(&record);
            }
        }
        while let Some(record) = self.sent.pop_exceeding(now, 0) {
            self.evicted(&record);
        }
    }

    /// When a record will next be too old.
    pub(crate) fn expires(&self) -> Option<u64> {
        [self.order.expires(), self.sent.expires()].into_iter().flatten().min()
    }

    /// Index that the next record will get.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Index of the oldest record kept.
    pub(crate) fn first(&self) -> u64 {
        self.order.oldest().map_or(self.end, |record| record.index)
    }

    /// Index of the oldest record kept of a class.
    fn first_of(&self, class: Class) -> u64 {
        self.order.oldest_of(class).map_or(self.end, |record| record.index)
    }

    /// What was evicted behind `next`, where a record is kept or everything ends.
    pub(crate) fn gone_behind(&self, next: u64) -> Gone {
        self.order.gone_behind(next)
    }

    /// The last place that a reader may be told who still gets what is kept from index `from` on.
    ///
    /// Where one class alone was evicted that is the place after which everything is kept. With
    /// several it may lie before something that was evicted: who comes back from there is told of
    /// a gap again, and gets what is kept of the other class.
    pub(crate) fn place_before(&self, from: u64) -> u64 {
        let floor = self.order.floor_seq();
        self.order.first_from(from).map_or(floor, |record| floor.min(record.seq - 1))
    }

    /// The applied mark: every record of the order up to here was appended.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// The record with this sequence number, if it is kept.
    pub(crate) fn find(&self, seq: u64) -> Option<&Record> {
        self.order.first_from_seq(seq).filter(|record| record.seq == seq)
    }

    /// Whether a reader at `from` has read an order that was replaced since.
    pub(crate) fn was_replaced(&self, from: u64) -> bool {
        from < self.replaced
    }

    /// The index from which the order stands that replaced the last one.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// What an id from a reader stands for.
    pub(crate) fn resolve(&self, id: &str) -> Result<Place, Gap> {
        if id.starts_with('#') {
            let position: Position = id.parse().map_err(|_| Gap::Unknown)?;
            let seq = self.resolve_position(position)?;
            return Ok(Place { seq, is_expired: false });
        }
        let seq = self.ids.as_ref().and_then(|ids| ids.first(id)).ok_or(Gap::Unknown)?;
        Ok(Place { seq, is_expired: self.find(seq).is_none() })
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

    /// Bytes the log holds, bookkeeping included.
    pub(crate) fn bytes(&self) -> usize {
        self.order.bytes() + self.sent.bytes() + self.topics.bytes()
    }

    /// When the oldest record of a class that is kept was applied.
    pub(crate) fn oldest_at(&self, class: Class) -> Option<u64> {
        self.order.oldest_of(class).map(|record| record.at)
    }

    /// Records that are kept of a class.
    pub(crate) fn len(&self, class: Class) -> usize {
        self.order.len(class)
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
            self.topics.evict(key, record.class, record.private, floor);
        }
        if record.ephemeral {
            return;
        }
        self.order.raise(record, floor);
        if let (Some(ids), Some(id)) = (&mut self.ids, &record.id) {
            ids.evict(id, record.seq, record.private);
        }
    }
}
