//! A store in memory that does as it is told.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::Durability;
use crate::log::Retention;
use crate::store::{
    Missing, Page, PageQuery, Restored, Store, StoreError, StoreStats, StoredRecord,
};
use crate::wire::{Epoch, EventId};

/// A store in memory. Its clones are the same disk, so that a manager can be built on one after
/// another was dropped, as after a restart.
///
/// ```
/// use prism_sse::test::ScriptedStore;
/// use prism_sse::{Manager, Retention};
///
/// let disk = ScriptedStore::new();
/// let build = || Manager::builder().history(Retention::default()).store(disk.clone()).build();
/// let sse = build()?;
/// disk.fail_next(1);
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// assert!(sse.broadcast("refused").unwrap().await.is_err());
/// assert!(sse.broadcast("kept").unwrap().await.is_ok());
/// # });
/// drop(sse);
/// assert_eq!(build()?.stats().records, 1);
/// # Ok::<(), prism_sse::InvalidSetting>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScriptedStore {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    records: VecDeque<StoredRecord>,
    epochs: Vec<(Epoch, u64)>,
    last: u64,
    reserved: u64,
    /// Everything up to here was evicted.
    floor: u64,
    /// Places of records that were damaged.
    damaged: BTreeSet<u64>,
    is_intact: bool,
    failures: usize,
    pages: usize,
    page_failures: usize,
}

impl ScriptedStore {
    /// An empty disk.
    pub fn new() -> Self {
        let own = Self::default();
        own.lock().is_intact = true;
        own
    }

    /// Lets the next `times` groups fail.
    pub fn fail_next(&self, times: usize) {
        self.lock().failures = times;
    }

    /// Lets the next `times` pages fail.
    pub fn fail_next_pages(&self, times: usize) {
        self.lock().page_failures = times;
    }

    /// Loses the newest `records`, as a disk that lied about what it had synced.
    pub fn lose_newest(&self, records: usize) {
        let mut disk = self.lock();
        for _ in 0..records {
            disk.records.pop_back();
        }
        disk.last = disk.records.back().map_or(0, |record| record.seq);
        let lost = disk.last + 1..=disk.reserved;
        disk.damaged.extend(lost);
        disk.is_intact = false;
    }

    /// Damages the record with this sequence number.
    pub fn damage(&self, seq: u64) {
        let mut disk = self.lock();
        disk.records.retain(|record| record.seq != seq);
        disk.damaged.insert(seq);
    }

    /// The records on the disk.
    pub fn records(&self) -> Vec<StoredRecord> {
        self.lock().records.iter().cloned().collect()
    }

    /// How many pages were read.
    pub fn pages(&self) -> usize {
        self.lock().pages
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for ScriptedStore {
    fn restored(&self) -> Restored {
        let disk = self.lock();
        Restored {
            epochs: disk.epochs.clone(),
            last: disk.last,
            reserved: disk.reserved,
            is_intact: disk.is_intact,
            secret: [7; 16],
        }
    }

    fn begin_epoch(&self, epoch: Epoch, after: u64) -> Result<(), StoreError> {
        let mut disk = self.lock();
        disk.epochs.push((epoch, after));
        disk.is_intact = true;
        Ok(())
    }

    fn reserve(&self, until: u64) -> Result<(), StoreError> {
        self.lock().reserved = until;
        Ok(())
    }

    fn append(&self, group: &[StoredRecord]) -> Result<(), StoreError> {
        let mut disk = self.lock();
        if disk.failures > 0 {
            disk.failures -= 1;
            return Err(StoreError::Full);
        }
        disk.records.extend(group.iter().cloned());
        disk.last = disk.records.back().map_or(disk.last, |record| record.seq);
        Ok(())
    }

    fn trim(&self, retention: &Retention, now: u64) -> Result<(), StoreError> {
        let mut disk = self.lock();
        let age = u64::try_from(retention.max_age().as_millis()).unwrap_or(u64::MAX);
        while let Some(oldest) = disk.records.front() {
            let bytes: usize = disk.records.iter().map(|record| record.chunk.len()).sum();
            let exceeds = disk.records.len() > retention.max_count()
                || (bytes > retention.max_bytes() && disk.records.len() > 1)
                || oldest.time.saturating_add(age) <= now;
            if !exceeds {
                break;
            }
            disk.floor = oldest.seq;
            disk.records.pop_front();
        }
        Ok(())
    }

    fn page(&self, query: PageQuery<'_>) -> Result<Page, StoreError> {
        let mut disk = self.lock();
        disk.pages += 1;
        if disk.page_failures > 0 {
            disk.page_failures -= 1;
            return Err(StoreError::Failed("it was told to".into()));
        }
        let is_asked_for = |record: &StoredRecord| match query.topics {
            None => true,
            Some(_) if record.topics.is_empty() => query.broadcasts,
            Some(topics) => record.topics.iter().any(|topic| topics.contains(topic)),
        };
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut until = disk.last.max(query.after);
        for record in disk.records.iter().filter(|record| record.seq > query.after) {
            if !is_asked_for(record) {
                continue;
            }
            if records.len() == query.max_records || (bytes > 0 && bytes >= query.max_bytes) {
                until = record.seq - 1;
                break;
            }
            bytes += record.chunk.len();
            records.push(record.clone());
        }
        let evicted = (disk.floor > query.after).then_some(disk.floor);
        let mut missing = evicted.map(|until| Missing { until, damaged: false });
        if let Some(&damaged) = disk.damaged.range(query.after + 1..).next()
            && (damaged <= until || damaged == query.after + 1)
        {
            records.retain(|record| record.seq < damaged);
            until = damaged - 1;
            if records.is_empty() {
                let is_last = |seq: &u64| !disk.damaged.contains(&(seq + 1));
                until = (damaged..).find(is_last).unwrap_or(damaged);
                missing = Some(Missing { until, damaged: true });
            }
        }
        Ok(Page { records, until, missing })
    }

    fn tail(&self, bytes: u64) -> Result<u64, StoreError> {
        let disk = self.lock();
        let mut left = bytes;
        for record in disk.records.iter().rev() {
            match left.checked_sub(record.chunk.len() as u64) {
                Some(rest) => left = rest,
                None => return Ok(record.seq),
            }
        }
        Ok(disk.floor)
    }

    fn floor(&self) -> u64 {
        self.lock().floor
    }

    fn find_id(&self, id: &EventId) -> Result<Option<u64>, StoreError> {
        let disk = self.lock();
        let first = disk.records.iter().find(|record| record.id.as_ref() == Some(id));
        Ok(first.map(|record| record.seq))
    }

    fn stats(&self) -> StoreStats {
        let disk = self.lock();
        StoreStats {
            records: disk.records.len() as u64,
            bytes: disk.records.iter().map(|record| record.chunk.len() as u64).sum(),
            oldest: disk.records.front().map(|record| record.time),
            lost: disk.damaged.len() as u64,
        }
    }

    fn durability(&self) -> Durability {
        Durability::Fsync
    }
}
