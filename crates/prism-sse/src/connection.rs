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
use crate::log::{Gap, Log};
use crate::manager::{
    CloseReason, Closing, ConnectionRef, Ended, Manager, OnLag, Shared, State, connected,
    disconnected,
};
use crate::random;
use crate::subscription::{Read, Reader, Start, Subscription};
use crate::wire::{ConnectionId, HEARTBEAT};

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
    subscription: Subscription,
    opening: Option<Box<Opening>>,
    gap: Option<Gap>,
    /// The waker that was left with the manager when the last bytes were handed out, because
    /// nothing else was due, and the count of changes then. Servers poll once more after each
    /// frame, to hear just that.
    parked: Option<(WakerKey, u64)>,
    /// The last mark was sent; what follows is the end.
    said_goodbye: bool,
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
        Connection::begin(self, Wish::new(Audience::everything(), Start::Now), |_| Ok(()))
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
    /// [`SubscribeError`] if there is no room.
    pub fn subscribe(
        &self,
        audience: Audience,
        start: Start,
    ) -> Result<Connection, SubscribeError> {
        self.connect(Wish::new(audience, start))
    }

    /// Adds a connection, unless the manager is full or closed.
    pub(crate) fn connect(&self, wish: Wish) -> Result<Connection, SubscribeError> {
        Connection::begin(self, wish, |state| {
            if state.is_closed() {
                return Err(SubscribeError::Closed);
            }
            match self.shared().settings.max_connections {
                Some(max) if state.held() >= max => Err(SubscribeError::Full { max }),
                _ => Ok(()),
            }
        })
    }
}

/// What someone who connects asks for, and what the application attaches.
pub(crate) struct Wish {
    pub(crate) audience: Audience,
    pub(crate) start: Start,
    pub(crate) state: Option<Arc<dyn Any + Send + Sync>>,
    /// The id a returning reader sent, for the hook.
    pub(crate) last_event_id: Option<String>,
}

impl Wish {
    pub(crate) fn new(audience: Audience, start: Start) -> Self {
        Self { audience, start, state: None, last_event_id: None }
    }
}

