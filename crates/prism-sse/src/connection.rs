//! A connection: a subscription that someone listens to.
//!
//! It adds what a listener needs: the first line, heartbeats, marks, an answer to lag, and an end
//! with a reason. It is a [`Stream`] of bytes and an [`http_body::Body`], both with the same bytes.
//! It has no queue, no task and no timer of its own.
//!
//! # Slow readers
//!
//! A reader that does not take its events holds up nobody. They stay in the log, once for all
//! readers, for as long as the log keeps them. What happens then is the manager's
//! [`OnLag`](crate::OnLag).

mod control;
pub(crate) mod first_frame;
pub(crate) mod reading;

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
use crate::log::Gap;
use crate::manager::{
    CloseReason, ConnectionRef, Ended, Manager, Shared, State, connected, disconnected,
};
use crate::random;
use crate::subscription::{Start, Subscription};
use crate::wire::{ConnectionId, HEARTBEAT};
use first_frame::FirstFrame;
use reading::{Form, Reading, reader};

/// Someone who listens. Dropping it ends the connection and frees everything it held.
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
    shared: Arc<Shared>,
    slot: u32,
    reading: Reading,
    opening: Option<Box<Opening>>,
    gap: Option<Gap>,
    /// The waker that was left with the manager when the last bytes were handed out, because
    /// nothing else was due, and the count of changes then. Servers poll once more after each
    /// frame, to hear just that.
    parked: Option<(WakerKey, u64)>,
    ended: bool,
}

/// What the stream begins with, until it was read.
struct Opening(Vec<u8>);

/// What one look at the log gives a connection.
enum Step {
    Bytes(Bytes),
    End,
    Again,
    Wait,
}

impl Manager {
    /// Adds a connection that gets everything public from now on, and what is sent to it.
    ///
    /// The limit on connections does not count here: the application asks for this one itself. On
    /// a closed manager the connection ends at once.
    pub fn add_connection(&self) -> Connection {
        Connection::begin(self, ConnectOptions::new(Audience::everything(), Start::Now), |_, _| Ok(()))
            .unwrap_or_else(|error: Infallible| match error {})
    }

    /// Adds a connection that gets what its audience wants and may read.
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
    /// [`SubscribeError`] if there is no room, for it or for one of its patterns.
    pub fn subscribe(
        &self,
        audience: Audience,
        start: Start,
    ) -> Result<Connection, SubscribeError> {
        self.connect(ConnectOptions::new(audience, start))
    }

    /// Adds a connection, unless the manager is full or closed.
    pub(crate) fn connect(&self, options: ConnectOptions) -> Result<Connection, SubscribeError> {
        Connection::begin(self, options, |state, audience| {
            if state.is_closed() {
                return Err(SubscribeError::Closed);
            }
            match self.shared().settings.max_connections {
                Some(max) if state.held() >= max => return Err(SubscribeError::Full { max }),
                _ => {}
            }
            let max = self.shared().settings.max_patterns;
            if audience.patterns().all(|pattern| state.log.has_room_for(pattern, max)) {
                Ok(())
            } else {
                Err(SubscribeError::TooManyPatterns { max })
            }
        })
    }
}

