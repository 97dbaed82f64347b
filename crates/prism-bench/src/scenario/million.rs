//! More connections than one process may have: several servers, each with a process of
//! subscribers, and broadcasts that reach all of them.
//!
//! Both ends are on this machine, so that memory of the whole machine counts each connection twice.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{OTHER_FILES, Subject, check_target};
use crate::bench::Bench;
use crate::check::Faults;
use crate::crowd::{BROADCAST, CONNECT, Reply};
use crate::process;
use crate::run::{Moment, Reached, Run, grown, is_bound, memory_grown};
use crate::sample::{self, Memory};
use crate::server::Server;

/// A process of subscribers. Dropping it ends the process.
struct Crowd {
    child: Child,
    /// It ends when this is closed.
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

pub(super) fn run(bench: &Bench<'_>, subject: &Subject) -> Result<Run> {
    check_target(subject.target, bench.scenario)?;
    let settings = bench.settings;
    let shares = shares(bench, subject.readers)?;
    let say = |what: &str| bench.progress.say(|| format!("{}: {what}", subject.label));

    say("starting processes");
    let servers = shares
        .iter()
        .map(|_| Server::start(subject.target, bench.scenario, settings, &bench.server_cores))
        .collect::<Result<Vec<_>>>()?;
    let mut crowds = (0u8..)
        .zip(servers.iter().zip(&shares))
        .map(|(place, (server, &share))| Crowd::start(bench, server, place, share))
        .collect::<Result<Vec<_>>>()?;
    let server_pids: Vec<u32> = servers.iter().filter_map(|server| server.pid).collect();
    let crowd_pids: Vec<u32> = crowds.iter().map(|crowd| crowd.child.id()).collect();
    let moment = || Moment::now(&server_pids, &crowd_pids);
    replies(&mut crowds)?;

    let (memory_before, kernel_before) = (memory(&server_pids)?, sample::kernel_memory()?);
    let available_before = sample::available_memory()?;
    let (alone, began) = (moment()?, Instant::now());
    say("connecting");
    ask(&mut crowds, CONNECT)?;
    let connecting = began.elapsed();
    let connected = moment()?;
    thread::sleep(settings.noise.settle);
    let (memory_after, kernel_after) = (memory(&server_pids)?, sample::kernel_memory()?);
    let available_after = sample::available_memory()?;
    let noise = moment()?.noise(&alone, connecting + settings.noise.settle, bench.processors);

    let (begin, began) = (moment()?, Instant::now());
    let (mut times, mut deliveries, mut faults) = (Vec::new(), 0, Faults::default());
    for number in 1..=settings.scenarios.broadcasts {
        say(&format!("broadcast {number}"));
        let replies = ask(&mut crowds, BROADCAST)?;
        times.push(span(&replies).as_secs_f64());
        deliveries += replies.iter().map(|reply| reply.deliveries).sum::<u64>();
        // Each process tells all its faults each time.
        faults = replies.iter().fold(Faults::default(), |all, reply| all.with(reply.faults));
    }
    let (end, time) = (moment()?, began.elapsed());
    let client_busy = end.client_busy(&begin, time) / bench.client_cores.len().max(1) as f64;
    let connections = subject.readers;
    let (resident, anonymous) = memory_grown(Some(memory_before), Some(memory_after), connections);
    Ok(Run {
        target: subject.label.clone(),
        connections,
        connects_per_second: connections as f64 / connecting.as_secs_f64(),
        connect_cpu_us: connected.server_us_each(&alone, connections as u64),
        resident_per_connection: resident,
        anonymous_per_connection: anonymous,
        kernel_per_connection: grown(kernel_before, kernel_after, connections),
        threads: Some(memory_after.threads),
        resident_growth: None,
        delivery: None,
        churn: None,
        storm: None,
        published: None,
        crowd: Some(Reached {
            processes: shares.len(),
            broadcast_seconds: times,
            deliveries,
            cpu_us: end.server_us_each(&begin, deliveries),
            machine_per_connection: grown(available_after, available_before, connections),
            available_least: available_after.min(sample::available_memory()?),
            client_busy,
            client_bound: is_bound(client_busy),
        }),
        faults,
        noise: noise.or_worse(end.noise(&begin, time, bench.processors)),
        noisy: false,
    })
}

/// How many connections each pair of processes has.
fn shares(bench: &Bench<'_>, connections: usize) -> Result<Vec<usize>> {
    let most = usize::try_from(bench.files.saturating_sub(OTHER_FILES))?.max(1);
    let processes = match bench.settings.scenarios.processes {
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

/// So many connections in equal shares.
fn split(connections: usize, processes: usize) -> Vec<usize> {
    let share = |place| connections / processes + usize::from(place < connections % processes);
    (0..processes).map(share).collect()
}

/// From the first request to the last delivery, by a clock that all processes share.
fn span(replies: &[Reply]) -> Duration {
    let began = replies.iter().map(|reply| reply.began).min().unwrap_or_default();
    let ended = replies.iter().map(|reply| reply.ended).max().unwrap_or_default();
    Duration::from_nanos(ended.saturating_sub(began))
}

fn memory(pids: &[u32]) -> Result<Memory> {
    pids.iter().try_fold(Memory::default(), |all, &pid| {
        let memory = sample::memory(pid)?;
        Ok(Memory {
            resident: all.resident + memory.resident,
            anonymous: all.anonymous + memory.anonymous,
            threads: all.threads + memory.threads,
        })
    })
}

/// Tells all processes to do something, and waits until all have done it.
fn ask(crowds: &mut [Crowd], command: &str) -> Result<Vec<Reply>> {
    for crowd in &mut *crowds {
        writeln!(crowd.commands, "{command}").context("a process of subscribers ended")?;
    }
    replies(crowds)
}

fn replies(crowds: &mut [Crowd]) -> Result<Vec<Reply>> {
    crowds.iter_mut().map(Crowd::reply).collect()
}

impl Crowd {
    fn start(bench: &Bench<'_>, server: &Server, place: u8, connections: usize) -> Result<Self> {
        let load = &bench.settings.load;
        let publish = server.publish.as_ref().context("the server takes no events")?;
        let program = std::env::current_exe().context("this program has no path")?;
        let mut child = Command::new(program)
            .arg("crowd")
            .arg((place + 1).to_string())
            .args([server.subscribe.url(), publish.url()])
            .args(["--connections", &connections.to_string()])
            .args(["--payload", &load.payload.to_string()])
            .args(["--stall", &load.stall.as_secs_f64().to_string()])
            .args(process::cores_argument(&bench.client_cores))
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

impl Drop for Crowd {
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
    fn a_broadcast_takes_from_the_first_to_the_last() {
        let reply = |began, ended| Reply { began, ended, ..Reply::default() };
        assert_eq!(span(&[reply(5, 9), reply(3, 7), reply(4, 11)]), Duration::from_nanos(8));
        assert_eq!(span(&[]), Duration::ZERO);
    }
}
