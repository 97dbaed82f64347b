//! Runs that count: each with a fresh server, on a quiet machine, repeated if it was noisy.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::compare::RunPair;
use crate::environment::Environment;
use crate::procfs;
use crate::run::Run;
use crate::scenario::{self, RunConfig};

/// How long the load of other processes is sampled before a run.
const NOISE_SAMPLE: Duration = Duration::from_millis(250);

/// Measures a fresh server. A noisy run is repeated as often as the settings allow.
pub(crate) fn run(environment: &Environment<'_>, config: &RunConfig) -> Result<Run> {
    let limits = &environment.settings.noise;
    let mut attempt = 0;
    loop {
        wait_for_quiet(environment)?;
        let load = procfs::load();
        let mut run = scenario::run(environment, config)
            .with_context(|| format!("the run of {} failed", config.label))?;
        run.noise.load = load;
        run.noisy = run.noise.stolen > limits.max_stolen
            || run.noise.foreign.is_some_and(|foreign| foreign > limits.max_foreign);
        // Noise does not explain a fault: a run with one is never discarded.
        if !run.noisy || run.faults.any() || attempt >= limits.retries {
            environment.progress.finish_run();
            return Ok(run);
        }
        attempt += 1;
        environment.progress.discard_run();
    }
}

/// Measures `count` adjacent pairs of runs.
pub(crate) fn pairs(
    environment: &Environment<'_>,
    a: &RunConfig,
    b: &RunConfig,
    count: u32,
) -> Result<Vec<RunPair>> {
    (0..count)
        .map(|pair| {
            // The first run of a pair may be better or worse off, so the order alternates.
            if pair % 2 == 0 {
                let a = run(environment, a)?;
                Ok(RunPair { a, b: run(environment, b)? })
            } else {
                let b = run(environment, b)?;
                Ok(RunPair { a: run(environment, a)?, b })
            }
        })
        .collect()
}

/// Waits until other processes are quiet, but no longer than the settings allow.
fn wait_for_quiet(environment: &Environment<'_>) -> Result<()> {
    let limits = &environment.settings.noise;
    let start = Instant::now();
    while start.elapsed() < limits.patience {
        let (before, sampling) = (procfs::processors()?, Instant::now());
        thread::sleep(NOISE_SAMPLE);
        let busy = procfs::processors()?.busy_since(before);
        let all = sampling.elapsed().as_secs_f64() * environment.processors as f64;
        if busy.as_secs_f64() <= limits.max_foreign * all {
            break;
        }
        environment.progress.show(|| "waiting for other processes to be quiet".to_owned());
    }
    Ok(())
}
