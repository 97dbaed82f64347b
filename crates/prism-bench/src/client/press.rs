//! Publishing as fast as answers come: every publisher sends its next event as soon as the one
//! before was answered.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::tally::latencies;
use super::{Client, nanos, wait};
use crate::cli::Load;
use crate::publish::Form;

/// What publishing as fast as answers come gave.
#[derive(Debug)]
pub(crate) struct Pressed {
    /// From the first request to the last answer and the last delivery.
    pub(crate) time: Duration,
    /// Publishes that were answered.
    pub(crate) answered: u64,
    pub(crate) deliveries: u64,
    /// Reads of subscribers that had something to give.
    pub(crate) reads: u64,
    /// From a request to its answer, in nanoseconds.
    pub(crate) answers: Histogram<u64>,
    /// From a request to when a subscriber had read the event, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Client {
    /// Publishes from all publishers at once until `load` is over, everything was answered, and
    /// everything was delivered. If nothing is answered or delivered for too long it gives up; then
    /// [`faults`](Self::faults) tells what is missing.
    pub(crate) fn press(
        &mut self,
        form: &Form,
        load: &Load,
        mut progress: impl FnMut(u64, Duration),
    ) -> Result<Pressed> {
        self.tally.restart();
        let mut answers = latencies()?;
        let (mut sent, mut answered) = (0, 0);
        let began = self.now();
        let end = began.saturating_add(nanos(load.seconds));
        let goes_on = |sent: u64, now: u64| match load.messages {
            Some(most) => sent < most,
            None => now < end,
        };
        let mut last = began;
        for publisher in 0..self.publishers.len() {
            if goes_on(sent, began) {
                self.publish(publisher, self.now(), form)?;
                sent += 1;
            }
        }
        while answered < sent || self.tally.flights.open > 0 {
            let before = self.tally.deliveries;
            if !wait(&mut self.poll, &mut self.ready, load.stall)? {
                break;
            }
            self.receive()?;
            let mut done = std::mem::take(&mut self.answered);
            if !done.is_empty() || self.tally.deliveries > before {
                last = self.now();
            }
            for publisher in done.drain(..) {
                let now = self.now();
                answers.saturating_record(now - self.publishers[publisher].due());
                answered += 1;
                if goes_on(sent, now) {
                    self.publish(publisher, now, form)?;
                    sent += 1;
                }
            }
            self.answered = done;
            progress(answered, Duration::from_nanos(last - began));
        }
        Ok(Pressed {
            time: Duration::from_nanos(last - began),
            answered,
            deliveries: self.tally.deliveries,
            reads: self.tally.reads,
            answers,
            latency: self.tally.latency.clone(),
        })
    }
}
