//! The event streams that stay with hyper: registered, so that a graceful shutdown can end them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use crate::manager::ConnectionRef;
use crate::random;

#[derive(Default)]
pub(super) struct StreamRegistry {
    streams: Mutex<RegisteredStreams>,
}

#[derive(Default)]
struct RegisteredStreams {
    open: Slab<ConnectionRef>,
    /// The drain has begun: a stream that is registered now is ended at once.
    draining: bool,
}

/// Keeps a stream registered until it is dropped.
pub(super) struct StreamRegistration {
    registry: Arc<StreamRegistry>,
    key: usize,
}

/// Whether a response body is known to be an event stream of this library.
pub(super) enum StreamTracking {
    Registered {
        /// Held for as long as the body is.
        _registration: StreamRegistration,
    },
    /// The first poll of the body showed no stream, but a later one may.
    Undetermined(Arc<StreamRegistry>),
}

impl StreamTracking {
    pub(super) fn register(&mut self, stream: ConnectionRef) {
        if let Self::Undetermined(registry) = self {
            *self = Self::Registered { _registration: registry.register(stream) };
        }
    }
}

impl StreamRegistry {
    pub(super) fn register(self: &Arc<Self>, stream: ConnectionRef) -> StreamRegistration {
        let (key, late) = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            let late = streams.draining.then(|| stream.clone());
            (streams.open.insert(stream), late)
        };
        if let Some(late) = late {
            late.shut_down();
        }
        StreamRegistration { registry: Arc::clone(self), key }
    }

    /// Ends each stream at a random moment within `window`.
    pub(super) async fn drain(&self, window: Duration) {
        let begin = Instant::now();
        let mut ends: Vec<(Duration, ConnectionRef)> = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.draining = true;
            let moment = || window.mul_f64(random::bits() as f64 / u64::MAX as f64);
            streams.open.iter().map(|(_, stream)| (moment(), stream.clone())).collect()
        };
        ends.sort_by_key(|&(at, _)| at);
        for (at, stream) in ends {
            tokio::time::sleep_until(begin + at).await;
            stream.shut_down();
        }
    }
}

impl Drop for StreamRegistration {
    fn drop(&mut self) {
        let removed = {
            let mut streams = self.registry.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.open.try_remove(self.key)
        };
        // Dropped after the lock is released: it may be the last handle on a value that the
        // application attached to the connection.
        drop(removed);
    }
}
