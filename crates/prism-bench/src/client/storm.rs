//! All subscribers come back at once, and are given what they missed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Client, wait};

/// How long it took until all had what they missed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaughtUp {
    pub(crate) time: Duration,
    /// Events that were replayed, all subscribers together.
    pub(crate) events: u64,
    pub(crate) reads: u64,
}

impl Client {
    /// The id with which the first subscriber would come back now.
    pub(crate) fn last_id(&self) -> Result<String> {
        let id = self.tally.last_id.get();
        ensure!(!id.is_empty(), "the server sends no ids, so that nobody can resume");
        Ok(id.to_owned())
    }

    /// Closes all subscribers' connections.
    pub(crate) fn leave(&mut self) -> usize {
        let connections = self.subscribers.len();
        self.subscribers.clear();
        connections
    }

    /// Opens so many connections that resume after `id`, where the event numbered `first`
    /// follows, and reads until all have `missed` events. If nothing comes for as long as `stall`
    /// it gives up; then [`faults`](Self::faults) tells what is missing.
    pub(crate) fn come_back(
        &mut self,
        connections: usize,
        (id, first, missed): (&str, u32, u32),
        stall: Duration,
        mut progress: impl FnMut(u64),
    ) -> Result<CaughtUp> {
        self.question.resume_after(id);
        self.tally.restart();
        self.tally.checker.rewind(first);
        self.tally.live_from = self.now();
        let began = Instant::now();
        self.connect(connections, |_| ())?;
        let expected = connections as u64 * u64::from(missed);
        while self.tally.deliveries < expected {
            if !wait(&mut self.poll, &mut self.ready, stall)? {
                break;
            }
            self.receive()?;
            progress(self.tally.deliveries);
        }
        let (events, reads) = (self.tally.deliveries, self.tally.reads);
        Ok(CaughtUp { time: began.elapsed(), events, reads })
    }
}
