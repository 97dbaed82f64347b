//! Publishing at a pace, until everything was delivered.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{Client, nanos, wait};
use crate::check::Lanes;
use crate::cli::Load;
use crate::publish::Form;
use crate::receive::Stamp;

const NANOS_A_SECOND: f64 = 1e9;

/// What publishing and receiving for a while gave.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// From the first publication to the last delivery.
    pub(crate) time: Duration,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    /// Reads that had something to give.
    pub(crate) reads: u64,
    /// From when a message was due to when a subscriber had read it, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Client {
    /// Publishes as `load` says, until it is over and everything was delivered. If nothing is
    /// delivered for too long it gives up; then [`faults`](Self::faults) tells what is missing.
    pub(crate) fn deliver(
        &mut self,
        form: &Form,
        load: &Load,
        mut progress: impl FnMut(u64, Duration),
    ) -> Result<Delivered> {
        self.tally.restart();
        let began = self.now();
        let end = began.saturating_add(nanos(load.seconds));
        let (mut messages, mut last) = (0, began);
        loop {
            let now = self.now();
            let due = match load.rate {
                Some(rate) => began + (messages as f64 / rate * NANOS_A_SECOND) as u64,
                None => now,
            };
            let more = match load.messages {
                Some(most) => messages < most,
                None => due < end,
            };
            let room = load.rate.is_some() || self.tally.flights.open < load.in_flight as usize;
            let free = self.publishers.iter().position(|publisher| !publisher.is_busy());
            if let Some(publisher) = free.filter(|_| more && room && due <= now) {
                self.publish(publisher, due, form)?;
                messages += 1;
                continue;
            }
            let all_answered = self.publishers.iter().all(|publisher| !publisher.is_busy());
            if !more && all_answered && self.tally.flights.open == 0 {
                break;
            }
            let patience = match free {
                // Less than a millisecond is not waited for but spun through.
                Some(_) if more && room => whole_millis(due.saturating_sub(now)).min(load.stall),
                _ => load.stall,
            };
            let before = self.tally.deliveries;
            let woken = wait(&mut self.poll, &mut self.ready, patience)?;
            self.receive()?;
            if self.tally.deliveries > before {
                last = self.now();
            }
            // Those who come and go wake the client even if nothing is delivered.
            let stalled = self.now().saturating_sub(last.max(due)) >= nanos(load.stall);
            if stalled && (!woken || self.churn.opened > 0) {
                break;
            }
            progress(messages, Duration::from_nanos(self.now() - began));
        }
        Ok(Delivered {
            time: Duration::from_nanos(last - began),
            messages,
            deliveries: self.tally.deliveries,
            reads: self.tally.reads,
            latency: self.tally.latency.clone(),
        })
    }

    /// Publishes from one of the publishers, which is not busy.
    pub(super) fn publish(&mut self, publisher: usize, due: u64, form: &Form) -> Result<()> {
        let lane = match self.lanes {
            Lanes::Publishers(_) => publisher,
            Lanes::Topics(count) => {
                // Each publisher has topics of its own, so that their events have an order.
                let turns = count.div_ceil(self.publishers.len());
                let turn = self.turns[publisher];
                self.turns[publisher] = (turn + 1) % turns;
                let lane = turn * self.publishers.len() + publisher;
                if lane < count { lane } else { publisher }
            }
        };
        let seq = self.tally.checker.publish(lane);
        self.tally.flights.start(lane);
        self.publishers[publisher].publish(form, Stamp { lane: lane as u32, seq, due })
    }
}

fn whole_millis(nanos: u64) -> Duration {
    Duration::from_millis(nanos / 1_000_000)
}
