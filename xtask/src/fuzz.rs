//! `cargo xtask fuzz`: one target of the fuzz crate, for as long as one likes.
//!
//! The targets are tests that run for a moment in `cargo test`. On a stable toolchain bolero's
//! random engine runs them, and its environment variables say for how long.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::process;

/// Runs the target for `time`, or until it fails.
pub(crate) fn run(root: &Path, target: &str, time: Duration) -> Result<(), String> {
    let targets = targets(&root.join("fuzz/tests"))?;
    // Cargo calls a filter that matches no test a success.
    if !targets.iter().any(|known| known == target) {
        return Err(format!(
            "there is no fuzz target `{target}`; the targets are: {}",
            targets.join(", ")
        ));
    }
    println!("==> fuzz {target} for {} s", time.as_secs());
    process::run(
        process::cargo(root)
            .args(["test", "--locked", "--package", "prism-fuzz", "--tests", target])
            .args(["--", "--exact", "--nocapture"])
            .env("BOLERO_RANDOM_TEST_TIME_MS", time.as_millis().to_string())
            // A limit of inputs, if the environment has one, must not end it before its time.
            .env("BOLERO_RANDOM_ITERATIONS", usize::MAX.to_string()),
    )
}

/// The names of all targets, in order.
pub(crate) fn targets(dir: &Path) -> Result<Vec<String>, String> {
    let unreadable = |error| format!("{} is not readable: {error}", dir.display());
    let mut targets = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(targets_of(&fs::read_to_string(&path).map_err(unreadable)?));
        }
    }
    targets.sort();
    Ok(targets)
}

/// The tests of one file: each function right after a `#[test]`.
fn targets_of(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).filter(|pair| pair[0] == "#[test]");
    let names = tests.filter_map(|pair| pair[1].strip_prefix("fn ")?.split_once('('));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_tests_and_nothing_else() {
        let text = "#[test]\nfn parse() {}\n\nfn check(x: u8) {}\n\n#[test]\nfn split() {}\n";
        assert_eq!(targets_of(text), ["parse", "split"]);
    }
}
