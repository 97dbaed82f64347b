//! The writing stage: one thread stores what the engine ordered, in groups, and then applies it.
//!
//! It is there if the manager has a [`Store`]; without one, publishers apply their publications
//! themselves. A group is closed by its count, by its bytes or when nothing else waits, never by a
//! timer. Nothing of a group is visible or acknowledged before the store has it. The manager's lock
//! is taken to apply, and never while the store is at work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::inner::ManagerInner;
use crate::engine::{AckError, AckSender, Publication, Wakes};
use crate::limits;
use crate::log::Retention;
use crate::store::{Store, StoreError, StoredKey, StoredRecord};
use crate::wire::{Epoch, Framed, Position};

/// What waits to be written, in the order of the engine.
#[derive(Debug)]
pub(super) enum OrderedItem {
    Epoch { epoch: Epoch, after: u64 },
    Publication { seq: u64, publication: Box<Publication> },
    Ephemeral { publication: Box<Publication>, sender: AckSender },
}

/// The handle on the stage.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) store: Arc<dyn Store>,
    queue: Mutex<Option<Sender<OrderedItem>>>,
    shared: Arc<WriterShared>,
    /// Until the thread runs.
    stage: Mutex<Option<Stage>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the stage and its handle share.
#[derive(Debug, Default)]
struct WriterShared {
    /// Events that wait, and their bytes.
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// The last group was not stored.
    fails: AtomicBool,
}

/// The stage itself, which the thread owns.
#[derive(Debug)]
struct Stage {
    store: Arc<dyn Store>,
    queue: Receiver<OrderedItem>,
    shared: Arc<WriterShared>,
    manager: Weak<ManagerInner>,
    retention: Retention,
    /// The epoch that began last.
    epoch: Epoch,
    /// The sequence number that was written last.
    last: u64,
    reserved: u64,
    /// Bytes that were stored since the store was trimmed.
    untrimmed: usize,
    /// An epoch that the store did not keep yet.
    unkept: Option<(Epoch, u64)>,
}

/// A publication on its way through the stage.
struct Encoded {
    seq: u64,
    publication: Publication,
    framed: Framed,
    /// Whether it is among the records of the group.
    stored: bool,
}

impl Writer {
    pub(super) fn new(
        store: Arc<dyn Store>,
        manager: Weak<ManagerInner>,
        retention: Retention,
    ) -> Self {
        let (sender, queue) = channel();
        let shared = Arc::new(WriterShared::default());
        let restored = store.restored();
        let epoch = restored.epochs.last().map_or(Epoch::new(0), |&(epoch, _)| epoch);
        let stage = Stage {
            store: Arc::clone(&store),
            queue,
            shared: Arc::clone(&shared),
            manager,
            retention,
            epoch,
            last: restored.last,
            reserved: restored.reserved,
            untrimmed: 0,
            unkept: None,
        };
        Self {
            store,
            queue: Mutex::new(Some(sender)),
            shared,
            stage: Mutex::new(Some(stage)),
            thread: Mutex::default(),
        }
    }

    /// Starts the thread, once the manager is complete.
    pub(super) fn start(&self) {
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut stage) = stage else { return };
        stage.begin();
        let thread = thread::Builder::new().name("prism-writer".into()).spawn(|| stage.run());
        // Without a thread nothing is ever acknowledged, and the queue refuses what is beyond it.
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread.ok();
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

    /// Ends the thread, once it has written what waits.
    pub(super) fn end(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle on a manager may be dropped by the stage itself.
        if let Some(thread) = thread.filter(|it| it.thread().id() != thread::current().id()) {
            // Its panic was reported by the panic hook.
            drop(thread.join());
        }
    }
}

impl OrderedItem {
    /// Bytes that it counts while it waits.
    fn size(&self) -> usize {
        match self {
            Self::Epoch { .. } => 0,
            Self::Publication { publication, .. } | Self::Ephemeral { publication, .. } => {
                publication.event().size() + limits::RECORD_OVERHEAD_BYTES
            }
        }
    }
}

impl Stage {
    /// Begins the first epoch before the manager has readers, if the engine knows it at once.
    fn begin(&mut self) {
        if let Ok(OrderedItem::Epoch { epoch, after }) = self.queue.try_recv()
            && self.try_epoch(epoch, after).is_err()
        {
            self.unkept = Some((epoch, after));
        }
    }

