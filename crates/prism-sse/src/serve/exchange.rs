//! One accepted connection, from its first byte until it ends or is handed over.

use std::future::poll_fn;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::app::Serves;
use super::begun::Begun;
use super::body::{First, Served};
use super::delivery::HandOver;
use super::handover::{allows, begin, is_event_stream, is_untouched, may_upgrade};
use super::inbox::Inbox;
use super::open::Held;
use super::streams::{Listing, Streams};
use super::transport::Transport;
use super::{HeaderTimeout, Settings};
use crate::connection::first_frame::{self, FirstFrame};
use crate::limits;

/// What all connections of a server share.
pub(crate) struct Server<S> {
    /// Empty where there are no shards.
    pub(super) shards: Vec<Arc<Inbox<S>>>,
    pub(super) streams: Arc<Streams>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_timeout: HeaderTimeout,
    /// Rung when a shard was given a connection.
    placed: Notify,
    /// `true` once the server ends; the sender is gone when it has ended.
    ending: watch::Receiver<bool>,
}

/// What was decided of a connection.
enum Decision<B> {
    /// It goes on with hyper, and may be upgraded.
    Stays,
    Leaves(Box<Leaving<B>>),
}

/// A stream that leaves hyper.
struct Leaving<B> {
    head: response::Parts,
    offered: FirstFrame,
    body: Pin<Box<B>>,
}

/// Where the service says what was decided.
struct Desk<B> {
    /// Nothing was decided yet.
    open: AtomicBool,
    /// A request was answered already.
    answered: AtomicBool,
    /// All that hyper had to write is written.
    flushed: Arc<AtomicBool>,
    decision: Mutex<Option<Decision<B>>>,
}

impl<S: Write + Send + 'static> Server<S> {
    pub(crate) fn new(
        shards: Vec<Arc<Inbox<S>>>,
        settings: &Settings,
        ending: watch::Receiver<bool>,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).max_buf_size(settings.max_head_bytes);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(limits::USER_TIMEOUT)
            .keep_alive_timeout(limits::USER_TIMEOUT)
            .max_concurrent_streams(limits::HTTP2_STREAMS)
            .max_header_list_size(u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX));
        Self {
            shards,
            streams: Arc::default(),
            http1,
            http2,
            header_timeout: settings.header_timeout.clone(),
            placed: Notify::new(),
            ending,
        }
    }

    /// Serves one connection.
    pub(crate) async fn exchange<T, A>(self: Arc<Self>, io: T, app: A, held: Held)
    where
        T: Transport<Socket = S>,
        A: Serves,
    {
        let header_timeout = self.header_timeout.now();
        let Some(io) = self.begin(io, held, header_timeout).await else { return };
        // Boxed, so that a connection of which nothing has come costs little.
        if io.is_http2() {
            Box::pin(self.serve_http2(io, app)).await;
        } else {
            Box::pin(self.serve_http1(io, app, header_timeout)).await;
        }
    }

    /// Waits for the first bytes. `None` if there is nothing to serve.
    async fn begin<T: Transport>(
        &self,
        io: T,
        held: Held,
        header_timeout: Duration,
    ) -> Option<Begun<T>> {
        let mut ending = self.ending.clone();
        tokio::select! {
            biased;
            begun = Begun::read(io, held) => begun.ok(),
            // Nothing was asked, so there is nothing to finish.
            _ = ending.changed() => None,
            () = sleep(header_timeout) => None,
        }
    }

    async fn serve_http1<T, A>(self: Arc<Self>, io: Begun<T>, app: A, header_timeout: Duration)
    where
        T: Transport<Socket = S>,
        A: Serves,
    {
        let desk = Arc::new(Desk::new(true, Arc::clone(&io.flushed)));
        let service = service_fn({
            let (server, desk) = (Arc::clone(&self), Arc::clone(&desk));
            move |request| answer(Arc::clone(&server), app.clone(), request, Arc::clone(&desk))
        });
        let mut http1 = self.http1.clone();
        http1.header_read_timeout(header_timeout);
        let mut connection = http1.serve_connection(TokioIo::new(io), service);
        let mut ending = self.ending.clone();
        let decision = loop {
            let decided = poll_fn(|cx| {
                let done = Pin::new(&mut connection).poll(cx);
                match (done, desk.take()) {
                    (Poll::Ready(_), _) => Poll::Ready(None),
                    (Poll::Pending, Some(decision)) => Poll::Ready(Some(decision)),
                    (Poll::Pending, None) => Poll::Pending,
                }
            });
            tokio::select! {
                decided = decided => break decided,
                changed = ending.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        match decision {
            None => {}
            Some(Decision::Leaves(leaving)) => {
                self.hand_over(connection.into_parts().io.into_inner(), *leaving);
            }
            Some(Decision::Stays) => {
                let end = http1::UpgradeableConnection::graceful_shutdown;
                run(connection.with_upgrades(), end, ending).await;
            }
        }
    }

    async fn serve_http2<T, A>(self: Arc<Self>, io: Begun<T>, app: A)
    where
        T: Transport<Socket = S>,
        A: Serves,
    {
        let desk = Arc::new(Desk::new(false, Arc::clone(&io.flushed)));
        let service = service_fn({
            let server = Arc::clone(&self);
            move |request| answer(Arc::clone(&server), app.clone(), request, Arc::clone(&desk))
        });
        let connection = self.http2.serve_connection(TokioIo::new(io), service);
        run(connection, http2::Connection::graceful_shutdown, self.ending.clone()).await;
    }

    /// Writes the head and gives the stream to the shard that has the fewest.
    fn hand_over<T, B>(&self, io: Begun<T>, leaving: Leaving<B>)
    where
        T: Transport<Socket = S>,
        B: Send + 'static,
    {
        let Leaving { head, offered, body } = leaving;
        let Begun { io, held, .. } = io;
        let Ok(mut socket) = io.into_socket() else { return };
        let open = self.shards.iter().filter(|shard| shard.is_open());
        let Some(shard) = open.min_by_key(|shard| shard.load()) else { return };
        let bytes = begin(&head.headers, &offered.opening);
        // Whatever fails now shows when the shard writes the rest.
        let len = socket.write(&bytes).unwrap_or(0);
        let FirstFrame { manager: shared, slot, id, subscription: reading, .. } = offered;
        let rest = bytes.slice(len..);
        shard.adopt(HandOver { socket, shared, slot, id, reading, rest, body, held });
        self.placed.notify_one();
    }

    /// Wakes shards that were given connections, until the server has ended.
    ///
    /// The head is written already, so that nobody waits for this. Others that are under way are
    /// handed over first, and a shard is woken once for all of them.
    pub(crate) async fn wake_shards(self: Arc<Self>) {
        let mut ending = self.ending.clone();
        loop {
            tokio::select! {
                () = self.placed.notified() => {}
                changed = ending.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                }
            }
            tokio::task::yield_now().await;
            self.shards.iter().for_each(|shard| shard.wake());
        }
    }
}

