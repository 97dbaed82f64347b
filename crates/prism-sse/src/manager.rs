//! The manager: connections and topics by name, and the one way into the log.
//!
//! A [`Manager`] is a handle; its clones are the same manager. Publishing appends to the log and
//! signals the driver, and never waits for a reader.

mod audiences;
mod builder;
mod driver;
mod hooks;
mod inner;
mod keys;
mod shards;
mod state;
mod timers;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::{EngineError, Publication, Receipt, Target};
use crate::log::Class;
use crate::random;
use crate::selector::{InvalidTopic, OneOrMany, Topic};
use crate::wire::{ConnectionId, Event, Position};

pub(crate) use audiences::AudienceKey;
pub(crate) use builder::ManagerSettings;
pub use builder::{InvalidSetting, ManagerBuilder, OnLag};
pub(crate) use hooks::{connected, disconnected};
pub(crate) use inner::ManagerInner;
pub(crate) use shards::{PendingWakeups, ShardKey};
pub(crate) use state::{Closing, EndedConnection, State};
pub(crate) use timers::Timers;

/// Tracks connections and hands events to them.
///
/// ```
/// use prism_sse::{Event, Manager};
///
/// let sse = Manager::new();
/// let connection = sse.add_connection();
///
/// sse.send("just for you", connection.id())?;
/// sse.broadcast("everyone gets this")?;
/// sse.publish("orders", Event::new("whoever reads orders gets this"))?;
///
/// assert_eq!(sse.connection_count(), 1);
/// sse.remove_connection(connection.id());
/// assert_eq!(sse.connection_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Manager {
    shared: Arc<ManagerInner>,
}

impl Manager {
    /// A manager that keeps no history: events carry no ids of ours, and a reader gets what is
    /// published from the moment it connects.
    pub fn new() -> Self {
        Self::builder().into_manager()
    }

