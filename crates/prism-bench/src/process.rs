//! Processes: the processors they run on, their open files, and their end.

use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How often, and with which pause between, a process is checked after it was asked to end.
const END_CHECKS: u32 = 500;
const END_CHECK_PAUSE: Duration = Duration::from_millis(10);

/// The processors that this process may run on.
#[cfg(target_os = "linux")]
pub(crate) fn cores() -> Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None).context("no list of processors")?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Pins this thread, and those it starts later, to these processors. None means any.
#[cfg(target_os = "linux")]
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = rustix::thread::CpuSet::new();
    for &core in cores {
        ensure!(core < rustix::thread::CpuSet::MAX_CPU, "there is no processor {core}");
        set.set(core);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .with_context(|| format!("this process may not run on processors {cores:?}"))
}

/// Ends this process when the one that started it ends, however that happens.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent() -> Result<()> {
    use rustix::process::set_parent_process_death_signal;
    // SIGTERM rather than SIGKILL, so that a server with child processes ends them.
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// The processors that this process may run on: not known here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cores() -> Result<Vec<usize>> {
    Ok(Vec::new())
}

/// Pins this process to these processors, which is not possible here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    ensure!(cores.is_empty(), "processes are assigned to processors on Linux only");
    Ok(())
}

/// Ends this process when the one that started it ends, which is not possible here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent() -> Result<()> {
    Ok(())
}

/// The argument that tells a process of this program its processors.
pub(crate) fn cores_argument(cores: &[usize]) -> Option<String> {
    let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
    (!cores.is_empty()).then(|| format!("--cores={}", cores.join(",")))
}

/// Ends a child with SIGTERM, and with SIGKILL if it does not end in time.
pub(crate) fn end(child: &mut Child) {
    if kill_process(Pid::from_child(child), Signal::TERM).is_ok() {
        for _ in 0..END_CHECKS {
            match child.try_wait() {
                Ok(None) => thread::sleep(END_CHECK_PAUSE),
                _ => return,
            }
        }
    }
    // Both fail only if it has ended.
    drop(child.kill());
    drop(child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_one_argument() {
        assert_eq!(cores_argument(&[]), None);
        assert_eq!(cores_argument(&[0, 3]).as_deref(), Some("--cores=0,3"));
    }

    #[test]
    fn a_child_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        end(&mut child);
        assert!(!child.try_wait().unwrap().unwrap().success());
    }
}
