//! The program as people start it: arguments, exit codes, messages, signals.
//!
//! - `settings`: flags, environment and file, and what is wrong with them
//! - `life`: from the lines that say where it listens to the end
//! - `encrypted`: over TLS, and after a key was taken away
//! - `key_sets`: keys at addresses, over TLS, late, and again when it is told
//! - `reloads`: what SIGHUP changes for connections that begin after it
//! - `remote`: `publish` and `listen`, against a hub that says what it is told
//! - `tokens`: what `token` makes is what a hub takes

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that panics has failed")]

mod encrypted;
mod key_sets;
mod life;
mod program;
mod reloads;
mod remote;
mod settings;
mod tokens;
