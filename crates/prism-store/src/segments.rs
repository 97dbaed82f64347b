//! What is committed: the segments, oldest first, and what is known to be missing.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::index::Summary;
use crate::segment::Segment;

/// Bytes that a record takes in a side file, about.
pub(crate) const INDEX_BYTES: u64 = 40;

/// What is committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    /// Oldest first. The last one is written to.
    pub(crate) list: VecDeque<Arc<Segment>>,
    /// Sequence number up to which records were evicted.
    pub(crate) floor: u64,
    /// Sequence number of the newest record that was ever kept.
    pub(crate) last: u64,
    /// Sequence numbers between which records are missing, rising.
    pub(crate) lost: Vec<(u64, u64)>,
    /// Records that were found damaged when they were read.
    pub(crate) damaged: u64,
    /// Records that are not evicted.
    pub(crate) records: u64,
    /// Their bytes, with their share of side files.
    pub(crate) bytes: u64,
    /// When the oldest of them was appended.
    pub(crate) oldest: Option<u64>,
}

impl Segments {
    /// Syncs all that is in the segments.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.list.iter().try_for_each(|segment| segment.file.sync())
    }

    /// Adds a segment that was found, and what is missing between it and the one before.
    pub(crate) fn push_opened(&mut self, segment: Segment) {
        let Summary { previous, last, records, end, .. } = segment.summary();
        if self.list.is_empty() {
            self.floor = self.floor.max(previous);
        } else if previous > self.last {
            self.lost.push((self.last + 1, previous));
        }
        self.lost.extend_from_slice(segment.read().lost());
        self.last = last;
        // Those that the retention does not cover any more are evicted when it is applied.
        self.records += u64::from(records);
        self.bytes += end + u64::from(records) * INDEX_BYTES;
        self.list.push_back(Arc::new(segment));
    }
}
