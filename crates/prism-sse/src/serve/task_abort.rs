//! Tasks that serve a connection, or one stream of an HTTP/2 connection, and that can be aborted.
//!
//! hyper polls a response's body only while it can write. Where the peer takes nothing, the body
//! cannot end its stream by itself, and the task that serves it has to be aborted from outside:
//! that drops the body, and with it everything that the stream holds.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::task::AbortHandle;

tokio::task_local! {
    /// What aborts the task that runs.
    static CURRENT: Arc<TaskAbort>;
}

#[derive(Debug, Default)]
pub(super) struct TaskAbort {
    /// Set as soon as the task was spawned, which may be after it began to run.
    task: OnceLock<AbortHandle>,
    aborted: AtomicBool,
}

impl TaskAbort {
    /// Spawns a task that this aborts.
    pub(super) fn spawn<F>(self: Arc<Self>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = tokio::spawn(CURRENT.scope(Arc::clone(&self), future));
        // It is empty, because only this sets it, and nobody spawns a second task.
        drop(self.task.set(task.abort_handle()));
    }

    /// What aborts the task that calls this, if it was spawned by [`spawn`](Self::spawn).
    pub(super) fn of_current_task() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Aborts the task at its next await.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }
}
