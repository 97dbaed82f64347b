//! `cargo xtask test`: everything that must pass, in one order, up to the first failure.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::{libraries, namespace, process};

/// A command of cargo, and a variable of its environment.
struct Step {
    /// The arguments, separated by spaces.
    args: &'static str,
    variable: Option<(&'static str, &'static str)>,
}

const STEPS: &[Step] = &[
    step("fmt --all --check"),
    step("clippy --workspace --all-targets --all-features --locked -- -D warnings"),
    // `--all-targets` leaves out the targets that plain `cargo test` leaves out.
    step("clippy -p prism-sse --test browser --all-features --locked -- -D warnings"),
    step("clippy -p prism-hub --test clients --all-features --locked -- -D warnings"),
    step("clippy -p prism-sse --no-default-features --locked -- -D warnings"),
    step("clippy -p prism-sse --no-default-features --features serve --locked -- -D warnings"),
    step("test --workspace --all-features --locked"),
    step("build -p prism-sse --examples --all-features --locked"),
    Step {
        args: "doc --workspace --no-deps --all-features --locked",
        variable: Some(("RUSTDOCFLAGS", "-D warnings")),
    },
];

/// The test of a peer that vanishes without a packet. It is ignored by default, because it needs a
/// network namespace, and takes half a minute.
const VANISHING_PEER: &str = "a_reader_that_vanishes_is_gone_within_a_minute";

const NAMESPACE_STEP: Step = step(
    "test -p prism-sse --all-features --test serve --locked \
     a_reader_that_vanishes_is_gone_within_a_minute -- --ignored --nocapture",
);

/// The browser tests of the library over both servers, but the screenshots once, because they do
/// not depend on the server. Then those of the hub.
const BROWSER_STEPS: &[Step] = &[
    Step {
        args: "test -p prism-sse --all-features --test browser --locked",
        variable: Some(("PRISM_SERVER", "prism")),
    },
    Step {
        args: "test -p prism-sse --all-features --test browser --locked -- --skip screenshots",
        variable: Some(("PRISM_SERVER", "axum")),
    },
    step("test -p prism-hub --all-features --test clients --locked"),
];

