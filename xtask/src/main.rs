//! The tasks of this workspace, in Rust, so that they run the same everywhere Rust runs.
//!
//! `cargo xtask` without a task lists them.

#![allow(clippy::print_stdout, reason = "a program's results belong on standard output")]

mod audit;
mod fuzz;
mod libraries;
mod namespace;
mod process;
mod stress;
mod test;
mod tidy;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: cargo xtask TASK

Tasks:
  tidy                         Check what the compiler does not: layers, circles, names, limits,
                               text.
  test [--no-browser]          Run everything that must pass, installing what the browser tests
                               need. With --no-browser, leave the browser tests out.
  loom                         Check the models of the core: every interleaving of small scenes.
  fuzz TARGET [--seconds N]    Run one target of the fuzz crate for N seconds (default 60).
  stress [--minutes N]         Make up histories and inputs for N minutes (default 10), and check
                               the models.
  audit                        Check the dependencies with `cargo deny`: known vulnerabilities,
                               bans, licenses, sources. Needs the network, to fetch the RustSec
                               database.
  help                         Show this text.
";

const FUZZ_TIME: Duration = Duration::from_secs(60);
const STRESS_TIME: Duration = Duration::from_secs(10 * 60);

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Tidy,
    Audit,
    Loom,
    Test { browser: bool },
    Fuzz { target: String, time: Duration },
    Stress { time: Duration },
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let task = match parse(&args) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("xtask: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match perform(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<(), String> {
    let root = root()?;
    match task {
        Task::Help => {
            print!("{USAGE}");
            Ok(())
        }
        Task::Tidy => tidy::run(&root),
        Task::Audit => audit::run(&root),
        Task::Loom => test::loom(&root),
        Task::Test { browser } => test::run(&root, browser),
        Task::Fuzz { target, time } => fuzz::run(&root, &target, time),
        Task::Stress { time } => stress::run(&root, time),
    }
}

fn parse(args: &[&str]) -> Result<Task, String> {
    match args {
        [] => Err("a task is missing".to_owned()),
        ["help" | "--help" | "-h"] => Ok(Task::Help),
        ["tidy"] => Ok(Task::Tidy),
        ["audit"] => Ok(Task::Audit),
        ["loom"] => Ok(Task::Loom),
        ["test"] => Ok(Task::Test { browser: true }),
        ["test", "--no-browser"] => Ok(Task::Test { browser: false }),
        ["fuzz", target] if !target.starts_with('-') => {
            Ok(Task::Fuzz { target: (*target).to_owned(), time: FUZZ_TIME })
        }
        ["fuzz", target, "--seconds", seconds] | ["fuzz", "--seconds", seconds, target]
            if !target.starts_with('-') =>
        {
            Ok(Task::Fuzz {
                target: (*target).to_owned(),
                time: Duration::from_secs(parse_count("--seconds", seconds)?),
            })
        }
        ["fuzz", ..] => Err("fuzz takes a TARGET, and optionally --seconds N".to_owned()),
        ["stress"] => Ok(Task::Stress { time: STRESS_TIME }),
        ["stress", "--minutes", minutes] => {
            let minutes = parse_count("--minutes", minutes)?;
            Ok(Task::Stress { time: Duration::from_secs(60 * minutes) })
        }
        ["stress", ..] => Err("stress takes --minutes N, or nothing".to_owned()),
        [task @ ("audit" | "tidy" | "loom" | "test"), rest @ ..] => {
            Err(format!("{task} does not take `{}`", rest.join(" ")))
        }
        [task, ..] => Err(format!("there is no task `{task}`")),
    }
}

fn parse_count(flag: &str, text: &str) -> Result<u64, String> {
    match text.parse::<u32>() {
        Ok(count @ 1..) => Ok(u64::from(count)),
        _ => Err(format!("{flag} takes a whole number from 1 on, not `{text}`")),
    }
}

/// The workspace's root: the directory above this crate's.
fn root() -> Result<PathBuf, String> {
    // Cargo says where the crate is when it runs it; a binary that was moved says where it was.
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    match crate_dir.parent() {
        Some(root) if root.join("Cargo.toml").is_file() => Ok(root.to_owned()),
        _ => Err(format!("there is no workspace above {}", crate_dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_of_the_usage_text_is_understood() {
        let fuzz =
            |seconds| Task::Fuzz { target: "parse".to_owned(), time: Duration::from_secs(seconds) };
        let cases: [(&[&str], Task); 11] = [
            (&["help"], Task::Help),
            (&["tidy"], Task::Tidy),
            (&["audit"], Task::Audit),
            (&["loom"], Task::Loom),
            (&["test"], Task::Test { browser: true }),
            (&["test", "--no-browser"], Task::Test { browser: false }),
            (&["stress"], Task::Stress { time: Duration::from_secs(600) }),
            (&["stress", "--minutes", "2"], Task::Stress { time: Duration::from_secs(120) }),
            (&["fuzz", "parse"], fuzz(60)),
            (&["fuzz", "parse", "--seconds", "5"], fuzz(5)),
            (&["fuzz", "--seconds", "5", "parse"], fuzz(5)),
        ];
        for (args, task) in cases {
            assert_eq!(parse(args), Ok(task));
        }
    }

    #[test]
    fn a_command_line_that_is_not_understood_says_why() {
        let cases: [(&[&str], &str); 6] = [
            (&[], "a task is missing"),
            (&["tset"], "there is no task `tset`"),
            (&["test", "--browser"], "test does not take `--browser`"),
            (&["fuzz"], "fuzz takes a TARGET, and optionally --seconds N"),
            (&["fuzz", "--seconds", "5"], "fuzz takes a TARGET, and optionally --seconds N"),
            (
                &["fuzz", "parse", "--seconds", "0"],
                "--seconds takes a whole number from 1 on, not `0`",
            ),
        ];
        for (args, error) in cases {
            assert_eq!(parse(args), Err(error.to_owned()));
        }
    }
}
