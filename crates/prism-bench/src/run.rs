//! One run: a fresh server, its subscribers, and what was measured.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cli::{Load, Scenario, Settings, Target};
use crate::client::{Client, Delivered};
use crate::process;
use crate::progress::Progress;
use crate::publish::Form;
use crate::receive::Faults;
use crate::sample::{self, Cpu, Processors};
use crate::server::Server;

/// Open files that this process needs beside its connections.
const OTHER_FILES: u64 = 64;

/// How long to wait for events that come once too often.
const LINGER: Duration = Duration::from_millis(100);

/// Fewest messages that are sent before the measurement begins.
const WARM_UP: u32 = 5;

/// How long to look at what others do before a run.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// A client that was busier than this was the bottleneck, or nearly.
const CLIENT_BOUND: f64 = 0.9;

/// What one run measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) connects_per_second: f64,
    /// Growth of the server's resident memory, in bytes.
    pub(crate) resident_per_connection: Option<f64>,
    /// Growth of the server's anonymous memory, in bytes.
    pub(crate) anonymous_per_connection: Option<f64>,
    /// Growth of the kernel's own memory, both ends together, in bytes. It keeps what it had for
    /// earlier connections, so that only the first run after a while tells the truth.
    pub(crate) kernel_per_connection: f64,
    pub(crate) threads: Option<u64>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) faults: Faults,
    pub(crate) noise: Noise,
    /// The run was noisier than allowed, and was kept because repeating it did not help.
    pub(crate) noisy: bool,
}

/// What publishing measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_second: f64,
    /// The server's time on processors for each delivery, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// That part of it outside the kernel.
    pub(crate) user_us: Option<f64>,
    pub(crate) events_per_read: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// The part of the time that the client was on its processor.
    pub(crate) client_busy: f64,
    pub(crate) client_bound: bool,
}

/// What others did to the machine meanwhile.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Noise {
    /// The part of all processors' time that the hypervisor gave to others.
    pub(crate) stolen: f64,
    /// The part of all processors' time that other processes took.
    pub(crate) foreign: Option<f64>,
    /// Processes that wanted to run over the last minute, before this run.
    pub(crate) load: Option<f64>,
}

/// The accounts at one moment.
struct Moment {
    server: Option<Cpu>,
    client: Duration,
    processors: Processors,
}

/// What all runs have in common.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    settings: &'a Settings,
    scenario: Scenario,
    progress: &'a Progress,
    server_cores: Vec<usize>,
    processors: usize,
}

impl<'a> Bench<'a> {
    /// Checks what can be checked before anything is started, and prepares this process.
    pub(crate) fn new(
        scenario: Scenario,
        settings: &'a Settings,
        progress: &'a Progress,
    ) -> Result<Self> {
        let files = process::raise_open_files()?;
        let most = files.saturating_sub(OTHER_FILES + u64::from(settings.load.publishers));
        ensure!(
            settings.connections as u64 <= most,
            "{} connections do not fit: a process may have {files} open files here, which is \
             enough for {most} connections",
            settings.connections
        );
        ensure!(settings.connections > 0, "without connections there is nothing to measure");
        // Asked for before this process gives up all processors but one.
        let cores = process::cores()?;
        let placement = &settings.placement;
        let mut server_cores = placement.server_cores.clone();
        if let ([first, second, ..], false) = (cores.as_slice(), placement.no_pin) {
            if server_cores.is_empty() {
                server_cores.push(*first);
            }
            process::pin(&[placement.client_core.unwrap_or(*second)])?;
        }
        let processors = cores.len().max(1);
        Ok(Self { settings, scenario, progress, server_cores, processors })
    }

    /// Measures a fresh server, again if there was too much noise.
    pub(crate) fn measure(&self, target: Target) -> Result<Run> {
        let limits = &self.settings.noise;
        let mut attempt = 0;
        loop {
            self.wait_for_quiet()?;
            let mut run = self
                .once(target)
                .with_context(|| format!("the run of {} failed", target.name()))?;
            run.noisy = run.noise.stolen > limits.max_stolen
                || run.noise.foreign.is_some_and(|foreign| foreign > limits.max_foreign);
            // A fault is no noise: such a run is never thrown away.
            if !run.noisy || run.faults.any() || attempt >= limits.retries {
                self.progress.finish_run();
                return Ok(run);
            }
            attempt += 1;
            self.progress.discard_run();
        }
    }

    /// Waits until others leave the machine alone, but not for ever.
    fn wait_for_quiet(&self) -> Result<()> {
        let limits = &self.settings.noise;
        let began = Instant::now();
        while began.elapsed() < limits.patience {
            let (before, asked) = (sample::processors()?, Instant::now());
            thread::sleep(LOOK_AROUND);
            let busy = sample::processors()?.busy_since(before);
            let all = asked.elapsed().as_secs_f64() * self.processors as f64;
            if busy.as_secs_f64() <= limits.max_foreign * all {
                break;
            }
            self.progress.say(|| "waiting for other processes to be quiet".to_owned());
        }
        Ok(())
    }

