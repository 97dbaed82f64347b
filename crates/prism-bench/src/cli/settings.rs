//! What the measuring modes have in common.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Endpoint, Scenario, Target};
use crate::receive::STAMP_BYTES;

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
    pub(crate) external: External,
    #[command(flatten, next_help_heading = "Noise")]
    pub(crate) noise: NoiseLimits,
    #[command(flatten, next_help_heading = "Results")]
    pub(crate) results: Results,
}

impl Settings {
    /// Subscribers' connections of a scenario.
    pub(crate) fn connections(&self, scenario: Scenario) -> usize {
        self.connections.unwrap_or(if scenario == Scenario::Publish { 1 } else { 1000 })
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Messages that may be under way at once: the next one is sent when all subscribers have
    /// received the one that many before. 1 waits for each
    #[arg(short = 'w', long, default_value_t = 1, conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) in_flight: u32,
    /// Messages a second, whatever the server makes of them [default for `churn`: what makes
    /// 10,000 deliveries]
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
    /// Connections that publish; each has an order of its own. For `publish` all of them do so at
    /// once, each as soon as it was answered, and otherwise in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) publishers: u8,
    /// Give up on a server that delivers nothing for this many seconds
    #[arg(long, default_value = "15", value_parser = seconds)]
    pub(crate) stall: Duration,
}

/// What single scenarios need to know; the others take no notice of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Scenarios {
    /// `storm`: events that each subscriber missed and has replayed
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replay: u32,
    /// `churn`: connections beside the subscribers that are closed and reopened all the time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) churning: u32,
    /// `slow`: the part of the connections that never reads
    #[arg(long, default_value_t = 0.1, value_parser = part)]
    pub(crate) slow: f64,
    /// `slow`: bytes that the system may keep for each connection that never reads; it doubles
    /// them, and has a least of its own
    #[arg(long, default_value_t = 1024)]
    pub(crate) slow_buffer: usize,
    /// `topics`: topics, which subscribers select in turn, one each [default: one for each
    /// subscriber]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) topics: Option<u32>,
    /// `topics`: publish events that only readers with a grant may read
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

#[derive(Clone, Debug, Args)]
pub(crate) struct Placement {
    /// Threads of the server; `prism-serve` has as many beside them that write to streams
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    pub(crate) workers: NonZeroUsize,
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
    /// Let servers keep this many events to resume from [default: none; for `storm`, what it
    /// needs; `prism-hub` keeps what it keeps for everybody]
    #[arg(long)]
    pub(crate) history: Option<usize>,
    /// The program of the target `prism-hub` [default: the one beside this program]
    #[arg(long)]
    pub(crate) hub: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct External {
    /// Where the target `external` streams; `{topic}` stands for a topic's name
    #[arg(long, value_parser = endpoint)]
    pub(crate) url: Option<Endpoint>,
    /// Where the target `external` takes events, as the body of a POST; `{topic}` likewise
    #[arg(long, value_parser = endpoint)]
    pub(crate) publish_url: Option<Endpoint>,
    /// The process of the target `external`; without it processor time and memory are not told
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// A header of all requests, as `Name: value`
    #[arg(long = "header")]
    pub(crate) headers: Vec<String>,
    /// The body of a publication, with `{}` where the event's data belongs; `{topic}` as above
    #[arg(long, default_value = "{}")]
    pub(crate) publish_body: String,
}

#[derive(Clone, Debug, Args)]
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
    /// Wait this many seconds between opening the connections and what follows
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) settle: Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Results {
    /// Print JSON instead of a table; `report` draws a page from it
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw a page of this measurement into this file too
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeTarget {
    /// The server to be
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
    /// What is published to a topic is private, and those who subscribe to a topic may read that
    #[arg(long)]
    pub(crate) private: bool,
    /// The program of the target `prism-hub` [default: the one beside this program]
    #[arg(long)]
    pub(crate) hub: Option<PathBuf>,
    /// End when the process ends that started this one
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
