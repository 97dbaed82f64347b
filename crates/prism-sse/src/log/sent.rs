//! Events sent to single connections, until each was read.
//!
//! They have indexes among the records of the order, but are none of them: no retention evicts
//! them. What waits for one connection is bounded, and so is what waits for all of them; an event
//! beyond a bound is refused to its sender. So nobody's events push out those of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::Record;
use crate::limits;

#[derive(Debug, Default)]
pub(super) struct SentEvents {
    /// By the connection's slot and the index.
    waiting: BTreeMap<(u32, u64), Arc<Record>>,
    bytes: usize,
}

impl SentEvents {
    /// Whether an event of `len` bytes has room beside all that waits.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.bytes + len + limits::RECORD_OVERHEAD_BYTES <= limits::SENT_BYTES
    }

    pub(super) fn push(&mut self, slot: u32, record: Arc<Record>) {
        self.bytes += size(&record);
        self.waiting.insert((slot, record.index), record);
    }

    /// The first event for a connection at or after `from`.
    pub(super) fn first_from(&self, slot: u32, from: u64) -> Option<&Arc<Record>> {
        self.range(slot, from).next()
    }

    /// The events for a connection at or after `from`, in order.
    pub(super) fn range(&self, slot: u32, from: u64) -> impl Iterator<Item = &Arc<Record>> {
        self.waiting.range((slot, from)..=(slot, u64::MAX)).map(|(_, record)| record)
    }

    /// Takes out the oldest event for a connection, if its index is below `read`.
    pub(super) fn pop_read(&mut self, slot: u32, read: u64) -> Option<Arc<Record>> {
        let (&key, _) = self.waiting.range((slot, 0)..(slot, read)).next()?;
        let record = self.waiting.remove(&key)?;
        self.bytes -= size(&record);
        Some(record)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Bytes that an event counts while it waits.
pub(super) fn size(record: &Record) -> usize {
    record.framed.len() + limits::RECORD_OVERHEAD_BYTES
}
