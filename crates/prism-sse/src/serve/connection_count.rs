//! The number of open connections of a server, whether hyper or a shard has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::limits;

#[derive(Default)]
pub(crate) struct ConnectionCount {
    count: AtomicUsize,
    /// Notified when a connection ends.
    decreased: Notify,
}

/// Counts one connection from its creation until it is dropped.
pub(crate) struct ConnectionGuard(Arc<ConnectionCount>);

impl ConnectionCount {
    pub(crate) fn get(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until a connection may have ended, at most [`limits::ACCEPT_PAUSE`]. A notification
    /// wakes one waiter only, so that the other one has to look by itself.
    pub(crate) async fn wait_for_decrease(&self) {
        drop(timeout(limits::ACCEPT_PAUSE, self.decreased.notified()).await);
    }

    /// Waits until no connection is open.
    pub(crate) async fn wait_for_zero(&self) {
        while self.get() > 0 {
            self.wait_for_decrease().await;
        }
    }
}

impl ConnectionGuard {
    pub(crate) fn new(count: &Arc<ConnectionCount>) -> Self {
        count.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Release);
        self.0.decreased.notify_one();
    }
}
