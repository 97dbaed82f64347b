//! What a measurement leaves behind: enough to print it, to draw it, and to repeat it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cli::{Scenario, Settings};
use crate::compare::{Compared, Pair};
use crate::metric::digits;
use crate::run::Run;
use crate::sample;
use crate::scenario::churn_rate;

/// A measurement: runs of one server, or pairs of runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Processors and kernel.
    pub(crate) machine: String,
    /// The command line.
    pub(crate) command: String,
    pub(crate) scenario: String,
    /// What was asked of the servers, in a few words.
    pub(crate) load: String,
    pub(crate) connections: usize,
    /// Messages under way at once, unless there is a rate.
    pub(crate) in_flight: Option<u32>,
    /// Messages a second.
    pub(crate) rate: Option<f64>,
    pub(crate) payload: usize,
    pub(crate) publishers: u8,
    pub(crate) workers: usize,
    pub(crate) pinned: bool,
    /// Runs that were repeated because others took too much of the machine.
    pub(crate) discarded_runs: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<Run>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pairs: Vec<Pair>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) compared: Vec<Compared>,
}

impl Record {
    /// A record of what `settings` ask for, without runs.
    pub(crate) fn new(scenario: Scenario, settings: &Settings, discarded_runs: u32) -> Self {
        let load = &settings.load;
        Self {
            machine: sample::machine(),
            command: command(std::env::args()),
            scenario: scenario.name(),
            load: self::load(scenario, settings),
            connections: settings.connections(scenario),
            in_flight: load.rate.is_none().then_some(load.in_flight),
            rate: load.rate,
            payload: load.payload,
            publishers: load.publishers,
            workers: settings.placement.workers.get(),
            pinned: !settings.placement.no_pin,
            discarded_runs,
            runs: Vec::new(),
            pairs: Vec::new(),
            compared: Vec::new(),
        }
    }

    /// Reads what was printed as JSON.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        serde_json::from_str(&text).with_context(|| format!("{name} is no result of --json"))
    }

    /// All runs, of pairs too.
    pub(crate) fn all_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().chain(self.pairs.iter().flat_map(|pair| [&pair.a, &pair.b]))
    }

    /// Whether every event was delivered as it should be.
    pub(crate) fn is_faultless(&self) -> bool {
        !self.all_runs().any(|run| run.faults.any())
    }
}

/// What is asked of a server, in a few words.
fn load(scenario: Scenario, settings: &Settings) -> String {
    let Settings { load, scenarios, .. } = settings;
    let count = |number: usize| match number {
        0..1000 => number.to_string(),
        _ => digits(number as f64),
    };
    let pace = match (scenario, load.rate) {
        (_, Some(rate)) => format!("{rate} messages a second"),
        (Scenario::Churn, None) => format!("{} messages a second", churn_rate(settings)),
        (_, None) => format!("{} in flight", load.in_flight),
    };
    let connections = count(settings.connections(scenario));
    let bytes = load.payload;
    match scenario {
        Scenario::Idle => format!("{connections} idle connections"),
        Scenario::Fanout => format!("{connections} connections, {pace}, {bytes} bytes each"),
        Scenario::Churn => {
            let churning = scenarios.churning;
            format!("{connections} connections stay, {churning} come and go, {pace}")
        }
        Scenario::Storm => {
            let missed = count(scenarios.replay as usize);
            format!("{connections} connections, {missed} events to replay, {bytes} bytes each")
        }
        Scenario::Slow => {
            let part = 100.0 * scenarios.slow;
            format!("{connections} connections, {part} % never read, {pace}, {bytes} bytes each")
        }
        Scenario::Topics => {
            let topics = scenarios.topics.map_or(connections.clone(), |it| count(it as usize));
            let kind = if scenarios.private { "private" } else { "public" };
            format!("{connections} connections, {topics} {kind} topics, {pace}")
        }
        Scenario::Publish => {
            let publishers = load.publishers;
            format!(
                "{publishers} publishers at once, {connections} connections, {bytes} bytes each"
            )
        }
        Scenario::Million => {
            format!("{connections} connections in several processes, {bytes} bytes each")
        }
    }
}

