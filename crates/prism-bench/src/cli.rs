//! The command line.

mod endpoint;
mod settings;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use endpoint::Endpoint;
use settings::seconds;
pub(crate) use settings::{External, Load, ServeTarget, Settings};

/// Says how fast and how lean a server of Server-Sent Events is.
///
/// One thread opens all subscribers' connections over the addresses 127.0.0.1, 127.0.0.2, ...,
/// publishes by HTTP POST, and checks and times every event at every subscriber. The server runs
/// on one processor and the subscribers on another.
///
/// An absolute figure says little: machines differ, and the same machine differs from minute to
/// minute. Believe `compare`, which runs two servers in turn and tells ratios with an interval;
/// `raw`, a bare loop of write(), is the ceiling to compare with.
///
/// Results go to standard output, progress to standard error. The exit status is 1 if an event
/// was lost, doubled, reordered or damaged, or if something failed.
///
///   prism-bench fanout prism-serve -n 10000                    one server, one scenario
///   prism-bench compare prism-serve raw --scenario storm       two servers, nine pairs of runs
///   prism-bench compare prism-serve raw --json > fanout.json   the same for `report`
///   prism-bench report fanout.json storm.json --out page.html  a page of plots
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, verbatim_doc_comment)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Publish to all subscribers, and check and time every delivery
    ///
    /// Messages are published with --in-flight of them under way, or at a fixed --rate. With one in
    /// flight the time of a delivery is what a server costs; with 64 a server may join events, and
    /// its rate is what counts; at a fixed rate its latency.
    Fanout(Single),
    /// Open connections that nothing is sent to, and say what each costs
    ///
    /// Memory is the growth of the server's resident memory while the connections open.
    Idle(Single),
    /// Close and reopen connections all the time, while others read and miss nothing
    ///
    /// Beside the subscribers, --churning connections ask for the stream, are reset as soon as it
    /// begins, and come again. `connects/s` is how fast the subscribers' connections opened before
    /// that, `churned/s` how often one of the others came.
    Churn(Single),
    /// Drop all connections at once; all come back with the last id and get what they missed
    ///
    /// A first event gives everybody an id. Then --replay events are published, all leave, and all
    /// come back with that id. The time counts from the first connection until everybody has every
    /// event; then one more event must reach all. `raw` writes the same bytes in writes of 16 KiB.
    Storm(Single),
    /// Let some readers never read, in pairs of runs: with them, and without
    ///
    /// A is --connections of which a part, --slow, never reads; B is the others alone. The figures
    /// are of those that read. Sockets of those that do not have to fill up before it matters:
    /// publish enough, with --payload and --seconds.
    Slow(Paired),
    /// Publish to single topics, in pairs of runs: with all subscribers, and with a tenth
    ///
    /// Each subscriber reads one topic, and each topic has as many readers in both runs of a pair:
    /// B has a tenth of the subscribers and of the topics. A publish should cost the same in both.
    Topics(Paired),
    /// Spread many connections over several processes, and reach them all with one broadcast
    ///
    /// Where a process may have few open files, many connections take many processes: each server
    /// has a process of subscribers, and all servers are published to at the same moment. The time
    /// of a broadcast counts from the first request to the last delivery anywhere.
    Million(Single),
    /// Compare two servers in adjacent pairs of runs: A B, B A, A B, ...
    ///
    /// Ratios are taken within each pair; what is told is their median, with a 90 % interval by the
    /// bootstrap. Runs in which others took too much of the machine are discarded and repeated.
    Compare(Compare),
    /// Draw a page from what the other modes printed with --json
    Report(Report),
    /// Be one of the servers that are measured, until killed
    ServeTarget(ServeTarget),
    /// Be some of the subscribers of `million`
    #[command(hide = true)]
    Crowd(Crowd),
}

#[derive(Debug, Args)]
pub(crate) struct Single {
    /// The server to measure
    pub(crate) target: Target,
    /// Measure this often, each time with a fresh server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Args)]
pub(crate) struct Paired {
    /// The server to measure
    pub(crate) target: Target,
    /// Pairs of runs
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The server in question
    pub(crate) a: Target,
    /// The server it is compared to; ratios are A / B
    pub(crate) b: Target,
    /// What is done to both
    #[arg(long, value_enum, default_value_t = Scenario::Fanout)]
    pub(crate) scenario: Scenario,
    /// Pairs of runs
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// What other modes printed with --json, in the order of the page
    #[arg(required = true)]
    pub(crate) records: Vec<PathBuf>,
    /// The page
    #[arg(long, default_value = "prism-bench.html")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Crowd {
    /// Its place among such processes, which decides what addresses it connects from
    pub(crate) place: u8,
    /// Where the server streams
    pub(crate) subscribe: String,
    /// Where the server takes events
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

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publish to all subscribers
    Fanout,
    /// Leave connections alone
    Idle,
    /// Close and reopen connections while others read
    Churn,
    /// Let all come back at once, and resume
    Storm,
    /// Let some readers never read
    Slow,
    /// Publish to single topics
    Topics,
    /// Spread connections over several processes
    Million,
}

impl Scenario {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Prism SSE's `SseLayer` on an axum router, served by `prism_sse::serve`
    PrismServe,
    /// The same, served by `axum::serve`
    PrismLayer,
    /// axum's own `Sse` on a broadcast channel of tokio, as most applications do it
    AxumIdiom,
    /// actix-web-lab's `Sse` on the same channel; build with `RUSTFLAGS="--cfg prism_peers"`
    ActixWebLab,
    /// nginx with nchan, if it is installed: Debian's libnginx-mod-nchan
    NginxNchan,
    /// An axum server whose streams never say anything: a baseline of `idle`
    NeverReady,
    /// The same, but each stream says one line first
    OneLine,
    /// A bare loop of write() on the subscribers' sockets: the ceiling
    Raw,
    /// A server that runs already; see --url
    External,
}

impl Target {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it hands on what is published.
    pub(crate) fn publishes(self) -> bool {
        !matches!(self, Self::NeverReady | Self::OneLine)
    }

    /// Whether it can publish to single topics.
    pub(crate) fn has_topics(self) -> bool {
        matches!(self, Self::PrismServe | Self::PrismLayer | Self::NginxNchan | Self::External)
    }

    /// Whether a reader that comes back gets what it missed.
    pub(crate) fn resumes(self) -> bool {
        self.has_topics() || self == Self::Raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
