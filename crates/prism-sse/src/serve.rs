//! A server that writes events to sockets itself: a drop-in for `axum::serve`.
//!
//! [`serve`] runs any HTTP application over hyper, with HTTP/1.1 and HTTP/2. When a request is
//! answered by an unmodified event stream of a [`Manager`], the connection is taken from hyper and
//! given to a *delivery shard*: one thread that owns many sockets and writes the log's own bytes to
//! all of them. That costs a fraction of the memory and time of a response body, and a shard can
//! close the socket of a reader that stops reading, which no response body can.
//!
//! # Which streams are handed over
//!
//! The application runs with all its layers, and a layer may change what a stream says. So a stream
//! is handed over only if it is known to be unmodified. The body must be what [`Manager::respond`]
//! or [`Connection::into_response`] made; its first frame is polled, and must be the very buffer
//! that the connection gave out; and no layer may have added a length or trailers. Every other
//! response stays with hyper, which goes on after that first frame. So does a body that an
//! application made of a [`Connection`] itself.
//!
//! A layer that leaves the first frame alone and changes later ones goes unnoticed. Such a layer
//! must remove the response's extensions, or set one of the headers `Connection` and `Trailer`.
//! The body is kept, unpolled, until the connection ends, so that what layers keep in it lives as
//! long as the connection.
//!
//! # Limits
//!
//! The head of a request may have [`limits::HEAD_BYTES_MAX`] bytes and take
//! [`limits::HEADER_TIMEOUT`]. A reader that takes nothing for [`limits::STALL`] while something is
//! due is closed. Where its stream stays with hyper, its connection is reset, and in HTTP/2 its
//! stream alone; so is any stream that ended and whose reader does not take its end for as long.
//! Half-written events may keep [`limits::STALLED_BYTES`] in memory. The number of
//! connections is limited by open files, whose limit is raised to what the system allows.
//!
//! On systems that are not Unix, all streams stay with hyper.

mod accept;
mod accepted_socket;
mod app;
mod capacity;
mod connection_count;
mod delivery;
mod hand_over;
mod http2_executor;
mod http_connection;
mod hyper_body;
mod inbox;
mod listeners;
mod settings;
#[cfg(unix)]
mod shard;
mod sniffed_stream;
mod stream_registry;
mod task_abort;
mod transport;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

#[cfg(doc)]
use crate::connection::Connection;
use crate::limits;
#[cfg(doc)]
use crate::manager::Manager;
pub use accepted_socket::AcceptedSocket;
pub use app::App;
pub use capacity::{Capacity, raise_open_files};
pub(crate) use settings::ServeSettings;
use settings::{AddressLimit, Handshake, HeaderTimeout, ShutdownSignal};
pub use transport::bind_reuse_port;
#[cfg(feature = "test-util")]
pub(crate) use {
    app::HttpService,
    connection_count::{ConnectionCount, ConnectionGuard},
    delivery::{DeliveryShard, NextTurn},
    hand_over::HandedOverConnection,
    http_connection::Server,
    inbox::{Inbox, ShardCommand},
    transport::Transport,
};

/// Serves an application over TCP, and its event streams without the cost of an HTTP stack.
///
/// `app` is what `axum::serve` takes: a `Router`, `Router::into_make_service()`,
/// `Router::into_make_service_with_connect_info::<SocketAddr>()`, or any other tower service of
/// HTTP requests. For `ConnectInfo<T>` in handlers, `T` implements `Connected<SocketAddr>`.
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
    Serve { listeners, app, settings: ServeSettings::default(), signal: None, kind: PhantomData }
}

/// A server about to run: `.await` it. Dropping the future ends everything at once.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<A, K> {
    listeners: Vec<TcpListener>,
    app: A,
    settings: ServeSettings,
    signal: Option<ShutdownSignal>,
    kind: PhantomData<fn() -> K>,
}

