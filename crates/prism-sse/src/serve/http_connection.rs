//! One accepted connection, from its first byte until it ends or is handed over to a shard.

use std::future::poll_fn;
use std::io::Write;
use std::net::TcpStream;
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
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::app::HttpService;
use super::connection_count::ConnectionGuard;
use super::hand_over::{
    HandedOverConnection, encode_response_begin, is_event_stream, is_unmodified, may_upgrade,
    request_allows_hand_over,
};
use super::http2_executor::Http2Executor;
use super::hyper_body::{FirstPoll, HyperBody};
use super::inbox::Inbox;
use super::settings::{HandshakeFuture, HeaderTimeout, ServeSettings};
use super::sniffed_stream::SniffedStream;
use super::stream_registry::{StreamRegistry, StreamTracking};
use super::transport::{HandshakenStream, Transport};
use crate::connection::first_frame::{self, FirstFrame};
use crate::limits;

/// What all connections of a server share.
pub(crate) struct Server<S> {
    /// The shards' inboxes; empty if all streams stay with hyper.
    shards: Vec<Arc<Inbox<S>>>,
    /// The event streams that stay with hyper.
    pub(super) streams: Arc<StreamRegistry>,
    http1: http1::Builder,
    http2_streams: u32,
    max_head_bytes: usize,
    header_timeout: HeaderTimeout,
    /// Notified when a shard was given a connection.
    handed_over: Notify,
    /// Becomes `true` when the server shuts down. The sender is dropped when it has ended.
    shutdown: watch::Receiver<bool>,
}

/// Where an HTTP/1.1 connection goes after a request.
enum HandOverDecision<B> {
    /// It stays with hyper for good, and may be upgraded to another protocol.
    Stay,
    HandOver(Box<PendingHandOver<B>>),
}

/// An unmodified event stream that is about to be handed over.
struct PendingHandOver<B> {
    head: response::Parts,
    offered: FirstFrame,
    body: Pin<Box<B>>,
}

/// Where the service of a connection leaves its decision for the task that drives the connection.
/// The service is called by hyper, so that it cannot return the decision.
struct HandOverSlot<B> {
    /// The connection may still be handed over or upgraded.
    is_undecided: AtomicBool,
    /// A shard could write to the connection's socket.
    is_socket: bool,
    /// An earlier request of this connection was answered by hyper.
    has_answered: AtomicBool,
    /// hyper has flushed everything that it wrote.
    flushed: Arc<AtomicBool>,
    decision: Mutex<Option<HandOverDecision<B>>>,
}

