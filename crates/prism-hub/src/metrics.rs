//! What the hub counts, as Prometheus reads it.
//!
//! No label grows with topics or with those who publish and read. The three names that Mercure's
//! hub has are kept as they are; all others begin with `prism_`.

use std::fmt;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
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
use crate::problem::Problem;
use crate::serve::Hub;

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds a publish may take, from well below what memory needs to well above what disks do.
const LATENCIES: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

type Labels = [(&'static str, &'static str); 1];

/// By what answers are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    status: u16,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    closes: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    replays: Counter,
    published_bytes: Counter,
    publish_seconds: Histogram,
    key_set_failures: Counter,
    key_set_age: Gauge,
}

impl Metrics {
    /// Counts for the readers and the events of this manager.
    pub(crate) fn new(manager: &Manager) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            closes: Family::default(),
            refusals: Family::default(),
            replays: Counter::default(),
            published_bytes: Counter::default(),
            publish_seconds: Histogram::new(LATENCIES),
            key_set_failures: Counter::default(),
            key_set_age: Gauge::default(),
        };
        metrics.register(manager)
    }

    fn register(mut self, manager: &Manager) -> Self {
        let all = &mut self.registry;
        all.register("prism_http_requests", "Requests that were answered", self.requests.clone());
        all.register("prism_closes", "Connections that ended, by reason", self.closes.clone());
        let what = "Subscribers refused for want of capacity, by reason";
        all.register("prism_refusals", what, self.refusals.clone());
        let what = "Connections that came back with the last id they received";
        all.register("prism_replays", what, self.replays.clone());
        let what = "Bytes of data that were published";
        all.register("prism_published_bytes", what, self.published_bytes.clone());
        let what = "Seconds from the head of a publish to its acknowledgement";
        all.register("prism_publish_seconds", what, self.publish_seconds.clone());
        let what = "Fetches of key sets that failed";
        all.register("prism_jwks_failures", what, self.key_set_failures.clone());
        let what = "Seconds since the key set was fetched that was fetched first; 0 without any";
        all.register("prism_jwks_age_seconds", what, self.key_set_age.clone());
        all.register_collector(Box::new(Events(manager.clone())));
        self
    }

    /// Counts an answer.
    pub(crate) fn count_request(&self, method: &Method, status: StatusCode) {
        let known = ["GET", "HEAD", "POST", "OPTIONS", "QUERY"];
        let method = known.into_iter().find(|it| *it == method.as_str()).unwrap_or("other");
        self.requests.get_or_create(&Answered { method, status: status.as_u16() }).inc();
    }

    /// Counts a connection that ended.
    pub(crate) fn count_close(&self, reason: &'static str) {
        self.closes.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a subscriber who was refused.
    pub(crate) fn count_refusal(&self, reason: &'static str) {
        self.refusals.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a reader who came back.
    pub(crate) fn count_replay(&self) {
        self.replays.inc();
    }

    /// Counts an event that was handed over.
    pub(crate) fn count_published(&self, bytes: usize) {
        self.published_bytes.inc_by(bytes as u64);
    }

    /// Counts a publish that was answered.
    pub(crate) fn count_publish(&self, took: Duration) {
        self.publish_seconds.observe(took.as_secs_f64());
    }

    /// Counts a key set that could not be fetched.
    pub(crate) fn count_key_set_failure(&self) {
        self.key_set_failures.inc();
    }

    fn encode(&self, authority: &Authority) -> Result<String, fmt::Error> {
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

/// Where metrics are read.
pub(crate) fn router() -> Router<Hub> {
    Router::new().route("/metrics", get(answer))
}

async fn answer(State(hub): State<Hub>) -> Response {
    match hub.metrics().encode(&hub.live().rules().authority) {
        Ok(text) => {
            let mut response = text.into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
            response
        }
        Err(_) => {
            let sentence = "The metrics could not be written.";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence).into_response()
        }
    }
}

/// What the manager counts itself, read when it is asked for.
struct Events(Manager);

impl Collector for Events {
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
        for (name, help, value) in gauges {
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

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
