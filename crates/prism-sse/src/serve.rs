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
//! The application runs as it always does, with all its layers. The first frame of the body it
//! answers is polled; only if that frame is the very buffer that the stream began with, and no
//! length, encoding or trailers were added, the stream is handed over. Otherwise it stays with
//! hyper and goes on after that frame. The body is kept, unpolled, until the connection ends, so
//! that what layers keep in it ends with it.
//!
//! # Limits
//!
//! A head may have [`limits::HEAD_BYTES_MAX`] bytes and take [`limits::HEADER_TIMEOUT`]; a reader
//! that takes nothing for [`limits::STALL`] while something is due is closed; half-written events
//! may keep [`limits::PINNED_BYTES`] in memory. Connections are limited by open files, whose limit
//! is raised to what the system allows.
//!
//! On systems that are not Unix, all streams stay with hyper.

mod accept;
mod app;
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
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::limits;
pub use app::App;
pub use capacity::Capacity;
pub use transport::bind_shared;
#[cfg(feature = "test-util")]
pub(crate) use {
    app::Serves,
    delivery::{Delivery, HandOver, Turn},
    exchange::Server,
    inbox::{Inbox, Order},
    open::{Held, Open},
    transport::Transport,
};

/// Serves an application, and its event streams without the cost of an HTTP stack.
///
/// `app` is what `axum::serve` takes: a `Router`, `Router::into_make_service()`,
/// `Router::into_make_service_with_connect_info::<SocketAddr>()`, or any other tower service of
/// HTTP requests.
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
    Serve { listener, app, settings: Settings::default(), signal: None, kind: PhantomData }
}

/// A server about to run: `.await` it. Dropping the future ends everything at once.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<A, K> {
    listener: TcpListener,
    app: A,
    settings: Settings,
    signal: Option<Signal>,
    kind: PhantomData<fn() -> K>,
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    shards: Option<NonZeroUsize>,
    max_connections: Option<NonZeroUsize>,
    max_head_bytes: usize,
    header_timeout: Duration,
    pinned_bytes: usize,
    drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: None,
            max_connections: None,
            max_head_bytes: limits::HEAD_BYTES_MAX,
            header_timeout: limits::HEADER_TIMEOUT,
            pinned_bytes: limits::PINNED_BYTES,
            drain: limits::DRAIN,
        }
    }
}

impl<A, K> Serve<A, K> {
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
    pub fn shards(mut self, shards: NonZeroUsize) -> Self {
        self.settings.shards = Some(shards);
        self
    }

    /// Connections at once; unless said, what the limit on open files leaves room for. Further ones
    /// wait to be accepted.
    pub fn max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.settings.max_connections = Some(connections);
        self
    }

    /// Longest head of a request: 16 KiB unless said, at least 8 KiB. A longer one is answered with
    /// 431.
    pub fn max_head_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_head_bytes = bytes.max(8 * 1024);
        self
    }

    /// Time for the head of a request to arrive: 10 s unless said. Then the connection is closed.
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.settings.header_timeout = timeout;
        self
    }

    /// Bytes of half-written events kept for readers that stopped reading: 64 MiB unless said.
    /// Beyond it the reader that took nothing for the longest time is closed.
    pub fn pinned_bytes(mut self, bytes: usize) -> Self {
        self.settings.pinned_bytes = bytes;
        self
    }

    /// Time over which streams end at a graceful shutdown: 5 s unless said. What is still open
    /// after it is dropped.
    pub fn drain(mut self, window: Duration) -> Self {
        self.settings.drain = window;
        self
    }

    /// How many connections there can be, and what they may cost at worst.
    ///
    /// Raises the limit on open files to what the system allows.
    pub fn capacity(&self) -> Capacity {
        Capacity::of(self.settings.max_connections, self.settings.pinned_bytes)
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
        let Self { listener, app, settings, signal, .. } = self;
        Box::pin(accept::run(listener, app.into_make(), settings, signal))
    }
}

impl<A, K> fmt::Debug for Serve<A, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
