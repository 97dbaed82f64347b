//! Runs that count: quiet ones, each with a fresh server.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cli::{Scenario, Settings};
use crate::process;
use crate::progress::Progress;
use crate::run::Run;
use crate::sample;
use crate::scenario::{self, Subject};

/// How long to look at what others do before a run.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// What all runs have in common.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) scenario: Scenario,
    pub(crate) progress: &'a Progress,
    /// Where servers run; nothing means anywhere.
    pub(crate) server_cores: Vec<usize>,
    /// Where subscribers run.
    pub(crate) client_cores: Vec<usize>,
    /// How many processors there are.
    pub(crate) processors: usize,
    /// How many files a process may have open.
    pub(crate) files: u64,
}

impl<'a> Bench<'a> {
    /// Prepares this process.
    pub(crate) fn new(
        scenario: Scenario,
        settings: &'a Settings,
        progress: &'a Progress,
    ) -> Result<Self> {
        let files = process::raise_open_files()?;
        // Asked for before this process gives up all processors but one.
        let cores = process::cores()?;
        let placement = &settings.placement;
        let mut server_cores = placement.server_cores.clone();
        let mut client_cores = Vec::new();
        if let ([first, second, ..], false) = (cores.as_slice(), placement.no_pin) {
            if server_cores.is_empty() {
                server_cores.push(*first);
            }
            client_cores.push(placement.client_core.unwrap_or(*second));
            process::pin(&client_cores)?;
        }
        let processors = cores.len().max(1);
        Ok(Self { settings, scenario, progress, server_cores, client_cores, processors, files })
    }

    /// Measures a fresh server, again if there was too much noise.
    pub(crate) fn measure(&self, subject: &Subject) -> Result<Run> {
        let limits = &self.settings.noise;
        let mut attempt = 0;
        loop {
            self.wait_for_quiet()?;
            let load = sample::load();
            let mut run = scenario::run(self, subject)
                .with_context(|| format!("the run of {} failed", subject.label))?;
            run.noise.load = load;
            run.noisy = run.noise.stolen > limits.max_stolen
                || run.noise.foreign.is_some_and(|foreign| foreign > limits.max_foreign);
            // A fault is no noise: such a run is never thrown away.
            if !run.noisy || run.faults.any() || attempt >= limits.retries {
                self.progress.finish_run();
                return Ok(run);
            }
            attempt += 1;
            self.progress.discard_run();
        }
    }

    /// Waits until others leave the machine alone, but not for ever.
    fn wait_for_quiet(&self) -> Result<()> {
        let limits = &self.settings.noise;
        let began = Instant::now();
        while began.elapsed() < limits.patience {
            let (before, asked) = (sample::processors()?, Instant::now());
            thread::sleep(LOOK_AROUND);
            let busy = sample::processors()?.busy_since(before);
            let all = asked.elapsed().as_secs_f64() * self.processors as f64;
            if busy.as_secs_f64() <= limits.max_foreign * all {
                break;
            }
            self.progress.say(|| "waiting for other processes to be quiet".to_owned());
        }
        Ok(())
    }
}
