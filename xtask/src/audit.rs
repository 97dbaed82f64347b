//! `cargo xtask audit`: the dependencies against the RustSec database and the rules of deny.toml.
//!
//! No crate of the registry ships the database, so that this task needs the network, and is no part
//! of `cargo xtask test`.

use std::path::Path;
use std::process::Command;

use crate::process;

const MISSING: &str = "`cargo deny` is missing: run `cargo install --locked cargo-deny`";

const NO_DATABASE: &str = "the RustSec database could not be fetched: this task needs the network. \
                           Without it, `cargo deny check bans licenses sources` checks all else";

/// Fetches the database, and checks all dependencies.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let deny = |args: &[&str]| {
        let mut command = process::cargo(root);
        command.arg("deny").args(args);
        command
    };
    audit(&deny, &mut process::run)
}

/// Runs the commands that `deny` makes of the arguments of `cargo deny`.
fn audit(
    deny: &dyn Fn(&[&str]) -> Command,
    run: &mut dyn FnMut(&mut Command) -> Result<(), String>,
) -> Result<(), String> {
    if process::output(&mut deny(&["--version"])).is_none() {
        return Err(MISSING.to_owned());
    }
    println!("==> cargo deny fetch db");
    run(&mut deny(&["fetch", "db"])).map_err(|error| format!("{error}; {NO_DATABASE}"))?;
    println!("==> cargo deny --locked check --disable-fetch");
    run(&mut deny(&["--locked", "check", "--disable-fetch"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for `cargo deny` that fails where its arguments begin with `failing`.
    fn audit_with(failing: &str) -> (Result<(), String>, Vec<String>) {
        let deny = |args: &[&str]| {
            let program = if args.join(" ").starts_with(failing) { "false" } else { "true" };
            let mut command = Command::new(program);
            command.args(args);
            command
        };
        let mut ran = Vec::new();
        let result = audit(&deny, &mut |command| {
            ran.push(process::describe(command));
            process::run(command)
        });
        (result, ran)
    }

    #[test]
    fn the_database_is_fetched_before_it_is_read() {
        let (result, ran) = audit_with("nothing");
        assert_eq!(result, Ok(()));
        assert_eq!(ran, ["true fetch db", "true --locked check --disable-fetch"]);
    }

    #[test]
    fn without_the_network_the_error_says_so() {
        let (result, ran) = audit_with("fetch");
        let error = result.unwrap_err();
        assert!(error.starts_with("`false fetch db` failed: "), "{error}");
        assert!(error.ends_with(NO_DATABASE), "{error}");
        assert_eq!(ran.len(), 1);
    }

    #[test]
    fn without_the_program_the_error_says_how_to_install_it() {
        let (result, ran) = audit_with("--version");
        assert_eq!((result, ran), (Err(MISSING.to_owned()), vec![]));
    }

    #[test]
    fn what_is_found_fails_the_task() {
        let (result, _) = audit_with("--locked check");
        assert!(result.unwrap_err().starts_with("`false --locked check --disable-fetch` failed: "));
    }
}
