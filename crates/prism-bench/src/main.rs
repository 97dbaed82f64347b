//! `prism-bench`: how fast and how lean Prism SSE is, measured beside other servers.
//!
//! It is both ends of a measurement: the servers that are compared (`serve-target`), and the client
//! that opens thousands of subscribers' connections, publishes, and checks and times every event.
//! docs/performance.md has the method and what was measured last.

mod bench;
mod check;
mod cli;
mod client;
mod compare;
mod crowd;
mod goals;
mod http;
mod manner;
mod metric;
mod page;
mod process;
mod progress;
mod publish;
mod receive;
mod record;
mod run;
mod sample;
mod scenario;
mod server;
mod stats;
mod table;
mod targets;
mod template;
mod token;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::bench::Bench;
use crate::cli::{Cli, Compare, Mode, Paired, Report, Scenario, Settings, Single};
use crate::progress::Progress;
use crate::record::Record;
use crate::scenario::Subject;

fn main() -> ExitCode {
    let done = match Cli::parse().mode {
        Mode::Fanout(asked) => single(&asked, Scenario::Fanout),
        Mode::Idle(asked) => single(&asked, Scenario::Idle),
        Mode::Churn(asked) => single(&asked, Scenario::Churn),
        Mode::Storm(asked) => single(&asked, Scenario::Storm),
        Mode::Slow(asked) => paired(&asked, Scenario::Slow),
        Mode::Topics(asked) => paired(&asked, Scenario::Topics),
        Mode::Publish(asked) => single(&asked, Scenario::Publish),
        Mode::Million(asked) => single(&asked, Scenario::Million),
        Mode::Compare(asked) => compare(&asked),
        Mode::Report(asked) => report(&asked).map(|()| true),
        Mode::ServeTarget(asked) => targets::serve(&asked).map(|()| true),
        Mode::Crowd(asked) => crowd::run(&asked).map(|()| true),
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

/// Measures one server.
fn single(asked: &Single, scenario: Scenario) -> Result<bool> {
    let Single { target, runs, settings } = asked;
    let progress = Progress::new(*runs)?;
    let bench = Bench::new(scenario, settings, &progress)?;
    let subject = Subject::new(*target, scenario, settings);
    let runs = (0..*runs).map(|_| bench.measure(&subject)).collect::<Result<Vec<_>>>()?;
    progress.end();
    let record = Record { runs, ..Record::new(scenario, settings, progress.discarded()) };
    tell(&record, settings)
}

/// Measures one server under two loads in turn.
fn paired(asked: &Paired, scenario: Scenario) -> Result<bool> {
    let Paired { target, pairs, settings } = asked;
    let a = Subject::new(*target, scenario, settings);
    in_turn(&a, &a.plainer(), *pairs, scenario, settings)
}

/// Measures two servers in turn.
fn compare(asked: &Compare) -> Result<bool> {
    let Compare { a, b, scenario, pairs, settings } = asked;
    let [a, b] = [a, b].map(|target| Subject::new(*target, *scenario, settings));
    in_turn(&a, &b, *pairs, *scenario, settings)
}

fn in_turn(
    a: &Subject,
    b: &Subject,
    pairs: u32,
    scenario: Scenario,
    settings: &Settings,
) -> Result<bool> {
    let progress = Progress::new(2 * pairs)?;
    let bench = Bench::new(scenario, settings, &progress)?;
    let pairs = compare::pairs(&bench, a, b, pairs)?;
    progress.end();
    let compared = compare::compare(&pairs);
    let record = Record::new(scenario, settings, progress.discarded());
    tell(&Record { pairs, compared, ..record }, settings)
}

/// Tells a measurement as asked. Answers whether every event was delivered as it should be.
fn tell(record: &Record, settings: &Settings) -> Result<bool> {
    if settings.results.json {
        println!("{}", serde_json::to_string_pretty(record)?);
    } else {
        table::print(record);
    }
    if let Some(path) = &settings.results.html {
        page::write(std::slice::from_ref(record), path)?;
    }
    Ok(record.is_faultless())
}

/// Draws a page of several measurements.
fn report(asked: &Report) -> Result<()> {
    let records = asked.records.iter().map(|path| Record::read(path));
    page::write(&records.collect::<Result<Vec<_>>>()?, &asked.out)
}
