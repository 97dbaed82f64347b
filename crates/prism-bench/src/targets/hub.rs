//! Our own hub, the program itself, with the defaults it has for everybody.
//!
//! This process becomes the hub. It is handed nothing but flags: a key, where to listen, and how
//! many threads to have.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cli::ServeTarget;
use crate::token;

/// The program's name.
const PROGRAM: &str = "prism-hub";

/// Tells tokio how many threads to have.
const WORKERS: &str = "TOKIO_WORKER_THREADS";

/// The settings of a hub that stand in its environment begin with this.
const SETTINGS: &str = "PRISM_HUB_";

/// Becomes the hub.
pub(super) fn serve(address: SocketAddr, asked: &ServeTarget) -> Result<()> {
    let program = match &asked.hub {
        Some(program) => program.clone(),
        None => beside(&std::env::current_exe().context("this program has no path")?)?,
    };
    let mut command = Command::new(&program);
    command.args(arguments(address, asked)).env(WORKERS, asked.workers.to_string());
    // Whoever measures may have a hub of their own.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with(SETTINGS)) {
            command.env_remove(name);
        }
    }
    let error = command.exec();
    Err(error).with_context(|| format!("{} does not start", program.display()))
}

/// The hub that was built together with this program.
fn beside(this: &Path) -> Result<PathBuf> {
    let program = this.with_file_name(PROGRAM);
    ensure!(
        program.exists(),
        "{} is not there; `cargo build --release -p {PROGRAM}` makes it, or --hub names another",
        program.display()
    );
    Ok(program)
}

fn arguments(address: SocketAddr, asked: &ServeTarget) -> Vec<String> {
    let mut arguments = vec![
        "serve".to_owned(),
        format!("--listen={address}"),
        "--admin-listen=off".to_owned(),
        format!("--publisher-key={}", token::SECRET),
        format!("--subscriber-key={}", token::SECRET),
        "--anonymous".to_owned(),
        "--log-level=warn".to_owned(),
        // Whoever reads is gone when it is told to end, or does not mind.
        "--drain=100ms".to_owned(),
        format!("--shards={}", asked.workers),
    ];
    if !asked.heartbeats {
        arguments.push("--heartbeat=off".to_owned());
    }
    if let Some(history) = asked.history {
        arguments.push(format!("--retention-count={history}"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Target;

    #[test]
    fn the_hub_is_told_what_was_asked() {
        let mut asked = ServeTarget {
            target: Target::PrismHub,
            port: 0,
            workers: 2.try_into().unwrap(),
            cores: Vec::new(),
            heartbeats: false,
            history: Some(77),
            private: false,
            hub: None,
            die_with_parent: false,
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let given = arguments(address, &asked).join(" ");
        for argument in ["--listen=127.0.0.1:0", "--shards=2", "--heartbeat=off", "-count=77"] {
            assert!(given.contains(argument), "{argument}: {given}");
        }
        (asked.heartbeats, asked.history) = (true, None);
        let given = arguments(address, &asked).join(" ");
        assert!(!given.contains("heartbeat") && !given.contains("retention"), "{given}");
    }

    #[test]
    fn a_hub_that_was_not_built_is_missed() {
        let error = beside(Path::new("/nowhere/prism-bench")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/prism-hub is not there"), "{error}");
    }
}