impl<S: Write + Send + 'static> Server<S> {
    pub(crate) fn new(
        shards: Vec<Arc<Inbox<S>>>,
        settings: &ServeSettings,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).max_buf_size(settings.max_head_bytes);
        Self {
            shards,
            streams: Arc::default(),
            http1,
            http2_streams: settings.http2_streams,
            max_head_bytes: settings.max_head_bytes,
            header_timeout: settings.header_timeout.clone(),
            handed_over: Notify::new(),
            shutdown,
        }
    }

    /// Serves one connection until it ends or is handed over.
    pub(crate) async fn serve_connection<T, A>(
        self: Arc<Self>,
        io: T,
        app: A,
        guard: ConnectionGuard,
    ) where
        T: Transport<Socket = S>,
        A: HttpService,
    {
        let header_timeout = self.header_timeout.get();
        let Some(io) = self.sniff(io, guard, header_timeout).await else { return };
        // Boxed, so that the task of a connection that has sent nothing yet is small.
        if io.is_http2() {
            Box::pin(self.serve_http2(io, app, header_timeout)).await;
        } else {
            Box::pin(self.serve_http1(io, app, header_timeout)).await;
        }
    }

    /// Waits for the first bytes. `None` if the connection is to be closed without an answer.
    async fn sniff<T: Transport>(
        &self,
        io: T,
        guard: ConnectionGuard,
        header_timeout: Duration,
    ) -> Option<SniffedStream<T>> {
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            sniffed = SniffedStream::read(io, guard) => sniffed.ok(),
            // No request has begun that a graceful shutdown would have to finish.
            _ = shutdown.changed() => None,
            () = sleep(header_timeout) => None,
        }
    }

    async fn serve_http1<T, A>(
        self: Arc<Self>,
        io: SniffedStream<T>,
        app: A,
        header_timeout: Duration,
    ) where
        T: Transport<Socket = S>,
        A: HttpService,
    {
        let slot = Arc::new(HandOverSlot::new(true, T::IS_SOCKET, Arc::clone(&io.flushed)));
        let service = service_fn({
            let (server, slot) = (Arc::clone(&self), Arc::clone(&slot));
            move |request| respond(Arc::clone(&server), app.clone(), request, Arc::clone(&slot))
        });
        let mut http1 = self.http1.clone();
        http1.header_read_timeout(header_timeout);
        let mut connection = http1.serve_connection(TokioIo::new(io), service);
        let mut shutdown = self.shutdown.clone();
        let decision = loop {
            let decided = poll_fn(|cx| {
                let done = Pin::new(&mut connection).poll(cx);
                match (done, slot.take()) {
                    (Poll::Ready(_), _) => Poll::Ready(None),
                    (Poll::Pending, Some(decision)) => Poll::Ready(Some(decision)),
                    (Poll::Pending, None) => Poll::Pending,
                }
            });
            tokio::select! {
                decided = decided => break decided,
                changed = shutdown.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        match decision {
            None => {}
            Some(HandOverDecision::HandOver(pending)) => {
                self.hand_over(connection.into_parts().io.into_inner(), *pending);
            }
            Some(HandOverDecision::Stay) => {
                let shut_down = http1::UpgradeableConnection::graceful_shutdown;
                drive(&mut connection.with_upgrades(), shut_down, shutdown).await;
            }
        }
    }

    /// Serves HTTP/2 until the connection ends or has had no open stream for `idle_timeout`.
    async fn serve_http2<T, A>(
        self: Arc<Self>,
        io: SniffedStream<T>,
        app: A,
        idle_timeout: Duration,
    ) where
        T: Transport<Socket = S>,
        A: HttpService,
    {
        let slot = Arc::new(HandOverSlot::new(false, false, Arc::clone(&io.flushed)));
        let service = service_fn({
            let server = Arc::clone(&self);
            move |request| respond(Arc::clone(&server), app.clone(), request, Arc::clone(&slot))
        });
        let executor = Http2Executor::new();
        let mut http2 = http2::Builder::new(executor.clone());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(limits::USER_TIMEOUT)
            .keep_alive_timeout(limits::USER_TIMEOUT)
            .max_concurrent_streams(self.http2_streams)
            .max_send_buf_size(limits::HTTP2_SEND_BYTES)
            .max_header_list_size(u32::try_from(self.max_head_bytes).unwrap_or(u32::MAX));
        let mut connection = http2.serve_connection(TokioIo::new(io), service);
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = drive(&mut connection, http2::Connection::graceful_shutdown, shutdown) => return,
            () = executor.idle(idle_timeout) => {}
        }
        // Tells the peer to open no more streams. A peer that does not answer is cut off.
        Pin::new(&mut connection).graceful_shutdown();
        drop(timeout(idle_timeout, connection).await);
    }

    /// Writes the response's head and gives the connection to the shard with the fewest.
    fn hand_over<T, B>(&self, io: SniffedStream<T>, pending: PendingHandOver<B>)
    where
        T: Transport<Socket = S>,
        B: Send + 'static,
    {
        let PendingHandOver { head, offered, body } = pending;
        let SniffedStream { io, guard, .. } = io;
        let Ok(mut socket) = io.into_socket() else { return };
        let open = self.shards.iter().filter(|shard| shard.is_open());
        let Some(shard) = open.min_by_key(|shard| shard.load()) else { return };
        let bytes = encode_response_begin(&head.headers, &offered.opening);
        // An error shows again when the shard writes what is left.
        let len = socket.write(&bytes).unwrap_or(0);
        let FirstFrame { manager: shared, slot, id, subscription: reading, .. } = offered;
        let unwritten = bytes.slice(len..);
        shard.adopt(HandedOverConnection {
            socket,
            shared,
            slot,
            id,
            reading,
            unwritten,
            body,
            guard,
        });
        self.handed_over.notify_one();
    }

    /// Drops streams that have ended and stay with hyper because their readers take nothing, until
    /// the server has ended.
    pub(super) async fn abort_ended_streams(self: Arc<Self>) {
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = sleep(limits::STREAM_CHECK) => self.streams.abort_ended(Instant::now()),
                changed = shutdown.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Wakes shards that were given connections, until the server has ended.
    ///
    /// A shard is woken once for all connections that are handed over at about the same time. The
    /// delay costs no reader anything, because the beginning of its stream is written already.
    pub(crate) async fn wake_shards(self: Arc<Self>) {
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = self.handed_over.notified() => {}
                changed = shutdown.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                }
            }
            tokio::task::yield_now().await;
            self.shards.iter().for_each(|shard| shard.wake());
        }
    }
}

