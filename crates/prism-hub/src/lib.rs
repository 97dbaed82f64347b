//! The hub of Prism SSE: programs publish events with one POST, browsers subscribe with
//! `new EventSource(url)`.
//!
//! This is the library behind the program `prism-hub`, so that tests, benchmarks and fuzzers can
//! reach its parts. It promises no stable interface; the program does.
//!
//! Layers, low to high; a module imports only from lower ones:
//!
//! - [`limits`]: every bound and its reason. [`problem`]: error responses.
//! - [`cli`], [`config`]: arguments and settings. [`tls`]: certificates.
//! - [`auth`]: from a request to its rights. [`rules`]: the rules that a reload replaces.
//! - [`metrics`]: counters and gauges.
//! - [`hub`]: the state that all endpoints share.
//! - `jwks`: fetches key sets from URLs, and reloads. `client`: the HTTP client that it uses.
//! - [`api`]: the HTTP API, one module per front. `demo`: the demo page.
//! - [`serve`]: life cycle and listeners.
//! - `mode`: what the program does, by its first argument.

pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod hub;
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
