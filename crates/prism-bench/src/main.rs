//! `prism-bench`: how fast and how lean Prism SSE is, measured beside other servers.
//!
//! It is both ends of a measurement: the servers that are compared (`serve-target`), and the client
//! that opens thousands of subscribers' connections, publishes, and checks and times every event.
//! docs/performance.md has the method and what was measured last.

mod cli;
mod client;
mod compare;
mod http;
mod process;
mod progress;
mod publish;
mod receive;
mod report;
mod run;
mod sample;
mod server;
mod stats;
mod targets;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::{Cli, Compare, Mode, Scenario, Single};
use crate::progress::Progress;
use crate::run::Bench;

fn main() -> ExitCode {
    let done = match Cli::parse().mode {
        Mode::Fanout(asked) => single(&asked, Scenario::Fanout),
        Mode::Idle(asked) => single(&asked, Scenario::Idle),
        Mode::Compare(asked) => compare(&asked),
        Mode::ServeTarget(asked) => targets::serve(&asked).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("prism-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one server. Answers whether every event was delivered as it should be.
fn single(asked: &Single, scenario: Scenario) -> Result<bool> {
    let Single { target, runs, settings } = asked;
    let progress = Progress::new(*runs)?;
    let bench = Bench::new(scenario, settings, &progress)?;
    let runs = (0..*runs).map(|_| bench.measure(*target)).collect::<Result<Vec<_>>>()?;
    progress.end();
    report::runs(&runs, scenario, settings, progress.discarded())?;
    Ok(!runs.iter().any(|run| run.faults.any()))
}

/// Measures two servers in turn. Answers whether every event was delivered as it should be.
fn compare(asked: &Compare) -> Result<bool> {
    let Compare { pairs, scenario, settings, .. } = asked;
    let progress = Progress::new(2 * pairs)?;
    let bench = Bench::new(*scenario, settings, &progress)?;
    let pairs = compare::pairs(asked, &bench)?;
    progress.end();
    let compared = compare::compare(&pairs);
    report::comparison(&pairs, &compared, *scenario, settings, progress.discarded())?;
    Ok(!pairs.iter().any(|pair| pair.a.faults.any() || pair.b.faults.any()))
}
