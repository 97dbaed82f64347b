//! A fresh server with all its connections, which most scenarios begin with.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::run_config::RunConfig;
use super::support;
use crate::check::{Faults, Sequences};
use crate::client::{Client, ClientConfig};
use crate::environment::Environment;
use crate::procfs::{self, MemoryUsage};
use crate::publish::PublishTemplate;
use crate::run::{ResourceSample, Run, memory_growth, per_connection};
use crate::server::Server;

/// How long a scenario reads on after its last event, so that duplicates are seen.
pub(super) const DUPLICATE_WAIT: Duration = Duration::from_millis(100);

/// What the server had used when a measurement began.
#[derive(Debug)]
pub(super) struct MeasurementStart {
    memory: Option<MemoryUsage>,
    pub(super) resources: ResourceSample,
}

/// A server with all its connections, and what opening them measured.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) environment: &'a Environment<'a>,
    pub(super) server: Server,
    pub(super) client: Client,
    pub(super) sequences: Sequences,
    /// The figures so far; each scenario adds its own.
    pub(super) run: Run,
}

impl<'a> Setup<'a> {
    /// Starts a server, opens all connections, and measures that.
    pub(super) fn open(environment: &'a Environment<'a>, config: &RunConfig) -> Result<Self> {
        let Environment { settings, scenario, progress, .. } = environment;
        support::check(environment, config)?;
        let label = &config.label;
        let server = Server::start(config.target, *scenario, settings, &environment.server_cores)?;
        let sequences = match config.topics {
            None => Sequences::PerPublisher(usize::from(settings.load.publishers)),
            Some(topics) => Sequences::PerTopic(topics),
        };
        let mut client = Client::new(&ClientConfig {
            endpoint: &server.subscribe,
            headers: &server.api.subscribe_headers,
            subscriber_tokens: server.api.subscriber_tokens,
            subscribers: config.readers,
            sequences,
            payload: settings.load.payload,
            process: 0,
        })?;
        client.connect_non_reading(config.non_reading, settings.scenarios.slow_buffer)?;

        let (memory_before, kernel_before) = (memory(&server)?, procfs::kernel_memory()?);
        let begin = resources(&server)?;
        let connecting = client.connect(config.readers, |opened| {
            progress.show(|| format!("{label}: {opened} connections"));
        })?;
        let connected = resources(&server)?;
        thread::sleep(settings.noise.settle);
        let memory_after = memory(&server)?;
        let elapsed = connecting + settings.noise.settle;
        let noise = resources(&server)?.noise(&begin, elapsed, environment.processors);
        let readers = config.readers;
        let (resident, anonymous) = memory_growth(memory_before, memory_after, readers);
        let kernel = per_connection(kernel_before, procfs::kernel_memory()?, readers);
        let run = Run {
            target: label.clone(),
            connections: config.connections(),
            connects_per_second: readers as f64 / connecting.as_secs_f64(),
            connect_cpu_us: connected.server_us_per(&begin, readers as u64),
            resident_per_connection: resident,
            anonymous_per_connection: anonymous,
            kernel_per_connection: kernel,
            threads: memory_after.map(|memory| memory.threads),
            resident_growth: None,
            delivery: None,
            churn: None,
            storm: None,
            published: None,
            broadcasts: None,
            faults: Faults::default(),
            noise,
            noisy: false,
        };
        Ok(Self { environment, server, client, sequences, run })
    }

    /// Opens the publishers' connections, and returns the template of their requests.
    pub(super) fn connect_publishers(&mut self) -> Result<PublishTemplate> {
        let load = &self.environment.settings.load;
        let endpoint = self.server.publish.as_ref().context("the server takes no events")?;
        self.client.connect_publishers(endpoint, load.publishers)?;
        let api = &self.server.api;
        PublishTemplate::new(endpoint, &api.publish_headers, &api.body, load.payload)
    }

    /// Samples what the server uses, before a measurement.
    pub(super) fn start(&self) -> Result<MeasurementStart> {
        Ok(MeasurementStart { memory: self.memory()?, resources: self.resources()? })
    }

    /// Samples what the server uses after a measurement that took `time`, and adds noise, growth
    /// and faults to the run.
    pub(super) fn finish(
        &mut self,
        start: &MeasurementStart,
        time: Duration,
    ) -> Result<ResourceSample> {
        let end = self.resources()?;
        let memory = start.memory.zip(self.memory()?);
        self.client.read_for(DUPLICATE_WAIT)?;
        self.run.resident_growth =
            memory.map(|(before, after)| per_connection(before.resident, after.resident, 1));
        self.run.noise = end.noise(&start.resources, time, self.environment.processors);
        self.run.faults = self.client.faults();
        Ok(end)
    }

    /// What the server and this process have used so far.
    pub(super) fn resources(&self) -> Result<ResourceSample> {
        resources(&self.server)
    }

    /// The server's memory, if its process is known.
    fn memory(&self) -> Result<Option<MemoryUsage>> {
        memory(&self.server)
    }

    /// A function that shows what is going on.
    pub(super) fn progress(&self) -> impl Fn(&str) + use<'a> {
        let (progress, label) = (self.environment.progress, self.run.target.clone());
        move |text| progress.show(|| format!("{label}: {text}"))
    }
}

fn resources(server: &Server) -> Result<ResourceSample> {
    ResourceSample::take(server.pid.as_slice(), &[])
}

fn memory(server: &Server) -> Result<Option<MemoryUsage>> {
    server.pid.map(procfs::memory).transpose()
}
