//! Publishing in a closed loop: every publisher sends its next event as soon as the last one was
//! acknowledged.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::receive_stats::latency_histogram;
use super::{Client, nanos, wait};
use crate::cli::Load;
use crate::publish::PublishTemplate;

/// The measurement of publishing in a closed loop.
#[derive(Debug)]
pub(crate) struct PublishMeasurement {
    /// From the first request to the last response and the last delivery.
    pub(crate) time: Duration,
    /// Number of publishes that were answered.
    pub(crate) answered: u64,
    pub(crate) deliveries: u64,
    /// Number of subscribers' reads that had data.
    pub(crate) reads: u64,
    /// From a request to its response, in nanoseconds.
    pub(crate) ack_latency: Histogram<u64>,
    /// From a request to the delivery of its event, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Client {
    /// Publishes from all publishers at once until `load` is over, everything was answered, and
    /// everything was delivered. Gives up if nothing is answered or delivered for too long;
    /// [`faults`](Self::faults) then has what is missing.
    pub(crate) fn publish_closed_loop(
        &mut self,
        template: &PublishTemplate,
        load: &Load,
        mut progress: impl FnMut(u64, Duration),
    ) -> Result<PublishMeasurement> {
        self.stats.restart();
        let mut ack_latency = latency_histogram()?;
        let (mut sent, mut answered) = (0, 0);
        let start = self.now();
        let end = start.saturating_add(nanos(load.seconds));
        let has_more = |sent: u64, now: u64| match load.messages {
            Some(most) => sent < most,
            None => now < end,
        };
        let mut last = start;
        for publisher in 0..self.publishers.len() {
            if has_more(sent, start) {
                self.publish(publisher, self.now(), template)?;
                sent += 1;
            }
        }
        while answered < sent || self.stats.in_flight.messages > 0 {
            let before = self.stats.deliveries;
            if !wait(&mut self.poll, &mut self.ready, load.stall)? {
                break;
            }
            self.handle_ready()?;
            let mut done = std::mem::take(&mut self.answered);
            if !done.is_empty() || self.stats.deliveries > before {
                last = self.now();
            }
            for publisher in done.drain(..) {
                let now = self.now();
                ack_latency.saturating_record(now - self.publishers[publisher].due());
                answered += 1;
                if has_more(sent, now) {
                    self.publish(publisher, now, template)?;
                    sent += 1;
                }
            }
            self.answered = done;
            progress(answered, Duration::from_nanos(last - start));
        }
        Ok(PublishMeasurement {
            time: Duration::from_nanos(last - start),
            answered,
            deliveries: self.stats.deliveries,
            reads: self.stats.reads,
            ack_latency,
            latency: self.stats.latency.clone(),
        })
    }
}