impl<S> Server<S> {
    fn has_shard(&self) -> bool {
        self.shards.iter().any(|shard| shard.is_open())
    }
}

/// Lets hyper serve a connection to its end, which is asked for in order once the server ends.
async fn run<C: Future + Unpin>(
    mut connection: C,
    end: impl Fn(Pin<&mut C>),
    mut ending: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = &mut connection => return,
            changed = ending.changed() => {
                if changed.is_err() {
                    return;
                }
                end(Pin::new(&mut connection));
            }
        }
    }
}

/// Lets the application answer, and decides whether the answer leaves hyper.
async fn answer<S, A>(
    server: Arc<Server<S>>,
    mut app: A,
    request: Request<Incoming>,
    desk: Arc<Desk<A::Body>>,
) -> Result<Response<Served<A::Body>>, A::Failure>
where
    A: Serves,
{
    let open = desk.open.load(Ordering::Relaxed);
    let may_leave = open && server.has_shard() && allows(&request);
    if open && may_upgrade(&request) {
        desk.decide(Decision::Stays);
        // The connection is made ready for upgrades before the application sees the request.
        tokio::task::yield_now().await;
    }
    poll_fn(|cx| app.poll_ready(cx)).await?;
    let response = app.call(request).await?;
    if !is_event_stream(&response) {
        desk.answered.store(true, Ordering::Relaxed);
        return Ok(response.map(|body| Served::Untouched { body }));
    }
    let (head, body) = response.into_parts();
    let mut body = Box::pin(body);
    let (polled, offered) =
        poll_fn(|cx| Poll::Ready(first_frame::capture(|| body.as_mut().poll_frame(cx)))).await;
    // A layer may have dropped the connection as soon as it had its first bytes.
    let handle = offered.as_ref().and_then(FirstFrame::handle);
    let untouched = match (&polled, &offered) {
        (Poll::Ready(Some(Ok(frame))), Some(offered)) => {
            handle.is_some() && is_untouched(&head, frame, &*body, offered)
        }
        _ => false,
    };
    let leaves = may_leave && untouched && desk.all_is_written().await;
    match offered {
        Some(offered) if leaves => {
            desk.decide(Decision::Leaves(Box::new(Leaving { head, offered, body })));
            // The connection is taken apart, and with it this future.
            std::future::pending().await
        }
        _ => {
            desk.answered.store(true, Ordering::Relaxed);
            let listed = match handle {
                Some(handle) => Listing::Listed { _held: server.streams.list(handle) },
                None => Listing::Awaited(Arc::clone(&server.streams)),
            };
            let first: Option<First<A::Body>> = match polled {
                Poll::Ready(first) => Some(first),
                Poll::Pending => None,
            };
            Ok(Response::from_parts(head, Served::Begun { first, rest: body, listed }))
        }
    }
}

impl<B> Desk<B> {
    fn new(open: bool, flushed: Arc<AtomicBool>) -> Self {
        Self {
            open: AtomicBool::new(open),
            answered: AtomicBool::new(false),
            flushed,
            decision: Mutex::new(None),
        }
    }

    /// Whether hyper has written its answers to earlier requests. What it still has of them would
    /// be lost with it.
    async fn all_is_written(&self) -> bool {
        if self.answered.load(Ordering::Relaxed) {
            // Whenever it waits for an answer, it has just written what it can.
            tokio::task::yield_now().await;
        }
        self.flushed.load(Ordering::Relaxed)
    }

    fn decide(&self, decision: Decision<B>) {
        self.open.store(false, Ordering::Relaxed);
        *self.decision.lock().unwrap_or_else(PoisonError::into_inner) = Some(decision);
    }

    fn take(&self) -> Option<Decision<B>> {
        self.decision.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
