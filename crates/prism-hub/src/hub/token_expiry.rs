//! The token expiry queue: closes each connection when its token expires.
//!
//! One ordered queue holds all connections whose token expires, and one task sleeps until the
//! first expiry. A connection that closes for another reason leaves the queue, so that the queue
//! holds only open connections. The task ends with the queue, and where its runtime ends first, the
//! next connection starts another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prism_sse::ConnectionRef;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Open connections in the order in which their tokens expire.
#[derive(Debug, Default)]
pub(crate) struct TokenExpiryQueue {
    scheduled: Mutex<ScheduledExpiries>,
    /// Wakes the task when an expiry was scheduled that comes before the one it sleeps for, and
    /// when the queue is dropped. The task sleeps without a reference to the queue.
    task_wakeup: Arc<Notify>,
}

#[derive(Debug, Default)]
struct ScheduledExpiries {
    connections: BTreeMap<ExpiryKey, ConnectionRef>,
    last_number: u64,
    is_task_running: bool,
}

/// When a connection's token expires, and a number that makes the key unique.
pub(crate) type ExpiryKey = (Instant, u64);

impl TokenExpiryQueue {
    /// Closes the connection after this time, unless [`cancel`](Self::cancel) comes first. `None`
    /// if the time lies beyond what the clock can represent. Must be called within a runtime.
    pub(crate) fn schedule(
        self: &Arc<Self>,
        after: Duration,
        connection: &ConnectionRef,
    ) -> Option<ExpiryKey> {
        let at = Instant::now().checked_add(after)?;
        let (key, is_earliest, is_task_running) = {
            let mut scheduled = self.lock();
            scheduled.last_number += 1;
            let key = (at, scheduled.last_number);
            let first = scheduled.connections.first_key_value();
            let is_earliest = first.is_none_or(|(first, _)| key < *first);
            scheduled.connections.insert(key, connection.clone());
            (key, is_earliest, std::mem::replace(&mut scheduled.is_task_running, true))
        };
        if !is_task_running {
            // A runtime that ends drops the task at once, which takes the lock.
            let task =
                ExpiryTask { queue: Arc::downgrade(self), wakeup: Arc::clone(&self.task_wakeup) };
            tokio::spawn(task.run());
        } else if is_earliest {
            self.task_wakeup.notify_one();
        }
        Some(key)
    }

    /// Removes a connection that closed for another reason.
    pub(crate) fn cancel(&self, key: ExpiryKey) {
        let removed = self.lock().connections.remove(&key);
        // Dropped outside the lock: it may be the last reference to the state that is attached to
        // the connection.
        drop(removed);
    }

    /// Closes the connections whose tokens have expired. Returns when the next one expires.
    fn close_expired(&self) -> Option<Instant> {
        loop {
            let connection = {
                let mut scheduled = self.lock();
                let first = scheduled.connections.first_entry()?;
                let (at, _) = *first.key();
                if at > Instant::now() {
                    return Some(at);
                }
                first.remove()
            };
            connection.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ScheduledExpiries> {
        self.scheduled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TokenExpiryQueue {
    fn drop(&mut self) {
        self.task_wakeup.notify_one();
    }
}

/// The task that closes the connections of a queue.
struct ExpiryTask {
    queue: Weak<TokenExpiryQueue>,
    wakeup: Arc<Notify>,
}

impl ExpiryTask {
    /// Ends when the queue was dropped.
    async fn run(self) {
        loop {
            let Some(next) = self.queue.upgrade().map(|queue| queue.close_expired()) else {
                return;
            };
            tokio::select! {
                () = sleep_until_next(next) => {}
                () = self.wakeup.notified() => {}
            }
        }
    }
}

/// The task is dropped at its end, or at that of its runtime.
impl Drop for ExpiryTask {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.lock().is_task_running = false;
        }
    }
}

async fn sleep_until_next(next: Option<Instant>) {
    match next {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_sse::{CloseReason, Manager};

    #[tokio::test(start_paused = true)]
    async fn a_connection_closes_when_its_token_expires_and_not_before() {
        let manager = Manager::new();
        let queue = Arc::new(TokenExpiryQueue::default());
        let [late, soon, cancelled] = [(); 3].map(|()| manager.add_connection());
        let schedule = |seconds, connection: &prism_sse::Connection| {
            queue.schedule(Duration::from_secs(seconds), &connection.handle().unwrap()).unwrap()
        };
        schedule(60, &late);
        schedule(10, &soon);
        queue.cancel(schedule(5, &cancelled));
        assert_eq!(queue.schedule(Duration::MAX, &cancelled.handle().unwrap()), None);

        tokio::time::sleep(Duration::from_millis(9_990)).await;
        assert_eq!(soon.close_reason(), None);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(soon.close_reason(), Some(CloseReason::Removed));
        assert_eq!((late.close_reason(), cancelled.close_reason()), (None, None));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(late.close_reason(), Some(CloseReason::Removed));
        assert_eq!(cancelled.close_reason(), None);
        assert!(queue.lock().connections.is_empty());
    }

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    }

    #[test]
    fn the_task_ends_with_the_queue() {
        runtime().block_on(async {
            let manager = Manager::new();
            let queue = Arc::new(TokenExpiryQueue::default());
            let connection = manager.add_connection();
            let handle = connection.handle().unwrap();
            let key = queue.schedule(Duration::from_secs(60), &handle).unwrap();
            tokio::task::yield_now().await;
            assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
            queue.cancel(key);
            let weak = Arc::downgrade(&queue);
            drop(queue);
            assert!(weak.upgrade().is_none(), "the task keeps the queue");
            tokio::task::yield_now().await;
            assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
        });
    }

    #[test]
    fn where_the_runtime_ended_the_next_connection_starts_the_task_again() {
        let manager = Manager::new();
        let queue = Arc::new(TokenExpiryQueue::default());
        let [first, second] = [(); 2].map(|()| manager.add_connection());
        let schedule = |connection: &prism_sse::Connection| {
            queue.schedule(Duration::from_secs(10), &connection.handle().unwrap()).unwrap();
        };
        runtime().block_on(async { schedule(&first) });
        assert_eq!(first.close_reason(), None);
        runtime().block_on(async {
            schedule(&second);
            tokio::time::sleep(Duration::from_secs(11)).await;
        });
        assert_eq!(second.close_reason(), Some(CloseReason::Removed));
    }
}
