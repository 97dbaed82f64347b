//! The hub of Prism SSE: any program publishes with one POST, any browser reads with
//! `new EventSource(url)`.
//!
//! This library is what the program `prism-hub` is made of, split off so that tests, benchmarks
//! and fuzzers reach it. It promises no stable interface; the program does.
//!
//! Top down: [`cli`] has the arguments, [`run`] chooses the mode; [`serve`] is the hub itself, told
//! what to do by [`config`], who may do what by [`auth`], and what a reload replaces by [`rules`];
//! `jwks` fetches keys that are elsewhere, [`tls`] reads certificates. What is asked of it over
//! HTTP is answered by [`api`], and counted by [`metrics`]. Every refusal is a [`problem`], and
//! every bound stands in [`limits`].

pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod limits;
pub mod metrics;
pub mod problem;
pub mod rules;
pub mod serve;
pub mod tls;

mod client;
mod demo;
mod jwks;
mod mode;

pub use mode::run;
