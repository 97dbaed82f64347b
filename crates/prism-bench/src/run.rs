//! What one run measured.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::check::Faults;
use crate::client::{CaughtUp, Delivered, Pressed};
use crate::sample::{self, Cpu, Memory, Processors};

/// A client that was busier than this was the bottleneck, or nearly.
const CLIENT_BOUND: f64 = 0.9;

/// What one run measured. What does not apply to its scenario is `None`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The server, and what sets this run apart from the one beside it.
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) connects_per_second: f64,
    /// The server's time on processors for each connection that opened, in microseconds.
    pub(crate) connect_cpu_us: Option<f64>,
    /// Growth of the server's resident memory, in bytes.
    pub(crate) resident_per_connection: Option<f64>,
    /// Growth of the server's anonymous memory, in bytes.
    pub(crate) anonymous_per_connection: Option<f64>,
    /// Growth of the kernel's own memory, both ends together, in bytes. It keeps what it had for
    /// earlier connections, so that only the first run after a while tells the truth.
    pub(crate) kernel_per_connection: f64,
    pub(crate) threads: Option<u64>,
    /// Growth of the server's resident memory while events were published, in bytes.
    pub(crate) resident_growth: Option<f64>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) churn: Option<Churned>,
    pub(crate) storm: Option<Replayed>,
    #[serde(default)]
    pub(crate) published: Option<Published>,
    pub(crate) crowd: Option<Reached>,
    pub(crate) faults: Faults,
    pub(crate) noise: Noise,
    /// The run was noisier than allowed, and was kept because repeating it did not help.
    pub(crate) noisy: bool,
}

/// What publishing measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_second: f64,
    /// The server's time on processors for each delivery, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// That part of it outside the kernel.
    pub(crate) user_us: Option<f64>,
    /// The server's time on processors for each message, whoever receives it, in microseconds.
    pub(crate) message_cpu_us: Option<f64>,
    pub(crate) events_per_read: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// The part of the time that the client was on its processor.
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// What connections that came and went measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Churned {
    pub(crate) opened: u64,
    pub(crate) opened_per_second: f64,
    /// The server's time for each connection that came and went, that for delivering events in
    /// the same time included, in microseconds.
    pub(crate) cpu_us: Option<f64>,
}

/// What coming back and resuming measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Replayed {
    pub(crate) events: u64,
    /// From the first connection to the last event that was missed.
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) events_per_read: f64,
    /// How long an event that was published then took to reach the last subscriber.
    pub(crate) live_ms: f64,
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// What publishing as fast as answers come measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) seconds: f64,
    pub(crate) answered: u64,
    pub(crate) answered_per_second: f64,
    pub(crate) deliveries: u64,
    pub(crate) events_per_read: f64,
    /// The server's time on processors for each publish, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// That part of it outside the kernel.
    pub(crate) user_us: Option<f64>,
    /// How many processors the server kept busy.
    pub(crate) processors: Option<f64>,
    /// From a request to its answer.
    pub(crate) ack_p50_ms: f64,
    pub(crate) ack_p99_ms: f64,
    pub(crate) ack_max_ms: f64,
    /// From a request to when a subscriber had read the event.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// What reaching connections in many processes measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reached {
    pub(crate) processes: usize,
    /// How long each broadcast took, from the first request to the last delivery.
    pub(crate) broadcast_seconds: Vec<f64>,
    pub(crate) deliveries: u64,
    /// The servers' time on processors for each delivery, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// What the whole machine lost of available memory, for each connection, both ends and all
    /// processes together.
    pub(crate) machine_per_connection: f64,
    /// Least available memory of the whole machine.
    pub(crate) available_least: u64,
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// What others did to the machine meanwhile.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// The part of all processors' time that the hypervisor gave to others.
    pub(crate) stolen: f64,
    /// The part of all processors' time that other processes took.
    pub(crate) foreign: Option<f64>,
    /// Processes that wanted to run over the last minute, before this run.
    pub(crate) load: Option<f64>,
}

/// The accounts at one moment.
#[derive(Debug)]
pub(crate) struct Moment {
    server: Option<Cpu>,
    client: Duration,
    processors: Processors,
}

