//! The figures of one run, as they are printed, compared and stored.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::check::Faults;
use crate::client::{DeliveryMeasurement, PublishMeasurement, ReplayMeasurement};
use crate::procfs::{self, CpuTime, MemoryUsage, ProcessorTime};

/// A client that was on its processor for more than this part of the time was the bottleneck, or
/// nearly.
const CLIENT_BOUND: f64 = 0.9;

/// The figures of one run. Those that its scenario does not have are `None`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The server, and what tells this run from the other one of its pair.
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) connects_per_second: f64,
    /// The server's processor time for each connection that opened, in microseconds.
    pub(crate) connect_cpu_us: Option<f64>,
    /// Growth of the server's resident memory, in bytes.
    pub(crate) resident_per_connection: Option<f64>,
    /// Growth of the server's anonymous memory, in bytes.
    pub(crate) anonymous_per_connection: Option<f64>,
    /// Growth of the kernel's own memory, both ends together, in bytes. The kernel keeps memory of
    /// earlier connections for a while, so that only the first run after a pause is accurate.
    pub(crate) kernel_per_connection: f64,
    pub(crate) threads: Option<u64>,
    /// Growth of the server's resident memory while events were published, in bytes.
    pub(crate) resident_growth: Option<f64>,
    pub(crate) delivery: Option<DeliveryFigures>,
    pub(crate) churn: Option<ChurnFigures>,
    pub(crate) storm: Option<ReplayFigures>,
    #[serde(default)]
    pub(crate) published: Option<PublishFigures>,
    #[serde(rename = "crowd")]
    pub(crate) broadcasts: Option<BroadcastFigures>,
    pub(crate) faults: Faults,
    pub(crate) noise: Noise,
    /// The run was noisier than allowed, and was kept because repeating it did not help.
    pub(crate) noisy: bool,
}

/// Publishing at a pace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliveryFigures {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_second: f64,
    /// The server's processor time for each delivery, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// The part of it in user mode.
    pub(crate) user_us: Option<f64>,
    /// The server's processor time for each message, however many receive it, in microseconds.
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

/// Connections that were closed and reopened all the time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChurnFigures {
    pub(crate) opened: u64,
    pub(crate) opened_per_second: f64,
    /// The server's processor time for each such connection, with that of deliveries in the same
    /// time, in microseconds.
    pub(crate) cpu_us: Option<f64>,
}

/// Reconnects that were given the events they missed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReplayFigures {
    pub(crate) events: u64,
    /// From the first connection to the last replayed event.
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) events_per_read: f64,
    /// From the publication of an event after the replay to its delivery to the last subscriber.
    pub(crate) live_ms: f64,
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// Publishing in a closed loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PublishFigures {
    pub(crate) seconds: f64,
    pub(crate) answered: u64,
    pub(crate) answered_per_second: f64,
    pub(crate) deliveries: u64,
    pub(crate) events_per_read: f64,
    /// The server's processor time for each publish, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// The part of it in user mode.
    pub(crate) user_us: Option<f64>,
    /// Number of processors that the server kept busy.
    pub(crate) processors: Option<f64>,
    /// From a request to its response.
    pub(crate) ack_p50_ms: f64,
    pub(crate) ack_p99_ms: f64,
    pub(crate) ack_max_ms: f64,
    /// From a request to its delivery.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// Broadcasts to connections in several processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BroadcastFigures {
    pub(crate) processes: usize,
    /// The time of each broadcast, from the first request to the last delivery.
    pub(crate) broadcast_seconds: Vec<f64>,
    pub(crate) deliveries: u64,
    /// The servers' processor time for each delivery, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// By how much the available memory of the whole machine shrank for each connection, both ends
    /// and all processes together, in bytes.
    pub(crate) machine_per_connection: f64,
    /// Least available memory of the whole machine, in bytes.
    pub(crate) available_least: u64,
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// What other processes and other guests of the hypervisor took during a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// The part of all processors' time that the hypervisor gave to others.
    pub(crate) stolen: f64,
    /// The part of all processors' time that other processes took.
    pub(crate) foreign: Option<f64>,
    /// The system's load average of the last minute, before this run.
    pub(crate) load: Option<f64>,
}

/// The processor time that servers, clients and the whole machine had used at one moment.
#[derive(Debug)]
pub(crate) struct ResourceSample {
    servers: Option<CpuTime>,
    clients: Duration,
    processors: ProcessorTime,
}

