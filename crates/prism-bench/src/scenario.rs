//! What is done to a server, and what is measured of it meanwhile.

mod churn;
mod fanout;
mod million;
mod publish;
mod storm;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;
use crate::check::{Faults, Lanes};
use crate::cli::{Endpoint, Scenario, Settings, Target};
use crate::client::{Client, Plan};
use crate::publish::Form;
use crate::run::{Moment, Run, memory_grown};
use crate::sample::{self, Memory};
use crate::server::Server;
use crate::template::Template;

/// Deliveries a second while connections come and go, unless a rate is given: enough to see a loss,
/// few enough to leave the server to those that come and go.
const CHURN_DELIVERIES: f64 = 10_000.0;

/// Open files that a process, be it a server, may need beside its subscribers' connections.
const OTHER_FILES: u64 = 128;

/// How long to wait for events that come once too often.
const LINGER: Duration = Duration::from_millis(100);

/// A tenth of the subscribers is what `topics` compares all of them to.
const FEWER: usize = 10;

/// What is measured: a server, and what is particular about its load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) target: Target,
    /// Tells it from the other one of a pair.
    pub(crate) label: String,
    /// Connections that read.
    pub(crate) readers: usize,
    /// Connections that never read.
    pub(crate) silent: usize,
    /// Topics, if readers select them.
    pub(crate) topics: Option<usize>,
}

impl Subject {
    /// A server under a scenario.
    pub(crate) fn new(target: Target, scenario: Scenario, settings: &Settings) -> Self {
        let connections = settings.connections(scenario);
        let asked = &settings.scenarios;
        let silent = match scenario {
            Scenario::Slow => (connections as f64 * asked.slow).ceil() as usize,
            _ => 0,
        };
        let topics = (scenario == Scenario::Topics)
            .then(|| asked.topics.map_or(connections, |topics| topics as usize).max(1));
        let label = target.name();
        Self { target, label, readers: connections.saturating_sub(silent), silent, topics }
    }

    /// What it is compared to if it is compared to itself: the same readers without those that
    /// never read, or a tenth of the readers and of the topics.
    pub(crate) fn plainer(&self) -> Self {
        let label = self.target.name();
        match self.topics {
            None => Self { silent: 0, label: format!("{label}, all read"), ..self.clone() },
            Some(topics) => {
                let readers = (self.readers / FEWER).max(1);
                Self {
                    label: format!("{label}, {readers} connections"),
                    readers,
                    topics: Some((topics / FEWER).max(1)),
                    ..self.clone()
                }
            }
        }
    }

    fn connections(&self) -> usize {
        self.readers + self.silent
    }
}

/// Measures a fresh server.
pub(crate) fn run(bench: &Bench<'_>, subject: &Subject) -> Result<Run> {
    match bench.scenario {
        Scenario::Million => million::run(bench, subject),
        Scenario::Idle => Ok(Stage::open(bench, subject)?.run),
        Scenario::Fanout | Scenario::Slow | Scenario::Topics => {
            fanout::run(Stage::open(bench, subject)?)
        }
        Scenario::Publish => publish::run(Stage::open(bench, subject)?),
        Scenario::Churn => churn::run(Stage::open(bench, subject)?),
        Scenario::Storm => storm::run(Stage::open(bench, subject)?),
    }
}

/// Messages a second while connections come and go.
pub(crate) fn churn_rate(settings: &Settings) -> f64 {
    let unless_given = CHURN_DELIVERIES / settings.connections(Scenario::Churn).max(1) as f64;
    settings.load.rate.unwrap_or(unless_given.clamp(1.0, 100.0))
}

/// A server with all its connections, and what opening them measured.
struct Stage<'a> {
    bench: &'a Bench<'a>,
    server: Server,
    client: Client,
    lanes: Lanes,
    run: Run,
}

