//! How a server serves, as the builder methods of [`Serve`](super::Serve) set it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::accepted_socket::AcceptedSocket;
use super::transport::DuplexStream;
use crate::limits;

#[derive(Clone, Debug)]
pub(crate) struct ServeSettings {
    /// Threads that write event streams; `None` is one for each processor.
    pub(super) shards: Option<usize>,
    /// Open connections; `None` is what the limit on open files leaves room for.
    pub(super) max_connections: Option<usize>,
    pub(super) max_head_bytes: usize,
    pub(super) header_timeout: HeaderTimeout,
    /// Bytes of half-written events that all shards together may keep.
    pub(super) stalled_bytes: usize,
    /// Whether silent peers are probed.
    pub(super) keep_alive: bool,
    /// Time over which streams end at a graceful shutdown.
    pub(super) drain: Duration,
    /// Open connections from one address.
    pub(super) address_limit: AddressLimit,
    /// Requests at once on one HTTP/2 connection.
    pub(super) http2_streams: u32,
    /// What is done with a connection before HTTP begins.
    pub(super) handshake: Option<Handshake>,
}

/// The time that a request's head has to arrive. It is asked for whenever a connection begins, so
/// that it can change while the server runs.
#[derive(Clone)]
pub(crate) struct HeaderTimeout(Arc<dyn Fn() -> Duration + Send + Sync>);

/// How many connections may be open from one address; `None` if it is not counted. It is asked for
/// whenever a connection is accepted.
#[derive(Clone)]
pub(super) struct AddressLimit(Arc<dyn Fn(IpAddr) -> Option<usize> + Send + Sync>);

/// Makes a byte stream for HTTP of an accepted connection, for example by TLS.
#[derive(Clone)]
pub(super) struct Handshake(Arc<dyn Fn(AcceptedSocket) -> HandshakeFuture + Send + Sync>);

pub(super) type HandshakeFuture =
    Pin<Box<dyn Future<Output = io::Result<Box<dyn DuplexStream>>> + Send>>;

/// Completes when a graceful shutdown is to begin.
pub(super) type ShutdownSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            shards: None,
            max_connections: None,
            max_head_bytes: limits::HEAD_BYTES_MAX,
            header_timeout: HeaderTimeout::new(|| limits::HEADER_TIMEOUT),
            stalled_bytes: limits::STALLED_BYTES,
            keep_alive: true,
            drain: limits::DRAIN,
            address_limit: AddressLimit::of_public_addresses(limits::CONNECTIONS_PER_ADDRESS),
            http2_streams: limits::HTTP2_STREAMS,
            handshake: None,
        }
    }
}

impl HeaderTimeout {
    pub(super) fn new(timeout: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(timeout))
    }

    /// The time for a connection that begins now.
    pub(super) fn get(&self) -> Duration {
        (self.0)().min(limits::WAIT_MAX)
    }
}

impl AddressLimit {
    pub(super) fn new(limit: impl Fn(IpAddr) -> Option<usize> + Send + Sync + 'static) -> Self {
        Self(Arc::new(limit))
    }

    /// The limit for every address that is neither loopback nor private: at such an address there
    /// may be a proxy, whose connections are those of many clients.
    pub(super) fn of_public_addresses(limit: usize) -> Self {
        Self::new(move |address| (!is_private(address)).then_some(limit))
    }

    pub(super) fn get(&self, address: IpAddr) -> Option<usize> {
        (self.0)(address)
    }
}

impl fmt::Debug for AddressLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressLimit").finish_non_exhaustive()
    }
}

/// Whether an address is loopback, link-local or private (RFC 1918, RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

impl Handshake {
    pub(super) fn new<F, R, T>(handshake: F) -> Self
    where
        F: Fn(AcceptedSocket) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<T>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self(Arc::new(move |socket| {
            let handshake = handshake(socket);
            Box::pin(async move { Ok(Box::new(handshake.await?) as Box<dyn DuplexStream>) })
        }))
    }

    pub(super) fn begin(&self, socket: AcceptedSocket) -> HandshakeFuture {
        (self.0)(socket)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

impl fmt::Debug for HeaderTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
