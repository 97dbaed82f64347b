//! A chunk: consecutive records of one retention class that never change again.
//!
//! A ring seals its oldest records into chunks. A reader that is behind takes references to chunks
//! while it holds the manager's lock, and reads them after it released the lock: a chunk stays as
//! it is for as long as somebody holds it, whatever is evicted meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::record::Record;
use crate::selector::Topic;

#[derive(Debug)]
pub(crate) struct Chunk {
    /// In the order of their indexes; at least one.
    records: Box<[Arc<Record>]>,
    /// Built by the first reader that needs it, outside every lock.
    index: OnceLock<ChunkIndex>,
}

/// Positions of a chunk's records by topic, rising.
#[derive(Debug, Default)]
struct ChunkIndex {
    topics: HashMap<Topic, Vec<u32>>,
    broadcasts: Vec<u32>,
}

impl Chunk {
    /// A chunk of these records, of which there is at least one.
    pub(crate) fn seal(records: Box<[Arc<Record>]>) -> Arc<Self> {
        debug_assert!(!records.is_empty());
        Arc::new(Self { records, index: OnceLock::new() })
    }

    /// Its records, in the order of their indexes.
    pub(crate) fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Index of its last record.
    pub(super) fn last(&self) -> u64 {
        self.records[self.records.len() - 1].index
    }

    /// Sequence number of its last record.
    pub(super) fn last_seq(&self) -> u64 {
        self.records[self.records.len() - 1].seq
    }

    /// Position of its first record at or after index `from`; the number of records if there is
    /// none.
    pub(crate) fn position_from(&self, from: u64) -> usize {
        let first = self.records[0].index;
        let dense = self.last() - first == self.records.len() as u64 - 1;
        if dense {
            (from.saturating_sub(first) as usize).min(self.records.len())
        } else {
            self.records.partition_point(|record| record.index < from)
        }
    }

    /// Positions of the records about a topic, rising.
    pub(crate) fn about(&self, topic: &Topic) -> &[u32] {
        self.index().topics.get(topic).map_or(&[], Vec::as_slice)
    }

    /// Positions of the records that are broadcast, rising.
    pub(crate) fn broadcasts(&self) -> &[u32] {
        &self.index().broadcasts
    }

    fn index(&self) -> &ChunkIndex {
        self.index.get_or_init(|| {
            let mut index = ChunkIndex::default();
            for (position, record) in (0..).zip(&self.records) {
                for topic in &record.topics {
                    match &topic.name {
                        Some(name) => {
                            index.topics.entry(name.clone()).or_default().push(position);
                        }
                        None => index.broadcasts.push(position),
                    }
                }
            }
            index
        })
    }
}
