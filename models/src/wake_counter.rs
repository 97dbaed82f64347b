//! A waker whose wake-ups a model counts.

use std::sync::Arc;
use std::task::Wake;

use loom::sync::atomic::{AtomicUsize, Ordering};

/// Counts wake-ups.
#[derive(Debug)]
pub struct WakeCounter(AtomicUsize);

impl WakeCounter {
    /// A counter at zero; make a waker of it with [`Waker::from`](std::task::Waker).
    #[expect(clippy::new_ret_no_self, reason = "wakers are made of shared counters")]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(0)))
    }

    /// Number of wake-ups so far.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