/// What someone who connects asks for, and what the application attaches.
pub(crate) struct ConnectOptions {
    pub(crate) audience: Audience,
    pub(crate) start: Start,
    pub(crate) state: Option<Arc<dyn Any + Send + Sync>>,
    /// The id a returning reader sent, for the hook.
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
        let shared = Arc::clone(manager.shared());
        let random = random::more_bits();
        let now = shared.now();
        let has_history = shared.settings.has_history();
        let start = match (&options.last_event_id, options.start) {
            (Some(id), _) if has_history => Start::After(id.clone()),
            (_, Start::After(_)) if !has_history => Start::Now,
            (_, start) => start,
        };
        let mut guard = shared.lock();
        let state = &mut *guard;
        admit(state, &options.audience)?;
        state.log.trim(now);
        let (slot, id, rests_too_long) =
            state.connect(random, now, options.audience, options.state, &shared.settings);
        let (subscription, gap) = Subscription::open(&state.log, reader(state, slot), &start);
        state.counts.gaps += u64::from(gap.is_some());
        let told = subscription.told();
        let talks = reading::talks(state, &shared.settings, slot);
        let opening = control::opening(&shared.settings, &state.log, id, told, gap, &start, talks);
        let handle = ConnectionRef::new(Arc::downgrade(&shared), id, state.attached(slot));
        let closed = state.is_closed();
        if closed {
            state.close(slot, CloseReason::Shutdown);
        }
        drop(guard);
        if rests_too_long {
            shared.wake();
        }
        let connection = Self {
            shared,
            slot,
            reading: Reading::new(subscription, closed),
            opening: Some(Box::new(Opening(opening))),
            gap,
            parked: None,
            ended: closed,
        };
        connection.greet(&handle, options.last_event_id.as_deref());
        Ok(connection)
    }

    /// Tells the application that the connection began, and then that it ended, if it did.
    fn greet(&self, handle: &ConnectionRef, last: Option<&str>) {
        let hooks = &self.shared.settings.hooks;
        if !hooks.any() {
            return;
        }
        connected(hooks, handle, last);
        let ended = self.shared.lock().greet(self.slot);
        disconnected(hooks, &self.shared, ended);
    }

    /// The connection's id, for [`Manager::send`].
    pub fn id(&self) -> ConnectionId {
        self.shared.lock().entry(self.slot).id()
    }

    /// Why the connection could not begin where it was asked to.
    pub fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// A handle that does not keep the connection open; `None` once it ended.
    pub fn handle(&self) -> Option<ConnectionRef> {
        Manager::from_shared(Arc::clone(&self.shared)).connection(self.id())
    }

    /// Why the connection ended, or is about to; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.lock().entry(self.slot).closing().map(|closing| closing.reason)
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.shared.start_driver();
        if self.parked.take() == Some((waker_key(cx.waker()), self.shared.changes())) {
            // Nothing came since, and what comes wakes this very waker.
            return Poll::Pending;
        }
        let shared = Arc::clone(&self.shared);
        let now = shared.now();
        let mut ended = None;
        let mut guard = shared.lock();
        let step = self.step(&mut guard, now, &mut ended);
        let parks = matches!(step, Step::Bytes(_)) && self.has_all(&guard);
        let outworn = if parks || matches!(step, Step::Wait) {
            guard.wait(self.slot, cx.waker())
        } else {
            None
        };
        if parks {
            // The key of the waker that is kept, whose address nobody else can have meanwhile; and
            // the count under the lock: what comes after it finds the waker.
            let kept = guard.waker(self.slot).map(waker_key);
            self.parked = kept.map(|key| (key, shared.changes()));
        }
        drop(guard);
        // Dropping a waker may drop a task, and with it other connections.
        drop(outworn);
        disconnected(&shared.settings.hooks, &shared, ended);
        match step {
            Step::Bytes(bytes) => Poll::Ready(Some(bytes)),
            Step::End => {
                self.ended = true;
                Poll::Ready(None)
            }
            Step::Wait => Poll::Pending,
            Step::Again => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn step(&mut self, state: &mut State, now: u64, ended: &mut Option<Ended>) -> Step {
        if let Some(opening) = self.opening.take() {
            let bytes = Bytes::from(opening.0);
            first_frame::report(|| self.first_frame(state.entry(self.slot).id(), &bytes));
            state.progress(self.slot, now);
            return Step::Bytes(bytes);
        }
        let settings = &self.shared.settings;
        let step = self.reading.step(state, settings, self.slot, now, Form::Block, ended);
        let bytes = match step {
            reading::Step::Events(batch) => {
                self.shared.count_delivered(u64::from(batch.events), batch.event_bytes);
                batch.bytes
            }
            reading::Step::Control(bytes) => bytes.into(),
            reading::Step::Again => return Step::Again,
            reading::Step::End => return Step::End,
            reading::Step::Wait => return self.keep_alive(state, now),
        };
        state.progress(self.slot, now);
        Step::Bytes(bytes)
    }

    /// What a server needs to know that wants to write to the socket itself.
    fn first_frame(&self, id: ConnectionId, opening: &Bytes) -> FirstFrame {
        FirstFrame {
            shared: Arc::clone(&self.shared),
            slot: self.slot,
            id,
            reading: self.reading,
            opening: opening.clone(),
        }
    }

    /// Whether nothing waits for the reader, and nothing was decided about it.
    fn has_all(&self, state: &State) -> bool {
        let entry = state.entry(self.slot);
        let called = entry.wants_mark || entry.wants_heartbeat || entry.closing().is_some();
        let subscription = &self.reading.subscription;
        !called && subscription.is_at(state.log.end()) && !subscription.has_holes()
    }

    fn keep_alive(&mut self, state: &mut State, now: u64) -> Step {
        let applied = state.log.applied();
        let talks = reading::talks(state, &self.shared.settings, self.slot);
        let entry = state.entry_mut(self.slot);
        let heartbeat = std::mem::take(&mut entry.wants_heartbeat);
        let mark = std::mem::take(&mut entry.wants_mark)
            && talks
            && self.reading.subscription.told() < applied;
        if mark || heartbeat {
            state.progress(self.slot, now);
        }
        match (mark, heartbeat) {
            (true, _) => Step::Bytes(self.reading.subscription.mark(&state.log, applied).into()),
            (false, true) => Step::Bytes(Bytes::from_static(HEARTBEAT)),
            (false, false) => Step::Wait,
        }
    }
}

/// What tells a waker from another, as `Waker::will_wake` does.
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
        let (ended, held) = self.shared.lock().disconnect(self.slot);
        drop(held);
        disconnected(&self.shared.settings.hooks, &self.shared, ended);
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
    /// As many connections are open as the manager allows.
    Full {
        /// How many it allows.
        max: usize,
    },
    /// As many distinct patterns are in use as the manager allows.
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
            Self::TooManyPatterns { max } => {
                write!(f, "{max} patterns are in use; no more are allowed")
            }
        }
    }
}

impl std::error::Error for SubscribeError {}