    fn run(mut self) {
        if let Some((epoch, after)) = self.unkept.take() {
            self.begin_epoch(epoch, after);
        }
        loop {
            let first = match self.queue.recv_timeout(limits::STORE_TRIM_INTERVAL) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.trim();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut group, mut bytes) = (Vec::new(), 0);
            let mut next = Some(first);
            while let Some(item) = next {
                let size = item.size();
                self.shared.events.fetch_sub(1, Ordering::Relaxed);
                self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
                bytes += size;
                if let OrderedItem::Epoch { epoch, after } = item {
                    self.write(std::mem::take(&mut group));
                    self.begin_epoch(epoch, after);
                } else {
                    group.push(item);
                }
                let is_full = group.len() >= limits::GROUP_EVENTS || bytes >= limits::GROUP_BYTES;
                next = if is_full { None } else { self.queue.try_recv().ok() };
            }
            self.write(group);
        }
    }

    /// Begins an epoch, and tries until it is kept: nothing can be written before.
    fn begin_epoch(&mut self, epoch: Epoch, after: u64) {
        let mut pause = limits::STORE_RETRY_MIN;
        while self.try_epoch(epoch, after).is_err() && self.manager.strong_count() > 0 {
            self.shared.fails.store(true, Ordering::Relaxed);
            thread::sleep(pause);
            pause = (pause * 2).min(limits::STORE_RETRY_MAX);
        }
        self.shared.fails.store(false, Ordering::Relaxed);
    }

    fn try_epoch(&mut self, epoch: Epoch, after: u64) -> Result<(), StoreError> {
        self.store.begin_epoch(epoch, after)?;
        (self.epoch, self.last) = (epoch, after);
        if let Some(manager) = self.manager.upgrade() {
            let wakes = manager.lock().begin_epoch(epoch, after);
            wakes.of(manager).wake();
        }
        Ok(())
    }

    /// Stores a group, applies it, and wakes its readers and publishers once.
    fn write(&mut self, group: Vec<OrderedItem>) {
        if group.is_empty() {
            return;
        }
        let Some(manager) = self.manager.upgrade() else { return };
        let now = unix_millis();
        let mut records = Vec::new();
        let mut items = Vec::with_capacity(group.len());
        for item in group {
            match item {
                OrderedItem::Publication { seq, publication } if seq > self.last => {
                    self.last = seq;
                    let position = Position { epoch: self.epoch, seq };
                    let framed = manager.encode(&publication, Some(position));
                    let stored = !publication.is_transient();
                    if stored {
                        records.push(stored_record(&manager, seq, now, &publication, &framed));
                    }
                    items.push(Ok(Encoded { seq, publication: *publication, framed, stored }));
                }
                OrderedItem::Ephemeral { publication, sender } => {
                    items.push(Err((publication, sender)));
                }
                OrderedItem::Publication { .. } | OrderedItem::Epoch { .. } => {}
            }
        }
        let reserved = self.reserve();
        let stored = reserved.clone().and_then(|()| match &*records {
            [] => Ok(()),
            records => self.store.append(records),
        });
        self.shared.fails.store(stored.is_err(), Ordering::Relaxed);
        let mut wakes = Wakes::default();
        for item in items {
            wakes = wakes.and(match (item, &stored) {
                (Ok(encoded), Err(error)) if encoded.stored || reserved.is_err() => {
                    manager.lock().refuse(encoded.seq, ack_error(error))
                }
                (Ok(encoded), _) => {
                    manager.apply_encoded(encoded.seq, encoded.publication, encoded.framed)
                }
                (Err((publication, sender)), _) => manager.apply_sent(&publication, sender),
            });
        }
        wakes.of(manager).wake();
        self.untrimmed += records.iter().map(|record| record.chunk.len()).sum::<usize>();
        if self.untrimmed >= limits::STORE_TRIM_BYTES {
            self.trim();
        }
    }

    /// Reserves sequence numbers, so that those of the group are never handed out again.
    fn reserve(&mut self) -> Result<(), StoreError> {
        if self.last > self.reserved {
            let until = self.last + limits::RESERVED_PLACES;
            self.store.reserve(until)?;
            self.reserved = until;
        }
        Ok(())
    }

    fn trim(&mut self) {
        self.untrimmed = 0;
        // What cannot be evicted now is evicted the next time.
        drop(self.store.trim(&self.retention, unix_millis()));
    }
}

fn stored_record(
    manager: &ManagerInner,
    seq: u64,
    time: u64,
    publication: &Publication,
    framed: &Framed,
) -> StoredRecord {
    let event = publication.event();
    let key = publication.key().map(|key| StoredKey {
        publisher: publication.published_by().map(Into::into),
        key: key.into(),
        content: manager.digests.content(publication),
    });
    StoredRecord {
        seq,
        time,
        topics: publication.topics().into(),
        private: publication.is_private(),
        sends_position: event.data().is_some(),
        id: event.event_id().cloned(),
        key,
        chunk: framed.chunk(),
    }
}

fn ack_error(error: &StoreError) -> AckError {
    match error {
        StoreError::Full => AckError::StorageFull,
        StoreError::Failed(_) => AckError::Failed,
        StoreError::Unknown(_) => AckError::Unknown,
    }
}

/// Milliseconds of Unix time.
pub(super) fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
