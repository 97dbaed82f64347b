//! The manager: connections and topics by name, and the one way into the log.
//!
//! A [`Manager`] is a handle; its clones are the same manager. Publishing appends to the log and
//! wakes the driver, and never waits for a reader.

mod audiences;
mod builder;
mod close_reason;
mod connection_entry;
mod connections;
mod driver;
mod driver_task;
mod error;
mod idempotency;
mod inner;
mod keys;
mod page_loader;
mod pages;
mod publish;
mod restore;
mod settings;
mod shards;
mod stage;
mod state;
mod timers;
mod writer;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::{Publication, Receipt};
use crate::limits;
use crate::log::Class;
use crate::random;
use crate::selector::{OneOrMany, Topic};
use crate::store::StoreStats;
use crate::wire::{ConnectionId, Event, Position};

pub use builder::ManagerBuilder;
pub use close_reason::CloseReason;
#[cfg(feature = "serve")]
pub(crate) use connection_entry::ClosedConnection;
pub(crate) use connection_entry::{Closing, EndedConnection};
pub use error::{PublishError, SendError};
pub use inner::ConnectionRef;
pub(crate) use inner::ManagerInner;
pub(crate) use keys::{AudienceKey, ShardKey};
pub(crate) use pages::PageKey;
pub(crate) use settings::ManagerSettings;
pub use settings::{InvalidSetting, OnLag};
pub(crate) use shards::PendingWakeups;
pub(crate) use state::State;
pub(crate) use timers::Timers;

/// Tracks connections and delivers events to them.
///
/// ```
/// use prism_sse::{Event, Manager};
///
/// let sse = Manager::new();
/// let connection = sse.add_connection();
///
/// sse.send("just for you", connection.id())?;
/// sse.broadcast("everyone gets this")?;
/// sse.publish("orders", Event::new("every reader of orders gets this"))?;
///
/// assert_eq!(sse.connection_count(), 1);
/// sse.remove_connection(connection.id());
/// assert_eq!(sse.connection_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Manager {
    inner: Arc<ManagerInner>,
}

impl Manager {
    /// Publishes an event to every connection.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if the event was not published.
    pub fn broadcast(&self, event: impl Into<Event>) -> Result<Receipt, PublishError> {
        self.append(Publication::broadcast(event))
    }

    /// Publishes an event to the connections that select one of these topics.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if the event was not published.
    pub fn publish(
        &self,
        topics: impl OneOrMany<Topic>,
        event: impl Into<Event>,
    ) -> Result<Receipt, PublishError> {
        self.append(Publication::new(topics, event)?)
    }

    /// Publishes a publication, which has every option there is.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if the event was not published.
    pub fn append(&self, publication: Publication) -> Result<Receipt, PublishError> {
        self.inner.publish(publication)
    }

    /// Sends an event to one connection, in order with what is published.
    ///
    /// It has no position, is not stored, and is lost with the connection. What must survive a
    /// reconnect has to be published to a topic of the user. With history it cannot have an id,
    /// because a reader could not resume after it.
    ///
    /// # Errors
    ///
    /// [`SendError`] if there is no such connection or the event was not published.
    pub fn send(&self, event: impl Into<Event>, to: ConnectionId) -> Result<Receipt, SendError> {
        self.inner.send(event.into(), to)
    }

    /// Closes a connection once the events that are due for it were delivered. `false` if there is
    /// no such connection.
    pub fn remove_connection(&self, id: ConnectionId) -> bool {
        self.inner.close_connection(id, CloseReason::Removed)
    }

    /// A handle on an open connection.
    pub fn connection(&self, id: ConnectionId) -> Option<ConnectionRef> {
        self.inner.connection(id)
    }

