//! Stores: they keep the order below the window in memory, on this node.
//!
//! An [engine](crate::Engine) orders, a store keeps. The manager's one writing stage appends what
//! the engine ordered to the store, in groups, and applies it to the log once the store has
//! committed it, so that nothing is visible or acknowledged before it is as durable as the
//! acknowledgement says. Reading never waits for the writing stage.

use std::fmt;

use bytes::Bytes;

use crate::engine::Durability;
use crate::log::Retention;
use crate::selector::Topic;
use crate::wire::{Epoch, EventId};

/// Keeps records of one order on this node.
///
/// The contract:
///
/// 1. [`append`](Self::append), [`begin_epoch`](Self::begin_epoch), [`reserve`](Self::reserve) and
///    [`trim`](Self::trim) are called by one thread, one at a time. Everything else may be called
///    by any thread at any time, and may block on a disk.
/// 2. When `append` has returned, the group is as durable as [`durability`](Self::durability) says,
///    and [`page`](Self::page) reads it. When it failed, no record of the group is read by anybody;
///    a store that is opened again has all or nothing of a record.
/// 3. Sequence numbers rise. They may have holes.
/// 4. A store never serves a byte that it was not given, and never leaves out a record silently:
///    where records are missing, a page says so.
/// 5. An epoch that began and numbers that were reserved are durable when the call has returned,
///    whatever the durability of records.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What the store had kept when it was opened.
    fn restored(&self) -> Restored;

    /// Records that a new epoch begins, whose sequence numbers follow `after`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that is not kept.
    fn begin_epoch(&self, epoch: Epoch, after: u64) -> Result<(), StoreError>;

    /// Records that sequence numbers up to `until` may be handed out, so that none is handed out
    /// again after the store was opened anew.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that is not kept.
    fn reserve(&self, until: u64) -> Result<(), StoreError>;

    /// Appends a group of records, and returns when it is as durable as the store makes records.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the group is not kept. The store tries again with the next group.
    fn append(&self, group: &[StoredRecord]) -> Result<(), StoreError>;

    /// Evicts records that `retention` does not cover. `now` is in milliseconds of Unix time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if space could not be given back.
    fn trim(&self, retention: &Retention, now: u64) -> Result<(), StoreError>;

    /// Reads records.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read at the moment.
    fn page(&self, query: PageQuery<'_>) -> Result<Page, StoreError>;

    /// The sequence number after which the newest records begin that have at most `bytes` of
    /// events together, so that the window in memory can be filled with them.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read at the moment.
    fn tail(&self, bytes: u64) -> Result<u64, StoreError>;

    /// The sequence number up to which records were evicted. What is above it is kept, or was found
    /// damaged.
    fn floor(&self) -> u64;

    /// Sequence number of the oldest record that is kept with an id that a publisher chose.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read at the moment.
    fn find_id(&self, id: &EventId) -> Result<Option<u64>, StoreError>;

    /// What is kept now.
    fn stats(&self) -> StoreStats;

    /// How durable a record is whose [`append`](Self::append) has returned.
    fn durability(&self) -> Durability;
}

/// A record as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its sequence number.
    pub seq: u64,
    /// When it was appended, in milliseconds of Unix time.
    pub time: u64,
    /// Its topics, each once; none for a broadcast.
    pub topics: Box<[Topic]>,
    /// Whether only granted audiences may read it.
    pub private: bool,
    /// Whether its bytes carry an id that a reader can resume after.
    pub sends_position: bool,
    /// The id that its publisher chose.
    pub id: Option<EventId>,
    /// Its publisher's idempotency key, and a digest of what was published with it.
    pub key: Option<StoredKey>,
    /// The event as readers receive it, in an HTTP/1.1 chunk.
    pub chunk: Bytes,
}

/// The idempotency key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The publisher, if there is one.
    pub publisher: Option<Box<str>>,
    /// The key.
    pub key: Box<str>,
    /// A digest of the content, keyed with [`Restored::secret`].
    pub content: [u8; 16],
}

/// What a store had kept when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The epochs that records and ids may belong to, each with the sequence number after which
    /// it begins; oldest first. None for a new store.
    pub epochs: Vec<(Epoch, u64)>,
    /// The sequence number of the newest record that was ever kept; 0 if there was none.
    pub last: u64,
    /// No sequence number above this one was handed out.
    pub reserved: u64,
    /// Whether every acknowledged record is kept or was evicted, so that nothing between
    /// [`last`](Self::last) and [`reserved`](Self::reserved) was lost.
    pub is_intact: bool,
    /// Secret bytes, the same each time.
    pub secret: [u8; 16],
}

/// Which records a page is to have.
#[derive(Clone, Copy, Debug)]
pub struct PageQuery<'a> {
    /// Records with a higher sequence number.
    pub after: u64,
    /// The only topics whose records are wanted; `None` for all records.
    pub topics: Option<&'a [Topic]>,
    /// Whether broadcasts are wanted beside the records of `topics`.
    pub broadcasts: bool,
    /// At most this many records.
    pub max_records: usize,
    /// About this many bytes of events; one record may always be read.
    pub max_bytes: usize,
}

/// Records that were read, in the order of their sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// Every record that was asked for and is kept, up to this sequence number, is in the page.
    /// It is the newest one that is kept, or more, at the end; and it is below the first damaged
    /// record, unless the page begins with that.
    pub until: u64,
    /// Whether records that follow [`PageQuery::after`] were evicted or lost: those before the
    /// records of the page.
    pub missing: Option<Missing>,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The highest sequence number that may be missing.
    pub until: u64,
    /// Whether they were damaged, rather than evicted.
    pub damaged: bool,
}

/// What a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Records.
    pub records: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When the oldest record was appended, in milliseconds of Unix time.
    pub oldest: Option<u64>,
    /// Records that were found damaged since the store was opened, or the places that they had.
    pub lost: u64,
}

/// Why a store did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full. Nothing of the group was kept.
    Full,
    /// Reading or writing failed, with this message. Nothing of the group was kept.
    Failed(String),
    /// The outcome is unknown: the records may be there when the store is opened again.
    Unknown(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the disk of the store is full"),
            Self::Failed(reason) => write!(f, "the store failed: {reason}"),
            Self::Unknown(reason) => {
                write!(f, "the store does not know whether records are kept: {reason}")
            }
        }
    }
}

impl std::error::Error for StoreError {}
