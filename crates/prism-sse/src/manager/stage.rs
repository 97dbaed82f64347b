//! The writing stage: one thread stores what the engine ordered, in groups, and then applies it.
//!
//! A group is closed by its count, by its bytes or when nothing else waits, never by a timer.
//! Nothing of a group is visible or acknowledged before the store has it. The manager's lock is
//! taken to apply, and never while the store is at work.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use super::inner::ManagerInner;
use super::writer::{OrderedItem, UnwrittenQueue, unix_millis};
use crate::engine::{AckError, Publication, Wakes};
use crate::limits;
use crate::log::Retention;
use crate::store::{Store, StoreError, StoredKey, StoredRecord};
use crate::wire::{Epoch, Framed, Position};

/// The stage, which the thread owns.
#[derive(Debug)]
pub(super) struct Stage {
    store: Arc<dyn Store>,
    unwritten: UnwrittenQueue,
    manager: Weak<ManagerInner>,
    retention: Retention,
    /// The epoch that began last.
    epoch: Epoch,
    /// The sequence number that was written last.
    last: u64,
    reserved: u64,
    /// Up to where sequence numbers were reserved before the first epoch of this process began.
    restored: Option<u64>,
    /// Bytes that were stored since the store was trimmed.
    untrimmed: usize,
    /// The sequence number up to which the store evicted records.
    floor: u64,
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

impl Stage {
    /// Starts the thread of a manager with a store. Its first epoch has begun then, if the engine
    /// knows it at once and the store keeps it.
    pub(super) fn start(
        manager: &Arc<ManagerInner>,
        store: Arc<dyn Store>,
        unwritten: UnwrittenQueue,
        retention: Retention,
    ) -> Option<JoinHandle<()>> {
        let restored = store.restored();
        let epoch = restored.epochs.last().map_or(Epoch::new(0), |&(epoch, _)| epoch);
        let mut stage = Self {
            floor: store.floor(),
            store,
            unwritten,
            manager: Arc::downgrade(manager),
            retention,
            epoch,
            last: restored.last,
            reserved: restored.reserved,
            restored: Some(restored.reserved),
            untrimmed: 0,
            unkept: None,
        };
        stage.begin();
        // Without a thread nothing is ever acknowledged, and what is published is refused once the
        // queue is full.
        thread::Builder::new().name("prism-writer".into()).spawn(|| stage.run()).ok()
    }

    /// Begins the first epoch before the manager has readers, if the engine knows it at once.
    fn begin(&mut self) {
        if let Ok(OrderedItem::Epoch { epoch, after }) = self.unwritten.queue.try_recv()
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
            let first = match self.unwritten.queue.recv_timeout(limits::STORE_TRIM_INTERVAL) {
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
                self.unwritten.shared.taken(size);
                bytes += size;
                if let OrderedItem::Epoch { epoch, after } = item {
                    self.write(std::mem::take(&mut group));
                    self.begin_epoch(epoch, after);
                } else {
                    group.push(item);
                }
                let is_full = group.len() >= limits::GROUP_EVENTS || bytes >= limits::GROUP_BYTES;
                next = if is_full { None } else { self.unwritten.queue.try_recv().ok() };
            }
            self.write(group);
        }
    }

    /// Begins an epoch, and tries until it is kept: nothing can be written before.
    fn begin_epoch(&mut self, epoch: Epoch, after: u64) {
        let mut pause = limits::STORE_RETRY_MIN;
        while self.try_epoch(epoch, after).is_err() && self.manager.strong_count() > 0 {
            self.unwritten.shared.set_fails(true);
            thread::sleep(pause);
            pause = (pause * 2).min(limits::STORE_RETRY_MAX);
        }
        self.unwritten.shared.set_fails(false);
    }

    fn try_epoch(&mut self, epoch: Epoch, after: u64) -> Result<(), StoreError> {
        self.store.begin_epoch(epoch, after)?;
        (self.epoch, self.last) = (epoch, after);
        if let Some(manager) = self.manager.upgrade() {
            let mut state = manager.lock();
            let wakes = state.begin_epoch(epoch, after);
            if let Some(reserved) = self.restored.take() {
                // What lies between was lost, or was never handed out.
                state.log.advance_applied(reserved);
            }
            drop(state);
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
        self.unwritten.shared.set_fails(stored.is_err());
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
        let floor = self.store.floor();
        if floor > self.floor
            && let Some(manager) = self.manager.upgrade()
        {
            self.floor = floor;
            manager.lock().log.set_store_floor(floor);
            if let Some(writer) = &manager.writer {
                writer.pages.evict(floor);
            }
        }
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
