//! Processor time and memory of processes and of the whole machine, read from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Processor time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    pub(crate) fn total(&self) -> Duration {
        self.user + self.system
    }

    pub(crate) fn since(&self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Memory of a process, in bytes, and the number of its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct MemoryUsage {
    /// Its resident memory.
    pub(crate) resident: u64,
    /// The part of it that no file backs.
    pub(crate) anonymous: u64,
    /// Number of its threads.
    pub(crate) threads: u64,
}

/// Time of all processors since the system started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessorTime {
    total: u64,
    idle: u64,
    stolen: u64,
}

impl ProcessorTime {
    /// The part of the time since `earlier` that the hypervisor gave to other guests.
    pub(crate) fn stolen_since(&self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 / total as f64
    }

    /// The time since `earlier` in which a processor was busy, all processors together.
    pub(crate) fn busy_since(&self, earlier: Self) -> Duration {
        let since = |now: u64, then: u64| now.saturating_sub(then);
        let idle = since(self.idle, earlier.idle) + since(self.stolen, earlier.stolen);
        ticks(since(self.total, earlier.total).saturating_sub(idle))
    }
}

/// The processor time of the process `pid` and its children so far.
pub(crate) fn cpu(pid: u32) -> Result<CpuTime> {
    let mut all = CpuTime::default();
    for pid in with_children(pid) {
        let text = read(&format!("/proc/{pid}/stat"))?;
        let cpu = parse_cpu(&text).context("/proc/PID/stat has an unknown format")?;
        (all.user, all.system) = (all.user + cpu.user, all.system + cpu.system);
    }
    Ok(all)
}

/// A process and its children: some servers have a process that only supervises others.
fn with_children(pid: u32) -> impl Iterator<Item = u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = text.split_whitespace().map_while(|pid| pid.parse().ok()).collect();
    std::iter::once(pid).chain(children)
}

/// The processor time of this process so far.
pub(crate) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Memory and threads of the process `pid` and its children. Shared memory counts for each.
pub(crate) fn memory(pid: u32) -> Result<MemoryUsage> {
    let mut all = MemoryUsage::default();
    for pid in with_children(pid) {
        let text = read(&format!("/proc/{pid}/status"))?;
        let value = |name| field(&text, name).with_context(|| format!("no {name} of {pid}"));
        all.resident += value("VmRSS:")? * 1024;
        all.anonymous += value("RssAnon:")? * 1024;
        all.threads += value("Threads:")?;
    }
    Ok(all)
}

/// The time of all processors so far.
pub(crate) fn processors() -> Result<ProcessorTime> {
    parse_processors(&read("/proc/stat")?).context("/proc/stat has an unknown format")
}

/// Memory that the kernel keeps for its own objects and for the buffers of TCP, in bytes.
pub(crate) fn kernel_memory() -> Result<u64> {
    let slab = field(&read("/proc/meminfo")?, "Slab:").context("no size of the slab")? * 1024;
    let sockets = read("/proc/net/sockstat")?;
    let pages = sockets.lines().find(|line| line.starts_with("TCP:"));
    let pages = pages.and_then(|line| field(line, "mem")).context("no memory of TCP")?;
    Ok(slab + pages * rustix::param::page_size() as u64)
}

/// Available memory of the whole machine, in bytes.
pub(crate) fn available_memory() -> Result<u64> {
    let available = field(&read("/proc/meminfo")?, "MemAvailable:");
    Ok(available.context("no size of what is available")? * 1024)
}

/// Nanoseconds of the monotonic clock, which all processes of this machine share.
pub(crate) fn shared_clock() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// The system's load average of the last minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The machine's processors and kernel.
pub(crate) fn machine() -> String {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = text("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = text("/proc/sys/kernel/osrelease");
    let model = model.map_or("unknown processors", |(_, model)| model);
    format!("{count} x {model}, Linux {}", kernel.trim())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// The number after a name, in the unit of the file.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut words = text.split_whitespace().skip_while(|&word| word != name).skip(1);
    words.next()?.parse().ok()
}

fn parse_cpu(text: &str) -> Option<CpuTime> {
    // The command's name is in parentheses, and may contain parentheses.
    let mut fields = text.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut next = || fields.next()?.parse().ok().map(ticks);
    Some(CpuTime { user: next()?, system: next()? })
}

fn parse_processors(text: &str) -> Option<ProcessorTime> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user, nice, system, idle, iowait, irq, softirq, steal; the time of guests is part of user.
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    Some(ProcessorTime {
        total: ticks.get(..8)?.iter().sum(),
        idle: ticks[3] + ticks[4],
        stolen: ticks[7],
    })
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_follows_the_name_of_the_command() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 250 1 2 20 0 3 0 900 0 0\n";
        let cpu = parse_cpu(text).unwrap();
        assert_eq!(cpu, CpuTime { user: ticks(150), system: ticks(250) });
        assert_eq!(cpu.total(), ticks(400));
        assert_eq!(parse_cpu("7 (a) S 1"), None);
    }

    #[test]
    fn stolen_time_is_a_part_of_all_time() {
        let before = parse_processors("cpu  10 0 20 30 0 0 0 5 0 0\ncpu0 1 1\n").unwrap();
        let after = parse_processors("cpu  20 0 30 90 0 5 5 15 0 0\n").unwrap();
        assert_eq!(after.stolen_since(before), 0.1);
        assert_eq!(after.busy_since(before), ticks(30));
        assert_eq!(before.stolen_since(before), 0.0);
        assert_eq!(parse_processors("cpu  1 2 3\n"), None);
    }

    #[test]
    fn a_field_follows_its_name() {
        assert_eq!(field("VmHWM:\t  9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(field("TCP: inuse 5 orphan 0 tw 0 alloc 6 mem 3", "mem"), Some(3));
        assert_eq!(field("VmRSS:", "VmRSS:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_can_be_sampled() {
        let pid = std::process::id();
        let memory = memory(pid).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.threads > 0);
        assert!(cpu(pid).is_ok() && processors().is_ok() && kernel_memory().unwrap() > 0);
        assert!(available_memory().unwrap() > 0 && shared_clock() < shared_clock());
        assert_eq!(with_children(pid).next(), Some(pid));
        assert!(own_cpu() > Duration::ZERO);
    }
}
