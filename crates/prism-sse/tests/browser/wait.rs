//! Waiting for what a test claims, instead of for a time to pass.

use std::time::{Duration, Instant};

/// How long anything may take that should happen. Far more than it takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The pause between two attempts.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Calls `look` again and again until it returns a value. `what` describes the value for a failure.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
