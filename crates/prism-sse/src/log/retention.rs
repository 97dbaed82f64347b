//! Retention: how many records, bytes and hours the log keeps.

use std::time::Duration;

use crate::limits;

/// How much the log keeps: records beyond any of the three bounds are evicted, oldest first.
///
/// ```
/// use prism_sse::Retention;
/// use std::time::Duration;
///
/// let hour = Retention::default().age(Duration::from_secs(3600)).bytes(8 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    pub(super) count: usize,
    pub(super) bytes: usize,
    pub(super) age: Duration,
}

impl Retention {
    /// Keeps at most this many records; 10,000 by default. With `usize::MAX` only the bytes count.
    #[must_use]
    pub fn count(mut self, records: usize) -> Self {
        self.count = records;
        self
    }

    /// Keeps at most this many bytes, the bookkeeping of each record included; 64 MiB by default.
    /// The newest record is kept whatever its size.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Keeps records for this long; 24 hours by default.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The most records that are kept.
    pub fn max_count(&self) -> usize {
        self.count
    }

    /// The most bytes that are kept.
    pub fn max_bytes(&self) -> usize {
        self.bytes
    }

    /// How long records are kept.
    pub fn max_age(&self) -> Duration {
        self.age
    }

    /// The name of a bound that is zero, if there is one.
    pub(crate) fn zero(&self) -> Option<&'static str> {
        [("count", self.count == 0), ("bytes", self.bytes == 0), ("age", self.age.as_millis() == 0)]
            .into_iter()
            .find_map(|(name, zero)| zero.then_some(name))
    }

    /// The default for transient events.
    pub(crate) fn transient() -> Self {
        Self { count: usize::MAX, bytes: limits::TRANSIENT_BYTES, age: limits::TRANSIENT_AGE }
    }

    /// The retention of a manager without history, for readers that are slightly behind.
    pub(crate) fn live() -> Self {
        Self { count: limits::LIVE_RECORDS, bytes: limits::LIVE_BYTES, age: limits::LIVE_AGE }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            count: limits::HISTORY_RECORDS,
            bytes: limits::HISTORY_BYTES,
            age: limits::HISTORY_AGE,
        }
    }
}
