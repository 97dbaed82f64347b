//! The result of one invocation: all that is needed to print it, to draw it, and to repeat it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cli::{Scenario, Settings};
use crate::compare::{MetricComparison, RunPair};
use crate::metric::digits;
use crate::procfs;
use crate::run::Run;

/// The result of one invocation: runs of one server, or pairs of runs of two.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BenchResult {
    /// Processors and kernel.
    pub(crate) machine: String,
    /// The command line.
    pub(crate) command: String,
    pub(crate) scenario: String,
    /// The load of the servers, in a few words.
    pub(crate) load: String,
    pub(crate) connections: usize,
    /// Number of messages in flight, unless there is a rate.
    pub(crate) in_flight: Option<u32>,
    /// Messages per second.
    pub(crate) rate: Option<f64>,
    pub(crate) payload: usize,
    pub(crate) publishers: u8,
    pub(crate) workers: usize,
    pub(crate) pinned: bool,
    /// Number of runs that were repeated because of noise.
    pub(crate) discarded_runs: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<Run>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pairs: Vec<RunPair>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) compared: Vec<MetricComparison>,
}

impl BenchResult {
    /// A result of what `settings` ask for, without runs.
    pub(crate) fn new(scenario: Scenario, settings: &Settings, discarded_runs: u32) -> Self {
        let load = &settings.load;
        Self {
            machine: procfs::machine(),
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

    /// Reads a result that was printed as JSON.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        serde_json::from_str(&text).with_context(|| format!("{name} is no result of --json"))
    }

    /// All runs, of pairs too.
    pub(crate) fn all_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().chain(self.pairs.iter().flat_map(|pair| [&pair.a, &pair.b]))
    }

    /// Whether there was no fault in any run.
    pub(crate) fn is_faultless(&self) -> bool {
        !self.all_runs().any(|run| run.faults.any())
    }
}

/// The load of a server, in a few words.
fn load(scenario: Scenario, settings: &Settings) -> String {
    let Settings { load, scenarios, .. } = settings;
    let count = |number: usize| match number {
        0..1000 => number.to_string(),
        _ => digits(number as f64),
    };
    let rate = match (scenario, load.rate) {
        (_, Some(rate)) => format!("{rate} messages a second"),
        (Scenario::Churn, None) => format!("{} messages a second", settings.churn_rate()),
        (_, None) => format!("{} in flight", load.in_flight),
    };
    let connections = count(settings.connections(scenario));
    let bytes = load.payload;
    match scenario {
        Scenario::Idle => format!("{connections} idle connections"),
        Scenario::Fanout => format!("{connections} connections, {rate}, {bytes} bytes each"),
        Scenario::Churn => {
            let churning = scenarios.churning;
            format!("{connections} connections stay, {churning} come and go, {rate}")
        }
        Scenario::Storm => {
            let missed = count(scenarios.replay as usize);
            format!("{connections} connections, {missed} events to replay, {bytes} bytes each")
        }
        Scenario::Slow => {
            let part = 100.0 * scenarios.slow;
            format!("{connections} connections, {part} % never read, {rate}, {bytes} bytes each")
        }
        Scenario::Topics => {
            let topics = scenarios.topics.map_or(connections.clone(), |it| count(it as usize));
            let kind = if scenarios.private { "private" } else { "public" };
            format!("{connections} connections, {topics} {kind} topics, {rate}")
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

/// The command line without the directory of the program.
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
    use crate::run::{DeliveryFigures, Noise};

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
            delivery: Some(DeliveryFigures {
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
            broadcasts: None,
            faults: Faults::default(),
            noise: Noise { stolen: 0.01, foreign: Some(0.02), load: None },
            noisy: false,
        }
    }

    /// A synthetic result of pairs.
    pub(crate) fn bench_result(scenario: &str, a: &str, b: &str) -> BenchResult {
        let pair = |number| RunPair { a: run(a, 3.0 + 0.1 * f64::from(number)), b: run(b, 3.0) };
        let pairs: Vec<RunPair> = (0..9).map(pair).collect();
        BenchResult {
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
    fn a_result_can_be_written_and_read() {
        let result = bench_result("fanout", "prism-layer", "raw");
        let text = serde_json::to_string_pretty(&result).unwrap();
        let again: BenchResult = serde_json::from_str(&text).unwrap();
        assert_eq!(again.all_runs().count(), 18);
        assert!(again.is_faultless());
        assert_eq!((again.command, again.machine), (result.command, result.machine));
    }

    #[test]
    fn a_load_is_described_in_a_few_words() {
        let described = |arguments: &[&str]| {
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
            assert_eq!(described(arguments), words);
        }
    }

    #[test]
    fn a_command_line_can_be_repeated() {
        let arguments = ["/a/b/prism-bench", "idle", "--header", "A: b"].map(str::to_owned);
        assert_eq!(command(arguments.into_iter()), "prism-bench idle --header 'A: b'");
    }
}
