//! The hub of Prism SSE: any program publishes with one POST, any browser reads with
//! `new EventSource(url)`.
//!
//! This library is what the program `prism-hub` is made of, split off so that tests, benchmarks
//! and fuzzers reach it. It promises no stable interface; the program does.
//!
//! Top down: [`cli`] and the modes, [`config`], [`auth`], [`problem`], [`limits`].

pub mod auth;
pub mod cli;
pub mod config;
pub mod limits;
pub mod problem;
