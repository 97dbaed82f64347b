//! How much of the past is kept.

use std::time::Duration;

use crate::limits;

/// How much of the past is kept: what exceeds any of the three bounds is evicted, oldest first.
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
    /// Keeps at most this many records; 10,000 unless said. `usize::MAX` leaves it to the bytes.
    #[must_use]
    pub fn count(mut self, records: usize) -> Self {
        self.count = records;
        self
    }

    /// Keeps at most this many bytes, the bookkeeping of each record included; 64 MiB unless said.
    /// The newest record is kept whatever its size.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Keeps records for this long; 24 hours unless said.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    pub(crate) fn max_age(&self) -> Duration {
        self.age
    }

    /// The bound that is zero, if one is.
    pub(crate) fn zero(&self) -> Option<&'static str> {
        [("count", self.count == 0), ("bytes", self.bytes == 0), ("age", self.age.as_millis() == 0)]
            .into_iter()
            .find_map(|(name, zero)| zero.then_some(name))
    }

    /// What is kept of transient events, if nothing else was said.
    pub(crate) fn transient() -> Self {
        Self { count: usize::MAX, bytes: limits::TRANSIENT_BYTES, age: limits::TRANSIENT_AGE }
    }

    /// What is kept of events to single connections.
    pub(super) fn sent() -> Self {
        Self { count: limits::SENT_RECORDS, bytes: limits::SENT_BYTES, age: limits::LIVE_AGE }
    }

    /// What a manager without history keeps for readers that are a little behind.
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
