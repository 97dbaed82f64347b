//! What was received: counted, checked and timed.

use std::collections::VecDeque;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::check::{Checker, Lanes};
use crate::receive::{LastId, Stamp};

/// Latencies above an hour are told as an hour.
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;

/// The account of all that subscribers received.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) checker: Checker,
    pub(super) flights: Flights,
    pub(super) latency: Histogram<u64>,
    pub(super) deliveries: u64,
    /// Reads that had something to give.
    pub(super) reads: u64,
    /// The id of the first subscriber's stream.
    pub(super) last_id: LastId,
    /// Events that were due earlier are replayed: when they were due says nothing.
    pub(super) live_from: u64,
}

/// Which published messages are still under way to how many subscribers.
#[derive(Debug)]
pub(super) struct Flights {
    lanes: Lanes,
    subscribers: usize,
    open_in: Vec<Flying>,
    /// How many messages are under way.
    pub(super) open: usize,
}

/// The messages of one lane, from the oldest that is under way on.
#[derive(Clone, Debug, Default)]
struct Flying {
    first: u32,
    missing: VecDeque<u32>,
}

/// No latencies yet, in nanoseconds.
pub(super) fn latencies() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3)?)
}

impl Tally {
    pub(super) fn new(subscribers: usize, lanes: Lanes, payload: usize) -> Result<Self> {
        Ok(Self {
            checker: Checker::new(subscribers, lanes, payload),
            flights: Flights::new(lanes, subscribers),
            latency: latencies()?,
            deliveries: 0,
            reads: 0,
            last_id: LastId::default(),
            live_from: 0,
        })
    }

    /// Counts from nothing, and goes on checking.
    pub(super) fn restart(&mut self) {
        self.latency.reset();
        (self.deliveries, self.reads) = (0, 0);
    }

    /// Takes note of an event that a subscriber read.
    pub(super) fn note(&mut self, subscriber: usize, stamp: Stamp, len: usize, now: u64) {
        if self.checker.receive(subscriber, stamp, len) {
            self.deliveries += 1;
            if stamp.due >= self.live_from {
                self.latency.saturating_record(now.saturating_sub(stamp.due));
                self.flights.arrive(stamp);
            }
        }
    }
}

impl Flights {
    fn new(lanes: Lanes, subscribers: usize) -> Self {
        let open_in = vec![Flying::default(); lanes.count()];
        Self { lanes, subscribers, open_in, open: 0 }
    }

    /// A message sets out. One that nobody reads arrives at once.
    pub(super) fn start(&mut self, lane: usize) {
        let readers = self.lanes.readers(lane, self.subscribers);
        let flying = &mut self.open_in[lane];
        flying.missing.push_back(u32::try_from(readers).unwrap_or(u32::MAX));
        self.open += usize::from(readers > 0);
        flying.land();
    }

    fn arrive(&mut self, stamp: Stamp) {
        let flying = &mut self.open_in[stamp.lane as usize];
        let Some(place) = stamp.seq.checked_sub(flying.first) else { return };
        let Some(missing) = flying.missing.get_mut(place as usize) else { return };
        *missing -= 1;
        self.open -= usize::from(*missing == 0);
        flying.land();
    }
}

impl Flying {
    /// Forgets the oldest messages that everybody has.
    fn land(&mut self) {
        while self.missing.front() == Some(&0) {
            self.missing.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_under_way_until_everybody_has_it() {
        let mut flights = Flights::new(Lanes::Publishers(2), 2);
        let arrive = |flights: &mut Flights, lane, seq| {
            flights.arrive(Stamp { lane, seq, due: 0 });
            flights.open
        };
        flights.start(0);
        flights.start(0);
        flights.start(1);
        assert_eq!(flights.open, 3);
        assert_eq!(arrive(&mut flights, 0, 1), 3);
        assert_eq!(arrive(&mut flights, 0, 1), 2);
        assert_eq!(arrive(&mut flights, 1, 0), 2);
        assert_eq!(arrive(&mut flights, 0, 0), 2);
        assert_eq!(arrive(&mut flights, 0, 0), 1);
        assert_eq!(flights.open_in[0].first, 2);
        assert_eq!(arrive(&mut flights, 1, 0), 0);
    }

    #[test]
    fn a_message_without_readers_is_not_waited_for() {
        let mut flights = Flights::new(Lanes::Topics(3), 2);
        flights.start(2);
        assert_eq!(flights.open, 0);
        flights.start(1);
        assert_eq!(flights.open, 1);
        flights.arrive(Stamp { lane: 1, seq: 0, due: 0 });
        assert_eq!(flights.open, 0);
    }
}