/// What the browser tests start, and the Debian packages each comes in.
const PROGRAMS: &[(&str, &[&str])] = &[
    // Without any font, pages have no text to lay out, and Chromium says so all the time.
    ("chromium", &["chromium", "fonts-liberation"]),
    ("chromedriver", &["chromium-driver"]),
    ("curl", &["curl"]),
    ("python3", &["python3"]),
    ("pip3", &["python3-pip"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
];

/// Runs all steps, the browser tests only if `browser` is set.
pub(crate) fn run(root: &Path, browser: bool) -> Result<(), String> {
    let start = Instant::now();
    println!("==> install");
    require_components(root)?;
    if browser {
        install(&process::in_path)?;
        libraries::install(root)?;
    }
    for step in STEPS {
        perform(root, step)?;
    }
    let namespaces = namespace::check();
    match &namespaces {
        Ok(()) => perform(root, &NAMESPACE_STEP)?,
        Err(reason) => println!("==> left out: {VANISHING_PEER}, because {reason}"),
    }
    loom(root)?;
    if browser {
        for step in BROWSER_STEPS {
            perform(root, step)?;
        }
    }
    let mut summary = format!("==> all passed in {} s", start.elapsed().as_secs());
    if !browser {
        summary.push_str(", browser tests left out");
    }
    if namespaces.is_err() {
        summary.push_str(", the test of a vanishing peer left out");
    }
    println!("{summary}");
    Ok(())
}

/// Checks the models. They are built with a flag of their own, and so in a directory of their own,
/// or each build would undo the other.
pub(crate) fn loom(root: &Path) -> Result<(), String> {
    let mut command = process::cargo(root);
    command.args(["test", "--package", "prism-models", "--locked"]);
    command.args(["--target-dir", "target/loom"]).env("RUSTFLAGS", "--cfg prism_loom");
    // More than three preemptions in a scene take minutes, and few faults need more than two.
    command.env("LOOM_MAX_PREEMPTIONS", "3");
    println!("==> RUSTFLAGS=\"--cfg prism_loom\" {}", process::describe(&command));
    process::run(&mut command)
}

const fn step(args: &'static str) -> Step {
    Step { args, variable: None }
}

fn perform(root: &Path, step: &Step) -> Result<(), String> {
    let mut command = process::cargo(root);
    command.args(step.args.split(' '));
    match step.variable {
        Some((name, value)) => {
            command.env(name, value);
            println!("==> {name}=\"{value}\" {}", process::describe(&command));
        }
        None => println!("==> {}", process::describe(&command)),
    }
    process::run(&mut command)
}

/// Cargo's own messages for a missing component differ by how Rust was installed.
fn require_components(root: &Path) -> Result<(), String> {
    for component in ["fmt", "clippy"] {
        if process::output(process::cargo(root).args([component, "--version"])).is_none() {
            return Err(format!(
                "`cargo {component}` is missing: run `rustup component add rustfmt clippy`"
            ));
        }
    }
    Ok(())
}

/// Installs what the browser tests lack, if this user and this system can.
fn install(in_path: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let packages = missing_packages(in_path);
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!(
        "install them by hand (on Debian: `apt-get install {}` as root), or leave the browser \
         tests out with `cargo xtask test --no-browser`",
        packages.join(" ")
    );
    let missing = missing_programs(in_path).join(", ");
    if !in_path("apt-get") {
        return Err(format!("not in PATH: {missing}. There is no apt-get here: {by_hand}"));
    }
    if !is_root() {
        return Err(format!("not in PATH: {missing}. Only root can install packages: {by_hand}"));
    }
    process::run(apt_get().arg("update"))?;
    process::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&packages))?;
    let missing = missing_programs(in_path);
    if missing.is_empty() {
        return Ok(());
    }
    // Some systems have packages of these names that contain only a pointer to another store.
    Err(format!("still not in PATH after the installation: {}; {by_hand}", missing.join(", ")))
}

fn missing_programs(in_path: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    PROGRAMS.iter().map(|(program, _)| *program).filter(|program| !in_path(program)).collect()
}

fn missing_packages(in_path: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !in_path(program));
    missing.flat_map(|(_, packages)| packages.iter().copied()).collect()
}

fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(missing_packages(&|_| true).is_empty());
        assert_eq!(missing_packages(&|program| program != "chromedriver"), ["chromium-driver"]);
        assert_eq!(
            missing_packages(&|_| false),
            [
                "chromium",
                "fonts-liberation",
                "chromium-driver",
                "curl",
                "python3",
                "python3-pip",
                "nodejs",
                "npm"
            ]
        );
    }

    #[test]
    fn without_a_package_manager_the_error_says_what_to_do() {
        let there = ["curl", "python3", "pip3", "node", "npm"];
        let error = install(&|program| there.contains(&program)).unwrap_err();
        assert_eq!(
            error,
            "not in PATH: chromium, chromedriver. There is no apt-get here: install them by hand \
             (on Debian: `apt-get install chromium fonts-liberation chromium-driver` as root), or \
             leave the browser tests out with `cargo xtask test --no-browser`"
        );
    }

    /// Cargo calls a filter that matches no test a success.
    #[test]
    fn the_test_of_a_vanishing_peer_exists_and_is_ignored() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files = std::fs::read_dir(root.join("crates/prism-sse/tests/serve")).unwrap();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let text = texts.collect::<String>();
        let (before, _) = text.split_once(&format!("fn {VANISHING_PEER}()")).unwrap();
        assert!(before.lines().rev().take(3).any(|line| line.starts_with("#[ignore")));
        assert!(NAMESPACE_STEP.args.contains(VANISHING_PEER));
    }

    #[test]
    fn every_step_but_the_formatter_keeps_the_lock_file() {
        for step in STEPS.iter().chain(BROWSER_STEPS).chain([&NAMESPACE_STEP]) {
            let is_formatter = step.args.starts_with("fmt ");
            assert_eq!(step.args.contains(" --locked"), !is_formatter, "{}", step.args);
        }
    }
}
