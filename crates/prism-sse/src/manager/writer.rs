//! The queue to the writing stage, in the order of the engine.
//!
//! There is one if the manager has a [`Store`]; without one, publishers apply their publications
//! themselves.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::pages::Pages;
use crate::engine::{AckSender, Publication};
use crate::limits;
use crate::store::Store;
use crate::wire::Epoch;

/// What waits to be written.
#[derive(Debug)]
pub(super) enum OrderedItem {
    Epoch { epoch: Epoch, after: u64 },
    Publication { seq: u64, publication: Box<Publication> },
    Ephemeral { publication: Box<Publication>, sender: AckSender },
}

/// The sending side, and the store that the stage writes to.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) store: Arc<dyn Store>,
    pub(super) pages: Arc<Pages>,
    queue: Mutex<Option<Sender<OrderedItem>>>,
    shared: Arc<WriterStatus>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The receiving side.
#[derive(Debug)]
pub(super) struct UnwrittenQueue {
    pub(super) queue: Receiver<OrderedItem>,
    pub(super) shared: Arc<WriterStatus>,
}

/// What both sides share.
#[derive(Debug, Default)]
pub(super) struct WriterStatus {
    /// Events that wait, and their bytes.
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// The last group was not stored.
    fails: AtomicBool,
}

impl WriterStatus {
    /// An item of this size does not wait any more.
    pub(super) fn taken(&self, size: usize) {
        self.events.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Says whether the last group could not be stored.
    pub(super) fn set_fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }
}

impl Writer {
    pub(super) fn new(store: Arc<dyn Store>) -> (Self, UnwrittenQueue) {
        let (sender, queue) = channel();
        let shared = Arc::new(WriterStatus::default());
        let own = Self {
            store,
            pages: Arc::default(),
            queue: Mutex::new(Some(sender)),
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
        };
        (own, UnwrittenQueue { queue, shared })
    }

    /// Keeps the threads of the stage and of the pages, for [`end`](Self::end).
    pub(super) fn set_threads(&self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(threads);
    }

    /// Hands on what the engine ordered.
    pub(super) fn push(&self, item: OrderedItem) {
        let size = item.size();
        self.shared.events.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // The receiver is gone only when the manager is.
        if let Some(queue) = &*queue {
            drop(queue.send(item));
        }
    }

    /// Whether as much waits as may wait.
    pub(super) fn is_full(&self) -> bool {
        self.shared.events.load(Ordering::Relaxed) >= limits::UNWRITTEN_EVENTS
            || self.shared.bytes.load(Ordering::Relaxed) >= limits::UNWRITTEN_BYTES
    }

    /// Whether the last group could not be stored.
    pub(super) fn fails(&self) -> bool {
        self.shared.fails.load(Ordering::Relaxed)
    }

    /// Ends the threads, once what waits is written.
    pub(super) fn end(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.pages.end();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last handle on a manager may be dropped by one of them.
            if thread.thread().id() != thread::current().id() {
                // Its panic was reported by the panic hook.
                drop(thread.join());
            }
        }
    }
}

impl OrderedItem {
    /// Bytes that it counts while it waits.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Epoch { .. } => 0,
            Self::Publication { publication, .. } | Self::Ephemeral { publication, .. } => {
                publication.event().size() + limits::RECORD_OVERHEAD_BYTES
            }
        }
    }
}

/// Milliseconds of Unix time.
pub(super) fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
