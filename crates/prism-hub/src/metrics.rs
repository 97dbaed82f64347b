//! The hub's metrics for Prometheus.
//!
//! No metric has a label whose values grow in number with topics, publishers or subscribers. The
//! three metrics of Mercure's hub keep its names; all other names begin with `prism_`.

use std::fmt;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use prism_sse::Manager;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::auth::Authority;

/// Bucket bounds of the publish latency, in seconds: from well below the latency of an engine in
/// memory to well above that of a disk.
const LATENCY_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// The label `reason`.
type ReasonLabel = [(&'static str, &'static str); 1];

/// The labels of the request counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
}

/// All metrics of one hub.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    closes: Family<ReasonLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    replays: Counter,
    published_bytes: Counter,
    publish_seconds: Histogram,
    key_set_failures: Counter,
    key_set_age: Gauge,
}

impl Metrics {
    /// Makes the metrics of a hub with this manager, whose own statistics are part of them.
    pub(crate) fn new(manager: &Manager) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            closes: Family::default(),
            refusals: Family::default(),
            replays: Counter::default(),
            published_bytes: Counter::default(),
            publish_seconds: Histogram::new(LATENCY_BUCKETS),
            key_set_failures: Counter::default(),
            key_set_age: Gauge::default(),
        };
        metrics.register(manager)
    }

    fn register(mut self, manager: &Manager) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "prism_http_requests",
            "Requests that were answered",
            self.requests.clone(),
        );
        registry.register("prism_closes", "Connections that ended, by reason", self.closes.clone());
        let help = "Subscribers refused for want of capacity, by reason";
        registry.register("prism_refusals", help, self.refusals.clone());
        let help = "Connections that came back with the last id they received";
        registry.register("prism_replays", help, self.replays.clone());
        let help = "Bytes of data that were published";
        registry.register("prism_published_bytes", help, self.published_bytes.clone());
        let help = "Seconds from the head of a publish to its acknowledgement";
        registry.register("prism_publish_seconds", help, self.publish_seconds.clone());
        let help = "Fetches of key sets that failed";
        registry.register("prism_jwks_failures", help, self.key_set_failures.clone());
        let help = "Seconds since the key set was fetched that was fetched first; 0 without any";
        registry.register("prism_jwks_age_seconds", help, self.key_set_age.clone());
        registry.register_collector(Box::new(ManagerCollector(manager.clone())));
        self
    }

    /// Counts a response. Methods that the hub does not know count as `other`.
    pub(crate) fn count_request(&self, method: &Method, status: StatusCode) {
        let known = ["GET", "HEAD", "POST", "OPTIONS", "QUERY"];
        let method = known.into_iter().find(|it| *it == method.as_str()).unwrap_or("other");
        self.requests.get_or_create(&RequestLabels { method, status: status.as_u16() }).inc();
    }

    /// Counts a connection that was closed.
    pub(crate) fn count_close(&self, reason: &'static str) {
        self.closes.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a subscribe request that was refused for lack of capacity.
    pub(crate) fn count_refusal(&self, reason: &'static str) {
        self.refusals.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a connection that resumed after its last event id.
    pub(crate) fn count_replay(&self) {
        self.replays.inc();
    }

    /// Counts the data of an event that was handed to the engine.
    pub(crate) fn count_published(&self, bytes: usize) {
        self.published_bytes.inc_by(bytes as u64);
    }

    /// Counts a publish request, which took this time from its head to the last acknowledgement.
    pub(crate) fn count_publish(&self, duration: Duration) {
        self.publish_seconds.observe(duration.as_secs_f64());
    }

    /// Counts a fetch of a key set that failed.
    pub(crate) fn count_key_set_failure(&self) {
        self.key_set_failures.inc();
    }

    /// All metrics in the OpenMetrics text format. The authority has the age of the key sets.
    pub(crate) fn encode(&self, authority: &Authority) -> Result<String, fmt::Error> {
        let age = authority.key_sets().age(authority.now()).unwrap_or_default();
        self.key_set_age.set(i64::try_from(age).unwrap_or(i64::MAX));
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Collects the manager's own statistics on each scrape.
struct ManagerCollector(Manager);

impl Collector for ManagerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        let gauges = [
            ("mercure_subscribers_connected", "Open connections", stats.connections as f64),
            ("prism_connections", "Open connections", stats.connections as f64),
            ("prism_audiences", "Distinct audiences", stats.audiences as f64),
            ("prism_topics", "Topics with an event or a reader", stats.topics as f64),
            ("prism_log_events", "Events of the history", stats.records as f64),
            ("prism_log_transient", "Transient events that are kept", stats.transient as f64),
            ("prism_log_bytes", "Bytes that are kept", stats.bytes as f64),
            (
                "prism_log_age_seconds",
                "Age of the oldest event of the history",
                stats.oldest.unwrap_or_default().as_secs_f64(),
            ),
        ];
        let stored = stats.store.map(|store| {
            let oldest = store.oldest.map_or(0, |at| unix_millis().saturating_sub(at));
            [
                ("prism_store_events", "Events on disk", store.records as f64),
                ("prism_store_bytes", "Their bytes on disk", store.bytes as f64),
                ("prism_store_oldest_seconds", "Age of the oldest of them", oldest as f64 / 1e3),
                ("prism_lost_records", "Events that were found damaged", store.lost as f64),
                (
                    "prism_engine_up",
                    "Whether the last events could be stored",
                    f64::from(u8::from(self.0.accepts_events())),
                ),
            ]
        });
        for (name, help, value) in gauges.into_iter().chain(stored.into_iter().flatten()) {
            let metric = ConstGauge::new(value);
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode(descriptor)?;
        }
        // The format appends `_total` to the name of a counter.
        let counters = [
            ("mercure_subscribers", "Connections that began", stats.connected),
            ("mercure_updates", "Events that were published", stats.published),
            ("prism_connected", "Connections that began", stats.connected),
            ("prism_published", "Events that were published", stats.published),
            ("prism_deliveries", "Events handed to connections", stats.delivered),
            (
                "prism_delivered_bytes",
                "Bytes of events that were handed to connections",
                stats.delivered_bytes,
            ),
            ("prism_gaps", "Gaps that readers were told of", stats.gaps),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value);
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode(descriptor)?;
        }
        Ok(())
    }
}

/// Milliseconds of Unix time.
fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for ManagerCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerCollector").finish_non_exhaustive()
    }
}
