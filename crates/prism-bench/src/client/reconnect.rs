//! All subscribers disconnect, and reconnect at once to be given the events they missed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Client, wait};

/// The measurement of a replay to all subscribers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayMeasurement {
    /// From the first connection to the last replayed event.
    pub(crate) time: Duration,
    /// Number of replayed events, all subscribers together.
    pub(crate) events: u64,
    /// Number of reads that had data.
    pub(crate) reads: u64,
}

impl Client {
    /// The id with which the first subscriber would reconnect now.
    pub(crate) fn last_event_id(&self) -> Result<String> {
        let id = self.stats.last_event_id.get();
        ensure!(!id.is_empty(), "the server sends no ids, so that streams cannot resume");
        Ok(id.to_owned())
    }

    /// Closes all subscribers' connections, and returns how many there were.
    pub(crate) fn disconnect_all(&mut self) -> usize {
        let connections = self.subscribers.len();
        self.subscribers.clear();
        connections
    }

    /// Opens connections that resume after the event `id`, where the event numbered `first`
    /// follows, and reads until each has `missed` events. Gives up if nothing is received for as
    /// long as `stall`; [`faults`](Self::faults) then has what is missing.
    pub(crate) fn reconnect_all(
        &mut self,
        connections: usize,
        (id, first, missed): (&str, u32, u32),
        stall: Duration,
        mut progress: impl FnMut(u64),
    ) -> Result<ReplayMeasurement> {
        self.request.resume_after(id);
        self.stats.restart();
        self.stats.checker.rewind(first);
        self.stats.live_from = self.now();
        let start = Instant::now();
        self.connect(connections, |_| ())?;
        let expected = connections as u64 * u64::from(missed);
        while self.stats.deliveries < expected {
            if !wait(&mut self.poll, &mut self.ready, stall)? {
                break;
            }
            self.handle_ready()?;
            progress(self.stats.deliveries);
        }
        let (events, reads) = (self.stats.deliveries, self.stats.reads);
        Ok(ReplayMeasurement { time: start.elapsed(), events, reads })
    }
}
