//! How a server serves, as the builder methods of [`Serve`](super::Serve) set it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

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
}

/// The time that a request's head has to arrive. It is asked for whenever a connection begins, so
/// that it can change while the server runs.
#[derive(Clone)]
pub(crate) struct HeaderTimeout(Arc<dyn Fn() -> Duration + Send + Sync>);

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

impl fmt::Debug for HeaderTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
