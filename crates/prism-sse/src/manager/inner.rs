//! What all handles of one manager share.
//!
//! [`ManagerInner`] owns the application's hooks, a hook is called with a [`ConnectionRef`], and
//! that refers to `ManagerInner`: the three depend on each other, and so are in one file.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64 as Count, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use tokio::time::Instant;

use super::close_reason::CloseReason;
#[cfg(feature = "serve")]
use super::connection_entry::ClosedConnection;
use super::connection_entry::EndedConnection;
use super::driver::Driver;
use super::error::SendError;
use super::idempotency::DigestHasher;
use super::pages::{LoadedPage, PageKey};
use super::restore::restore;
use super::settings::ManagerSettings;
use super::state::State;
use super::writer::Writer;
use crate::audience::Audience;
use crate::engine::{Apply, Engine, Follower, Receipt};
use crate::limits;
use crate::log::{ResolvedId, Visibility};
use crate::steps;
use crate::store::PageQuery;
use crate::sync::{AtomicU64, Mutex, MutexGuard};
use crate::wire::{ConnectionId, Event, EventId};

#[derive(Debug)]
pub(crate) struct ManagerInner {
    pub(crate) settings: ManagerSettings,
    hooks: Hooks,
    pub(super) driver: Driver,
    pub(super) engine: Box<dyn Engine>,
    /// There is one if a store keeps the order.
    pub(super) writer: Option<Writer>,
    pub(super) digests: DigestHasher,
    state: Mutex<State>,
    changes: Arc<AtomicU64>,
    /// Events delivered to connections. Plain counters of the standard library, in models too,
    /// because nothing depends on their order.
    delivered: Count,
    delivered_bytes: Count,
    started_at: Instant,
    /// What the clock says at the start, so that restored events are older than that.
    started_ms: u64,
    this: Weak<Self>,
}

impl ManagerInner {
    pub(super) fn new(
        settings: ManagerSettings,
        hooks: Hooks,
        engine: Box<dyn Engine>,
        writer: Option<Writer>,
    ) -> Arc<Self> {
        let store = writer.as_ref().map(|writer| &*writer.store);
        let secret = store.map(|store| store.restored().secret);
        let mut state = State::new(&settings);
        let digests = DigestHasher::new(secret);
        let mut started_ms = 0;
        if let Some(store) = store {
            started_ms = limits::RESTORED_AGE_MAX.as_millis() as u64;
            state.stored = Some(store.durability());
            restore(&mut state, store, &settings, &digests, started_ms);
        }
        let inner = Arc::new_cyclic(|this: &Weak<Self>| Self {
            changes: Arc::clone(state.changes()),
            state: Mutex::new(state),
            settings,
            hooks,
            driver: Driver::default(),
            delivered: Count::new(0),
            delivered_bytes: Count::new(0),
            engine,
            writer,
            digests,
            started_at: Instant::now(),
            started_ms,
            this: Weak::clone(this),
        });
        inner.engine.follow(Follower::new(inner.apply_target()));
        inner
    }

