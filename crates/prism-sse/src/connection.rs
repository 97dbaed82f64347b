//! A connection: a subscription and the stream of bytes that is made from it.
//!
//! To the subscription's events it adds the first frame, heartbeats, marks, the handling of lag,
//! and a close reason. It is a [`Stream`] of bytes and an [`http_body::Body`], both with the same
//! bytes. It has no queue, no task and no timer of its own.
//!
//! # Slow readers
//!
//! A slow reader delays nobody: its unread events stay in the log, once for all readers, for as
//! long as the log retains them. [`OnLag`](crate::OnLag) says what happens to it then.

mod control;
pub(crate) mod first_frame;
pub(crate) mod next_bytes;

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame};

use crate::audience::Audience;
use crate::limits;
use crate::log::{Gap, NewPatterns, ResolvedId, Visibility};
use crate::manager::{
    CloseReason, ConnectionRef, EndedConnection, Manager, ManagerInner, PageKey, State,
};
use crate::random;
use crate::selector::Topic;
use crate::subscription::replay::Replay;
use crate::subscription::{Start, Subscription};
use crate::wire::{ConnectionId, EARLIEST, HEARTBEAT};
use first_frame::FirstFrame;
use next_bytes::{Framing, NextBytes, read_replay, read_scope};

/// An open event stream. Dropping it closes the connection and frees everything it uses.
///
/// ```
/// use futures_util::StreamExt;
/// use prism_sse::Manager;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), prism_sse::PublishError> {
/// let sse = Manager::new();
/// let mut connection = sse.add_connection();
/// sse.broadcast("hello")?;
///
/// let first_line = connection.next().await.unwrap();
/// assert!(first_line.starts_with(b"retry: "));
/// assert_eq!(connection.next().await.unwrap(), "data: hello\n\n");
///
/// drop(connection);
/// assert_eq!(sse.connection_count(), 0);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a connection ends it"]
pub struct Connection {
    manager: Arc<ManagerInner>,
    slot: u32,
    subscription: Subscription,
    opening: Option<Box<Opening>>,
    gap: Option<Gap>,
    /// Set if the last poll returned bytes after which nothing was left to send: the waker that was
    /// registered then, and the manager's change count. Servers poll once more after each frame;
    /// while both are unchanged, that poll returns without the manager's lock.
    parked: Option<(WakerKey, u64)>,
    ended: bool,
}

/// The first bytes of the stream, until they were polled.
struct Opening(Vec<u8>);

/// The result of one poll under the manager's lock.
enum PollStep {
    Bytes(Bytes),
    /// The next events are to be read after the lock was released.
    Replay(Box<Replay>),
    /// A page of the store has to be loaded first.
    Page(PageKey),
    End,
    Again,
    Wait,
}

impl Manager {
    /// Adds a connection that receives every public event from now on, and what is sent to it.
    ///
    /// [`max_connections`](crate::ManagerBuilder::max_connections) does not apply, because the
    /// application itself adds this connection. On a closed manager the connection ends at once.
    pub fn add_connection(&self) -> Connection {
        Connection::begin(self, ConnectOptions::new(Audience::everything(), Start::Now), |_, _| {
            Ok(())
        })
        .unwrap_or_else(|error: Infallible| match error {})
    }

    /// Adds a connection that receives what its audience selects and may read.
    ///
    /// ```
    /// # use prism_sse::{Audience, Manager, Start};
    /// let sse = Manager::new();
    /// let audience = Audience::select(["orders", "users/7"])?.grant("users/7")?;
    /// let connection = sse.subscribe(audience, Start::Now)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the manager is closed or at its limit of connections or patterns.
    pub fn subscribe(
        &self,
        audience: Audience,
        start: Start,
    ) -> Result<Connection, SubscribeError> {
        self.connect(ConnectOptions::new(audience, start))
    }

