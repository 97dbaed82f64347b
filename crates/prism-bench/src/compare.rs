//! Two servers side by side: adjacent pairs of runs, and ratios within each pair.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::metric::METRICS;
use crate::run::Run;
use crate::scenario::Subject;
use crate::stats::{self, Estimate};

/// One run of each server, the one right after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) a: Run,
    pub(crate) b: Run,
}

/// A metric of both servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Compared {
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

/// Runs all pairs.
pub(crate) fn pairs(bench: &Bench<'_>, a: &Subject, b: &Subject, count: u32) -> Result<Vec<Pair>> {
    (0..count)
        .map(|pair| {
            // What comes first may be better or worse off: take turns.
            if pair % 2 == 0 {
                let a = bench.measure(a)?;
                Ok(Pair { a, b: bench.measure(b)? })
            } else {
                let b = bench.measure(b)?;
                Ok(Pair { a: bench.measure(a)?, b })
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
                name: metric.name.to_owned(),
                a: stats::median(&of(|&(a, _)| a))?,
                b: stats::median(&of(|&(_, b)| b))?,
                ratio: all_finite.then(|| stats::estimate(&ratios)).flatten(),
                difference: stats::estimate(&of(|(a, b)| a - b)),
            })
        })
        .collect()
}
