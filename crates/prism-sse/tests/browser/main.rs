//! Tests in a real browser: headless Chromium against the examples and servers of the tests.
//!
//! Not part of plain `cargo test`: it needs `chromium`, `chromedriver` and `curl`, and the examples
//! built. `cargo xtask test` sees to both. Everything stays on the loopback interface, and no test
//! decides by timing alone: each waits for what it claims, with a deadline that only a failure
//! reaches.
//!
//! All servers are `prism_sse::serve`, or `axum::serve` where `PRISM_SERVER` is `axum`. The same
//! tests run over both.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

mod browser;
mod examples;
mod gated_server;
mod hand_over;
mod process;
mod reconnect;
mod resume;
mod screenshots;
mod server;
#[path = "../../examples/server/mod.rs"]
#[allow(dead_code, reason = "tests listen where they like")]
mod serving;
mod shutdown;
mod snippet;
mod wait;
