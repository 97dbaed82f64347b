//! Processes: their processors, their files, whose children they are, and their end.

use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// How often, and how far apart, to see whether a process that was asked to end did.
const ENDING_TRIES: u32 = 500;
const ENDING_PAUSE: Duration = Duration::from_millis(10);

/// Allows as many open files as this process may have, and says how many that is.
pub(crate) fn raise_open_files() -> Result<u64> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })
        .context("the limit on open files cannot be raised")?;
    Ok(hard.unwrap_or(u64::MAX))
}

/// The processors that this process may run on.
#[cfg(target_os = "linux")]
pub(crate) fn cores() -> Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None).context("no list of processors")?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Lets this thread, and those it starts later, run on these processors only. Of none, all.
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
    // A request, not a blow: a server with processes of its own ends them then.
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// The processors that this process may run on: not known here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cores() -> Result<Vec<usize>> {
    Ok(Vec::new())
}

/// Lets this process run on these processors only, which is not possible here.
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

/// How a program of ours is told its processors.
pub(crate) fn cores_argument(cores: &[usize]) -> Option<String> {
    let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
    (!cores.is_empty()).then(|| format!("--cores={}", cores.join(",")))
}

/// Ends a child: asks it to, and uses force if it does not.
pub(crate) fn end(child: &mut Child) {
    if kill_process(Pid::from_child(child), Signal::TERM).is_ok() {
        for _ in 0..ENDING_TRIES {
            match child.try_wait() {
                Ok(None) => thread::sleep(ENDING_PAUSE),
                _ => return,
            }
        }
    }
    // Both fail only if it ended already.
    drop(child.kill());
    drop(child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_told_in_one_argument() {
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