impl Run {
    /// Whether the client was the bottleneck.
    pub(crate) fn is_client_bound(&self) -> bool {
        self.delivery.as_ref().is_some_and(|it| it.client_bound)
            || self.storm.as_ref().is_some_and(|it| it.client_bound)
            || self.published.as_ref().is_some_and(|it| it.client_bound)
            || self.broadcasts.as_ref().is_some_and(|it| it.client_bound)
    }

    /// Number of events that subscribers received.
    pub(crate) fn deliveries(&self) -> Option<u64> {
        let delivered = self.delivery.as_ref().map(|it| it.deliveries);
        let replayed = self.storm.as_ref().map(|it| it.events);
        let published = self.published.as_ref().map(|it| it.deliveries);
        let broadcast = self.broadcasts.as_ref().map(|it| it.deliveries);
        let counts: Vec<u64> =
            [delivered, replayed, published, broadcast].into_iter().flatten().collect();
        (!counts.is_empty()).then(|| counts.iter().sum())
    }
}

impl ResourceSample {
    /// What these servers, this process and these other processes of the client have used so far.
    pub(crate) fn take(servers: &[u32], clients: &[u32]) -> Result<Self> {
        let sum = |pids: &[u32]| {
            pids.iter().try_fold(CpuTime::default(), |all, &pid| {
                let cpu = procfs::cpu(pid)?;
                anyhow::Ok(CpuTime { user: all.user + cpu.user, system: all.system + cpu.system })
            })
        };
        Ok(Self {
            servers: if servers.is_empty() { None } else { Some(sum(servers)?) },
            clients: procfs::own_cpu() + sum(clients)?.total(),
            processors: procfs::processors()?,
        })
    }

    /// The servers' time since `earlier`, divided by `count`, in microseconds.
    pub(crate) fn server_us_per(&self, earlier: &Self, count: u64) -> Option<f64> {
        self.servers_since(earlier).map(|cpu| us_per(cpu.total(), count))
    }

    /// The part of `time` that the clients were on their processors.
    pub(crate) fn client_busy(&self, earlier: &Self, time: Duration) -> f64 {
        let busy = self.clients.saturating_sub(earlier.clients).as_secs_f64();
        busy / time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The noise since `earlier`, which was `time` ago.
    pub(crate) fn noise(&self, earlier: &Self, time: Duration, processors: usize) -> Noise {
        let stolen = self.processors.stolen_since(earlier.processors);
        let servers = self.servers_since(earlier).unwrap_or_default().total();
        let own = servers + self.clients.saturating_sub(earlier.clients);
        let foreign = self.processors.busy_since(earlier.processors).saturating_sub(own);
        let all = time.as_secs_f64() * processors as f64;
        // An external server whose process is not known cannot be told from other processes.
        let foreign = self.servers.map(|_| foreign.as_secs_f64() / all);
        Noise { stolen, foreign, load: None }
    }

    fn servers_since(&self, earlier: &Self) -> Option<CpuTime> {
        self.servers.zip(earlier.servers).map(|(now, then)| now.since(then))
    }
}

impl Noise {
    /// The worse of both, figure by figure.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        Self {
            stolen: self.stolen.max(other.stolen),
            foreign: self.foreign.zip(other.foreign).map(|(a, b)| a.max(b)),
            load: self.load.or(other.load),
        }
    }
}

impl DeliveryFigures {
    /// The figures of a measurement, with samples from its begin and its end.
    pub(crate) fn new(
        measured: &DeliveryMeasurement,
        begin: &ResourceSample,
        end: &ResourceSample,
    ) -> Self {
        let seconds = measured.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let DeliveryMeasurement { messages, deliveries, .. } = *measured;
        let cpu = end.servers_since(begin);
        let millis = |part| measured.latency.value_at_quantile(part) as f64 / 1e6;
        let client_busy = end.client_busy(begin, measured.time);
        Self {
            seconds,
            messages,
            deliveries,
            deliveries_per_second: deliveries as f64 / seconds,
            cpu_us: end.server_us_per(begin, deliveries),
            user_us: cpu.map(|cpu| us_per(cpu.user, deliveries)),
            message_cpu_us: end.server_us_per(begin, messages),
            events_per_read: deliveries as f64 / measured.reads.max(1) as f64,
            p50_ms: millis(0.5),
            p90_ms: millis(0.9),
            p99_ms: millis(0.99),
            max_ms: measured.latency.max() as f64 / 1e6,
            client_busy,
            client_bound: is_client_bound(client_busy),
        }
    }
}