impl Run {
    /// Whether the client was the limit.
    pub(crate) fn is_client_bound(&self) -> bool {
        self.delivery.as_ref().is_some_and(|it| it.client_bound)
            || self.storm.as_ref().is_some_and(|it| it.client_bound)
            || self.published.as_ref().is_some_and(|it| it.client_bound)
            || self.crowd.as_ref().is_some_and(|it| it.client_bound)
    }

    /// Events that subscribers received.
    pub(crate) fn deliveries(&self) -> Option<u64> {
        let delivered = self.delivery.as_ref().map(|it| it.deliveries);
        let replayed = self.storm.as_ref().map(|it| it.events);
        let published = self.published.as_ref().map(|it| it.deliveries);
        let reached = self.crowd.as_ref().map(|it| it.deliveries);
        let known: Vec<u64> =
            [delivered, replayed, published, reached].into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }
}

impl Moment {
    /// What the servers and the processes of the client, beside this one, have used so far.
    pub(crate) fn now(servers: &[u32], clients: &[u32]) -> Result<Self> {
        let sum = |pids: &[u32]| {
            pids.iter().try_fold(Cpu::default(), |all, &pid| {
                let cpu = sample::cpu(pid)?;
                anyhow::Ok(Cpu { user: all.user + cpu.user, system: all.system + cpu.system })
            })
        };
        Ok(Self {
            server: if servers.is_empty() { None } else { Some(sum(servers)?) },
            client: sample::own_cpu() + sum(clients)?.total(),
            processors: sample::processors()?,
        })
    }

    /// The servers' time since `earlier`, in microseconds for each of so many acts.
    pub(crate) fn server_us_each(&self, earlier: &Self, acts: u64) -> Option<f64> {
        self.server_since(earlier).map(|cpu| each(cpu.total(), acts))
    }

    /// The part of `time` that the client was on its processor.
    pub(crate) fn client_busy(&self, earlier: &Self, time: Duration) -> f64 {
        let busy = self.client.saturating_sub(earlier.client).as_secs_f64();
        busy / time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// What others did since `earlier`, which is so much time ago.
    pub(crate) fn noise(&self, earlier: &Self, time: Duration, processors: usize) -> Noise {
        let stolen = self.processors.stolen_since(earlier.processors);
        let server = self.server_since(earlier).unwrap_or_default().total();
        let own = server + self.client.saturating_sub(earlier.client);
        let foreign = self.processors.busy_since(earlier.processors).saturating_sub(own);
        let all = time.as_secs_f64() * processors as f64;
        // An external server whose process is not known looks like others.
        let foreign = self.server.map(|_| foreign.as_secs_f64() / all);
        Noise { stolen, foreign, load: None }
    }

    fn server_since(&self, earlier: &Self) -> Option<Cpu> {
        self.server.zip(earlier.server).map(|(now, then)| now.since(then))
    }
}

impl Noise {
    /// The worse of both.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        Self {
            stolen: self.stolen.max(other.stolen),
            foreign: self.foreign.zip(other.foreign).map(|(a, b)| a.max(b)),
            load: self.load.or(other.load),
        }
    }
}

impl Delivery {
    /// What was delivered between two moments.
    pub(crate) fn new(delivered: &Delivered, begin: &Moment, end: &Moment) -> Self {
        let seconds = delivered.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let Delivered { messages, deliveries, .. } = *delivered;
        let cpu = end.server_since(begin);
        let millis = |part| delivered.latency.value_at_quantile(part) as f64 / 1e6;
        let client_busy = end.client_busy(begin, delivered.time);
        Self {
            seconds,
            messages,
            deliveries,
            deliveries_per_second: deliveries as f64 / seconds,
            cpu_us: end.server_us_each(begin, deliveries),
            user_us: cpu.map(|cpu| each(cpu.user, deliveries)),
            message_cpu_us: end.server_us_each(begin, messages),
            events_per_read: deliveries as f64 / delivered.reads.max(1) as f64,
            p50_ms: millis(0.5),
            p90_ms: millis(0.9),
            p99_ms: millis(0.99),
            max_ms: delivered.latency.max() as f64 / 1e6,
            client_busy,
            client_bound: is_bound(client_busy),
        }
    }
}

