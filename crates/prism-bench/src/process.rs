//! This process: its processors, its files, and whose child it is.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
    use rustix::process::{Signal, set_parent_process_death_signal};
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
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
