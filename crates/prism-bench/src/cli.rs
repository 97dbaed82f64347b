//! The command line.

mod endpoint;
mod scenario;
mod settings;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub(crate) use endpoint::Endpoint;
pub(crate) use scenario::Scenario;
use settings::seconds;
pub(crate) use settings::{Load, ServeTargetArgs, Settings};
pub(crate) use target::Target;

/// Measures servers of Server-Sent Events: throughput, latency, processor time and memory.
///
/// One thread opens all subscribers' connections over the addresses 127.0.0.1, 127.0.0.2, ...,
/// publishes by HTTP POST, and checks and times every event at every subscriber. The server runs
/// on one processor and the subscribers on another.
///
/// An absolute figure says little: machines differ, and the same machine differs from minute to
/// minute. Rely on `compare`, which runs two servers in turn and prints ratios with intervals;
/// `raw`, a bare loop of write(), is the ceiling to compare with.
///
/// Results go to standard output, progress to standard error. The exit status is 1 if an event
/// was lost, doubled, reordered or damaged, or if something failed.
///
///   prism-bench fanout prism-serve -n 10000                    one server, one scenario
///   prism-bench compare prism-serve raw --scenario storm       two servers, nine pairs of runs
///   prism-bench compare prism-hub bare-publish --scenario publish --publishers 64
///   prism-bench compare prism-serve raw --json > fanout.json   the same for `report`
///   prism-bench report fanout.json storm.json --out page.html  a page of plots
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, verbatim_doc_comment)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Publish to all subscribers, and check and time every delivery
    ///
    /// Messages are published with --in-flight of them in flight, or at a fixed --rate. Look at the
    /// processor time of a delivery with one in flight; at the rate of deliveries with 64, where a
    /// server may join events; and at the latency with a fixed rate.
    Fanout(SingleArgs),
    /// Open connections without events, and measure what each costs
    ///
    /// Memory is the growth of the server's resident memory while the connections open.
    Idle(SingleArgs),
    /// Close and reopen connections all the time, while others read and miss nothing
    ///
    /// Beside the subscribers, --churning connections ask for the stream, are reset as soon as it
    /// begins, and are opened again. `connects/s` is how fast the subscribers' connections opened
    /// before that, `churned/s` how many of the others were opened.
    Churn(SingleArgs),
    /// Close all connections at once; all subscribers reconnect and are sent what they missed
    ///
    /// A first event gives every subscriber an id. Then --replay events are published, all
    /// subscribers disconnect, and all reconnect with that id. The time counts from the first
    /// connection until every subscriber has every event; then one more event must reach all. `raw`
    /// writes the same bytes in writes of 16 KiB.
    Storm(SingleArgs),
    /// Let some readers never read, in pairs of runs: with them, and without
    ///
    /// A is --connections of which a part, --slow, never reads; B is the others alone. The figures
    /// are of those that read. The others matter only when their sockets are full: publish enough,
    /// with --payload and --seconds.
    Slow(PairedArgs),
    /// Publish to single topics, in pairs of runs: with all subscribers, and with a tenth
    ///
    /// Each subscriber reads one topic, and each topic has as many readers in both runs of a pair:
    /// B has a tenth of the subscribers and of the topics. A publish should cost the same in both.
    Topics(PairedArgs),
    /// Publish from --publishers connections, each as soon as it was answered, and time the answers
    ///
    /// For servers that take forms and verify tokens: `prism-hub`, the program itself, and
    /// `bare-publish`, the least work that takes. A subscriber reads and checks every event. The
    /// rate counts publishes that were answered and delivered; `ack` is the time from a request to
    /// its response. With --server-cores 0,1 --workers 2 a server may use both processors, of which
    /// the publishers need a part.
    Publish(SingleArgs),
    /// Spread many connections over several processes, and publish broadcasts to all of them
    ///
    /// Where a process may have few open files, many connections take many processes: each server
    /// has its own process of subscribers, and a broadcast is published to all servers at the same
    /// time. Its time counts from the first request to the last delivery at any of them.
    Million(SingleArgs),
    /// Compare two servers in adjacent pairs of runs: A B, B A, A B, ...
    ///
    /// Ratios are taken within each pair; what is printed is their median, with a 90 % interval by
    /// the bootstrap. Runs with too much noise are discarded and repeated.
    Compare(CompareArgs),
    /// Draw a page of results that the other modes printed with --json
    Report(ReportArgs),
    /// Run one of the servers that are measured, until killed
    ServeTarget(ServeTargetArgs),
    /// Run one of the processes of subscribers that `million` starts
    #[command(hide = true)]
    SubscriberProcess(SubscriberProcessArgs),
}

/// The flags of a mode that measures one server.
#[derive(Debug, Args)]
pub(crate) struct SingleArgs {
    /// The server to measure
    pub(crate) target: Target,
    /// Number of runs, each with a fresh server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// The flags of a mode that measures one server under two loads.
#[derive(Debug, Args)]
pub(crate) struct PairedArgs {
    /// The server to measure
    pub(crate) target: Target,
    /// Pairs of runs
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// The flags of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The server to measure
    pub(crate) a: Target,
    /// The server it is compared to; ratios are A / B
    pub(crate) b: Target,
    /// The scenario of both
    #[arg(long, value_enum, default_value_t = Scenario::Fanout)]
    pub(crate) scenario: Scenario,
    /// Pairs of runs
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// The flags of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Results that other modes printed with --json, in the order of the page
    #[arg(required = true)]
    pub(crate) results: Vec<PathBuf>,
    /// The page
    #[arg(long, default_value = "prism-bench.html")]
    pub(crate) out: PathBuf,
}

/// The flags of `subscriber-process`.
#[derive(Debug, Args)]
pub(crate) struct SubscriberProcessArgs {
    /// Its number among such processes, which decides on the addresses that it connects from
    pub(crate) process: u8,
    /// Where subscribers connect to
    pub(crate) subscribe: String,
    /// Where publishers connect to
    pub(crate) publish: String,
    /// Subscribers' connections
    #[arg(long)]
    pub(crate) connections: usize,
    /// Bytes of data of each event
    #[arg(long)]
    pub(crate) payload: usize,
    /// Seconds without a delivery after which it gives up
    #[arg(long, value_parser = seconds)]
    pub(crate) stall: Duration,
    /// Processors to run on, separated by commas [default: any]
    #[arg(long, value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
}

/// The settings that these arguments give.
#[cfg(test)]
pub(crate) fn settings(arguments: &[&str]) -> Settings {
    let arguments = [&["prism-bench", "idle", "raw"], arguments].concat();
    match Cli::parse_from(arguments).mode {
        Mode::Idle(args) => args.settings,
        _ => panic!("another mode"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_scenario_has_a_mode() {
        let command = Cli::command();
        for scenario in Scenario::value_variants() {
            assert!(command.find_subcommand(scenario.name()).is_some(), "{scenario:?}");
        }
    }
}