impl Replayed {
    /// What was replayed between two moments, and how long an event took that came after it.
    pub(crate) fn new(caught_up: &CaughtUp, live_ms: f64, begin: &Moment, end: &Moment) -> Self {
        let CaughtUp { time, events, reads } = *caught_up;
        let client_busy = end.client_busy(begin, time);
        Self {
            events,
            seconds: time.as_secs_f64(),
            events_per_second: events as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE),
            cpu_us: end.server_us_each(begin, events),
            events_per_read: events as f64 / reads.max(1) as f64,
            live_ms,
            client_busy,
            client_bound: is_bound(client_busy),
        }
    }
}

impl Published {
    /// What was published between two moments.
    pub(crate) fn new(pressed: &Pressed, begin: &Moment, end: &Moment) -> Self {
        let seconds = pressed.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let Pressed { answered, deliveries, .. } = *pressed;
        let cpu = end.server_since(begin);
        let millis = |times: &Histogram<u64>, part| times.value_at_quantile(part) as f64 / 1e6;
        let client_busy = end.client_busy(begin, pressed.time);
        Self {
            seconds,
            answered,
            answered_per_second: answered as f64 / seconds,
            deliveries,
            events_per_read: deliveries as f64 / pressed.reads.max(1) as f64,
            cpu_us: cpu.map(|cpu| each(cpu.total(), answered)),
            user_us: cpu.map(|cpu| each(cpu.user, answered)),
            processors: cpu.map(|cpu| cpu.total().as_secs_f64() / seconds),
            ack_p50_ms: millis(&pressed.answers, 0.5),
            ack_p99_ms: millis(&pressed.answers, 0.99),
            ack_max_ms: pressed.answers.max() as f64 / 1e6,
            p50_ms: millis(&pressed.latency, 0.5),
            p99_ms: millis(&pressed.latency, 0.99),
            client_busy,
            client_bound: is_bound(client_busy),
        }
    }
}

/// Whether a client that was busy for this part of the time was the limit.
pub(crate) fn is_bound(client_busy: f64) -> bool {
    client_busy > CLIENT_BOUND
}

/// Growth for each of so many connections, in bytes.
pub(crate) fn grown(before: u64, after: u64, connections: usize) -> f64 {
    (i128::from(after) - i128::from(before)) as f64 / connections as f64
}

/// Growth of resident and of anonymous memory, for each of so many connections.
pub(crate) fn memory_grown(
    before: Option<Memory>,
    after: Option<Memory>,
    connections: usize,
) -> (Option<f64>, Option<f64>) {
    let both = before.zip(after);
    (
        both.map(|(a, b)| grown(a.resident, b.resident, connections)),
        both.map(|(a, b)| grown(a.anonymous, b.anonymous, connections)),
    )
}

fn each(time: Duration, acts: u64) -> f64 {
    time.as_secs_f64() * 1e6 / acts.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_may_be_negative() {
        assert_eq!(grown(1000, 3000, 10), 200.0);
        assert_eq!(grown(3000, 1000, 10), -200.0);
        let memory = |resident| Memory { resident, anonymous: resident / 2, threads: 1 };
        let both = memory_grown(Some(memory(0)), Some(memory(100)), 10);
        assert_eq!(both, (Some(10.0), Some(5.0)));
        assert_eq!(memory_grown(None, Some(memory(1)), 1), (None, None));
    }

    #[test]
    fn the_worse_noise_counts() {
        let noise = |stolen, foreign| Noise { stolen, foreign, load: None };
        let worse = noise(0.1, Some(0.0)).or_worse(noise(0.0, Some(0.2)));
        assert_eq!((worse.stolen, worse.foreign), (0.1, Some(0.2)));
        assert_eq!(worse.or_worse(noise(0.0, None)).foreign, None);
    }

    #[test]
    fn time_is_shared_out() {
        assert_eq!(each(Duration::from_millis(3), 1000), 3.0);
        assert_eq!(each(Duration::from_millis(3), 0), 3000.0);
        assert!(is_bound(0.95) && !is_bound(0.5));
    }
}
