//! Counts the steps that are taken under the manager's lock, for tests that bound them.
//!
//! A step is a constant amount of work: a look at one record, audience, connection, index entry or
//! reference. What is counted belongs to the thread that counts. Without the feature `test-util`
//! nothing is counted.

#[cfg(feature = "test-util")]
mod counting {
    use std::cell::Cell;

    thread_local! {
        /// Steps since the thread last took the lock.
        static CURRENT: Cell<u64> = const { Cell::new(0) };
        static LONGEST: Cell<u64> = const { Cell::new(0) };
    }

    /// Counts steps under the lock that this thread holds.
    pub(crate) fn count(steps: usize) {
        CURRENT.set(CURRENT.get() + steps as u64);
    }

    /// This thread takes the lock.
    pub(crate) fn begin_hold() {
        LONGEST.set(LONGEST.get().max(CURRENT.replace(0)));
    }

    /// The most steps that this thread took while it held the lock once, since the last call.
    pub(crate) fn take_longest() -> u64 {
        begin_hold();
        LONGEST.replace(0)
    }
}

#[cfg(feature = "test-util")]
pub(crate) use counting::{begin_hold, count, take_longest};

#[cfg(not(feature = "test-util"))]
pub(crate) fn count(_: usize) {}

#[cfg(not(feature = "test-util"))]
pub(crate) fn begin_hold() {}
