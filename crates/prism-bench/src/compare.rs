//! Pairs of runs of two servers, and the ratios of their metrics within each pair.

use serde::{Deserialize, Serialize};

use crate::metric::METRICS;
use crate::run::Run;
use crate::stats::{self, Estimate};

/// One run of each server, one right after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunPair {
    pub(crate) a: Run,
    pub(crate) b: Run,
}

/// A metric of both servers, compared over all pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MetricComparison {
    pub(crate) name: String,
    /// Median of A's runs.
    pub(crate) a: f64,
    /// Median of B's runs.
    pub(crate) b: f64,
    /// A / B, pair by pair.
    pub(crate) ratio: Option<Estimate>,
    /// A - B, pair by pair.
    pub(crate) difference: Option<Estimate>,
}

/// Compares every metric that both servers have.
pub(crate) fn compare(pairs: &[RunPair]) -> Vec<MetricComparison> {
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
            Some(MetricComparison {
                name: metric.name.to_owned(),
                a: stats::median(&of(|&(a, _)| a))?,
                b: stats::median(&of(|&(_, b)| b))?,
                ratio: all_finite.then(|| stats::estimate(&ratios)).flatten(),
                difference: stats::estimate(&of(|(a, b)| a - b)),
            })
        })
        .collect()
}