    /// Adds a connection, unless the manager is closed or at a limit.
    pub(crate) fn connect(&self, options: ConnectOptions) -> Result<Connection, SubscribeError> {
        let audience = &options.audience;
        let mut patterns = audience.patterns().chain(audience.grant_patterns()).peekable();
        let new = patterns.peek().is_some().then(|| self.inner().lock().log.new_patterns(patterns));
        let added_cost = new.flatten().map_or(0, NewPatterns::added_cost);
        Connection::begin(self, options, |state, audience| {
            if state.is_closed() {
                return Err(SubscribeError::Closed);
            }
            match self.inner().settings.max_connections {
                Some(max) if state.registered() >= max => return Err(SubscribeError::Full { max }),
                _ => {}
            }
            let max = self.inner().settings.max_patterns;
            if !audience.patterns().all(|pattern| state.log.has_room_for(pattern, max)) {
                return Err(SubscribeError::TooManyPatterns { max });
            }
            let max = limits::PATTERNS_STEPS_MAX;
            if added_cost > 0 && state.log.match_cost().saturating_add(added_cost) > max {
                return Err(SubscribeError::PatternsTooCostly { max });
            }
            Ok(())
        })
    }
}

/// What a connection is opened with.
pub(crate) struct ConnectOptions {
    pub(crate) audience: Audience,
    pub(crate) start: Start,
    /// What the application attaches to the connection.
    pub(crate) state: Option<Arc<dyn Any + Send + Sync>>,
    /// The `Last-Event-ID` of a reader that reconnects.
    pub(crate) last_event_id: Option<String>,
}

impl ConnectOptions {
    pub(crate) fn new(audience: Audience, start: Start) -> Self {
        Self { audience, start, state: None, last_event_id: None }
    }
}

impl Connection {
    fn begin<E>(
        manager: &Manager,
        options: ConnectOptions,
        admit: impl FnOnce(&State, &Audience) -> Result<(), E>,
    ) -> Result<Self, E> {
        let inner = Arc::clone(manager.inner());
        let random = random::more_bits();
        let now = inner.now();
        let has_history = inner.settings.has_history();
        let start = match (&options.last_event_id, options.start) {
            (Some(id), _) if has_history => Start::After(id.clone()),
            (_, Start::After(_)) if !has_history => Start::Now,
            (_, start) => start,
        };
        let known_id = match &start {
            Start::After(id) => look_up_publisher_id(&inner, &options.audience, id),
            _ => None,
        };
        let mut guard = inner.lock();
        let state = &mut *guard;
        admit(state, &options.audience)?;
        state.log.trim(now);
        let (slot, id, driver_sleeps_too_long) =
            state.connect(random, now, options.audience, options.state, &inner.settings);
        let (mut subscription, gap) =
            Subscription::open(&state.log, read_scope(state, slot), &start, known_id);
        state.counters.gaps += u64::from(gap.is_some());
        let last_sent = subscription.last_sent();
        let controls = next_bytes::has_control_events(state, &inner.settings, slot);
        let opening =
            control::opening(&inner.settings, &state.log, id, last_sent, gap, &start, controls);
        let handle = ConnectionRef::new(Arc::downgrade(&inner), id, state.attached(slot));
        let closed = state.is_closed();
        if closed {
            state.close(slot, CloseReason::Shutdown);
            subscription.set_end_sent();
        }
        drop(guard);
        if driver_sleeps_too_long {
            inner.wake();
        }
        let connection = Self {
            manager: inner,
            slot,
            subscription,
            opening: Some(Box::new(Opening(opening))),
            gap,
            parked: None,
            ended: closed,
        };
        connection.run_connect_hooks(&handle, options.last_event_id.as_deref());
        Ok(connection)
    }

    /// Calls the hook for a connection that began, and then the one for a connection that ended, if
    /// it ended meanwhile.
    fn run_connect_hooks(&self, handle: &ConnectionRef, last: Option<&str>) {
        if !self.manager.settings.has_hooks {
            return;
        }
        self.manager.run_connect_hook(handle, last);
        let ended = self.manager.lock().connect_hook_returned(self.slot);
        self.manager.run_disconnect_hook(ended);
    }

    /// The connection's id, for [`Manager::send`].
    pub fn id(&self) -> ConnectionId {
        self.manager.lock().entry(self.slot).id()
    }

    /// Why the stream does not begin exactly where it was asked to.
    pub fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// A handle that does not keep the connection open. `None` once the connection is closed.
    pub fn handle(&self) -> Option<ConnectionRef> {
        self.manager.connection(self.id())
    }

