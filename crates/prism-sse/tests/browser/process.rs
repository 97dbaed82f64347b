//! Processes that do not outlive their test, however it ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// Runs its arguments until they end or until standard input does, and then kills its process
/// group, itself included.
///
/// The test holds the other end of that standard input. It goes away when the test drops the
/// process, and just as well when the test itself is killed, where no destructor runs.
const GUARD: &str = r#"{ "$@"; kill -KILL 0; } & cat >/dev/null; kill -KILL 0"#;

/// A process with all its descendants. Dropping it kills them.
pub(crate) struct Process {
    guard: Child,
}

impl Process {
    /// A command for [`start`](Self::start); arguments and environment are added as usual.
    pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(program).process_group(0);
        command
    }

    /// Starts the command and waits for the line of its output in which `announced` finds what it
    /// looks for.
    pub(crate) async fn start(
        command: Command,
        name: &str,
        announced: fn(&str) -> Option<&str>,
    ) -> (Self, String) {
        let started = Self::try_start(command, name, announced).await;
        started.unwrap_or_else(|| panic!("{name} ended before it said where it listens"))
    }

    /// The same, but nothing if the command ends before it prints such a line.
    pub(crate) async fn try_start(
        mut command: Command,
        name: &str,
        announced: fn(&str) -> Option<&str>,
    ) -> Option<(Self, String)> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut guard = spawned.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let output = guard.stdout.take().expect("standard output is a pipe");
        let process = Self { guard };

        let (found, announcement) = oneshot::channel();
        std::thread::spawn(move || {
            let mut found = Some(found);
            // Read to the end, because a process blocks or dies when its output is not read.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(text) = announced(&line)
                    && let Some(found) = found.take()
                {
                    drop(found.send(text.to_owned()));
                }
            }
        });
        let announcement = timeout(DEADLINE, announcement).await;
        let announcement = announcement
            .unwrap_or_else(|_| panic!("{name} did not say within {DEADLINE:?} where it listens"));
        Some((process, announcement.ok()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}

/// A new, empty directory. Dropping it removes it with everything in it.
pub(crate) struct TemporaryDirectory {
    path: PathBuf,
}

impl TemporaryDirectory {
    pub(crate) fn new() -> Self {
        // Not in the target directory: the path of a socket in it may have at most 108 bytes.
        let path = std::env::temp_dir().join(format!("prism-sse-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path)
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // A process that was killed a moment ago may still have files open here.
        let start = Instant::now();
        while std::fs::remove_dir_all(&self.path).is_err()
            && self.path.exists()
            && start.elapsed() < DEADLINE
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
