//! Records of one retention class, in the order of their indexes: sealed chunks and an open tail.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::Chunk;
use super::record::Record;
use super::retention::Retention;
use crate::limits;

#[derive(Debug)]
pub(super) struct Ring {
    retention: Retention,
    /// Sealed records, oldest first.
    chunks: VecDeque<Arc<Chunk>>,
    /// Records of the first chunk that were evicted.
    evicted: usize,
    /// The newest records, which live readers read under the lock. Empty only if the ring is.
    tail: VecDeque<Arc<Record>>,
    tail_bytes: usize,
    len: usize,
    bytes: usize,
}

/// The records that a [`Ring`] has from an index on, as far as one chunk or a part of the tail
/// reaches.
#[derive(Debug, Default)]
pub(super) struct RingPart {
    pub(super) chunk: Option<Arc<Chunk>>,
    /// Index of the first record that is retained; the chunk may have older ones.
    pub(super) from: u64,
    /// Records of the tail, if no chunk has any.
    pub(super) tail: Vec<Arc<Record>>,
    /// Index before which nothing is missing between the part's first record and this.
    pub(super) until: u64,
}

impl Ring {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            chunks: VecDeque::new(),
            evicted: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            len: 0,
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, record: Arc<Record>) {
        self.bytes += size(&record);
        self.tail_bytes += size(&record);
        self.len += 1;
        self.tail.push_back(record);
        while self.tail.len() >= limits::TAIL_RECORDS
            || (self.tail_bytes >= limits::TAIL_BYTES && self.tail.len() > 1)
        {
            self.seal();
        }
    }

    /// Makes a chunk of the oldest records of the tail, but never of its newest.
    fn seal(&mut self) {
        let (mut records, mut bytes) = (0, 0);
        let sealable = self.tail.len().saturating_sub(1).min(limits::CHUNK_RECORDS);
        while records < sealable && (records == 0 || bytes < limits::CHUNK_BYTES) {
            bytes += size(&self.tail[records]);
            records += 1;
        }
        if records == 0 {
            return;
        }
        self.tail_bytes -= bytes;
        self.chunks.push_back(Chunk::seal(self.tail.drain(..records).collect()));
    }

    /// Takes the oldest record.
    pub(super) fn pop(&mut self) -> Option<Arc<Record>> {
        let record = match self.chunks.front() {
            Some(chunk) => {
                let record = Arc::clone(&chunk.records()[self.evicted]);
                self.evicted += 1;
                if self.evicted == chunk.records().len() {
                    self.chunks.pop_front();
                    self.evicted = 0;
                }
                record
            }
            None => {
                let record = self.tail.pop_front()?;
                self.tail_bytes -= size(&record);
                record
            }
        };
        self.len -= 1;
        self.bytes -= size(&record);
        Some(record)
    }

    /// Takes the oldest record if the retention does not cover it at `now`. `index_bytes` is what
    /// indexes hold for the records. The newest record is kept whatever its size.
    pub(super) fn pop_exceeding(&mut self, now: u64, index_bytes: usize) -> Option<Arc<Record>> {
        if self.exceeds(now, index_bytes) { self.pop() } else { None }
    }

    /// Whether the retention does not cover the oldest record at `now`.
    pub(super) fn exceeds(&self, now: u64, index_bytes: usize) -> bool {
        let Some(oldest) = self.oldest() else { return false };
        let too_many = self.len > self.retention.count;
        let too_large = self.bytes + index_bytes > self.retention.bytes && self.len > 1;
        let too_old = oldest.at.saturating_add(self.age()) <= now;
        too_many || too_large || too_old
    }

    /// When the oldest record will be too old.
    pub(super) fn expires(&self) -> Option<u64> {
        Some(self.oldest()?.at.saturating_add(self.age()))
    }

    pub(super) fn oldest(&self) -> Option<&Arc<Record>> {
        match self.chunks.front() {
            Some(chunk) => chunk.records().get(self.evicted),
            None => self.tail.front(),
        }
    }

    pub(super) fn get(&self, index: u64) -> Option<&Arc<Record>> {
        self.first_from(index).filter(|record| record.index == index)
    }

    /// The index from which on reading looks at the tail alone; 0 if nothing is sealed.
    pub(super) fn live_from(&self) -> u64 {
        if self.chunks.is_empty() { 0 } else { self.tail_begin() }
    }

    fn tail_begin(&self) -> u64 {
        self.tail.front().map_or(0, |record| record.index)
    }

    /// The first record at or after `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<&Arc<Record>> {
        let (first, last) = (self.tail.front()?.index, self.tail.back()?.index);
        if from > last {
            return None;
        }
        if from < first
            && let Some((chunk, position)) = self.chunk_from(from)
        {
            return chunk.records().get(position);
        }
        let dense = last - first == self.tail.len() as u64 - 1;
        let position = if dense {
            from.saturating_sub(first) as usize
        } else {
            self.tail.partition_point(|record| record.index < from)
        };
        self.tail.get(position)
    }

    /// The chunk that has the first sealed record at or after `from`, and its position there.
    fn chunk_from(&self, from: u64) -> Option<(&Arc<Chunk>, usize)> {
        let place = self.chunks.partition_point(|chunk| chunk.last() < from);
        let chunk = self.chunks.get(place)?;
        let evicted = if place == 0 { self.evicted } else { 0 };
        Some((chunk, chunk.position_from(from).max(evicted)))
    }

    /// The first record with a sequence number from `seq` on.
    pub(super) fn first_from_seq(&self, seq: u64) -> Option<&Arc<Record>> {
        let behind = self.tail.back()?.seq.checked_sub(seq)?;
        // Where the order has no holes, the number says the position.
        let position = (self.tail.len() as u64 - 1).checked_sub(behind);
        let likely = position.and_then(|position| self.tail.get(position as usize));
        if let Some(record) = likely.filter(|record| record.seq == seq) {
            return Some(record);
        }
        let place = self.chunks.partition_point(|chunk| chunk.last_seq() < seq);
        if let Some(chunk) = self.chunks.get(place) {
            let evicted = if place == 0 { self.evicted } else { 0 };
            let position = chunk.records().partition_point(|record| record.seq < seq);
            return chunk.records().get(position.max(evicted));
        }
        self.tail.get(self.tail.partition_point(|record| record.seq < seq))
    }

    /// What the ring has from `from` on, as far as one chunk reaches, or else so many records of
    /// the tail as are copied at once. `end` is the index behind the newest record of all rings.
    pub(super) fn part_from(&self, from: u64, end: u64) -> RingPart {
        let from = from.max(self.oldest().map_or(end, |record| record.index));
        let place = self.chunks.partition_point(|chunk| chunk.last() < from);
        if let Some(chunk) = self.chunks.get(place) {
            // What the next chunk begins with bounds what this one tells.
            let until = match self.chunks.get(place + 1) {
                Some(next) => next.records()[0].index,
                None => self.tail_begin(),
            };
            return RingPart { chunk: Some(Arc::clone(chunk)), from, tail: Vec::new(), until };
        }
        let begin = self.tail.partition_point(|record| record.index < from);
        let copied = self.tail.range(begin..).take(limits::TAIL_COPY).cloned();
        let tail: Vec<_> = copied.collect();
        let until = self.tail.get(begin + tail.len()).map_or(end, |next| next.index);
        RingPart { chunk: None, from, tail, until }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn age(&self) -> u64 {
        u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Bytes that a record counts against the retention.
fn size(record: &Record) -> usize {
    let indexes = record.topics.len() * limits::INDEX_ENTRY_BYTES;
    record.framed.len() + limits::RECORD_OVERHEAD_BYTES + indexes
}
