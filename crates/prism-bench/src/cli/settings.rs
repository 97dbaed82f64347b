//! The flags that the measuring modes have in common, and those of the targets.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::endpoint::Endpoint;
use super::scenario::Scenario;
use super::target::Target;
use crate::receive::STAMP_BYTES;

/// Deliveries per second while connections are closed and reopened, unless a rate is given: enough
/// to notice a loss, and few enough to leave the server's processor to those connections.
const CHURN_DELIVERIES: f64 = 10_000.0;

/// The settings of a measurement.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Subscribers' connections [default: 1000; for `publish`, 1]
    #[arg(short = 'n', long)]
    pub(crate) connections: Option<usize>,
    #[command(flatten, next_help_heading = "Publishing")]
    pub(crate) load: Load,
    #[command(flatten, next_help_heading = "Scenarios")]
    pub(crate) scenarios: Scenarios,
    #[command(flatten, next_help_heading = "Processes")]
    pub(crate) placement: Placement,
    #[command(flatten, next_help_heading = "External server")]
    pub(crate) external: ExternalServer,
    #[command(flatten, next_help_heading = "Noise")]
    pub(crate) noise: NoiseLimits,
    #[command(flatten, next_help_heading = "OutputArgs")]
    pub(crate) output: OutputArgs,
}

impl Settings {
    /// Number of subscribers' connections in a scenario.
    pub(crate) fn connections(&self, scenario: Scenario) -> usize {
        self.connections.unwrap_or(if scenario == Scenario::Publish { 1 } else { 1000 })
    }

    /// Messages per second while connections are closed and reopened.
    pub(crate) fn churn_rate(&self) -> f64 {
        let connections = self.connections(Scenario::Churn).max(1) as f64;
        let default = (CHURN_DELIVERIES / connections).clamp(1.0, 100.0);
        self.load.rate.unwrap_or(default)
    }
}

/// What is published, and how fast.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Messages in flight at most: a message is published when all subscribers have received the
    /// one this many before. 1 waits for each
    #[arg(short = 'w', long, default_value_t = 1, conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) in_flight: u32,
    /// Messages per second, however fast the server delivers them [default for `churn`: 10,000
    /// deliveries per second]
    #[arg(short, long, value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Seconds to publish for
    #[arg(short, long, default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Messages to publish, instead of --seconds
    #[arg(short, long, conflicts_with = "seconds")]
    pub(crate) messages: Option<u64>,
    /// Bytes of data of each event, at least 34
    #[arg(short, long, default_value_t = 100, value_parser = payload)]
    pub(crate) payload: usize,
    /// Connections that publish; each has its own sequence of events. For `publish` all of them
    /// publish at once, each as soon as it was answered, and otherwise in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) publishers: u8,
    /// Give up on a server that delivers nothing for this many seconds
    #[arg(long, default_value = "15", value_parser = seconds)]
    pub(crate) stall: Duration,
}

/// Flags of single scenarios, which the others ignore.
#[derive(Clone, Debug, Args)]
pub(crate) struct Scenarios {
    /// `storm`: events that are replayed to each subscriber
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replay: u32,
    /// `churn`: connections beside the subscribers that are closed and reopened all the time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) churning: u32,
    /// `slow`: the part of the connections that never reads
    #[arg(long, default_value_t = 0.1, value_parser = part)]
    pub(crate) slow: f64,
    /// `slow`: bytes of the receive buffer of each connection that never reads; the system doubles
    /// them, and has a minimum
    #[arg(long, default_value_t = 1024)]
    pub(crate) slow_buffer: usize,
    /// `topics`: topics, which are assigned to subscribers round robin [default: one for each
    /// subscriber]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) topics: Option<u32>,
    /// `topics`: publish private events, which only subscribers with a grant receive
    #[arg(long)]
    pub(crate) private: bool,
    /// `million`: servers, and as many processes of subscribers [default: as few as hold the
    /// connections]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=250))]
    pub(crate) processes: Option<u32>,
    /// `million`: broadcasts that are timed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) broadcasts: u32,
}