impl Server<TcpStream> {
    /// Serves what a handshake makes of a connection, if it succeeds in time.
    pub(super) async fn serve_after_handshake<A: HttpService>(
        self: Arc<Self>,
        handshake: HandshakeFuture,
        app: A,
        guard: ConnectionGuard,
    ) {
        let mut shutdown = self.shutdown.clone();
        let io = tokio::select! {
            biased;
            io = handshake => io,
            _ = shutdown.changed() => return,
            () = sleep(self.header_timeout.get()) => return,
        };
        if let Ok(io) = io {
            self.serve_connection(HandshakenStream(io), app, guard).await;
        }
    }
}

impl<S> Server<S> {
    fn has_shard(&self) -> bool {
        self.shards.iter().any(|shard| shard.is_open())
    }
}

/// Lets hyper serve a connection to its end, and tells hyper when the server shuts down.
async fn drive<C: Future + Unpin>(
    connection: &mut C,
    shut_down: impl Fn(Pin<&mut C>),
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = &mut *connection => return,
            changed = shutdown.changed() => {
                if changed.is_err() {
                    return;
                }
                shut_down(Pin::new(&mut *connection));
            }
        }
    }
}

/// Lets the application answer a request, and decides whether the connection is handed over.
async fn respond<S, A>(
    server: Arc<Server<S>>,
    mut app: A,
    request: Request<Incoming>,
    slot: Arc<HandOverSlot<A::ResponseBody>>,
) -> Result<Response<HyperBody<A::ResponseBody>>, A::ServiceError>
where
    A: HttpService,
{
    let is_undecided = slot.is_undecided.load(Ordering::Relaxed);
    let may_hand_over =
        is_undecided && slot.is_socket && server.has_shard() && request_allows_hand_over(&request);
    if is_undecided && may_upgrade(&request) {
        slot.decide(HandOverDecision::Stay);
        // Lets the connection's task prepare the upgrade before the application sees the request.
        tokio::task::yield_now().await;
    }
    poll_fn(|cx| app.poll_ready(cx)).await?;
    let response = app.call(request).await?;
    if !is_event_stream(&response) {
        slot.has_answered.store(true, Ordering::Relaxed);
        return Ok(response.map(|body| HyperBody::Plain { body }));
    }
    let (head, body) = response.into_parts();
    let mut body = Box::pin(body);
    let (polled, offered) =
        poll_fn(|cx| Poll::Ready(first_frame::capture(|| body.as_mut().poll_frame(cx)))).await;
    // There is no handle if a layer dropped the connection as soon as it had the first frame.
    let handle = offered.as_ref().and_then(FirstFrame::handle);
    let unmodified = match (&polled, &offered) {
        (Poll::Ready(Some(Ok(frame))), Some(offered)) => {
            handle.is_some() && is_unmodified(&head, frame, &*body, offered)
        }
        _ => false,
    };
    let hands_over = may_hand_over && unmodified && slot.is_flushed().await;
    match offered {
        Some(offered) if hands_over => {
            let pending = PendingHandOver { head, offered, body };
            slot.decide(HandOverDecision::HandOver(Box::new(pending)));
            // The connection's task takes the connection from hyper, which drops this future.
            std::future::pending().await
        }
        _ => {
            slot.has_answered.store(true, Ordering::Relaxed);
            let tracking = match handle {
                Some(handle) => {
                    StreamTracking::Registered { _registration: server.streams.register(handle) }
                }
                None => StreamTracking::Undetermined(Arc::clone(&server.streams)),
            };
            let first: Option<FirstPoll<A::ResponseBody>> = match polled {
                Poll::Ready(first) => Some(first),
                Poll::Pending => None,
            };
            Ok(Response::from_parts(head, HyperBody::EventStream { first, rest: body, tracking }))
        }
    }
}

impl<B> HandOverSlot<B> {
    fn new(is_undecided: bool, is_socket: bool, flushed: Arc<AtomicBool>) -> Self {
        Self {
            is_undecided: AtomicBool::new(is_undecided),
            is_socket,
            has_answered: AtomicBool::new(false),
            flushed,
            decision: Mutex::new(None),
        }
    }

    /// Whether hyper has written its answers to earlier requests completely. Bytes that are still
    /// in its buffer would be lost when the connection is taken from it.
    async fn is_flushed(&self) -> bool {
        if self.has_answered.load(Ordering::Relaxed) {
            // hyper writes what it can before it polls this future again.
            tokio::task::yield_now().await;
        }
        self.flushed.load(Ordering::Relaxed)
    }

    fn decide(&self, decision: HandOverDecision<B>) {
        self.is_undecided.store(false, Ordering::Relaxed);
        *self.decision.lock().unwrap_or_else(PoisonError::into_inner) = Some(decision);
    }

    fn take(&self) -> Option<HandOverDecision<B>> {
        self.decision.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
