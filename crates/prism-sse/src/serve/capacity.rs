//! How many connections a process can have, and what they cost at worst.

use std::fmt;

use crate::limits;

/// What a server can hold.
///
/// It displays as a sentence that a program can log when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Files that this process may have open; `None` where that is not limited, or not known.
    pub open_files: Option<u64>,
    /// Most open connections.
    pub connections: usize,
    /// Most bytes that one reader that never reads may hold, in the system's buffers and in ours.
    pub bytes_per_reader: usize,
    /// Most bytes that all readers together hold if none of them ever reads, logs not included.
    pub worst_case_bytes: u64,
}

impl Capacity {
    /// Raises the limit on open files, and computes what it allows.
    pub(super) fn new(max_connections: Option<usize>, stalled_bytes: usize) -> Self {
        let open_files = raise_open_files();
        let room =
            open_files.map(|files| files.saturating_sub(reserved_files()).max(files / 2).max(1));
        let room = room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
        let connections = max_connections.map_or(room, |max| max.min(room));
        let bytes_per_reader = 2 * limits::SEND_BUFFER_BYTES
            + limits::HYPER_READER_BYTES
            + limits::STALLED_READER_BYTES;
        let all = (connections as u64).saturating_mul(bytes_per_reader as u64);
        Self {
            open_files,
            connections,
            bytes_per_reader,
            worst_case_bytes: all.saturating_add(stalled_bytes as u64),
        }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(files) = self.open_files {
            write!(f, "{files} open files allow ")?;
        }
        write!(
            f,
            "{} connections; readers that never read hold at most {} KiB each, {} MiB in all",
            self.connections,
            self.bytes_per_reader.div_ceil(1024),
            self.worst_case_bytes.div_ceil(1024 * 1024),
        )
    }
}

/// Open files that are kept for other uses than connections, as long as these are left half of all.
/// Each shard needs two of its own.
fn reserved_files() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    limits::RESERVED_FILES + 2 * processors as u64
}

/// Raises this process's limit on open files to the most that the system allows it, its hard limit,
/// and returns the limit that holds then; `None` where there is none, or it is not known.
///
/// [`serve`](crate::serve()) does so itself. A program calls this if it derives limits of its own
/// from the number of open files: before the first call that number is usually the much smaller
/// soft limit. Calling it again changes nothing. Where the system refuses to raise the limit, the
/// present one stays and is returned.
#[cfg(unix)]
pub fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// There is no such limit on this system.
#[cfg(not(unix))]
pub fn raise_open_files() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_displays_as_a_sentence() {
        let capacity = Capacity {
            open_files: Some(1024),
            connections: 960,
            bytes_per_reader: 132 * 1024,
            worst_case_bytes: 200 << 20,
        };
        let said = "1024 open files allow 960 connections; readers that never read hold at most \
                    132 KiB each, 200 MiB in all";
        assert_eq!(capacity.to_string(), said);
    }

    #[test]
    fn there_are_fewer_connections_than_open_files() {
        let capacity = Capacity::new(Some(usize::MAX), 0);
        assert!(capacity.open_files.is_none_or(|files| (capacity.connections as u64) < files));
        assert_eq!(Capacity::new(Some(3), 0).connections, 3);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_limit_on_open_files_is_raised_to_the_hard_limit() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let lower = Rlimit { current: maximum.map(|files| files - 1), maximum };
        setrlimit(Resource::Nofile, lower).unwrap();
        assert_eq!(raise_open_files(), maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