/// Threads and processors of servers and subscribers, and flags of the servers.
#[derive(Clone, Debug, Args)]
pub(crate) struct Placement {
    /// Threads of the server; `prism-serve` has as many delivery shards beside them
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    pub(crate) workers: NonZeroUsize,
    /// Processors of the server, separated by commas [default: the first]
    #[arg(long, value_delimiter = ',', conflicts_with = "no_pin")]
    pub(crate) server_cores: Vec<usize>,
    /// Processor of the subscribers [default: the second]
    #[arg(long, conflicts_with = "no_pin")]
    pub(crate) client_core: Option<usize>,
    /// Let server and subscribers run on any processor
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Let servers send heartbeats, every 15 s
    #[arg(long)]
    pub(crate) heartbeats: bool,
    /// Let servers keep this many events to resume from [default: none; for `storm`, as many as it
    /// needs; `prism-hub` has its own default]
    #[arg(long)]
    pub(crate) history: Option<usize>,
    /// The program of the target `prism-hub` [default: the one beside this program]
    #[arg(long)]
    pub(crate) hub: Option<PathBuf>,
}

/// The target `external`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExternalServer {
    /// The URL of the streams of the target `external`; `{topic}` stands for a topic's name
    #[arg(long, value_parser = endpoint)]
    pub(crate) url: Option<Endpoint>,
    /// The URL that takes events of the target `external` as the body of a POST; `{topic}` likewise
    #[arg(long, value_parser = endpoint)]
    pub(crate) publish_url: Option<Endpoint>,
    /// The process id of the target `external`; without it there is no processor time and no memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// A header of all requests, as `Name: value`
    #[arg(long = "header")]
    pub(crate) headers: Vec<String>,
    /// The body of a publication; `{}` stands for the event's data, `{topic}` as above
    #[arg(long, default_value = "{}")]
    pub(crate) publish_body: String,
}

/// How much noise a run may have.
#[derive(Clone, Debug, Args)]
pub(crate) struct NoiseLimits {
    /// Measure again if the hypervisor gave more than this part of the processors' time to others
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
    /// Wait this many seconds after opening the connections
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) settle: Duration,
}

/// Where results go.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print JSON instead of a table; `report` draws a page from it
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw a page of this result into this file
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}

/// The flags of a target.
#[derive(Debug, Args)]
pub(crate) struct ServeTargetArgs {
    /// The server to run
    pub(crate) target: Target,
    /// The port to listen on; 0 is any free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Threads
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    pub(crate) workers: NonZeroUsize,
    /// Processors to run on, separated by commas [default: any]
    #[arg(long, value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Send heartbeats, every 15 s
    #[arg(long)]
    pub(crate) heartbeats: bool,
    /// Keep this many events, and resume streams from them
    #[arg(long)]
    pub(crate) history: Option<usize>,
    /// Make all events of topics private, and grant them to the subscribers of their topic
    #[arg(long)]
    pub(crate) private: bool,
    /// The program of the target `prism-hub` [default: the one beside this program]
    #[arg(long)]
    pub(crate) hub: Option<PathBuf>,
    /// End when the parent process ends
    #[arg(long, hide = true)]
    pub(crate) die_with_parent: bool,
}

fn endpoint(url: &str) -> Result<Endpoint, String> {
    Endpoint::parse(url).map_err(|error| format!("{error:#}"))
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number")?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("not above zero".to_owned()) }
}

fn part(text: &str) -> Result<f64, String> {
    let part = positive(text)?;
    if part < 1.0 { Ok(part) } else { Err("not below one".to_owned()) }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
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

    #[test]
    fn few_messages_are_published_while_connections_are_reopened() {
        let rate = |arguments: &[&str]| crate::cli::settings(arguments).churn_rate();
        assert_eq!(rate(&["-n", "2000"]), 5.0);
        assert_eq!((rate(&["-n", "1"]), rate(&["-n", "20000"])), (100.0, 1.0));
        assert_eq!(rate(&["-n", "2000", "--rate", "7"]), 7.0);
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(STAMP_BYTES, 34, "the help of --payload says so");
        assert_eq!(payload("34"), Ok(34));
        assert_eq!((part("0.1"), positive("3")), (Ok(0.1), Ok(3.0)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(positive(text).is_err() && seconds(text).is_err(), "{text}");
            assert!(part(text).is_err() && payload(text).is_err(), "{text}");
        }
        assert!(part("1").is_err() && payload("33").is_err());
    }
}
