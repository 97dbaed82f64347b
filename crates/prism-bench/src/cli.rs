//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use http::Uri;

use crate::receive::STAMP_BYTES;

/// Says how fast and how lean a server of Server-Sent Events is.
///
/// One thread opens all subscribers' connections over the addresses 127.0.0.1, 127.0.0.2, ...,
/// publishes by HTTP POST, and checks and times every event at every subscriber. The server runs
/// on one processor and the subscribers on another.
///
/// An absolute figure says little: machines differ, and the same machine differs from minute to
/// minute. Believe `compare`, which runs two servers in turn and tells ratios with an interval.
///
/// Results go to standard output, progress to standard error. The exit status is 1 if an event
/// was lost, doubled, reordered or damaged, or if something failed.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Publish to all subscribers, and check and time every delivery
    Fanout(Single),
    /// Open connections that nothing is sent to, and say what each costs
    Idle(Single),
    /// Compare two servers in adjacent pairs of runs: A B, B A, A B, ...
    Compare(Compare),
    /// Be one of the servers that are measured, until killed
    ServeTarget(ServeTarget),
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

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publish to all subscribers
    Fanout,
    /// Leave connections alone
    Idle,
}

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Prism SSE's `SseLayer` on an axum router
    PrismLayer,
    /// axum's own `Sse` on a broadcast channel of tokio, as most applications do it
    AxumIdiom,
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
}

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Subscribers' connections
    #[arg(short = 'n', long, default_value_t = 1000)]
    pub(crate) connections: usize,
    #[command(flatten, next_help_heading = "Fan-out")]
    pub(crate) load: Load,
    #[command(flatten, next_help_heading = "Processes")]
    pub(crate) placement: Placement,
    #[command(flatten, next_help_heading = "External server")]
    pub(crate) external: External,
    #[command(flatten, next_help_heading = "Noise")]
    pub(crate) noise: NoiseLimits,
    /// Wait this many seconds between opening the connections and looking at memory
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) settle: Duration,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Messages that may be under way at once: the next one is sent when all subscribers have
    /// received the one that many before. 1 waits for each
    #[arg(short = 'w', long, default_value_t = 1, conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) in_flight: u32,
    /// Messages a second, whatever the server makes of them
    #[arg(short, long, value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Seconds to publish for
    #[arg(short, long, default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Messages to publish, instead of --seconds
    #[arg(short, long, conflicts_with = "seconds")]
    pub(crate) messages: Option<u64>,
    /// Bytes of data of each event, at least 30
    #[arg(short, long, default_value_t = 100, value_parser = payload)]
    pub(crate) payload: usize,
    /// Connections that publish, in turn; each has an order of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) publishers: u8,
    /// Give up on a server that delivers nothing for this many seconds
    #[arg(long, default_value = "15", value_parser = seconds)]
    pub(crate) stall: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Placement {
    /// Threads of the server
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// Processors of the server, separated by commas [default: the first]
    #[arg(long, value_delimiter = ',', conflicts_with = "no_pin")]
    pub(crate) server_cores: Vec<usize>,
    /// Processor of the subscribers [default: the second]
    #[arg(long, conflicts_with = "no_pin")]
    pub(crate) client_core: Option<usize>,
    /// Let both run on any processor
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Let servers send heartbeats, every 15 s
    #[arg(long)]
    pub(crate) heartbeats: bool,
}

#[derive(Debug, Args)]
pub(crate) struct External {
    /// Where the target `external` streams
    #[arg(long, value_parser = endpoint)]
    pub(crate) url: Option<Endpoint>,
    /// Where the target `external` takes events, as the body of a POST
    #[arg(long, value_parser = endpoint)]
    pub(crate) publish_url: Option<Endpoint>,
    /// The process of the target `external`; without it processor time and memory are not told
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// A header of all requests, as `Name: value`
    #[arg(long = "header")]
    pub(crate) headers: Vec<String>,
    /// The body of a publication, with `{}` where the event's data belongs
    #[arg(long, default_value = "{}")]
    pub(crate) publish_body: String,
}

#[derive(Debug, Args)]
pub(crate) struct NoiseLimits {
    /// Measure again if the hypervisor kept more than this part of the processors' time for others
    #[arg(long, default_value_t = 0.05)]
    pub(crate) max_stolen: f64,
    /// Measure again if other processes took more than this part of the processors' time
    #[arg(long, default_value_t = 0.10)]
    pub(crate) max_foreign: f64,
    /// Before each run, wait up to this many seconds for other processes to be quiet
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub(crate) patience: Duration,
    /// Measure again at most this often for one run, then keep it and mark it as noisy
    #[arg(long, default_value_t = 5)]
    pub(crate) retries: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ServeTarget {
    /// The server to be
    pub(crate) target: Target,
    /// The port to listen on; 0 is any free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// Processors to run on, separated by commas [default: any]
    #[arg(long, value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Send heartbeats, every 15 s
    #[arg(long)]
    pub(crate) heartbeats: bool,
    /// End when the process ends that started this one
    #[arg(long, hide = true)]
    pub(crate) die_with_parent: bool,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// As the header `Host` has it.
    pub(crate) host: String,
    pub(crate) path: String,
}

impl Endpoint {
    /// Reads `http://HOST:PORT/PATH?QUERY`.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "{url:?} does not begin with http://");
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        let mut addresses = (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .with_context(|| format!("{host:?} has no address"))?;
        Ok(Self {
            address: addresses.next().with_context(|| format!("{host:?} has no address"))?,
            host: uri.authority().map_or_else(String::new, ToString::to_string),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

fn endpoint(url: &str) -> Result<Endpoint, String> {
    Endpoint::parse(url).map_err(|error| format!("{error:#}"))
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number")?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("not above zero".to_owned()) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(positive(text)?).map_err(|error| error.to_string())
}

fn payload(text: &str) -> Result<usize, String> {
    let len = text.parse().map_err(|_| "not a number of bytes")?;
    if len < STAMP_BYTES {
        return Err(format!("an event's stamp has {STAMP_BYTES} bytes"));
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert_eq!(STAMP_BYTES, 30, "the help of --payload says so");
    }

    #[test]
    fn an_endpoint_has_an_address_a_host_and_a_path() {
        let found = Endpoint::parse("http://127.0.0.1:8080/a?topic=b").unwrap();
        assert_eq!(found.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((found.host.as_str(), found.path.as_str()), ("127.0.0.1:8080", "/a?topic=b"));
        assert_eq!(Endpoint::parse("http://[::1]:9").unwrap().path, "/");
        for url in ["https://127.0.0.1/", "127.0.0.1:80", "/events", ""] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