    /// A manager with settings.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::new()
    }

    /// Hands an event to every connection.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if the event was not taken.
    pub fn broadcast(&self, event: impl Into<Event>) -> Result<Receipt, PublishError> {
        self.append(Publication::broadcast(event))
    }

    /// Hands an event to the connections that select one of these topics.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if the event was not taken.
    pub fn publish(
        &self,
        topics: impl OneOrMany<Topic>,
        event: impl Into<Event>,
    ) -> Result<Receipt, PublishError> {
        self.append(Publication::new(topics, event)?)
    }

    /// Hands over an event with everything that can be said about it.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if the event was not taken.
    pub fn append(&self, publication: Publication) -> Result<Receipt, PublishError> {
        self.check(publication.event())?;
        self.shared.append(publication)
    }

    /// Hands an event to one connection, in its place among what is broadcast.
    ///
    /// It carries no id of ours, is not kept, and is gone with the connection. What must survive a
    /// reconnect is published to a topic of the user. With history it cannot carry an id at all,
    /// since a reader could not resume from it.
    ///
    /// # Errors
    ///
    /// [`SendError`] if there is no such connection or the event was not taken.
    pub fn send(&self, event: impl Into<Event>, to: ConnectionId) -> Result<Receipt, SendError> {
        let event = event.into();
        self.check(&event).map_err(SendError::Publish)?;
        if self.shared.settings.has_history() && event.event_id().is_some() {
            return Err(SendError::IdNotKept);
        }
        if self.shared.lock().find(to).is_none() {
            return Err(SendError::NoSuchConnection { id: to });
        }
        let publication = Publication::to(Target::Connection(to), event);
        self.shared.append(publication).map_err(SendError::Publish)
    }

    /// Ends a connection after what is due for it. `false` if there is no such connection.
    pub fn remove_connection(&self, id: ConnectionId) -> bool {
        self.end(id, CloseReason::Removed)
    }

    fn end(&self, id: ConnectionId, reason: CloseReason) -> bool {
        let ended = {
            let mut state = self.shared.lock();
            let slot = state.find(id);
            slot.and_then(|slot| state.close(slot, reason))
        };
        let removed = ended.is_some();
        self.shared.wake();
        disconnected(&self.shared.settings.hooks, &self.shared, ended);
        removed
    }

    /// A handle on an open connection.
    pub fn connection(&self, id: ConnectionId) -> Option<ConnectionRef> {
        let guard = self.shared.lock();
        let state = guard.attached(guard.find(id)?);
        Some(ConnectionRef::new(Arc::downgrade(&self.shared), id, state))
    }

    /// Handles on all open connections, in no order.
    pub fn connections(&self) -> Vec<ConnectionRef> {
        let handle = |(id, state)| ConnectionRef::new(Arc::downgrade(&self.shared), id, state);
        self.shared.lock().all().map(handle).collect()
    }

    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.shared.lock().open()
    }

    /// Ends every connection after what is due for it, and refuses further ones.
    pub fn close(&self) {
        let ended = self.shared.lock().close_all(CloseReason::Shutdown);
        self.shared.wake();
        disconnected(&self.shared.settings.hooks, &self.shared, ended);
    }

    /// Ends each connection at a random moment within `window`, so that not all of them come back
    /// at once; then [closes](Self::close) the manager.
    pub async fn drain(&self, window: Duration) {
        let begin = Instant::now();
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
    /// A server that shuts down gracefully waits for its streams, which do not end by themselves.
    /// With this they do:
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

    /// What the manager holds and did so far.
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
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
                .map(|at| Duration::from_millis(self.shared.now().saturating_sub(at))),
            connected: state.counters.connected,
            published: state.counters.published,
            delivered: self.shared.delivered(),
            delivered_bytes: self.shared.delivered_bytes(),
            gaps: state.counters.gaps,
        }
    }

    /// The place up to which the order is known here; `None` while there is no order, or nothing in
    /// it.
    pub fn position(&self) -> Option<Position> {
        let state = self.shared.lock();
        let applied = state.log.applied();
        state.log.position(applied).filter(|_| applied > 0)
    }

    pub(crate) fn shared(&self) -> &Arc<ManagerInner> {
        &self.shared
    }

    fn check(&self, event: &Event) -> Result<(), PublishError> {
        let max = self.shared.settings.max_event_bytes;
        if event.size() > max {
            return Err(PublishError::TooLarge { len: event.size(), max });
        }
        if event.name().is_some_and(|name| name.as_str().starts_with(RESERVED)) {
            return Err(PublishError::ReservedName);
        }
        let reserved = self.shared.settings.has_history()
            && event.event_id().is_some_and(crate::wire::EventId::is_reserved);
        if reserved { Err(PublishError::ReservedId) } else { Ok(()) }
    }
}

/// Names that begin like this are the manager's own.
const RESERVED: &str = "prism.";

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A handle on a connection that someone else owns. It keeps nothing alive.
#[derive(Clone)]
pub struct ConnectionRef {
    shared: Weak<ManagerInner>,
    id: ConnectionId,
    state: Option<Arc<dyn Any + Send + Sync>>,
}

impl ConnectionRef {
    pub(crate) fn new(
        shared: Weak<ManagerInner>,
        id: ConnectionId,
        state: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        Self { shared, id, state }
    }

    /// The connection's id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// What the application attached to the connection, if it is a `T`.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.state.clone()?.downcast().ok()
    }

    /// Hands an event to the connection; see [`Manager::send`].
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection ended or the event was not taken.
    pub fn send(&self, event: impl Into<Event>) -> Result<Receipt, SendError> {
        let gone = SendError::NoSuchConnection { id: self.id };
        let shared = self.shared.upgrade().ok_or(gone)?;
        Manager::from_shared(shared).send(event, self.id)
    }

    /// Ends the connection; see [`Manager::remove_connection`].
    pub fn remove(&self) -> bool {
        let shared = self.shared.upgrade();
        shared.is_some_and(|shared| Manager::from_shared(shared).end(self.id, CloseReason::Removed))
    }

    /// Ends the connection because its server ends.
    pub(crate) fn shut_down(&self) {
        if let Some(shared) = self.shared.upgrade() {
            Manager::from_shared(shared).end(self.id, CloseReason::Shutdown);
        }
    }
}