    /// Locks the state. A poisoned lock is used nevertheless: no code that is not ours runs under
    /// it, and ours does not panic half-way through a change.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        steps::begin_hold();
        guard
    }

    /// The state's [change count](State::changes), read without the lock.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Milliseconds on the runtime's clock, from a fixed number on at which the manager started.
    pub(crate) fn now(&self) -> u64 {
        self.started_ms + self.started_at.elapsed().as_millis() as u64
    }

    /// Counts events that were delivered to connections.
    pub(crate) fn count_delivered(&self, events: u64, bytes: u64) {
        self.delivered.fetch_add(events, Ordering::Relaxed);
        self.delivered_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Events that were delivered to connections.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub(super) fn delivered_bytes(&self) -> u64 {
        self.delivered_bytes.load(Ordering::Relaxed)
    }

    /// A page of the store for a reader at sequence number `from`, or else which one it has to wait
    /// for. `None` without a store.
    pub(crate) fn page(
        &self,
        audience: &Audience,
        from: u64,
    ) -> Option<Result<Arc<LoadedPage>, PageKey>> {
        Some(self.writer.as_ref()?.pages.find(audience, from))
    }

    /// Lets the connection in a slot wait for a page: it is scheduled when the page is there.
    /// `false` if it is there already.
    pub(crate) fn wait_for_page(&self, key: PageKey, slot: u32) -> bool {
        let connection = self.lock().entry(slot).id();
        self.writer.as_ref().is_some_and(|writer| writer.pages.wait(key, connection))
    }

    /// What an id stands for that a publisher chose, by what the store keeps, and who may know of
    /// it. This reads from a disk.
    pub(crate) fn find_stored_id(&self, id: &str) -> Option<(ResolvedId, Visibility)> {
        let store = &self.writer.as_ref()?.store;
        let seq = store.find_id(&EventId::try_from(id).ok()?).ok()??;
        let query = PageQuery {
            after: seq.checked_sub(1)?,
            topics: None,
            broadcasts: true,
            max_records: 1,
            max_bytes: 1,
        };
        let record = store.page(query).ok()?.records.into_iter().next()?;
        let visibility = if record.private {
            Visibility::GrantedOneOf(record.topics)
        } else {
            Visibility::Everyone
        };
        Some((ResolvedId { seq, is_expired: false }, visibility))
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    pub(super) fn apply_target(&self) -> Weak<dyn Apply> {
        self.weak()
    }

    /// A handle on an open connection.
    pub(crate) fn connection(&self, id: ConnectionId) -> Option<ConnectionRef> {
        let guard = self.lock();
        let state = guard.attached(guard.find(id)?);
        Some(ConnectionRef::new(self.weak(), id, state))
    }

    /// Closes a connection once the events that are due were delivered. `false` if it is not open.
    pub(super) fn close_connection(&self, id: ConnectionId, reason: CloseReason) -> bool {
        let ended = {
            let mut state = self.lock();
            let slot = state.find(id);
            slot.and_then(|slot| state.close(slot, reason))
        };
        let closed = ended.is_some();
        self.wake();
        self.run_disconnect_hook(ended);
        closed
    }

    /// Runs the hook for a connection that began: the one for reconnects if there is a last event
    /// id.
    pub(crate) fn run_connect_hook(&self, connection: &ConnectionRef, last_event_id: Option<&str>) {
        match (last_event_id, &self.hooks.reconnected, &self.hooks.connected) {
            (Some(id), Some(hook), _) => run(|| hook(connection, id)),
            (_, _, Some(hook)) => run(|| hook(connection)),
            _ => {}
        }
    }

    /// Runs the hook for connections that ended. Call it with no lock held.
    pub(crate) fn run_disconnect_hook(&self, ended: impl IntoIterator<Item = EndedConnection>) {
        let Some(hook) = &self.hooks.disconnected else { return };
        for (id, state, reason) in ended {
            let connection = ConnectionRef::new(self.weak(), id, state);
            run(|| hook(&connection, reason));
        }
    }
}

impl Drop for ManagerInner {
    fn drop(&mut self) {
        self.driver.notify();
        // The store is free when the manager is gone.
        if let Some(writer) = &self.writer {
            writer.end();
        }
    }
}

/// A handle on a connection that someone else owns. It keeps neither the connection nor the manager
/// alive.
#[derive(Clone)]
pub struct ConnectionRef {
    manager: Weak<ManagerInner>,
    id: ConnectionId,
    state: Option<Arc<dyn Any + Send + Sync>>,
}

impl ConnectionRef {
    pub(crate) fn new(
        manager: Weak<ManagerInner>,
        id: ConnectionId,
        state: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        Self { manager, id, state }
    }

    /// The connection's id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// What the application attached to the connection, if it is a `T`.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.state.clone()?.downcast().ok()
    }

    /// Sends an event to the connection; see [`Manager::send`](crate::Manager::send).
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection ended or the event was not published.
    pub fn send(&self, event: impl Into<Event>) -> Result<Receipt, SendError> {
        let manager = self.manager.upgrade();
        let manager = manager.ok_or(SendError::NoSuchConnection { id: self.id })?;
        manager.send(event.into(), self.id)
    }

    /// Closes the connection; see
    /// [`Manager::remove_connection`](crate::Manager::remove_connection).
    pub fn remove(&self) -> bool {
        self.close(CloseReason::Removed)
    }

    /// The end that the manager decided on. `None` while the connection is open, and once it was
    /// dropped.
    #[cfg(feature = "serve")]
    pub(crate) fn closed(&self) -> Option<ClosedConnection> {
        let manager = self.manager.upgrade()?;
        let state = manager.lock();
        state.closed(self.id)
    }

    /// Closes the connection because its server ends.
    pub(crate) fn shut_down(&self) {
        self.close(CloseReason::Shutdown);
    }

    fn close(&self, reason: CloseReason) -> bool {
        let manager = self.manager.upgrade();
        manager.is_some_and(|manager| manager.close_connection(self.id, reason))
    }
}

impl fmt::Debug for ConnectionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionRef").field("id", &self.id).finish_non_exhaustive()
    }
}

type Connected = dyn Fn(&ConnectionRef) + Send + Sync;
type Reconnected = dyn Fn(&ConnectionRef, &str) + Send + Sync;
type Disconnected = dyn Fn(&ConnectionRef, CloseReason) + Send + Sync;

/// The application's hooks for connections.
///
/// They run outside every lock, in the task that caused the event: they may call the manager, and
/// must not block. A hook that panics ends early; nothing else is affected.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) connected: Option<Box<Connected>>,
    pub(super) reconnected: Option<Box<Reconnected>>,
    pub(super) disconnected: Option<Box<Disconnected>>,
}

fn run(hook: impl FnOnce()) {
    // The process's panic hook has reported the panic already.
    drop(catch_unwind(AssertUnwindSafe(hook)));
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("connected", &self.connected.is_some())
            .field("reconnected", &self.reconnected.is_some())
            .field("disconnected", &self.disconnected.is_some())
            .finish()
    }
}
