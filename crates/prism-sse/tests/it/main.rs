//! What the library promises, tested at its boundary. One binary, so that it links once.
//!
//! - `page`: the Swift page this library started from, point by point
//! - `resume`: history, ids, gaps at connect, where a subscription starts
//! - `attacks`: faults that were found by attacking the library
//! - `races`: the same, of what happens between two steps
//! - `audience`: topics, grants, private events, broadcasts
//! - `patterns`: patterns as selectors and as grants
//! - `templates`: what a URI Template chooses, held against its expansions
//! - `url_patterns`: what a URL Pattern chooses
//! - `keys`: idempotency keys
//! - `slow`: readers that do not keep up
//! - `ends`: how connections end, and that nothing stays behind
//! - `time`: heartbeats, marks, maximum age, all in virtual time
//! - `transient`: events about the present moment, kept apart from the history
//! - `engines`: what engines must do, and what readers see of engines that misbehave
//! - `http`: requests and responses, in memory and over sockets
//! - `model`: made-up histories of everything at once, held against the oracle
//! - `schedules`: publishers and readers on many threads, held against the oracle
//! - `settings`: limits and refusals
//!
//! Here pages read response bodies. The target `over_serve` runs what has pages once more, over
//! delivery shards.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod attacks;
mod audience;
mod ends;
mod engines;
mod http;
mod keys;
mod model;
mod page;
mod pages;
mod patterns;
mod races;
mod resume;
mod schedules;
mod settings;
mod slow;
mod templates;
mod time;
mod transient;
#[cfg(feature = "patterns")]
mod url_patterns;

use axum::Router;
use axum::body::Body;
use pages::{app, client, keeping, page, page_after, select, text, with_history};
use prism_sse::test::Client;

/// A page, read from the application itself.
type Page = Client<Router, Body>;

/// The application, as pages read from it.
fn served(app: Router) -> Router {
    app
}
