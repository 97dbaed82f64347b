//! Publishing at a fixed rate, or with a fixed number of messages in flight, until everything was
//! delivered.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{Client, nanos, wait};
use crate::check::Sequences;
use crate::cli::Load;
use crate::publish::PublishTemplate;
use crate::receive::Stamp;

const NANOS_PER_SECOND: f64 = 1e9;

/// The measurement of publishing at a pace.
#[derive(Debug)]
pub(crate) struct DeliveryMeasurement {
    /// From the first publication to the last delivery.
    pub(crate) time: Duration,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    /// Number of reads that had data.
    pub(crate) reads: u64,
    /// From when a message was due to its delivery, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Client {
    /// Publishes until `load` is over and everything was delivered. Gives up if nothing is
    /// delivered for too long; [`faults`](Self::faults) then has what is missing.
    pub(crate) fn publish_paced(
        &mut self,
        template: &PublishTemplate,
        load: &Load,
        mut progress: impl FnMut(u64, Duration),
    ) -> Result<DeliveryMeasurement> {
        self.stats.restart();
        let start = self.now();
        let end = start.saturating_add(nanos(load.seconds));
        let (mut messages, mut last) = (0, start);
        loop {
            let now = self.now();
            let due = match load.rate {
                Some(rate) => start + (messages as f64 / rate * NANOS_PER_SECOND) as u64,
                None => now,
            };
            let has_more = match load.messages {
                Some(most) => messages < most,
                None => due < end,
            };
            let in_flight = self.stats.in_flight.messages;
            let has_room = load.rate.is_some() || in_flight < load.in_flight as usize;
            let idle = self.publishers.iter().position(|publisher| !publisher.is_busy());
            if let Some(publisher) = idle.filter(|_| has_more && has_room && due <= now) {
                self.publish(publisher, due, template)?;
                messages += 1;
                continue;
            }
            let all_answered = self.publishers.iter().all(|publisher| !publisher.is_busy());
            if !has_more && all_answered && in_flight == 0 {
                break;
            }
            let timeout = match idle {
                // A poll waits for whole milliseconds; the rest is a busy loop.
                Some(_) if has_more && has_room => {
                    whole_millis(due.saturating_sub(now)).min(load.stall)
                }
                _ => load.stall,
            };
            let before = self.stats.deliveries;
            let is_ready = wait(&mut self.poll, &mut self.ready, timeout)?;
            self.handle_ready()?;
            if self.stats.deliveries > before {
                last = self.now();
            }
            // Churning connections become ready even if nothing is delivered.
            let is_stalled = self.now().saturating_sub(last.max(due)) >= nanos(load.stall);
            if is_stalled && (!is_ready || self.churn.opened > 0) {
                break;
            }
            progress(messages, Duration::from_nanos(self.now() - start));
        }
        Ok(DeliveryMeasurement {
            time: Duration::from_nanos(last - start),
            messages,
            deliveries: self.stats.deliveries,
            reads: self.stats.reads,
            latency: self.stats.latency.clone(),
        })
    }

    /// Publishes an event from one of the publishers, which must not be busy.
    pub(super) fn publish(
        &mut self,
        publisher: usize,
        due: u64,
        template: &PublishTemplate,
    ) -> Result<()> {
        let sequence = match self.sequences {
            Sequences::PerPublisher(_) => publisher,
            Sequences::PerTopic(count) => {
                // Each topic has one publisher, so that its events have an order.
                let topics = count.div_ceil(self.publishers.len());
                let topic = self.next_topics[publisher];
                self.next_topics[publisher] = (topic + 1) % topics;
                let sequence = topic * self.publishers.len() + publisher;
                if sequence < count { sequence } else { publisher }
            }
        };
        let number = self.stats.checker.publish(sequence);
        self.stats.in_flight.publish(sequence);
        let stamp = Stamp { sequence: sequence as u32, number, due };
        self.publishers[publisher].publish(template, stamp)
    }
}

fn whole_millis(nanos: u64) -> Duration {
    Duration::from_millis(nanos / 1_000_000)
}
