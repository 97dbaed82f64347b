//! More connections than one process may have: several servers, each with its own process of
//! subscribers, and broadcasts that reach all of them.
//!
//! Both ends are on this machine, so that the memory of the whole machine counts each connection
//! twice.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::run_config::RunConfig;
use super::support::{self, OTHER_FILES};
use crate::check::Faults;
use crate::environment::Environment;
use crate::process;
use crate::procfs::{self, MemoryUsage};
use crate::run::{
    BroadcastFigures, ResourceSample, Run, is_client_bound, memory_growth, per_connection,
};
use crate::server::Server;
use crate::subscriber_process::{BROADCAST, CONNECT, Reply};

/// A process of subscribers. Dropping it ends the process.
struct SubscriberProcess {
    child: Child,
    /// The process ends when this is closed.
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

pub(super) fn run(environment: &Environment<'_>, config: &RunConfig) -> Result<Run> {
    support::check_target(config.target, environment.scenario)?;
    let settings = environment.settings;
    let shares = shares(environment, config.readers)?;
    let progress = |text: &str| environment.progress.show(|| format!("{}: {text}", config.label));

    progress("starting processes");
    let cores = &environment.server_cores;
    let servers = shares
        .iter()
        .map(|_| Server::start(config.target, environment.scenario, settings, cores))
        .collect::<Result<Vec<_>>>()?;
    let mut processes = (1u8..)
        .zip(servers.iter().zip(&shares))
        .map(|(number, (server, &share))| {
            SubscriberProcess::start(environment, server, number, share)
        })
        .collect::<Result<Vec<_>>>()?;
    let server_pids: Vec<u32> = servers.iter().filter_map(|server| server.pid).collect();
    let client_pids: Vec<u32> = processes.iter().map(|process| process.child.id()).collect();
    let resources = || ResourceSample::take(&server_pids, &client_pids);
    replies(&mut processes)?;

    let (memory_before, kernel_before) = (memory(&server_pids)?, procfs::kernel_memory()?);
    let available_before = procfs::available_memory()?;
    let (before, start) = (resources()?, Instant::now());
    progress("connecting");
    send(&mut processes, CONNECT)?;
    let connecting = start.elapsed();
    let connected = resources()?;
    thread::sleep(settings.noise.settle);
    let (memory_after, kernel_after) = (memory(&server_pids)?, procfs::kernel_memory()?);
    let available_after = procfs::available_memory()?;
    let elapsed = connecting + settings.noise.settle;
    let noise = resources()?.noise(&before, elapsed, environment.processors);

    let (begin, start) = (resources()?, Instant::now());
    let (mut times, mut deliveries, mut faults) = (Vec::new(), 0, Faults::default());
    for number in 1..=settings.scenarios.broadcasts {
        progress(&format!("broadcast {number}"));
        let replies = send(&mut processes, BROADCAST)?;
        times.push(duration(&replies).as_secs_f64());
        deliveries += replies.iter().map(|reply| reply.deliveries).sum::<u64>();
        // Each reply has all faults of its process so far.
        faults = replies.iter().fold(Faults::default(), |all, reply| all.with(reply.faults));
    }
    let (end, time) = (resources()?, start.elapsed());
    let client_cores = environment.client_cores.len().max(1);
    let client_busy = end.client_busy(&begin, time) / client_cores as f64;
    let connections = config.readers;
    let (resident, anonymous) = memory_growth(Some(memory_before), Some(memory_after), connections);
    Ok(Run {
        target: config.label.clone(),
        connections,
        connects_per_second: connections as f64 / connecting.as_secs_f64(),
        connect_cpu_us: connected.server_us_per(&before, connections as u64),
        resident_per_connection: resident,
        anonymous_per_connection: anonymous,
        kernel_per_connection: per_connection(kernel_before, kernel_after, connections),
        threads: Some(memory_after.threads),
        resident_growth: None,
        delivery: None,
        churn: None,
        storm: None,
        published: None,
        broadcasts: Some(BroadcastFigures {
            processes: shares.len(),
            broadcast_seconds: times,
            deliveries,
            cpu_us: end.server_us_per(&begin, deliveries),
            machine_per_connection: per_connection(available_after, available_before, connections),
            available_least: available_after.min(procfs::available_memory()?),
            client_busy,
            client_bound: is_client_bound(client_busy),
        }),
        faults,
        noise: noise.or_worse(end.noise(&begin, time, environment.processors)),
        noisy: false,
    })
}

/// How many connections each pair of processes has.
fn shares(environment: &Environment<'_>, connections: usize) -> Result<Vec<usize>> {
    let most = usize::try_from(environment.open_files.saturating_sub(OTHER_FILES))?.max(1);
    let processes = match environment.settings.scenarios.processes {
        Some(processes) => processes as usize,
        None => connections.div_ceil(most),
    };
    ensure!(processes < usize::from(u8::MAX), "{processes} servers are too many");
    ensure!(
        (processes..=processes * most).contains(&connections),
        "{connections} connections do not fit: {processes} processes hold {processes} to {}",
        processes * most
    );
    Ok(split(connections, processes))
}

/// Equal shares of the connections.
fn split(connections: usize, processes: usize) -> Vec<usize> {
    let share = |number| connections / processes + usize::from(number < connections % processes);
    (0..processes).map(share).collect()
}

/// From the first request to the last delivery, by a clock that all processes share.
fn duration(replies: &[Reply]) -> Duration {
    let begin = replies.iter().map(|reply| reply.begin).min().unwrap_or_default();
    let end = replies.iter().map(|reply| reply.end).max().unwrap_or_default();
    Duration::from_nanos(end.saturating_sub(begin))
}

fn memory(pids: &[u32]) -> Result<MemoryUsage> {
    pids.iter().try_fold(MemoryUsage::default(), |all, &pid| {
        let memory = procfs::memory(pid)?;
        Ok(MemoryUsage {
            resident: all.resident + memory.resident,
            anonymous: all.anonymous + memory.anonymous,
            threads: all.threads + memory.threads,
        })
    })
}

/// Sends a command to all processes, and waits until each has replied.
fn send(processes: &mut [SubscriberProcess], command: &str) -> Result<Vec<Reply>> {
    for process in &mut *processes {
        writeln!(process.commands, "{command}").context("a process of subscribers ended")?;
    }
    replies(processes)
}

fn replies(processes: &mut [SubscriberProcess]) -> Result<Vec<Reply>> {
    processes.iter_mut().map(SubscriberProcess::reply).collect()
}

impl SubscriberProcess {
    fn start(
        environment: &Environment<'_>,
        server: &Server,
        number: u8,
        connections: usize,
    ) -> Result<Self> {
        let load = &environment.settings.load;
        let publish = server.publish.as_ref().context("the server takes no events")?;
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let mut child = Command::new(program)
            .arg("subscriber-process")
            .arg(number.to_string())
            .args([server.subscribe.url(), publish.url()])
            .args(["--connections", &connections.to_string()])
            .args(["--payload", &load.payload.to_string()])
            .args(["--stall", &load.stall.as_secs_f64().to_string()])
            .args(process::cores_argument(&environment.client_cores))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a process of subscribers does not start")?;
        let both = child.stdin.take().zip(child.stdout.take());
        let (commands, replies) = both.context("a process of subscribers has no pipes")?;
        Ok(Self { child, commands, replies: BufReader::new(replies) })
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a process of subscribers ended");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for SubscriberProcess {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal() {
        assert_eq!(split(10, 3), [4, 3, 3]);
        assert_eq!(split(2, 2), [1, 1]);
    }

    #[test]
    fn a_broadcast_takes_from_the_first_request_to_the_last_delivery() {
        let reply = |begin, end| Reply { begin, end, ..Reply::default() };
        assert_eq!(duration(&[reply(5, 9), reply(3, 7), reply(4, 11)]), Duration::from_nanos(8));
        assert_eq!(duration(&[]), Duration::ZERO);
    }
}
