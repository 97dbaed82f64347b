//! The manager's side of the driver: whether its task runs, and the signal that wakes it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use crate::sync::AtomicBool;

#[derive(Debug, Default)]
pub(crate) struct Driver {
    is_running: AtomicBool,
    /// The task panicked and cannot run here, so that publishers wake readers themselves for good.
    is_broken: AtomicBool,
    signal: Arc<Notify>,
}

impl Driver {
    pub(super) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    /// Whether a task wakes readers, so that it is enough to notify it.
    pub(super) fn can_wake(&self) -> bool {
        self.is_running() && !self.is_broken.load(Ordering::Acquire)
    }

    /// Marks the task as running. Returns `false` if it runs already.
    pub(super) fn claim(&self) -> bool {
        !self.is_running.swap(true, Ordering::AcqRel)
    }

    /// Marks the task as ended. A broken one is not started again.
    pub(super) fn release(&self, is_broken: bool) {
        self.is_running.store(is_broken, Ordering::Release);
        self.is_broken.store(is_broken, Ordering::Release);
    }

    /// Wakes the task.
    pub(super) fn notify(&self) {
        self.signal.notify_one();
    }

    pub(super) fn signal(&self) -> Arc<Notify> {
        Arc::clone(&self.signal)
    }
}
