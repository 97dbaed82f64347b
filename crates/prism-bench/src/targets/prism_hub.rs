//! The program `prism-hub`, with its defaults.
//!
//! This process executes it, with nothing but flags: keys, the address, and the number of threads.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cli::ServeTargetArgs;
use crate::token;

/// The program's name.
const PROGRAM: &str = "prism-hub";

/// The environment variable with the number of tokio's threads.
const WORKERS: &str = "TOKIO_WORKER_THREADS";

/// The prefix of the environment variables that are settings of a hub.
const SETTINGS: &str = "PRISM_HUB_";

/// Executes the hub in this process.
pub(super) fn serve(address: SocketAddr, args: &ServeTargetArgs) -> Result<()> {
    let program = match &args.hub {
        Some(program) => program.clone(),
        None => beside(&std::env::current_exe().context("the path of this program is not known")?)?,
    };
    let mut command = Command::new(&program);
    command.args(arguments(address, args)).env(WORKERS, args.workers.to_string());
    // Settings of another hub must not change what is measured.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with(SETTINGS)) {
            command.env_remove(name);
        }
    }
    let error = command.exec();
    Err(error).with_context(|| format!("{} does not start", program.display()))
}

/// The hub in the directory of this program.
fn beside(this: &Path) -> Result<PathBuf> {
    let program = this.with_file_name(PROGRAM);
    ensure!(
        program.exists(),
        "{} is not there; `cargo build --release -p {PROGRAM}` makes it, or --hub names another",
        program.display()
    );
    Ok(program)
}

fn arguments(address: SocketAddr, args: &ServeTargetArgs) -> Vec<String> {
    let mut arguments = vec![
        "serve".to_owned(),
        format!("--listen={address}"),
        "--admin-listen=off".to_owned(),
        "--engine=memory".to_owned(),
        format!("--publisher-key={}", token::SECRET),
        format!("--subscriber-key={}", token::SECRET),
        "--anonymous".to_owned(),
        "--log-level=warn".to_owned(),
        // The client is gone when the hub is ended.
        "--drain=100ms".to_owned(),
        format!("--shards={}", args.workers),
    ];
    if !args.heartbeats {
        arguments.push("--heartbeat=off".to_owned());
    }
    if let Some(history) = args.history {
        arguments.push(format!("--retention-count={history}"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Target;

    #[test]
    fn the_flags_of_the_hub_are_those_that_were_asked_for() {
        let mut args = ServeTargetArgs {
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
        let given = arguments(address, &args).join(" ");
        for argument in ["--listen=127.0.0.1:0", "--shards=2", "--heartbeat=off", "-count=77"] {
            assert!(given.contains(argument), "{argument}: {given}");
        }
        (args.heartbeats, args.history) = (true, None);
        let given = arguments(address, &args).join(" ");
        assert!(!given.contains("heartbeat") && !given.contains("retention"), "{given}");
    }

    #[test]
    fn a_missing_hub_is_an_error() {
        let error = beside(Path::new("/nowhere/prism-bench")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/prism-hub is not there"), "{error}");
    }
}
