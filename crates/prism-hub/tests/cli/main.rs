//! The program as a process: arguments, exit codes, messages, signals.
//!
//! - `settings`: flags, environment and file, and the errors in them
//! - `life`: from startup to shutdown
//! - `durable`: history on disk, through `kill -9` and damage
//! - `encrypted`: over TLS
//! - `key_sets`: key sets at URLs, over TLS, late, and again at SIGHUP
//! - `reloads`: what SIGHUP changes for connections that begin after it
//! - `remote`: `publish` and `listen`, against a scripted hub
//! - `tokens`: the tokens that `token` creates

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that panics has failed")]

mod durable;
mod encrypted;
mod key_sets;
mod life;
mod program;
mod reloads;
mod remote;
mod settings;
mod tokens;