    fn once(&self, target: Target) -> Result<Run> {
        let Self { settings, progress, .. } = self;
        let name = target.name();
        let load = &settings.load;
        let load_before = sample::load();
        let connections = settings.connections;
        let server = Server::start(target, settings, &self.server_cores)?;
        let mut client = Client::new(&server.subscribe, &settings.external, connections, load)?;

        let memory = || server.pid.map(sample::memory).transpose();
        let (memory_before, kernel_before) = (memory()?, sample::kernel_memory()?);
        let begin = Moment::now(&server)?;
        let connecting = client.connect(connections, |opened| {
            progress.say(|| format!("{name}: {opened} connections"));
        })?;
        thread::sleep(settings.settle);
        let (memory_after, kernel_after) = (memory()?, sample::kernel_memory()?);
        let mut noise =
            Moment::now(&server)?.noise(&begin, connecting + settings.settle, self.processors);

        let delivery = match self.scenario {
            Scenario::Idle => None,
            Scenario::Fanout => {
                let endpoint = server.publish.as_ref().with_context(|| {
                    format!("nothing can be published to {name}; fan-out is not for it")
                })?;
                let form = Form::new(endpoint, &settings.external, load.payload)?;
                client.connect_publishers(endpoint, load.publishers)?;
                client.deliver(&form, &warm_up(load), |_, _| {
                    progress.say(|| format!("{name}: warming up"));
                })?;
                let begin = Moment::now(&server)?;
                let delivered = client.deliver(&form, load, |messages, time| {
                    progress.say(|| format!("{name}: {messages} messages, {:.0?}", time));
                })?;
                let end = Moment::now(&server)?;
                noise = end.noise(&begin, delivered.time, self.processors);
                client.linger(LINGER)?;
                Some(Delivery::new(&delivered, &begin, &end))
            }
        };

        let grown = |before: u64, after: u64| {
            (i128::from(after) - i128::from(before)) as f64 / connections as f64
        };
        let memory = memory_before.zip(memory_after);
        noise.load = load_before;
        Ok(Run {
            target: name,
            connections,
            connects_per_second: connections as f64 / connecting.as_secs_f64(),
            resident_per_connection: memory.map(|(a, b)| grown(a.resident, b.resident)),
            anonymous_per_connection: memory.map(|(a, b)| grown(a.anonymous, b.anonymous)),
            kernel_per_connection: grown(kernel_before, kernel_after),
            threads: memory.map(|(_, after)| after.threads),
            delivery,
            faults: client.faults(),
            noise,
            noisy: false,
        })
    }
}

/// A few messages at the same pace, so that buffers have their size when it counts.
fn warm_up(load: &Load) -> Load {
    let messages = Some(u64::from(load.in_flight.max(WARM_UP)));
    Load { messages, rate: None, ..load.clone() }
}

impl Moment {
    fn now(server: &Server) -> Result<Self> {
        Ok(Self {
            server: server.pid.map(sample::cpu).transpose()?,
            client: sample::own_cpu(),
            processors: sample::processors()?,
        })
    }

    /// The server's time since `earlier`.
    fn server_since(&self, earlier: &Self) -> Option<Cpu> {
        self.server.zip(earlier.server).map(|(now, then)| now.since(then))
    }

    fn noise(&self, earlier: &Self, time: Duration, processors: usize) -> Noise {
        let stolen = self.processors.stolen_since(earlier.processors);
        let server = self.server_since(earlier).unwrap_or_default().total();
        let own = server + self.client.saturating_sub(earlier.client);
        let foreign = self.processors.busy_since(earlier.processors).saturating_sub(own);
        let all = time.as_secs_f64() * processors as f64;
        // An external server whose process is not known looks like others.
        let foreign = self.server.map(|_| foreign.as_secs_f64() / all);
        Noise { stolen, foreign, load: None }
    }
}

impl Delivery {
    fn new(delivered: &Delivered, begin: &Moment, end: &Moment) -> Self {
        let seconds = delivered.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let deliveries = delivered.deliveries.max(1) as f64;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries;
        let cpu = end.server_since(begin);
        let millis = |part| delivered.latency.value_at_quantile(part) as f64 / 1e6;
        let client_busy = end.client.saturating_sub(begin.client).as_secs_f64() / seconds;
        Self {
            seconds,
            messages: delivered.messages,
            deliveries: delivered.deliveries,
            deliveries_per_second: delivered.deliveries as f64 / seconds,
            cpu_us: cpu.map(|cpu| each(cpu.total())),
            user_us: cpu.map(|cpu| each(cpu.user)),
            events_per_read: delivered.deliveries as f64 / delivered.reads.max(1) as f64,
            p50_ms: millis(0.5),
            p90_ms: millis(0.9),
            p99_ms: millis(0.99),
            max_ms: delivered.latency.max() as f64 / 1e6,
            client_busy,
            client_bound: client_busy > CLIENT_BOUND,
        }
    }
}
