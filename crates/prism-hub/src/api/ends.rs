//! Connections that end at a certain time, because their token does.
//!
//! They stand in one queue in the order of their ends, and one task waits for the first of them. A
//! connection that ends for another reason is taken out, so that the queue holds what is open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prism_sse::ConnectionRef;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    state: Mutex<State>,
    /// Something comes before what the task waits for.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: BTreeMap<End, ConnectionRef>,
    count: u64,
    is_running: bool,
}

/// A place in the queue: the time, and a number that no other has.
pub(super) type End = (Instant, u64);

impl Ends {
    /// Ends the connection in this time, unless it is taken out before. `None` for a time that
    /// never comes. This must be called within a runtime.
    pub(super) fn add(
        self: &Arc<Self>,
        within: Duration,
        connection: &ConnectionRef,
    ) -> Option<End> {
        let at = Instant::now().checked_add(within)?;
        let mut state = self.lock();
        state.count += 1;
        let end = (at, state.count);
        let is_sooner = state.queue.first_key_value().is_none_or(|(first, _)| end < *first);
        state.queue.insert(end, connection.clone());
        if !std::mem::replace(&mut state.is_running, true) {
            tokio::spawn(run(Arc::downgrade(self)));
        } else if is_sooner {
            self.sooner.notify_one();
        }
        Some(end)
    }

    /// Takes a connection out that ended for another reason.
    pub(super) fn remove(&self, end: End) {
        let taken = self.lock().queue.remove(&end);
        // Dropping a handle may drop what is attached to its connection.
        drop(taken);
    }

    /// Ends what is due, and says when the next one is.
    fn turn(&self) -> Option<Instant> {
        loop {
            let connection = {
                let mut state = self.lock();
                let first = state.queue.first_entry()?;
                let (at, _) = *first.key();
                if at > Instant::now() {
                    return Some(at);
                }
                first.remove()
            };
            connection.remove();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(ends: Weak<Ends>) {
    loop {
        let Some(ends) = ends.upgrade() else { return };
        let next = ends.turn();
        tokio::select! {
            () = until(next) => {}
            () = ends.sooner.notified() => {}
        }
    }
}

async fn until(next: Option<Instant>) {
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
    async fn each_connection_ends_at_its_time_and_not_before() {
        let sse = Manager::new();
        let ends = Arc::new(Ends::default());
        let [late, soon, never] = [(); 3].map(|()| sse.add_connection());
        let add = |seconds, connection: &prism_sse::Connection| {
            ends.add(Duration::from_secs(seconds), &connection.handle().unwrap()).unwrap()
        };
        add(60, &late);
        add(10, &soon);
        ends.remove(add(5, &never));
        assert_eq!(ends.add(Duration::MAX, &never.handle().unwrap()), None);

        tokio::time::sleep(Duration::from_millis(9_990)).await;
        assert_eq!(soon.close_reason(), None);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(soon.close_reason(), Some(CloseReason::Removed));
        assert_eq!((late.close_reason(), never.close_reason()), (None, None));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(late.close_reason(), Some(CloseReason::Removed));
        assert_eq!(never.close_reason(), None);
        assert!(ends.lock().queue.is_empty());
    }
}
