//! Connections that are open, wherever they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::limits;

#[derive(Default)]
pub(crate) struct Open {
    count: AtomicUsize,
    /// Rung when one goes.
    freed: Notify,
}

/// One of them, for as long as it is kept.
pub(crate) struct Held(Arc<Open>);

impl Open {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until one may have gone, and not for long.
    pub(crate) async fn one_less(&self) {
        drop(timeout(limits::ACCEPT_PAUSE, self.freed.notified()).await);
    }

    /// Waits until there is none.
    pub(crate) async fn none(&self) {
        while self.count() > 0 {
            self.one_less().await;
        }
    }
}

impl Held {
    pub(crate) fn new(open: &Arc<Open>) -> Self {
        open.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Release);
        self.0.freed.notify_one();
    }
}