impl Connection {
    fn begin<E>(
        manager: &Manager,
        wish: Wish,
        admit: impl FnOnce(&State) -> Result<(), E>,
    ) -> Result<Self, E> {
        let shared = Arc::clone(manager.shared());
        let random = (random::bits(), random::bits() as u32);
        let now = shared.now();
        let has_history = shared.settings.has_history();
        let start = match (&wish.last_event_id, wish.start) {
            (Some(id), _) if has_history => Start::After(id.clone()),
            (_, Start::After(_)) if !has_history => Start::Now,
            (_, start) => start,
        };
        let mut guard = shared.lock();
        let state = &mut *guard;
        admit(state)?;
        state.log.trim(now);
        let (slot, id, rests_too_long) =
            state.connect(random, now, wish.audience, wish.state, &shared.settings);
        let (subscription, gap) = Subscription::open(&state.log, reader(state, slot), &start);
        state.counts.gaps += u64::from(gap.is_some());
        let told = subscription.told();
        let opening = control::opening(&shared.settings, &state.log, id, told, gap, &start);
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
            subscription,
            opening: Some(Box::new(Opening(opening))),
            gap,
            parked: None,
            said_goodbye: closed,
            ended: closed,
        };
        connection.greet(&handle, wish.last_event_id.as_deref());
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
            state.progress(self.slot, now);
            return Step::Bytes(opening.0.into());
        }
        let closing = state.entry(self.slot).closing();
        let until = match closing {
            Some(closing) if closing.reason.is_planned() => closing.end,
            Some(_) => return Step::End,
            None if self.lags(state, now) => return self.tell_gap(state, Gap::Lag, now, ended),
            None => state.log.end(),
        };
        match self.gather(state, until) {
            Gathered::Events(bytes, events) => {
                state.counts.delivered += events;
                state.progress(self.slot, now);
                Step::Bytes(bytes)
            }
            Gathered::Budget => Step::Again,
            Gathered::Gap(gap) => self.tell_gap(state, gap, now, ended),
            Gathered::Nothing => match closing {
                Some(closing) => self.say_goodbye(state, closing),
                None => self.keep_alive(state, now),
            },
        }
    }

    /// Whether nothing waits for the reader, and nothing was decided about it.
    fn has_all(&self, state: &State) -> bool {
        let entry = state.entry(self.slot);
        let called = entry.wants_mark || entry.wants_heartbeat || entry.closing().is_some();
        !called && self.subscription.is_at(state.log.end())
    }

    fn lags(&mut self, state: &State, now: u64) -> bool {
        let settings = &self.shared.settings;
        let (bytes, age) = (settings.lag_bytes, settings.lag_age_ms());
        self.subscription.lags(&state.log, reader(state, self.slot), now, bytes, age)
    }

    /// Takes what is due: one event as it stands in the log, or several small ones joined.
    fn gather(&mut self, state: &State, until: u64) -> Gathered {
        let (log, reader) = (&state.log, reader(state, self.slot));
        let mut budget = limits::READ_BUDGET;
        let first = match self.subscription.read(log, reader, until, &mut budget) {
            Read::Record(record) => &record.framed,
            Read::AtEnd => return Gathered::Nothing,
            Read::Budget => return Gathered::Budget,
            Read::Gap(gap) => return Gathered::Gap(gap),
        };
        let mut events = 1;
        let mut joined = Vec::new();
        loop {
            let before = self.subscription;
            let read = self.subscription.read(log, reader, until, &mut budget);
            let Read::Record(record) = read else { break };
            let so_far = if events == 1 { first.as_block().len() } else { joined.len() };
            let block = record.framed.as_block();
            if so_far + block.len() > limits::FRAME_BYTES {
                self.subscription = before;
                break;
            }
            if events == 1 {
                joined.extend_from_slice(first.as_block());
            }
            joined.extend_from_slice(block);
            events += 1;
        }
        let bytes = if events == 1 { first.block() } else { joined.into() };
        Gathered::Events(bytes, events)
    }

    fn tell_gap(
        &mut self,
        state: &mut State,
        gap: Gap,
        now: u64,
        ended: &mut Option<Ended>,
    ) -> Step {
        let settings = &self.shared.settings;
        let log = &state.log;
        let told = self.subscription.told();
        // What cannot be told in the stream is told at the next connect.
        let disconnects = gap == Gap::Lag && settings.on_lag() == OnLag::Disconnect;
        if disconnects || !settings.tells_gaps() {
            *ended = state.close(self.slot, CloseReason::Lagged);
            return Step::End;
        }
        match (gap, settings.on_lag()) {
            (Gap::Lag, OnLag::LatestPerTopic) => self.subscription.skip_to_newest(log),
            (Gap::Lag, _) => self.subscription.skip_to_end(log),
            _ => self.subscription.skip_to_oldest(log, reader(state, self.slot).walk),
        }
        // A place in an order that was replaced has no name any more.
        let after = (gap != Gap::Epoch).then(|| log.position(told)).flatten();
        let resumed_at = log.position(self.subscription.told());
        let bytes = control::gap(settings, gap, after, resumed_at);
        state.counts.gaps += 1;
        state.progress(self.slot, now);
        Step::Bytes(bytes.into())
    }

    fn say_goodbye(&mut self, state: &State, closing: Closing) -> Step {
        // A place of an order that was replaced meanwhile must not be told as one of the new order.
        let replaced = state.log.was_replaced(closing.end);
        if self.said_goodbye || replaced || !self.shared.settings.has_control_events() {
            return Step::End;
        }
        self.said_goodbye = true;
        self.mark(&state.log, closing.applied.max(self.subscription.told()))
    }

    fn keep_alive(&mut self, state: &mut State, now: u64) -> Step {
        let applied = state.log.applied();
        let entry = state.entry_mut(self.slot);
        let heartbeat = std::mem::take(&mut entry.wants_heartbeat);
        let mark = std::mem::take(&mut entry.wants_mark) && self.subscription.told() < applied;
        if mark || heartbeat {
            state.progress(self.slot, now);
        }
        match (mark, heartbeat) {
            (true, _) => self.mark(&state.log, applied),
            (false, true) => Step::Bytes(Bytes::from_static(HEARTBEAT)),
            (false, false) => Step::Wait,
        }
    }

    fn mark(&mut self, log: &Log, applied: u64) -> Step {
        self.subscription.tell(applied);
        Step::Bytes(control::mark(log.position(applied)).into())
    }
}

/// What tells a waker from another, as `Waker::will_wake` does.
type WakerKey = (usize, usize);

fn waker_key(waker: &Waker) -> WakerKey {
    (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
}

enum Gathered {
    Events(Bytes, u64),
    Budget,
    Gap(Gap),
    Nothing,
}

fn reader(state: &State, slot: u32) -> Reader<'_> {
    let entry = state.entry(slot);
    let shared = &state.audiences[entry.audience()];
    Reader { audience: &shared.audience, walk: shared.walk(entry.direct()) }
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
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the manager is closed"),
            Self::Full { max } => write!(f, "{max} connections are open; no more are allowed"),
        }
    }
}

impl std::error::Error for SubscribeError {}
