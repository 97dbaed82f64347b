//! What the programs that people have make of the hub: headless Chromium, curl, an EventSource
//! library of Python and one of Node, each against the real program.
//!
//! Not part of plain `cargo test`: it needs `chromium`, `chromedriver`, `curl`, `python3` and
//! `node`, and the two libraries in `target/clients`. `cargo xtask test` sees to all of it.
//! Everything stays on the loopback interface, and no test decides by timing alone: each waits for
//! what it claims, with a deadline that only a failure reaches.

#![allow(clippy::panic, reason = "what cannot go on fails its test")]

#[path = "../../../prism-sse/tests/browser/browser.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod browser;
mod commands;
mod conformance;
mod demo;
mod dialect;
mod hub;
mod libraries;
mod line;
mod page;
mod pages;
#[path = "../../../prism-sse/tests/browser/process.rs"]
mod process;
mod program;
mod readme;
#[path = "../../../prism-sse/tests/browser/wait.rs"]
mod wait;
