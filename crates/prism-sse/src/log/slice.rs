//! A slice of the log that a reader takes along to read it without the manager's lock.
//!
//! Taking one costs a few references, whatever the log holds: per class one chunk or a copy of the
//! references in a part of the tail. It is complete from where it begins up to an index; what was
//! evicted since it was taken is still in it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::Chunk;
use super::class::PerClass;
use super::record::Record;
use super::ring::RingPart;
use crate::selector::Selector;

/// Topics that are selected by name alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameFilter<'a> {
    pub(crate) selectors: &'a [Selector],
    pub(crate) broadcasts: bool,
}

#[derive(Debug)]
pub(crate) struct LogSlice {
    parts: PerClass<SlicePart>,
    /// Events sent to the reader alone.
    sent: VecDeque<Arc<Record>>,
    /// Index up to which it is complete.
    until: u64,
}

/// Records of one class, and which of them is read next.
#[derive(Debug, Default)]
struct SlicePart {
    chunk: Option<Arc<Chunk>>,
    /// Index of the first record that was retained.
    from: u64,
    tail: Vec<Arc<Record>>,
    /// Positions of the only records that may be for the reader, if that is known; rising.
    candidates: Option<Vec<u32>>,
    /// The next position, or the next of the candidates.
    next: usize,
}

impl LogSlice {
    pub(super) fn new(parts: PerClass<RingPart>, sent: VecDeque<Arc<Record>>, until: u64) -> Self {
        let part = |part: RingPart| SlicePart {
            chunk: part.chunk,
            from: part.from,
            tail: part.tail,
            candidates: None,
            next: 0,
        };
        Self { parts: parts.map(part), sent, until }
    }

    /// What a page of a store and some transient records have together. Sequence numbers are the
    /// indexes here.
    pub(crate) fn of_page(
        chunk: Option<Arc<Chunk>>,
        transient: Vec<Arc<Record>>,
        until: u64,
    ) -> Self {
        let history = SlicePart { chunk, ..SlicePart::default() };
        let transient = SlicePart { tail: transient, ..SlicePart::default() };
        Self { parts: PerClass::new(history, transient), sent: VecDeque::new(), until }
    }

    /// Index up to which it is complete.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// Goes to the first record at or after `from`. A reader of topics by name leaves out, by the
    /// chunks' own indexes, what it does not select.
    pub(crate) fn begin(&mut self, from: u64, by_name: Option<NameFilter<'_>>) {
        for part in self.parts.iter_mut() {
            let Some(chunk) = &part.chunk else {
                part.next = part.tail.partition_point(|record| record.index < from);
                continue;
            };
            let position = chunk.position_from(from.max(part.from));
            part.next = position;
            if let Some(by_name) = by_name {
                part.candidates = Some(by_name.candidates(chunk, position));
                part.next = 0;
            }
        }
        while self.sent.front().is_some_and(|record| record.index < from) {
            self.sent.pop_front();
        }
    }

    /// Takes the next record, if it is before index `until`.
    pub(crate) fn next(&mut self, until: u64) -> Option<Arc<Record>> {
        let until = until.min(self.until);
        let class = self.parts.iter().enumerate().filter_map(|(class, part)| {
            let record = part.current()?;
            Some((record.index, class))
        });
        let first = class.min();
        let sent = self.sent.front().map(|record| record.index);
        match (first, sent) {
            (_, Some(sent)) if sent < until && first.is_none_or(|(index, _)| sent < index) => {
                self.sent.pop_front()
            }
            (Some((index, class)), _) if index < until => {
                let part = self.parts.iter_mut().nth(class)?;
                let record = part.current().cloned();
                part.next += 1;
                record
            }
            _ => None,
        }
    }
}

impl SlicePart {
    fn current(&self) -> Option<&Arc<Record>> {
        let position = match &self.candidates {
            Some(candidates) => *candidates.get(self.next)? as usize,
            None => self.next,
        };
        match &self.chunk {
            Some(chunk) => chunk.records().get(position),
            None => self.tail.get(position),
        }
    }
}

impl NameFilter<'_> {
    /// The positions from `position` on of the records that are selected, rising.
    fn candidates(&self, chunk: &Chunk, position: usize) -> Vec<u32> {
        let named = self.selectors.iter().filter_map(|selector| match selector {
            Selector::Exact(topic) => Some(chunk.about(topic)),
            _ => None,
        });
        let broadcasts = if self.broadcasts { chunk.broadcasts() } else { &[] };
        let mut all = Vec::new();
        for positions in named.chain([broadcasts]) {
            let begin = positions.partition_point(|&other| (other as usize) < position);
            all.extend_from_slice(&positions[begin..]);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}
