//! Event streams that stay with hyper: listed, so that they can be ended in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use crate::manager::ConnectionRef;
use crate::random;

#[derive(Default)]
pub(super) struct Streams {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    open: Slab<ConnectionRef>,
    /// Whoever comes is ended at once.
    draining: bool,
}

/// Keeps a stream listed until it is dropped.
pub(super) struct Listed {
    streams: Arc<Streams>,
    key: usize,
}

/// Whether a body is known to be a stream of ours.
pub(super) enum Listing {
    Listed {
        /// Held for as long as the body is.
        _held: Listed,
    },
    /// It may turn out to be one.
    Awaited(Arc<Streams>),
}

impl Listing {
    pub(super) fn begin(&mut self, stream: ConnectionRef) {
        if let Self::Awaited(streams) = self {
            *self = Self::Listed { _held: streams.list(stream) };
        }
    }
}

impl Streams {
    pub(super) fn list(self: &Arc<Self>, stream: ConnectionRef) -> Listed {
        let (key, late) = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            let late = list.draining.then(|| stream.clone());
            (list.open.insert(stream), late)
        };
        if let Some(late) = late {
            late.shut_down();
        }
        Listed { streams: Arc::clone(self), key }
    }

    /// Ends each stream at a random moment within `window`.
    pub(super) async fn drain(&self, window: Duration) {
        let begin = Instant::now();
        let mut ends: Vec<(Duration, ConnectionRef)> = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.draining = true;
            let moment = || window.mul_f64(random::bits() as f64 / u64::MAX as f64);
            list.open.iter().map(|(_, stream)| (moment(), stream.clone())).collect()
        };
        ends.sort_by_key(|&(at, _)| at);
        for (at, stream) in ends {
            tokio::time::sleep_until(begin + at).await;
            stream.shut_down();
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let left = {
            let mut list = self.streams.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.open.try_remove(self.key)
        };
        // It may hold the last of what an application attached.
        drop(left);
    }
}
