//! The store: what is committed, for readers, and the writer behind its lock.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prism_sse::{
    Durability, Epoch, EventId, Page, PageQuery, Restored, Retention, StoreError, StoreStats,
    StoredRecord,
};

use crate::files::Files;
use crate::running;
use crate::segments::Segments;
use crate::writer::Writer;

/// A store on disk. See the [crate](crate).
#[derive(Debug)]
pub struct Store {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) segments: RwLock<Segments>,
    writer: Mutex<Writer>,
    durability: Durability,
    is_intact: bool,
    /// The lock of the directory, until this is dropped.
    _lock: Option<fs::File>,
}

impl Store {
    pub(crate) fn new(
        files: Arc<dyn Files>,
        lock: Option<fs::File>,
        writer: Writer,
        segments: Segments,
        is_intact: bool,
    ) -> Self {
        Self {
            files,
            segments: RwLock::new(segments),
            durability: writer.durability(),
            writer: Mutex::new(writer),
            is_intact,
            _lock: lock,
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is committed at this moment.
    pub(crate) fn snapshot(&self) -> Segments {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.durability == Durability::Os && self.snapshot().sync().is_ok() {
            // Else a loss of power is assumed if the system is started again before the store.
            drop(running::end(&*self.files));
        }
    }
}

impl prism_sse::Store for Store {
    fn restored(&self) -> Restored {
        let writer = self.writer();
        let meta = writer.meta();
        let segments = self.snapshot();
        Restored {
            epochs: meta.epochs.clone(),
            last: segments.last,
            reserved: meta.reserved.max(segments.last).max(writer.acked()),
            is_intact: self.is_intact,
            secret: meta.secret,
        }
    }

    fn begin_epoch(&self, epoch: Epoch, after: u64) -> Result<(), StoreError> {
        self.writer().begin_epoch(epoch, after)
    }

    fn reserve(&self, until: u64) -> Result<(), StoreError> {
        self.writer().reserve(until)
    }

    fn append(&self, group: &[StoredRecord]) -> Result<(), StoreError> {
        self.writer().append(group, &self.segments)
    }

    fn trim(&self, retention: &Retention, now: u64) -> Result<(), StoreError> {
        self.writer().trim(retention, now, &self.segments)
    }

    fn page(&self, query: PageQuery<'_>) -> Result<Page, StoreError> {
        self.read_page(query)
    }

    fn tail(&self, bytes: u64) -> Result<u64, StoreError> {
        self.find_tail(bytes)
    }

    fn floor(&self) -> u64 {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).floor
    }

    fn find_id(&self, id: &EventId) -> Result<Option<u64>, StoreError> {
        self.find_first(id)
    }

    fn stats(&self) -> StoreStats {
        let segments = self.snapshot();
        let mut stats = StoreStats::default();
        stats.records = segments.records;
        stats.bytes = segments.bytes;
        stats.oldest = segments.oldest;
        stats.lost = segments.damaged
            + segments.lost.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        stats
    }

    fn durability(&self) -> Durability {
        self.durability
    }
}