/// A command line without the directory of the program.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let quoted = |argument: String| match argument.contains(char::is_whitespace) {
        true => format!("'{argument}'"),
        false => argument,
    };
    let mut arguments: Vec<String> = arguments.map(quoted).collect();
    if let Some(program) = arguments.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    arguments.join(" ")
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;
    use crate::check::Faults;
    use crate::cli::{Cli, Mode};
    use crate::compare;
    use crate::run::{Delivery, Noise};

    /// A run in which each delivery took this long.
    fn run(target: &str, cpu_us: f64) -> Run {
        Run {
            target: target.to_owned(),
            connections: 1000,
            connects_per_second: 40_000.0 / cpu_us,
            connect_cpu_us: None,
            resident_per_connection: Some(1024.0 * cpu_us),
            anonymous_per_connection: None,
            kernel_per_connection: 8000.0,
            threads: Some(1),
            resident_growth: None,
            delivery: Some(Delivery {
                seconds: 2.0,
                messages: 100,
                deliveries: 100_000,
                deliveries_per_second: 1e6 / cpu_us,
                cpu_us: Some(cpu_us),
                user_us: Some(cpu_us / 4.0),
                message_cpu_us: Some(cpu_us * 1000.0),
                events_per_read: 1.0,
                p50_ms: cpu_us / 2.0,
                p90_ms: cpu_us,
                p99_ms: cpu_us * 2.0,
                max_ms: cpu_us * 3.0,
                client_busy: 0.95,
                client_bound: true,
            }),
            churn: None,
            storm: None,
            published: None,
            crowd: None,
            faults: Faults::default(),
            noise: Noise { stolen: 0.01, foreign: Some(0.02), load: None },
            noisy: false,
        }
    }

    /// A made-up record of pairs.
    pub(crate) fn record(scenario: &str, a: &str, b: &str) -> Record {
        let pair = |number| Pair { a: run(a, 3.0 + 0.1 * f64::from(number)), b: run(b, 3.0) };
        let pairs: Vec<Pair> = (0..9).map(pair).collect();
        Record {
            machine: "2 x A & B".to_owned(),
            command: format!("prism-bench compare {a} {b} --scenario {scenario}"),
            scenario: scenario.to_owned(),
            load: "1,000 connections, 1 in flight".to_owned(),
            connections: 1000,
            in_flight: Some(1),
            rate: None,
            payload: 100,
            publishers: 1,
            workers: 1,
            pinned: true,
            discarded_runs: 2,
            runs: Vec::new(),
            compared: compare::compare(&pairs),
            pairs,
        }
    }

    #[test]
    fn what_was_written_can_be_read() {
        let record = record("fanout", "prism-layer", "raw");
        let text = serde_json::to_string_pretty(&record).unwrap();
        let again: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(again.all_runs().count(), 18);
        assert!(again.is_faultless());
        assert_eq!((again.command, again.machine), (record.command, record.machine));
    }

    #[test]
    fn a_load_is_told_in_a_few_words() {
        let told = |arguments: &[&str]| {
            let command = [&["prism-bench"], arguments, &["raw"]].concat();
            let scenario = Scenario::from_str(arguments[0], false).unwrap();
            match Cli::parse_from(command).mode {
                Mode::Fanout(it)
                | Mode::Churn(it)
                | Mode::Storm(it)
                | Mode::Publish(it)
                | Mode::Million(it) => load(scenario, &it.settings),
                Mode::Slow(it) | Mode::Topics(it) => load(scenario, &it.settings),
                _ => panic!("another mode"),
            }
        };
        for (arguments, words) in [
            (&["fanout", "-w", "64"][..], "1,000 connections, 64 in flight, 100 bytes each"),
            (&["churn"], "1,000 connections stay, 64 come and go, 10 messages a second"),
            (
                &["publish", "--publishers", "64"],
                "64 publishers at once, 1 connections, 100 bytes each",
            ),
            (&["storm"], "1,000 connections, 1,000 events to replay, 100 bytes each"),
            (
                &["slow", "--rate", "5"],
                "1,000 connections, 10 % never read, 5 messages a second, 100 bytes each",
            ),
            (&["topics", "--private"], "1,000 connections, 1,000 private topics, 1 in flight"),
            (
                &["million", "-n", "1000000"],
                "1,000,000 connections in several processes, 100 bytes each",
            ),
        ] {
            assert_eq!(told(arguments), words);
        }
    }

    #[test]
    fn a_command_line_can_be_repeated() {
        let arguments = ["/a/b/prism-bench", "idle", "--header", "A: b"].map(str::to_owned);
        assert_eq!(command(arguments.into_iter()), "prism-bench idle --header 'A: b'");
    }
}
