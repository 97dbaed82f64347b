//! Budgets for request bodies: the bytes of them that are held at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the bodies of one kind of request that are held, and how many may be.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    held: AtomicUsize,
    max: usize,
}

/// The bytes that one body counts; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct BodyBytes {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl BodyBudget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max })
    }

    /// The count of a body of which nothing has arrived.
    pub(crate) fn begin(self: &Arc<Self>) -> BodyBytes {
        BodyBytes { budget: Arc::clone(self), bytes: 0 }
    }
}

impl BodyBytes {
    /// Counts bytes that have arrived. `false` if more would be held than may be, unless it is by
    /// this body alone.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let before = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= self.budget.max || before + bytes == self.bytes
    }
}

impl Drop for BodyBytes {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_beyond_the_budget_are_refused_until_others_are_dropped() {
        let budget = BodyBudget::new(10);
        let [mut one, mut other] = [budget.begin(), budget.begin()];
        assert!(one.add(12), "one body may always be held");
        assert!(!other.add(1));
        drop((one, other));
        let [mut one, mut other] = [budget.begin(), budget.begin()];
        assert!(one.add(4) && other.add(6) && !one.add(1));
    }
}
