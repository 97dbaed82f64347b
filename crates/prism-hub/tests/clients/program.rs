//! A client program that subscribes, and its output.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::wait::DEADLINE;

/// A running program. Dropping it kills it with all its descendants.
pub(crate) struct Program {
    guard: Child,
    lines: mpsc::UnboundedReceiver<String>,
    recent: VecDeque<String>,
}

impl Program {
    /// Starts a command that was made by [`Process::command`](crate::process::Process::command).
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let output = guard.stdout.take().expect("standard output is a pipe");
        let (said, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // An error means that the test is over; the output is drained all the same.
                drop(said.send(line));
            }
        });
        Self { guard, lines, recent: VecDeque::new() }
    }

    /// Waits for the next line of its output.
    pub(crate) async fn line(&mut self) -> String {
        let deadline = (Instant::now() + DEADLINE).into();
        let recent = &self.recent;
        let line = timeout_at(deadline, self.lines.recv()).await;
        let line = line
            .unwrap_or_else(|_| panic!("nothing was said for {DEADLINE:?} after {recent:#?}"))
            .unwrap_or_else(|| panic!("it ended after {recent:#?}"));
        self.recent.push_back(line.clone());
        if self.recent.len() > 20 {
            self.recent.pop_front();
        }
        line
    }

    /// The lines up to and including this one.
    pub(crate) async fn lines_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != last) {
            lines.push(self.line().await);
        }
        lines
    }

    /// The event on the next line.
    pub(crate) async fn event(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}
