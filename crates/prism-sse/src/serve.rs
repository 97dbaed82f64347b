//! A server that writes events to sockets itself: a drop-in for `axum::serve`.
//!
//! [`serve`] runs any HTTP application. What is no event stream of ours, it leaves to hyper, with
//! HTTP/1.1 and HTTP/2. A connection on which a request is answered by an untouched event stream
//! is taken from hyper and given to a *delivery shard*: one thread that owns many sockets and
//! writes the log's own bytes to all of them. That costs a fraction of a response body's memory
//! and time, and only the owner of a socket can close it when its reader stops reading.
//!
//! # Untouched is proved, not assumed
//!
//! The application runs as it always does, with all its layers. Only what [`Manager::respond`] or
//! [`Connection::into_response`] answered is looked at further: the first frame of the body is
//! polled, and if that frame is the very buffer that the stream began with, and no length or
//! trailers were added, the stream is handed over. Otherwise it stays with hyper and goes on after
//! that frame; so does a body that an application made of a [`Connection`] itself. A layer that
//! passes on the first frame as it is and changes later ones would go unnoticed: let it remove the
//! response's extensions, or set one of the headers `Connection` and `Trailer`. The body is kept,
//! unpolled, until the connection ends, so that what layers keep in it ends with it.
//!
//! # Limits
//!
//! A head may have [`limits::HEAD_BYTES_MAX`] bytes and take [`limits::HEADER_TIMEOUT`]; a reader
//! that takes nothing for [`limits::STALL`] while something is due is closed; half-written events
//! may keep [`limits::STALLED_BYTES`] in memory. Connections are limited by open files, whose limit
//! is raised to what the system allows.
//!
//! On systems that are not Unix, all streams stay with hyper.

mod accept;
mod app;
mod begun;
mod body;
mod capacity;
mod delivery;
mod exchange;
mod handover;
mod inbox;
mod open;
#[cfg(unix)]
mod shard;
mod streams;
mod transport;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

#[cfg(doc)]
use crate::connection::Connection;
use crate::limits;
#[cfg(doc)]
use crate::manager::Manager;
pub use app::App;
pub use capacity::Capacity;
pub use transport::bind_reuse_port;
#[cfg(feature = "test-util")]
pub(crate) use {
    app::Serves,
    delivery::{Delivery, HandOver, Turn},
    exchange::Server,
    inbox::{Inbox, Order},
    open::{Held, Open},
    transport::Transport,
};

/// Serves an application over TCP, and its event streams without the cost of an HTTP stack.
///
/// `app` is what `axum::serve` takes: a `Router`, `Router::into_make_service()`,
/// `Router::into_make_service_with_connect_info::<SocketAddr>()`, or any other tower service of
/// HTTP requests. What a connection is to tell of itself as `ConnectInfo` implements
/// `Connected<SocketAddr>`.
///
/// ```no_run
/// use axum::Router;
/// use prism_sse::{Manager, SseLayer};
///
/// # async fn run() -> std::io::Result<()> {
/// let sse = Manager::new();
/// let app = Router::new().layer(SseLayer::new(sse.clone(), "/events"));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// prism_sse::serve(listener, app).await
/// # }
/// ```
pub fn serve<A, K>(listener: TcpListener, app: A) -> Serve<A, K>
where
    A: App<K>,
{
    let listeners = vec![listener];
    Serve { listeners, app, settings: Settings::default(), signal: None, kind: PhantomData }
}

/// A server about to run: `.await` it. Dropping the future ends everything at once.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<A, K> {
    listeners: Vec<TcpListener>,
    app: A,
    settings: Settings,
    signal: Option<Signal>,
    kind: PhantomData<fn() -> K>,
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The time that the head of a request has, asked for when a connection begins.
#[derive(Clone)]
pub(crate) struct HeaderTimeout(Arc<dyn Fn() -> Duration + Send + Sync>);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    shards: Option<usize>,
    max_connections: Option<usize>,
    max_head_bytes: usize,
    header_timeout: HeaderTimeout,
    stalled_bytes: usize,
    keep_alive: bool,
    drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: None,
            max_connections: None,
            max_head_bytes: limits::HEAD_BYTES_MAX,
            header_timeout: HeaderTimeout(Arc::new(|| limits::HEADER_TIMEOUT)),
            stalled_bytes: limits::STALLED_BYTES,
            keep_alive: true,
            drain: limits::DRAIN,
        }
    }
}

