//! How many connections there can be, and what they cost at worst.

use std::fmt;

use crate::limits;

/// What a server can hold.
///
/// It reads as a sentence, for a program to say when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Files this process may have open; `None` where that is not limited, or not known.
    pub open_files: Option<u64>,
    /// Connections at once.
    pub connections: usize,
    /// Bytes that one reader may hold that never reads, in the system's buffers and in ours.
    pub bytes_per_reader: usize,
    /// Bytes that all readers hold at most if none of them ever reads, logs not included.
    pub worst_case_bytes: u64,
}

impl Capacity {
    /// Raises the limit on open files, and says what it allows.
    pub(super) fn of(max_connections: Option<usize>, stalled_bytes: usize) -> Self {
        let open_files = raise_open_files();
        let room = open_files.map(|files| files.saturating_sub(reserved_files()).max(1));
        let room = room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
        let connections = max_connections.map_or(room, |max| max.min(room));
        let bytes_per_reader = 2 * limits::SEND_BUFFER_BYTES + limits::STALLED_READER_BYTES;
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

/// Open files that are not for connections: others', and each shard's own two.
fn reserved_files() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    limits::RESERVED_FILES + 2 * processors as u64
}

/// Allows as many open files as the system lets this process have.
#[cfg(unix)]
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where raising is refused, what is allowed now stays.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(not(unix))]
fn raise_open_files() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_told_in_a_sentence() {
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
    fn more_connections_than_open_files_are_not_promised() {
        let most = Capacity::of(Some(usize::MAX), 0);
        assert!(most.open_files.is_none_or(|files| (most.connections as u64) < files));
        assert_eq!(Capacity::of(Some(3), 0).connections, 3);
    }
}
