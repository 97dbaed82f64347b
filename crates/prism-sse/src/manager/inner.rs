//! What all handles of one manager share.

use std::sync::atomic::{AtomicU64 as Count, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::task::Waker;

use tokio::time::Instant;

use super::builder::ManagerSettings;
use super::driver::Driver;
use super::keys::{DigestHasher, KeyLookup};
use super::state::State;
use super::{Manager, PublishError};
use crate::engine::{
    AckSender, Apply, Completion, Durability, Engine, Publication, Receipt, Target, Wakes, receipt,
    shared_receipt,
};
use crate::sync::{AtomicU64, Mutex, MutexGuard};
use crate::wire::{Epoch, Framed, Position};

#[derive(Debug)]
pub(crate) struct ManagerInner {
    pub(crate) settings: ManagerSettings,
    pub(super) driver: Driver,
    engine: Box<dyn Engine>,
    digests: DigestHasher,
    state: Mutex<State>,
    changes: Arc<AtomicU64>,
    /// Events handed to connections; mere counts, which models need not know.
    delivered: Count,
    delivered_bytes: Count,
    began: Instant,
    this: Weak<Self>,
}

impl ManagerInner {
    pub(super) fn new(settings: ManagerSettings, engine: Box<dyn Engine>) -> Arc<Self> {
        let state = State::new(&settings);
        let shared = Arc::new_cyclic(|this: &Weak<Self>| Self {
            changes: Arc::clone(state.changes()),
            state: Mutex::new(state),
            settings,
            driver: Driver::default(),
            delivered: Count::new(0),
            delivered_bytes: Count::new(0),
            engine,
            digests: DigestHasher::default(),
            began: Instant::now(),
            this: Weak::clone(this),
        });
        let apply: Weak<dyn Apply> = Weak::<Self>::clone(&shared.this);
        shared.engine.follow(crate::engine::Follower::new(apply));
        shared
    }

    /// The lock. A panic of another thread leaves nothing half done: what is guarded is changed by
    /// our own code alone, which does not panic.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something happened that may concern a reader.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Milliseconds since the manager began, on the runtime's clock.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Starts the driver if there is a runtime to run it.
    pub(crate) fn start_driver(&self) {
        if !self.driver.is_running()
            && let Some(this) = self.this.upgrade()
        {
            self.driver.start(&this);
        }
    }

    /// Wakes the readers that became due, and the shards that were called.
    pub(crate) fn wake(&self) {
        let called = self.lock().take_shards_to_wake();
        called.into_iter().for_each(Waker::wake);
        self.driver.wake(self);
    }

    /// Counts events that were handed to connections.
    pub(crate) fn count_delivered(&self, events: u64, bytes: u64) {
        self.delivered.fetch_add(events, Ordering::Relaxed);
        self.delivered_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Events that were handed to connections.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub(super) fn delivered_bytes(&self) -> u64 {
        self.delivered_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn handle(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    /// Hands a publication to the engine, unless the same was handed over before.
    pub(super) fn append(&self, publication: Publication) -> Result<Receipt, PublishError> {
        let apply: Weak<dyn Apply> = Weak::<Self>::clone(&self.this);
        let Some(digest) = self.digests.of(&publication) else {
            let (completion, receipt): (Completion, Receipt) = receipt(apply);
            self.engine.append(publication, completion)?;
            return Ok(receipt);
        };
        let (now, window) = (self.now(), self.settings.idempotency_window_ms());
        let durability =
            if publication.is_transient() { Durability::Memory } else { self.engine.durability() };
        let begun = self.lock().look_up_key(digest, now, window, durability)?;
        let outcome = match begun {
            KeyLookup::Known(receipt) => return Ok(receipt),
            KeyLookup::New(outcome) => outcome,
        };
        let (completion, receipt) = shared_receipt(apply, Arc::clone(&outcome));
        if let Err(error) = self.engine.append(publication, completion) {
            self.lock().keys.refused(digest, &outcome);
            return Err(error.into());
        }
        Ok(receipt)
    }

    /// The event's bytes. The position becomes its id where there is history and none of its own.
    fn encode(&self, publication: &Publication, position: Option<Position>) -> Framed {
        let position = position.filter(|_| self.settings.has_history());
        Framed::encode(publication.event(), position)
    }
}

impl Apply for ManagerInner {
    fn begin_epoch(&self, epoch: Epoch, after: u64) -> Wakes {
        self.lock().begin_epoch(epoch, after)
    }

    fn apply(&self, seq: u64, publication: Publication) -> Wakes {
        // Only the follower applies, so that the epoch does not change before the second look.
        let Some(position) = self.lock().log.next_position(seq) else { return Wakes::default() };
        let framed = self.encode(&publication, Some(position));
        let digest = self.digests.of(&publication);
        let now = self.now();
        let mut state = self.lock();
        if let Some(digest) = digest {
            state.keys.applied(digest, seq, now, self.settings.idempotency_window_ms());
        }
        state.apply(seq, now, &publication, framed)
    }

    fn apply_ephemeral(&self, publication: Publication, sender: AckSender) -> Wakes {
        let Target::Connection(to) = *publication.target() else { return Wakes::default() };
        let framed = self.encode(&publication, None);
        let now = self.now();
        self.lock().apply_ephemeral(now, to, framed, sender)
    }

    fn acknowledge(&self, seq: u64, durability: Durability, sender: AckSender) -> Wakes {
        self.lock().acknowledge(seq, durability, sender)
    }

    fn wake_readers(self: Arc<Self>) {
        self.driver.wake(&self);
    }
}

impl Drop for ManagerInner {
    fn drop(&mut self) {
        self.driver.stop();
    }
}

impl Manager {
    pub(crate) fn from_shared(shared: Arc<ManagerInner>) -> Self {
        Self { shared }
    }
}
