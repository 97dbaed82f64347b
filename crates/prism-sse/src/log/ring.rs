//! A ring: the records of one retention, ordered by index.

use std::collections::VecDeque;

use super::record::Record;
use super::retention::Retention;
use crate::limits;

#[derive(Debug)]
pub(super) struct Ring {
    retention: Retention,
    records: VecDeque<Record>,
    bytes: usize,
}

impl Ring {
    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, records: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += size(&record);
        self.records.push_back(record);
    }

    /// Removes the oldest record.
    pub(super) fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.bytes -= size(&record);
        Some(record)
    }

    /// Removes the oldest record if the retention does not cover it at `now`. `index_bytes` is what
    /// indexes hold for the ring's records. The newest record is kept whatever its size.
    pub(super) fn pop_exceeding(&mut self, now: u64, index_bytes: usize) -> Option<Record> {
        let oldest = self.records.front()?;
        let too_many = self.records.len() > self.retention.count;
        let too_large = self.bytes + index_bytes > self.retention.bytes && self.records.len() > 1;
        let too_old = oldest.at.saturating_add(self.age()) <= now;
        if too_many || too_large || too_old { self.pop() } else { None }
    }

    /// When the oldest record will exceed the age of the retention.
    pub(super) fn expires(&self) -> Option<u64> {
        Some(self.records.front()?.at.saturating_add(self.age()))
    }

    pub(super) fn oldest(&self) -> Option<&Record> {
        self.records.front()
    }

    pub(super) fn get(&self, index: u64) -> Option<&Record> {
        self.first_from(index).filter(|record| record.index == index)
    }

    /// The first record at or after `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<&Record> {
        let (first, last) = (self.records.front()?.index, self.records.back()?.index);
        if from > last {
            return None;
        }
        let dense = last - first == self.records.len() as u64 - 1;
        let position = if dense {
            from.saturating_sub(first) as usize
        } else {
            self.records.partition_point(|record| record.index < from)
        };
        self.records.get(position)
    }

    /// The first record with a sequence number from `seq` on.
    pub(super) fn first_from_seq(&self, seq: u64) -> Option<&Record> {
        let behind = self.records.back()?.seq.checked_sub(seq)?;
        // Where the order has no holes, the position follows from the sequence number.
        let guess = (self.records.len() as u64 - 1).checked_sub(behind);
        let likely = guess.and_then(|guess| self.records.get(guess as usize));
        if let Some(record) = likely.filter(|record| record.seq == seq) {
            return Some(record);
        }
        let position = self.records.partition_point(|record| record.seq < seq);
        self.records.get(position)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn age(&self) -> u64 {
        u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX)
    }
}

fn size(record: &Record) -> usize {
    let indexes = record.topics.len() * limits::INDEX_ENTRY_BYTES;
    record.framed.len() + limits::RECORD_OVERHEAD_BYTES + indexes
}

#[cfg(test)]
mod tests {
    use super::super::class::Class;
    use super::*;
    use crate::wire::{Event, Framed};

    fn ring(numbers: &[u64]) -> Ring {
        let mut ring = Ring::new(Retention::default());
        for (index, &seq) in numbers.iter().enumerate() {
            ring.push(Record {
                index: index as u64,
                seq,
                at: 0,
                topics: Box::default(),
                class: Class::History,
                private: false,
                ephemeral: false,
                sends_position: true,
                id: None,
                framed: Framed::encode(&Event::new("x"), None),
                receivers: 0,
                offset: 0,
            });
        }
        ring
    }

    #[test]
    fn a_sequence_number_is_found_with_and_without_holes_in_the_order() {
        for numbers in [&[][..], &[5], &[5, 6, 7, 8], &[2, 3, 9, 10, 14], &[1, 100, 101]] {
            let ring = ring(numbers);
            for seq in 0..=110 {
                let expected = numbers.iter().copied().find(|&number| number >= seq);
                assert_eq!(ring.first_from_seq(seq).map(|record| record.seq), expected, "{seq}");
            }
        }
    }
}