    /// Handles on all open connections, in no particular order.
    pub fn connections(&self) -> Vec<ConnectionRef> {
        let mut connections = Vec::new();
        let mut from = Some(0);
        while let Some(begin) = from {
            // The lock is released between two batches.
            let (batch, next) = self.inner.lock().batch(begin);
            let handle = |(id, state)| ConnectionRef::new(Arc::downgrade(&self.inner), id, state);
            connections.extend(batch.into_iter().map(handle));
            from = next;
        }
        connections
    }

    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.inner.lock().open()
    }

    /// Closes every connection once the events that are due for it were delivered, and refuses
    /// further ones.
    pub fn close(&self) {
        self.inner.lock().refuse_connections();
        let mut from = Some(0);
        while let Some(begin) = from {
            let mut ended = Vec::new();
            // The lock is released between two batches.
            from = self.inner.lock().close_batch(begin, CloseReason::Shutdown, &mut ended);
            self.inner.wake();
            self.inner.run_disconnect_hook(ended);
        }
    }

    /// Closes each connection at a random moment within `window`, so that not all readers reconnect
    /// at once; then [closes](Self::close) the manager.
    pub async fn drain(&self, window: Duration) {
        let begin = Instant::now();
        let window = window.min(limits::WAIT_MAX);
        let moment = || window.mul_f64(random::bits() as f64 / u64::MAX as f64);
        let mut ends: Vec<_> = self.connections().into_iter().map(|it| (moment(), it)).collect();
        ends.sort_by_key(|&(at, _)| at);
        for (at, connection) in ends {
            tokio::time::sleep_until(begin + at).await;
            connection.shut_down();
        }
        self.close();
    }

    /// Waits for `signal`, then [closes](Self::close) the manager.
    ///
    /// A server that shuts down gracefully waits for its responses, and event streams do not end by
    /// themselves. This ends them:
    ///
    /// ```no_run
    /// # use {axum::Router, tokio::net::TcpListener};
    /// # async fn run(listener: TcpListener, app: Router) -> std::io::Result<()> {
    /// # let sse = prism_sse::Manager::new();
    /// # let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
    /// axum::serve(listener, app).with_graceful_shutdown(sse.graceful(ctrl_c)).await
    /// # }
    /// ```
    pub fn graceful<F>(&self, signal: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send,
    {
        let manager = self.clone();
        async move {
            signal.await;
            manager.close();
        }
    }

    /// Current counts and totals.
    pub fn stats(&self) -> Stats {
        let writer = self.inner.writer.as_ref();
        let store = writer.map(|writer| writer.store.stats());
        let state = self.inner.lock();
        Stats {
            connections: state.open(),
            audiences: state.audiences.len(),
            topics: state.log.topics().len(),
            records: state.log.len(Class::History),
            transient: state.log.len(Class::Transient),
            bytes: state.log.bytes(),
            oldest: state
                .log
                .oldest_at(Class::History)
                .map(|at| Duration::from_millis(self.inner.now().saturating_sub(at))),
            connected: state.counters.connected,
            published: state.counters.published,
            delivered: self.inner.delivered(),
            delivered_bytes: self.inner.delivered_bytes(),
            gaps: state.counters.gaps,
            store,
        }
    }

    /// Whether the last events were stored, so that further ones may be expected to be.
    pub fn accepts_events(&self) -> bool {
        self.inner.writer.as_ref().is_none_or(|writer| !writer.fails())
    }

    /// The applied mark: the position up to which the order is known here. `None` while no event
    /// was applied.
    pub fn position(&self) -> Option<Position> {
        let state = self.inner.lock();
        let applied = state.log.applied();
        state.log.position(applied).filter(|_| applied > 0)
    }

    pub(crate) fn inner(&self) -> &Arc<ManagerInner> {
        &self.inner
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Current counts of a manager, and totals since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Open connections.
    pub connections: usize,
    /// Distinct audiences of connections.
    pub audiences: usize,
    /// Topics with a record or a subscription.
    pub topics: usize,
    /// Records in the log, transient ones not included.
    pub records: usize,
    /// [Transient](crate::Publication::transient) records in the log.
    pub transient: usize,
    /// Bytes of the log: records of both kinds, and bookkeeping.
    pub bytes: usize,
    /// Age of the oldest record that is not transient.
    pub oldest: Option<Duration>,
    /// Connections that were opened.
    pub connected: u64,
    /// Events that were applied to the order.
    pub published: u64,
    /// Events delivered, counted once for each connection, without control events.
    pub delivered: u64,
    /// Their bytes in the stream, without HTTP framing.
    pub delivered_bytes: u64,
    /// Gaps reported to readers.
    pub gaps: u64,
    /// What the store keeps, if there is one.
    pub store: Option<StoreStats>,
}
