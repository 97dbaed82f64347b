//! Real clients against the real program: headless Chromium, curl, an EventSource library of Python
//! and one of Node.
//!
//! Not part of plain `cargo test`: it needs `chromium`, `chromedriver`, `curl`, `python3` and
//! `node`, and the two libraries in `target/clients`. `cargo xtask test` installs the
//! libraries and runs this.
//! Everything stays on the loopback interface. No test depends on timing: each waits for its
//! condition, with a deadline that only a failure reaches.

#![allow(clippy::panic, reason = "a panic fails the test")]

#[path = "../../../prism-sse/tests/browser/browser.rs"]
#[allow(dead_code, reason = "other test targets use more of it")]
mod browser;
mod commands;
mod conformance;
mod demo;
mod dialect;
mod hub;
mod libraries;
mod page;
mod pages;
#[path = "../../../prism-sse/tests/browser/process.rs"]
mod process;
mod program;
mod proxy;
mod readme;
#[path = "../../../prism-sse/tests/browser/wait.rs"]
mod wait;