impl HeaderTimeout {
    fn now(&self) -> Duration {
        (self.0)().min(limits::WAIT_MAX)
    }
}

impl fmt::Debug for HeaderTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

impl<A, K> Serve<A, K> {
    /// Serves at another address too. Everything else is shared: shards, limits, and the end.
    pub fn also(mut self, listener: TcpListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Ends in order once `signal` is done: nobody is accepted any more, requests are finished, and
    /// event streams end, each at a random moment within [`drain`](Self::drain), after it was told
    /// when to come back.
    pub fn with_graceful_shutdown<F>(mut self, signal: F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.signal = Some(Box::pin(signal));
        self
    }

    /// Threads that write to event streams; as many as there are processors unless said.
    ///
    /// # Panics
    ///
    /// If there are to be none.
    pub fn shards(mut self, shards: usize) -> Self {
        assert!(shards > 0, "a server has at least one shard");
        self.settings.shards = Some(shards);
        self
    }

    /// Starts no threads and leaves event streams with hyper, for a server that has none to speak
    /// of.
    pub fn no_shards(mut self) -> Self {
        self.settings.shards = Some(0);
        self
    }

    /// Connections at once, at all addresses together; unless said, what the limit on open files
    /// leaves room for. Further ones wait to be accepted.
    ///
    /// # Panics
    ///
    /// If there are to be none.
    pub fn max_connections(mut self, connections: usize) -> Self {
        assert!(connections > 0, "a server has room for at least one connection");
        self.settings.max_connections = Some(connections);
        self
    }

    /// Longest head of a request: 16 KiB unless said, at least 8 KiB. A longer one is answered with
    /// 431.
    pub fn max_head_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_head_bytes = bytes.max(8 * 1024);
        self
    }

    /// Time for the head of a request to arrive: 10 s unless said, at most a day. Then the
    /// connection is closed; an idle one between two requests, too.
    pub fn header_timeout(self, timeout: Duration) -> Self {
        self.header_timeout_with(move || timeout)
    }

    /// As [`header_timeout`](Self::header_timeout), asked for whenever a connection begins, so that
    /// it can change while the server runs.
    pub fn header_timeout_with<F>(mut self, timeout: F) -> Self
    where
        F: Fn() -> Duration + Send + Sync + 'static,
    {
        self.settings.header_timeout = HeaderTimeout(Arc::new(timeout));
        self
    }

    /// Bytes of half-written events kept for readers that stopped reading: 64 MiB unless said,
    /// shared by the shards, each of which has room for one event at least. Beyond it the reader
    /// that took nothing for the longest time is closed.
    pub fn stalled_bytes(mut self, bytes: usize) -> Self {
        self.settings.stalled_bytes = bytes;
        self
    }

    /// Does not ask silent peers whether they are still there. Then a reader that vanishes is only
    /// noticed once something is sent to it, a heartbeat for instance.
    pub fn no_keep_alive(mut self) -> Self {
        self.settings.keep_alive = false;
        self
    }

    /// Time over which streams end at a graceful shutdown: 5 s unless said, at most a day. What is
    /// still open after it is cut off.
    pub fn drain(mut self, window: Duration) -> Self {
        self.settings.drain = window.min(limits::WAIT_MAX);
        self
    }

    /// Raises the limit on open files to what the system allows, as serving does, and says how many
    /// connections there can be then, and what they may cost at worst.
    pub fn capacity(&self) -> Capacity {
        Capacity::of(self.settings.max_connections, self.settings.stalled_bytes)
    }
}

impl<A, K> IntoFuture for Serve<A, K>
where
    A: App<K> + Send + 'static,
    A::Make: Send,
    K: 'static,
{
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { listeners, app, settings, signal, .. } = self;
        Box::pin(accept::run(listeners, app.into_make(), settings, signal))
    }
}

impl<A, K> fmt::Debug for Serve<A, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listeners", &self.listeners)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
