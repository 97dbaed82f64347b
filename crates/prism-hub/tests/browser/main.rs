//! What a real browser makes of the hub: headless Chromium, and the real program.
//!
//! Not part of plain `cargo test`: it needs `chromium` and `chromedriver`, to which
//! `cargo xtask test` sees. Everything stays on the loopback interface.
//!
//! - `conformance`: what the public conformance suite of the Mercure protocol does, in both
//!   dialects
//! - `demo`: the page of `prism-hub demo`, used as a person uses it

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

#[path = "../../../prism-sse/tests/browser/browser.rs"]
#[allow(dead_code, reason = "the library's tests use all of it")]
mod browser;
mod conformance;
mod demo;
#[path = "../../../prism-sse/tests/browser/process.rs"]
mod process;
#[path = "../../../prism-sse/tests/browser/wait.rs"]
#[allow(dead_code, reason = "the library's tests use all of it")]
mod wait;

use crate::process::Process;

/// The program, running. Dropping it kills it.
struct Hub {
    address: String,
    _process: Process,
}

impl Hub {
    async fn start(args: &[&str]) -> Self {
        let mut command = Process::command(env!("CARGO_BIN_EXE_prism-hub"));
        command.args(args);
        let (process, address) =
            Process::start(command, "prism-hub", |line| line.strip_prefix("listening on http://"))
                .await;
        Self { address, _process: process }
    }
}