impl<A, K> Serve<A, K> {
    /// Serves at another address too. Everything else is shared: shards, limits, and the shutdown.
    /// A listener that fails to accept is tried again after a short pause; the others go on.
    pub fn also(mut self, listener: TcpListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Shuts down gracefully once `signal` completes: no connection is accepted any more, requests
    /// are finished, and each event stream ends at a random moment within [`drain`](Self::drain),
    /// with a `retry:` that tells its reader when to reconnect.
    pub fn with_graceful_shutdown<F>(mut self, signal: F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.signal = Some(Box::pin(signal));
        self
    }

    /// Threads that write event streams. Default: as many as there are processors.
    ///
    /// # Panics
    ///
    /// If `shards` is 0; that is [`no_shards`](Self::no_shards).
    pub fn shards(mut self, shards: usize) -> Self {
        assert!(shards > 0, "a server has at least one shard");
        self.settings.shards = Some(shards);
        self
    }

    /// Starts no threads and leaves all event streams with hyper, for a server that has few of
    /// them.
    pub fn no_shards(mut self) -> Self {
        self.settings.shards = Some(0);
        self
    }

    /// Most open connections, at all addresses together. Default: what the limit on open files
    /// leaves room for. Further ones wait in the system's backlog to be accepted.
    ///
    /// # Panics
    ///
    /// If `connections` is 0.
    pub fn max_connections(mut self, connections: usize) -> Self {
        assert!(connections > 0, "a server has room for at least one connection");
        self.settings.max_connections = Some(connections);
        self
    }

    /// Most open connections from one address, where that is neither loopback nor private: at such
    /// an address there may be a proxy. Default: 200. Further ones are closed as soon as they are
    /// accepted. The addresses of one IPv6 network of 64 bits count as one.
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.settings.address_limit = AddressLimit::of_public_addresses(connections);
        self
    }

    /// As [`max_connections_per_address`](Self::max_connections_per_address), but `limit` is called
    /// with the address of each connection, and decides whether that is counted: `None` is no
    /// limit. So it can change while the server runs, and except proxies.
    pub fn max_connections_per_address_with<F>(mut self, limit: F) -> Self
    where
        F: Fn(IpAddr) -> Option<usize> + Send + Sync + 'static,
    {
        self.settings.address_limit = AddressLimit::new(limit);
        self
    }

    /// Most requests at a time, and so most event streams, on one HTTP/2 connection. Default: 100.
    ///
    /// # Panics
    ///
    /// If `streams` is 0.
    pub fn max_http2_streams(mut self, streams: u32) -> Self {
        assert!(streams > 0, "an HTTP/2 connection has room for at least one stream");
        self.settings.http2_streams = streams;
        self
    }

    /// Serves HTTP over what `handshake` makes of each accepted connection, for example a TLS
    /// stream. It may take [`header_timeout`](Self::header_timeout); a connection whose handshake
    /// fails is closed. The event streams of such connections stay with hyper.
    pub fn with_handshake<F, R, T>(mut self, handshake: F) -> Self
    where
        F: Fn(AcceptedSocket) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<T>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.settings.handshake = Some(Handshake::new(handshake));
        self
    }

    /// Longest head of a request, in bytes. Default: 16 KiB; at least 8 KiB. A longer one is
    /// answered with 431.
    pub fn max_head_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_head_bytes = bytes.max(8 * 1024);
        self
    }

    /// Time for the head of a request to arrive. Default: 10 s; at most a day. After it the
    /// connection is closed, also if it is idle between two requests; one of HTTP/2 once it has had
    /// no open stream for this time.
    pub fn header_timeout(self, timeout: Duration) -> Self {
        self.header_timeout_with(move || timeout)
    }

    /// As [`header_timeout`](Self::header_timeout), but `timeout` is called whenever a connection
    /// begins, so that the time can change while the server runs.
    pub fn header_timeout_with<F>(mut self, timeout: F) -> Self
    where
        F: Fn() -> Duration + Send + Sync + 'static,
    {
        self.settings.header_timeout = HeaderTimeout::new(timeout);
        self
    }

    /// Most bytes of half-written events that are kept for readers that stopped reading. Default:
    /// 64 MiB. The shards share it in equal parts, each of which has room for one event at least.
    /// Beyond it the reader that has taken nothing for the longest time is closed.
    pub fn stalled_bytes(mut self, bytes: usize) -> Self {
        self.settings.stalled_bytes = bytes;
        self
    }

    /// Sends no TCP keep-alive probes. Then a reader that vanishes is noticed only once something
    /// is sent to it, for example a heartbeat.
    pub fn no_keep_alive(mut self) -> Self {
        self.settings.keep_alive = false;
        self
    }

    /// Time over which event streams end at a graceful shutdown. Default: 5 s; at most a day. A
    /// connection that is still open after it is cut off.
    pub fn drain(mut self, window: Duration) -> Self {
        self.settings.drain = window.min(limits::WAIT_MAX);
        self
    }

    /// How many connections this server can have, and what they cost at worst. This raises the
    /// limit on open files, as serving does: see [`raise_open_files`].
    pub fn capacity(&self) -> Capacity {
        Capacity::new(self.settings.max_connections, self.settings.stalled_bytes)
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