impl<'a> Stage<'a> {
    fn open(bench: &'a Bench<'a>, subject: &Subject) -> Result<Self> {
        let Bench { settings, scenario, progress, .. } = bench;
        check(bench, subject)?;
        let label = &subject.label;
        let connections = subject.connections();
        let server = Server::start(subject.target, *scenario, settings, &bench.server_cores)?;
        let lanes = match subject.topics {
            None => Lanes::Publishers(usize::from(settings.load.publishers)),
            Some(topics) => Lanes::Topics(topics),
        };
        let mut client = Client::new(&Plan {
            endpoint: &server.subscribe,
            headers: &server.manner.subscribe_headers,
            tokens: server.manner.tokens,
            subscribers: subject.readers,
            lanes,
            payload: settings.load.payload,
            place: 0,
        })?;
        client.connect_silent(subject.silent, settings.scenarios.slow_buffer)?;

        let (memory_before, kernel_before) = (memory(&server)?, sample::kernel_memory()?);
        let begin = moment(&server)?;
        let connecting = client.connect(subject.readers, |opened| {
            progress.say(|| format!("{label}: {opened} connections"));
        })?;
        let connected = moment(&server)?;
        thread::sleep(settings.noise.settle);
        let memory_after = memory(&server)?;
        let noise =
            moment(&server)?.noise(&begin, connecting + settings.noise.settle, bench.processors);
        let readers = subject.readers;
        let (resident, anonymous) = memory_grown(memory_before, memory_after, readers);
        let run = Run {
            target: label.clone(),
            connections,
            connects_per_second: readers as f64 / connecting.as_secs_f64(),
            connect_cpu_us: connected.server_us_each(&begin, readers as u64),
            resident_per_connection: resident,
            anonymous_per_connection: anonymous,
            kernel_per_connection: crate::run::grown(
                kernel_before,
                sample::kernel_memory()?,
                readers,
            ),
            threads: memory_after.map(|memory| memory.threads),
            resident_growth: None,
            delivery: None,
            churn: None,
            storm: None,
            published: None,
            crowd: None,
            faults: Faults::default(),
            noise,
            noisy: false,
        };
        Ok(Self { bench, server, client, lanes, run })
    }

    /// Opens the publishers' connections, and says how to publish.
    fn form(&mut self) -> Result<Form> {
        let settings = self.bench.settings;
        let endpoint = self.server.publish.as_ref().context("the server takes no events")?;
        self.client.connect_publishers(endpoint, settings.load.publishers)?;
        let manner = &self.server.manner;
        Form::new(endpoint, &manner.publish_headers, &manner.body, settings.load.payload)
    }

    fn moment(&self) -> Result<Moment> {
        moment(&self.server)
    }

    fn memory(&self) -> Result<Option<Memory>> {
        memory(&self.server)
    }

    /// Says what is going on.
    fn say(&self) -> impl Fn(&str) + use<'a> {
        let (progress, label) = (self.bench.progress, self.run.target.clone());
        move |what| progress.say(|| format!("{label}: {what}"))
    }
}

fn moment(server: &Server) -> Result<Moment> {
    Moment::now(server.pid.as_slice(), &[])
}

fn memory(server: &Server) -> Result<Option<Memory>> {
    server.pid.map(sample::memory).transpose()
}

/// Refuses what cannot be measured before anything is started.
fn check(bench: &Bench<'_>, subject: &Subject) -> Result<()> {
    let Bench { settings, scenario, files, .. } = bench;
    let name = subject.target.name();
    ensure!(subject.readers > 0, "without connections that read there is nothing to measure");
    let beside = u64::from(settings.load.publishers)
        + if *scenario == Scenario::Churn { settings.scenarios.churning.into() } else { 0 };
    let most = files.saturating_sub(OTHER_FILES + beside);
    ensure!(
        subject.connections() as u64 <= most,
        "{} connections do not fit: a process may have {files} open files here, which is enough \
         for {most} connections; `million` spreads more over several processes",
        subject.connections()
    );
    check_target(subject.target, *scenario)?;
    ensure!(
        subject.target != Target::External
            || *scenario == Scenario::Idle
            || settings.external.publish_url.is_some(),
        "the target `external` needs --publish-url"
    );
    ensure!(
        *scenario != Scenario::Storm || settings.load.publishers == 1,
        "what is replayed has one order: `storm` has one publisher"
    );
    if let Some(topics) = subject.topics {
        let publishers = usize::from(settings.load.publishers);
        ensure!(publishers <= topics, "more publishers than topics have nothing to do");
        let external = &settings.external;
        let names = |url: &Option<Endpoint>| url.as_ref().is_some_and(Endpoint::has_topic);
        let events_name_it =
            names(&external.publish_url) || Template::parse(&external.publish_body).has_topic();
        ensure!(
            subject.target != Target::External || names(&external.url) && events_name_it,
            "--url, and --publish-url or --publish-body, of {name} need a place for a topic: \
             {{topic}}"
        );
    }
    Ok(())
}

