//! Two servers side by side: adjacent pairs of runs, and ratios within each pair.

use anyhow::Result;
use serde::Serialize;

use crate::cli::Compare;
use crate::run::{Bench, Run};
use crate::stats::{self, Estimate};

/// One run of each server, the one right after the other.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) a: Run,
    pub(crate) b: Run,
}

/// A figure of a run that can be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) value: fn(&Run) -> Option<f64>,
}

/// A metric of both servers.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: &'static str,
    /// Median of A's runs.
    pub(crate) a: f64,
    /// Median of B's runs.
    pub(crate) b: f64,
    /// A / B, pair by pair.
    pub(crate) ratio: Option<Estimate>,
    /// A - B, pair by pair.
    pub(crate) difference: Option<Estimate>,
}

/// All that is compared, in the order of the table.
pub(crate) const METRICS: &[Metric] = &[
    Metric { name: "CPU us/delivery", value: |run| run.delivery.as_ref()?.cpu_us },
    Metric { name: "user us/delivery", value: |run| run.delivery.as_ref()?.user_us },
    Metric {
        name: "deliveries/s",
        value: |run| run.delivery.as_ref().map(|it| it.deliveries_per_second),
    },
    Metric { name: "p50 ms", value: |run| run.delivery.as_ref().map(|it| it.p50_ms) },
    Metric { name: "p99 ms", value: |run| run.delivery.as_ref().map(|it| it.p99_ms) },
    Metric { name: "events/read", value: |run| run.delivery.as_ref().map(|it| it.events_per_read) },
    Metric {
        name: "client busy %",
        value: |run| run.delivery.as_ref().map(|it| 100.0 * it.client_busy),
    },
    Metric { name: "RSS B/connection", value: |run| run.resident_per_connection },
    Metric { name: "anonymous B/connection", value: |run| run.anonymous_per_connection },
    Metric { name: "connects/s", value: |run| Some(run.connects_per_second) },
];

/// Runs all pairs.
pub(crate) fn pairs(asked: &Compare, bench: &Bench<'_>) -> Result<Vec<Pair>> {
    (0..asked.pairs)
        .map(|pair| {
            // What comes first may be better or worse off: take turns.
            if pair % 2 == 0 {
                let a = bench.measure(asked.a)?;
                Ok(Pair { a, b: bench.measure(asked.b)? })
            } else {
                let b = bench.measure(asked.b)?;
                Ok(Pair { a: bench.measure(asked.a)?, b })
            }
        })
        .collect()
}

/// Compares every metric that both servers have.
pub(crate) fn compare(pairs: &[Pair]) -> Vec<Compared> {
    METRICS
        .iter()
        .filter_map(|metric| {
            let values: Vec<(f64, f64)> = pairs
                .iter()
                .filter_map(|pair| (metric.value)(&pair.a).zip((metric.value)(&pair.b)))
                .collect();
            let of = |value: fn(&(f64, f64)) -> f64| values.iter().map(value).collect::<Vec<_>>();
            let ratios = of(|(a, b)| a / b);
            let all_finite = ratios.iter().all(|ratio| ratio.is_finite());
            Some(Compared {
                name: metric.name,
                a: stats::median(&of(|&(a, _)| a))?,
                b: stats::median(&of(|&(_, b)| b))?,
                ratio: all_finite.then(|| stats::estimate(&ratios)).flatten(),
                difference: stats::estimate(&of(|(a, b)| a - b)),
            })
        })
        .collect()
}
