//! `cargo xtask stress`: what `cargo test` does for a moment, for as long as one likes.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::{fuzz, process, test};

/// Histories that one run of the test generates; a failure is shortened and its seed printed.
const HISTORIES: &str = "20000";

/// Checks the models, then makes up histories for half of the time and inputs for the rest.
pub(crate) fn run(root: &Path, time: Duration) -> Result<(), String> {
    test::loom(root)?;

    let end = Instant::now() + time / 2;
    while Instant::now() < end {
        println!("==> {HISTORIES} generated histories, held against the oracle");
        let mut command = process::cargo(root);
        command.args(["test", "--locked", "--package", "prism-sse", "--all-features"]);
        command.args(["--test", "it", "model::"]).env("PROPTEST_CASES", HISTORIES);
        process::run(&mut command)?;
    }

    let targets = fuzz::targets(&root.join("fuzz/tests"))?;
    let each = (time / 2) / u32::try_from(targets.len().max(1)).unwrap_or(u32::MAX);
    targets.iter().try_for_each(|target| fuzz::run(root, target, each))
}
