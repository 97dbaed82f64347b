//! The metrics: figures of a run that are printed and compared.

use crate::run::Run;
use crate::stats;

/// Which of two values of a metric is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
    /// The metric explains others, and is neither good nor bad itself.
    Neither,
}

/// A figure of a run that is printed and compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) better: Better,
    pub(crate) value: fn(&Run) -> Option<f64>,
}

const fn less(name: &'static str, value: fn(&Run) -> Option<f64>) -> Metric {
    Metric { name, better: Better::Less, value }
}

const fn more(name: &'static str, value: fn(&Run) -> Option<f64>) -> Metric {
    Metric { name, better: Better::More, value }
}

const fn neither(name: &'static str, value: fn(&Run) -> Option<f64>) -> Metric {
    Metric { name, better: Better::Neither, value }
}

/// All metrics, in the order of the tables.
pub(crate) const METRICS: &[Metric] = &[
    less("CPU us/delivery", |run| {
        let delivery = run.delivery.as_ref().map(|it| it.cpu_us);
        delivery.or_else(|| run.broadcasts.as_ref().map(|it| it.cpu_us))?
    }),
    less("user us/delivery", |run| run.delivery.as_ref()?.user_us),
    more("publishes/s", |run| run.published.as_ref().map(|it| it.answered_per_second)),
    less("CPU us/publish", |run| {
        let delivery = run.delivery.as_ref().map(|it| it.message_cpu_us);
        delivery.or_else(|| run.published.as_ref().map(|it| it.cpu_us))?
    }),
    less("user us/publish", |run| run.published.as_ref()?.user_us),
    neither("server's processors", |run| run.published.as_ref()?.processors),
    less("ack p50 ms", |run| run.published.as_ref().map(|it| it.ack_p50_ms)),
    less("ack p99 ms", |run| run.published.as_ref().map(|it| it.ack_p99_ms)),
    more("deliveries/s", |run| run.delivery.as_ref().map(|it| it.deliveries_per_second)),
    less("p50 ms", |run| {
        let delivery = run.delivery.as_ref().map(|it| it.p50_ms);
        delivery.or_else(|| run.published.as_ref().map(|it| it.p50_ms))
    }),
    less("p99 ms", |run| {
        let delivery = run.delivery.as_ref().map(|it| it.p99_ms);
        delivery.or_else(|| run.published.as_ref().map(|it| it.p99_ms))
    }),
    neither("events/read", |run| {
        let delivery = run.delivery.as_ref().map(|it| it.events_per_read);
        let storm = run.storm.as_ref().map(|it| it.events_per_read);
        delivery.or(storm).or_else(|| run.published.as_ref().map(|it| it.events_per_read))
    }),
    more("replayed events/s", |run| run.storm.as_ref().map(|it| it.events_per_second)),
    less("replay s", |run| run.storm.as_ref().map(|it| it.seconds)),
    less("CPU us/replayed event", |run| run.storm.as_ref()?.cpu_us),
    less("live again ms", |run| run.storm.as_ref().map(|it| it.live_ms)),
    more("churned/s", |run| run.churn.as_ref().map(|it| it.opened_per_second)),
    less("CPU us/churned", |run| run.churn.as_ref()?.cpu_us),
    less("broadcast s", |run| stats::median(&run.broadcasts.as_ref()?.broadcast_seconds)),
    less("machine B/connection", |run| run.broadcasts.as_ref().map(|it| it.machine_per_connection)),
    less("RSS B/connection", |run| run.resident_per_connection),
    less("anonymous B/connection", |run| run.anonymous_per_connection),
    less("RSS growth MB", |run| run.resident_growth.map(|bytes| bytes / 1e6)),
    more("connects/s", |run| Some(run.connects_per_second)),
    less("CPU us/connect", |run| run.connect_cpu_us),
    neither("client busy %", |run| {
        let delivery = run.delivery.as_ref().map(|it| it.client_busy);
        let storm = run.storm.as_ref().map(|it| it.client_busy);
        let broadcasts = run.broadcasts.as_ref().map(|it| it.client_busy);
        let published = run.published.as_ref().map(|it| it.client_busy);
        delivery.or(storm).or(broadcasts).or(published).map(|busy| 100.0 * busy)
    }),
];

/// The metric of this name.
pub(crate) fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// A number with three significant digits, and commas between thousands.
pub(crate) fn digits(number: f64) -> String {
    let size = number.abs();
    if size < 1000.0 {
        let decimals = if size < 10.0 { 2 } else { usize::from(size < 100.0) };
        return format!("{number:.decimals$}");
    }
    let plain = format!("{size:.0}");
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for it in METRICS {
            assert_eq!(METRICS.iter().filter(|other| other.name == it.name).count(), 1);
            assert_eq!(metric(it.name).unwrap().better, it.better);
        }
        assert!(metric("happiness").is_none());
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let numbers = [0.0, 1.234, -0.857, 45.67, 456.7, 4567.8, -123_456.0, 1_234_567.0];
        let texts = ["0.00", "1.23", "-0.86", "45.7", "457", "4,568", "-123,456", "1,234,567"];
        assert_eq!(numbers.map(digits), texts);
    }
}
