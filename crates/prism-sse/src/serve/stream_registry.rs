//! The event streams that stay with hyper: registered, so that a graceful shutdown can end them,
//! and so that one that has ended is dropped although its reader takes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use super::task_abort::TaskAbort;
use crate::limits;
use crate::manager::{ClosedConnection, ConnectionRef};
use crate::random;

#[derive(Default)]
pub(super) struct StreamRegistry {
    streams: Mutex<RegisteredStreams>,
}

#[derive(Default)]
struct RegisteredStreams {
    open: Slab<RegisteredStream>,
    /// The drain has begun: a stream that is registered now is ended at once.
    draining: bool,
}

struct RegisteredStream {
    connection: ConnectionRef,
    /// Aborts the task that serves the stream. `None` if that is not one of the server's own.
    abort: Option<Arc<TaskAbort>>,
    /// The end that the manager decided on, and when the stream was first seen as it is now.
    closed: Option<(ClosedConnection, Instant)>,
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
    /// Registers a stream that the current task serves.
    pub(super) fn register(self: &Arc<Self>, connection: ConnectionRef) -> StreamRegistration {
        let abort = TaskAbort::of_current_task();
        let (key, late) = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            let late = streams.draining.then(|| connection.clone());
            (streams.open.insert(RegisteredStream { connection, abort, closed: None }), late)
        };
        if let Some(late) = late {
            late.shut_down();
        }
        StreamRegistration { registry: Arc::clone(self), key }
    }

    /// Aborts the streams that have ended and whose readers take nothing, so that hyper does not
    /// ask for the end. Called every [`limits::STREAM_CHECK`].
    ///
    /// What a stalled reader has not taken is not sent any more. Any other stream is still to
    /// receive what was due at its end, as long as it makes progress.
    pub(super) fn abort_ended(&self, now: Instant) {
        let mut aborts = Vec::new();
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, stream) in &mut streams.open {
            let Some(closed) = stream.connection.closed() else { continue };
            let since = match stream.closed {
                Some((before, since)) if before == closed => since,
                _ => now,
            };
            stream.closed = Some((closed, since));
            if closed.is_stalled() || now - since + limits::STREAM_CHECK >= limits::STALL {
                aborts.extend(stream.abort.clone());
            }
        }
        drop(streams);
        // Not under the lock: the stream's task may be dropped here, and removes it.
        aborts.iter().for_each(|abort| abort.abort());
    }

    /// Ends each stream at a random moment within `window`.
    pub(super) async fn drain(&self, window: Duration) {
        let begin = Instant::now();
        let mut ends: Vec<(Duration, ConnectionRef)> = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.draining = true;
            let moment = || window.mul_f64(random::bits() as f64 / u64::MAX as f64);
            let open = streams.open.iter();
            open.map(|(_, stream)| (moment(), stream.connection.clone())).collect()
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