/// Refuses servers that cannot do what a scenario asks.
fn check_target(target: Target, scenario: Scenario) -> Result<()> {
    let (can, what) = match scenario {
        Scenario::Idle => (true, ""),
        Scenario::Topics => (target.has_topics(), "it has no topics"),
        Scenario::Storm => (target.resumes(), "nothing resumes there"),
        Scenario::Million => {
            let counts = target.publishes() && target != Target::External && !target.takes_forms();
            (counts, "several of it must be started, and take text from anybody")
        }
        Scenario::Publish => {
            let takes = target.takes_forms() || target == Target::External;
            (takes, "it takes no forms and looks at no tokens")
        }
        Scenario::Fanout | Scenario::Churn | Scenario::Slow => {
            (target.publishes(), "nothing can be published to it")
        }
    };
    ensure!(can, "{} is not for {}: {what}", scenario.name(), target.name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use crate::cli::{Cli, Mode};

    fn settings(arguments: &[&str]) -> Settings {
        let arguments = [&["prism-bench", "idle", "raw"], arguments].concat();
        match Cli::parse_from(arguments).mode {
            Mode::Idle(single) => single.settings,
            _ => panic!("another mode"),
        }
    }

    #[test]
    fn those_that_never_read_are_some_of_all() {
        let settings = settings(&["-n", "101", "--slow", "0.1"]);
        let subject = Subject::new(Target::Raw, Scenario::Slow, &settings);
        assert_eq!((subject.readers, subject.silent, subject.connections()), (90, 11, 101));
        let plainer = subject.plainer();
        assert_eq!((plainer.readers, plainer.silent), (90, 0));
        assert_eq!(plainer.label, "raw, all read");
        assert_eq!(Subject::new(Target::Raw, Scenario::Fanout, &settings).silent, 0);
    }

    #[test]
    fn each_reader_has_a_topic_unless_said() {
        let subject = |arguments: &[&str]| {
            Subject::new(Target::PrismLayer, Scenario::Topics, &settings(arguments))
        };
        assert_eq!(subject(&["-n", "500"]).topics, Some(500));
        let some = subject(&["-n", "500", "--topics", "50"]);
        let plainer = some.plainer();
        assert_eq!((some.topics, plainer.topics, plainer.readers), (Some(50), Some(5), 50));
        assert_eq!(plainer.label, "prism-layer, 50 connections");
    }

    #[test]
    fn little_is_published_while_connections_come_and_go() {
        let rate = |arguments: &[&str]| churn_rate(&settings(arguments));
        assert_eq!(rate(&["-n", "2000"]), 5.0);
        assert_eq!((rate(&["-n", "1"]), rate(&["-n", "20000"])), (100.0, 1.0));
        assert_eq!(rate(&["-n", "2000", "--rate", "7"]), 7.0);
    }

    #[test]
    fn servers_are_asked_for_what_they_can_do() {
        assert!(check_target(Target::NeverReady, Scenario::Idle).is_ok());
        for (target, scenario) in [
            (Target::NeverReady, Scenario::Fanout),
            (Target::AxumIdiom, Scenario::Storm),
            (Target::Raw, Scenario::Topics),
            (Target::External, Scenario::Million),
            (Target::PrismHub, Scenario::Million),
            (Target::AxumIdiom, Scenario::Publish),
        ] {
            assert!(check_target(target, scenario).is_err(), "{target:?} {scenario:?}");
        }
    }
}
