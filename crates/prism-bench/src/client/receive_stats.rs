//! What subscribers received: counted, checked and timed.

use anyhow::Result;
use hdrhistogram::Histogram;

use super::in_flight::InFlight;
use crate::check::{DeliveryChecker, Sequences};
use crate::receive::{LastEventId, Stamp};

/// The greatest latency that is recorded, an hour; longer ones are recorded as an hour.
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;

/// Counts, checks and times all events that subscribers receive.
#[derive(Debug)]
pub(super) struct ReceiveStats {
    pub(super) checker: DeliveryChecker,
    pub(super) in_flight: InFlight,
    pub(super) latency: Histogram<u64>,
    pub(super) deliveries: u64,
    /// Number of reads that had data.
    pub(super) reads: u64,
    /// The last id in the first subscriber's stream.
    pub(super) last_event_id: LastEventId,
    /// Events that were due before this time are replayed, and have no latency.
    pub(super) live_from: u64,
}

/// An empty histogram of latencies in nanoseconds.
pub(super) fn latency_histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3)?)
}

impl ReceiveStats {
    /// Nothing was received.
    pub(super) fn new(subscribers: usize, sequences: Sequences, payload: usize) -> Result<Self> {
        Ok(Self {
            checker: DeliveryChecker::new(subscribers, sequences, payload),
            in_flight: InFlight::new(sequences, subscribers),
            latency: latency_histogram()?,
            deliveries: 0,
            reads: 0,
            last_event_id: LastEventId::default(),
            live_from: 0,
        })
    }

    /// Resets counts and latencies. What is checked, and what is in flight, stays.
    pub(super) fn restart(&mut self) {
        self.latency.reset();
        (self.deliveries, self.reads) = (0, 0);
    }

    /// Records an event that a subscriber received.
    pub(super) fn record(&mut self, subscriber: usize, stamp: Stamp, len: usize, now: u64) {
        if self.checker.receive(subscriber, stamp, len) {
            self.deliveries += 1;
            if stamp.due >= self.live_from {
                self.latency.saturating_record(now.saturating_sub(stamp.due));
                self.in_flight.deliver(stamp);
            }
        }
    }
}