    /// Why the connection ended or is about to end. `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.manager.lock().entry(self.slot).closing().map(|closing| closing.reason)
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.manager.start_driver();
        if self.parked.take() == Some((waker_key(cx.waker()), self.manager.changes())) {
            // Nothing changed since, and the next change wakes this very waker.
            return Poll::Pending;
        }
        let manager = Arc::clone(&self.manager);
        let now = manager.now();
        let mut ended = None;
        let mut guard = manager.lock();
        let step = self.step(&mut guard, now, &mut ended);
        let parks = matches!(step, PollStep::Bytes(_)) && self.is_up_to_date(&guard);
        let replaced = if parks || matches!(step, PollStep::Wait) {
            guard.register_waker(self.slot, cx.waker())
        } else {
            None
        };
        if parks {
            // The key is that of the registered waker, whose address cannot be reused while it is
            // registered. The count is read under the lock, so that every later change finds the
            // waker.
            let registered = guard.waker(self.slot).map(waker_key);
            self.parked = registered.map(|key| (key, manager.changes()));
        }
        drop(guard);
        // Dropping a waker may drop a task, and with it other connections.
        drop(replaced);
        let step = match step {
            PollStep::Replay(replay) => self.read_replay(replay, &mut ended),
            step => step,
        };
        manager.run_disconnect_hook(ended);
        match step {
            PollStep::Bytes(bytes) => Poll::Ready(Some(bytes)),
            PollStep::End => {
                self.ended = true;
                Poll::Ready(None)
            }
            PollStep::Wait => Poll::Pending,
            PollStep::Page(key) => {
                self.wait_for_page(key, cx);
                Poll::Pending
            }
            PollStep::Again | PollStep::Replay(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn step(
        &mut self,
        state: &mut State,
        now: u64,
        ended: &mut Option<EndedConnection>,
    ) -> PollStep {
        if let Some(opening) = self.opening.take() {
            let bytes = Bytes::from(opening.0);
            first_frame::report(|| self.first_frame(state.entry(self.slot).id(), &bytes));
            state.progress(self.slot, now);
            return PollStep::Bytes(bytes);
        }
        let settings = &self.manager.settings;
        let next =
            self.subscription.next_bytes(state, settings, self.slot, now, Framing::Block, ended);
        let bytes = match next {
            NextBytes::Events(batch) => {
                self.manager.count_delivered(u64::from(batch.events), batch.event_bytes);
                batch.bytes
            }
            NextBytes::Control(bytes) => bytes.into(),
            NextBytes::Replay(replay) => {
                state.progress(self.slot, now);
                return PollStep::Replay(replay);
            }
            NextBytes::Again | NextBytes::Page(_) => return PollStep::Again,
            NextBytes::End => return PollStep::End,
            NextBytes::Wait => return self.keep_alive(state, now),
        };
        state.progress(self.slot, now);
        PollStep::Bytes(bytes)
    }

    /// Reads what the log has for a reader that is behind, with the lock released.
    fn read_replay(
        &mut self,
        mut replay: Box<Replay>,
        ended: &mut Option<EndedConnection>,
    ) -> PollStep {
        let (manager, subscription) = (&self.manager, &mut self.subscription);
        match read_replay(subscription, &mut replay, manager, self.slot, Framing::Block, ended) {
            NextBytes::Events(batch) => {
                self.manager.count_delivered(u64::from(batch.events), batch.event_bytes);
                PollStep::Bytes(batch.bytes)
            }
            NextBytes::Control(bytes) => PollStep::Bytes(bytes.into()),
            NextBytes::End => PollStep::End,
            NextBytes::Page(key) => PollStep::Page(key),
            NextBytes::Replay(_) | NextBytes::Again | NextBytes::Wait => PollStep::Again,
        }
    }

    /// Registers the waker before the page is asked for, so that its arrival finds the waker.
    fn wait_for_page(&self, key: PageKey, cx: &Context<'_>) {
        let replaced = self.manager.lock().register_waker(self.slot, cx.waker());
        drop(replaced);
        if !self.manager.wait_for_page(key, self.slot) {
            cx.waker().wake_by_ref();
        }
    }

    /// What a server needs to take the stream over and write to the socket itself.
    fn first_frame(&self, id: ConnectionId, opening: &Bytes) -> FirstFrame {
        FirstFrame {
            manager: Arc::clone(&self.manager),
            slot: self.slot,
            id,
            subscription: self.subscription,
            opening: opening.clone(),
        }
    }

    /// Whether there is nothing to send: no record, no mark, no heartbeat and no close.
    fn is_up_to_date(&self, state: &State) -> bool {
        let entry = state.entry(self.slot);
        let is_due = entry.wants_mark || entry.wants_heartbeat || entry.closing().is_some();
        !is_due && self.subscription.is_at(state.log.end()) && !self.subscription.has_known_gap()
    }

    fn keep_alive(&mut self, state: &mut State, now: u64) -> PollStep {
        let applied = state.log.applied();
        let controls = next_bytes::has_control_events(state, &self.manager.settings, self.slot);
        let entry = state.entry_mut(self.slot);
        let heartbeat = std::mem::take(&mut entry.wants_heartbeat);
        let mark = std::mem::take(&mut entry.wants_mark)
            && controls
            && self.subscription.last_sent() < applied;
        if mark || heartbeat {
            state.progress(self.slot, now);
        }
        match (mark, heartbeat) {
            (true, _) => PollStep::Bytes(self.subscription.mark(&state.log, applied).into()),
            (false, true) => PollStep::Bytes(Bytes::from_static(HEARTBEAT)),
            (false, false) => PollStep::Wait,
        }
    }
}

/// What an id that a publisher chose stands for, if the reader may know of it. Grants are matched
/// with the lock released; for an id that nobody used as well, so that both take the same time.
fn look_up_publisher_id(
    manager: &ManagerInner,
    audience: &Audience,
    id: &str,
) -> Option<ResolvedId> {
    if id.starts_with('#') || id == EARLIEST {
        return None;
    }
    let in_log = manager.lock().log.resolve_publisher_id(id);
    let in_store = manager.find_stored_id(id);
    // The first of all records with the id counts.
    let resolved = match (in_log, in_store) {
        (Some(log), Some(stored)) if log.0.is_expired || stored.0.seq < log.0.seq => Some(stored),
        (log, stored) => log.or(stored),
    };
    let (resolved, visibility) = match resolved {
        Some((resolved, visibility)) => (Some(resolved), visibility),
        None => (None, Visibility::GrantedOneOf(Topic::try_from(id).into_iter().collect())),
    };
    let mut unlimited = u64::MAX;
    let may_know = match &visibility {
        Visibility::Everyone => true,
        Visibility::GrantedOneOf(topics) => {
            audience.grants_everything()
                || topics.iter().any(|topic| audience.is_granted(topic, &mut unlimited))
        }
    };
    resolved.filter(|_| may_know)
}

/// The identity of a waker: what `Waker::will_wake` compares.
type WakerKey = (usize, usize);

fn waker_key(waker: &Waker) -> WakerKey {
    (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
}

impl Stream for Connection {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.poll_bytes(cx)
    }
}

impl Body for Connection {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (ended, removed) = self.manager.lock().disconnect(self.slot);
        drop(removed);
        self.manager.run_disconnect_hook(ended);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Why a connection was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The manager was closed.
    Closed,
    /// The manager has reached its limit of connections.
    Full {
        /// How many it allows.
        max: usize,
    },
    /// Matching a topic with the patterns in use, and with those of the audience and its grants,
    /// could take more steps than allowed.
    PatternsTooCostly {
        /// How many are allowed: [`limits::PATTERNS_STEPS_MAX`].
        max: u64,
    },
    /// The manager has reached its limit of distinct patterns in use.
    TooManyPatterns {
        /// How many it allows.
        max: usize,
    },
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the manager is closed"),
            Self::Full { max } => write!(f, "{max} connections are open; no more are allowed"),
            Self::PatternsTooCostly { max } => {
                write!(f, "matching a topic with the patterns in use takes {max} steps at most")
            }
            Self::TooManyPatterns { max } => {
                write!(f, "{max} patterns are in use; no more are allowed")
            }
        }
    }
}

impl std::error::Error for SubscribeError {}