impl fmt::Debug for ConnectionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionRef").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The reader went away, or the application dropped the connection.
    Disconnected,
    /// The reader was too slow, and the manager disconnects slow readers.
    Lagged,
    /// The connection reached its maximum age.
    MaxAge,
    /// The application removed it.
    Removed,
    /// The manager was closed.
    Shutdown,
    /// The reader took nothing for 15 s while something was due.
    Stalled,
}

impl CloseReason {
    /// Whether what was due is still delivered before the end.
    pub(crate) const fn is_planned(self) -> bool {
        !matches!(self, Self::Lagged | Self::Stalled)
    }

    /// The reason as a word, for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Lagged => "lagged",
            Self::MaxAge => "max_age",
            Self::Removed => "removed",
            Self::Shutdown => "shutdown",
            Self::Stalled => "stalled",
        }
    }
}

/// What a manager holds, and what it did since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Open connections.
    pub connections: usize,
    /// Distinct audiences of connections.
    pub audiences: usize,
    /// Topics with a record or a reader.
    pub topics: usize,
    /// Records in the log, transient ones not included.
    pub records: usize,
    /// [Transient](crate::Publication::transient) records in the log.
    pub transient: usize,
    /// Bytes the log holds, for records of both kinds and bookkeeping.
    pub bytes: usize,
    /// Age of the oldest record that is not transient.
    pub oldest: Option<Duration>,
    /// Connections that began.
    pub connected: u64,
    /// Events that got a place in the order.
    pub published: u64,
    /// Events handed to connections, each counted once for each. Control events do not count.
    pub delivered: u64,
    /// Their bytes, as they stand in the stream.
    pub delivered_bytes: u64,
    /// Gaps that readers were told of.
    pub gaps: u64,
}

/// Why an event was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The engine did not take it.
    Engine(EngineError),
    /// The idempotency key was used for something else within the window.
    KeyReused,
    /// A topic is not valid.
    Topic(InvalidTopic),
    /// The id begins with `#` or is `earliest`, and the manager keeps history.
    ReservedId,
    /// The name begins with `prism.`.
    ReservedName,
    /// The text has more bytes than allowed.
    TooLarge {
        /// How many bytes it has.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// More idempotency keys were used within the window than are remembered. Trying again later
    /// may succeed.
    TooManyKeys {
        /// How many are remembered.
        max: usize,
    },
}

impl From<EngineError> for PublishError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<InvalidTopic> for PublishError {
    fn from(error: InvalidTopic) -> Self {
        Self::Topic(error)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::KeyReused => {
                f.write_str("the idempotency key was used for another event a short time ago")
            }
            Self::Topic(error) => error.fmt(f),
            Self::ReservedId => {
                f.write_str("an event's id must not begin with `#` and must not be `earliest`")
            }
            Self::ReservedName => {
                write!(f, "an event's name must not begin with `{RESERVED}`, which is reserved")
            }
            Self::TooLarge { len, max } => {
                write!(f, "an event has {len} bytes of text; at most {max} are allowed")
            }
            Self::TooManyKeys { max } => {
                write!(f, "{max} idempotency keys are remembered; no more are for the moment")
            }
        }
    }
}

impl std::error::Error for PublishError {}

/// Why an event was not sent to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The event has an id, which a manager with history could not resume from.
    IdNotKept,
    /// No open connection has this id.
    NoSuchConnection {
        /// The id.
        id: ConnectionId,
    },
    /// The event was not taken.
    Publish(PublishError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdNotKept => {
                f.write_str("an event to one connection is not kept, and so cannot carry an id")
            }
            Self::NoSuchConnection { id } => write!(f, "no open connection has the id {id}"),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}
