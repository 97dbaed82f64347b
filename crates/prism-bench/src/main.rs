//! `prism-bench`: how fast and how lean Prism SSE is, measured beside other servers.
//!
//! It is both ends of a measurement: the servers that are compared (`serve-target`), and the client
//! that opens thousands of subscribers' connections, publishes, and checks and times every event.
//! docs/performance.md has the method and the latest figures.

mod bench_result;
mod check;
mod cli;
mod client;
mod compare;
mod environment;
mod goals;
mod measure;
mod metric;
mod page;
mod process;
mod procfs;
mod progress;
mod publish;
mod receive;
mod response_parser;
mod run;
mod scenario;
mod server;
mod server_api;
mod stats;
mod subscriber_process;
mod table;
mod targets;
mod template;
mod token;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::bench_result::BenchResult;
use crate::cli::{Cli, CompareArgs, Mode, PairedArgs, ReportArgs, Scenario, Settings, SingleArgs};
use crate::environment::Environment;
use crate::progress::Progress;
use crate::scenario::RunConfig;

fn main() -> ExitCode {
    let outcome = match Cli::parse().mode {
        Mode::Fanout(args) => single(&args, Scenario::Fanout),
        Mode::Idle(args) => single(&args, Scenario::Idle),
        Mode::Churn(args) => single(&args, Scenario::Churn),
        Mode::Storm(args) => single(&args, Scenario::Storm),
        Mode::Slow(args) => against_baseline(&args, Scenario::Slow),
        Mode::Topics(args) => against_baseline(&args, Scenario::Topics),
        Mode::Publish(args) => single(&args, Scenario::Publish),
        Mode::Million(args) => single(&args, Scenario::Million),
        Mode::Compare(args) => compare_targets(&args),
        Mode::Report(args) => report(&args).map(|()| true),
        Mode::ServeTarget(args) => targets::serve(&args).map(|()| true),
        Mode::SubscriberProcess(args) => subscriber_process::run(&args).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("prism-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one server.
fn single(args: &SingleArgs, scenario: Scenario) -> Result<bool> {
    let SingleArgs { target, runs, settings } = args;
    let progress = Progress::new(*runs)?;
    let environment = Environment::new(scenario, settings, &progress)?;
    let config = RunConfig::new(*target, scenario, settings);
    let runs =
        (0..*runs).map(|_| measure::run(&environment, &config)).collect::<Result<Vec<_>>>()?;
    progress.end();
    let result = BenchResult { runs, ..BenchResult::new(scenario, settings, progress.discarded()) };
    output(&result, settings)
}

/// Measures one server under a load and under the baseline of that load, in pairs of runs.
fn against_baseline(args: &PairedArgs, scenario: Scenario) -> Result<bool> {
    let PairedArgs { target, pairs, settings } = args;
    let a = RunConfig::new(*target, scenario, settings);
    compare_pairs(&a, &a.baseline(), *pairs, scenario, settings)
}

/// Measures two servers in pairs of runs.
fn compare_targets(args: &CompareArgs) -> Result<bool> {
    let CompareArgs { a, b, scenario, pairs, settings } = args;
    let [a, b] = [a, b].map(|target| RunConfig::new(*target, *scenario, settings));
    compare_pairs(&a, &b, *pairs, *scenario, settings)
}

fn compare_pairs(
    a: &RunConfig,
    b: &RunConfig,
    pairs: u32,
    scenario: Scenario,
    settings: &Settings,
) -> Result<bool> {
    let progress = Progress::new(2 * pairs)?;
    let environment = Environment::new(scenario, settings, &progress)?;
    let pairs = measure::pairs(&environment, a, b, pairs)?;
    progress.end();
    let compared = compare::compare(&pairs);
    let result = BenchResult::new(scenario, settings, progress.discarded());
    output(&BenchResult { pairs, compared, ..result }, settings)
}

/// Prints a result in the format that was asked for. `false` if an event was not delivered as it
/// should be.
fn output(result: &BenchResult, settings: &Settings) -> Result<bool> {
    if settings.output.json {
        println!("{}", serde_json::to_string_pretty(result)?);
    } else {
        table::print(result);
    }
    if let Some(path) = &settings.output.html {
        page::write(std::slice::from_ref(result), path)?;
    }
    Ok(result.is_faultless())
}

/// Draws a page of several results.
fn report(args: &ReportArgs) -> Result<()> {
    let results = args.results.iter().map(|path| BenchResult::read(path));
    page::write(&results.collect::<Result<Vec<_>>>()?, &args.out)
}