impl ReplayFigures {
    /// The figures of a measurement, with the latency of an event that was published after it.
    pub(crate) fn new(
        measured: &ReplayMeasurement,
        live_ms: f64,
        begin: &ResourceSample,
        end: &ResourceSample,
    ) -> Self {
        let ReplayMeasurement { time, events, reads } = *measured;
        let client_busy = end.client_busy(begin, time);
        Self {
            events,
            seconds: time.as_secs_f64(),
            events_per_second: events as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE),
            cpu_us: end.server_us_per(begin, events),
            events_per_read: events as f64 / reads.max(1) as f64,
            live_ms,
            client_busy,
            client_bound: is_client_bound(client_busy),
        }
    }
}

impl PublishFigures {
    /// The figures of a measurement, with samples from its begin and its end.
    pub(crate) fn new(
        measured: &PublishMeasurement,
        begin: &ResourceSample,
        end: &ResourceSample,
    ) -> Self {
        let seconds = measured.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let PublishMeasurement { answered, deliveries, .. } = *measured;
        let cpu = end.servers_since(begin);
        let millis = |times: &Histogram<u64>, part| times.value_at_quantile(part) as f64 / 1e6;
        let client_busy = end.client_busy(begin, measured.time);
        Self {
            seconds,
            answered,
            answered_per_second: answered as f64 / seconds,
            deliveries,
            events_per_read: deliveries as f64 / measured.reads.max(1) as f64,
            cpu_us: cpu.map(|cpu| us_per(cpu.total(), answered)),
            user_us: cpu.map(|cpu| us_per(cpu.user, answered)),
            processors: cpu.map(|cpu| cpu.total().as_secs_f64() / seconds),
            ack_p50_ms: millis(&measured.ack_latency, 0.5),
            ack_p99_ms: millis(&measured.ack_latency, 0.99),
            ack_max_ms: measured.ack_latency.max() as f64 / 1e6,
            p50_ms: millis(&measured.latency, 0.5),
            p99_ms: millis(&measured.latency, 0.99),
            client_busy,
            client_bound: is_client_bound(client_busy),
        }
    }
}

/// Whether a client that was busy for this part of the time was the bottleneck.
pub(crate) fn is_client_bound(client_busy: f64) -> bool {
    client_busy > CLIENT_BOUND
}

/// The growth from `before` to `after` for each connection.
pub(crate) fn per_connection(before: u64, after: u64, connections: usize) -> f64 {
    (i128::from(after) - i128::from(before)) as f64 / connections as f64
}

/// The growth of resident and of anonymous memory for each connection, in bytes.
pub(crate) fn memory_growth(
    before: Option<MemoryUsage>,
    after: Option<MemoryUsage>,
    connections: usize,
) -> (Option<f64>, Option<f64>) {
    let both = before.zip(after);
    (
        both.map(|(a, b)| per_connection(a.resident, b.resident, connections)),
        both.map(|(a, b)| per_connection(a.anonymous, b.anonymous, connections)),
    )
}

fn us_per(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_may_be_negative() {
        assert_eq!(per_connection(1000, 3000, 10), 200.0);
        assert_eq!(per_connection(3000, 1000, 10), -200.0);
        let memory = |resident| MemoryUsage { resident, anonymous: resident / 2, threads: 1 };
        let both = memory_growth(Some(memory(0)), Some(memory(100)), 10);
        assert_eq!(both, (Some(10.0), Some(5.0)));
        assert_eq!(memory_growth(None, Some(memory(1)), 1), (None, None));
    }

    #[test]
    fn the_worse_noise_counts() {
        let noise = |stolen, foreign| Noise { stolen, foreign, load: None };
        let worse = noise(0.1, Some(0.0)).or_worse(noise(0.0, Some(0.2)));
        assert_eq!((worse.stolen, worse.foreign), (0.1, Some(0.2)));
        assert_eq!(worse.or_worse(noise(0.0, None)).foreign, None);
    }

    #[test]
    fn processor_time_is_divided_by_the_count() {
        assert_eq!(us_per(Duration::from_millis(3), 1000), 3.0);
        assert_eq!(us_per(Duration::from_millis(3), 0), 3000.0);
        assert!(is_client_bound(0.95) && !is_client_bound(0.5));
    }
}
