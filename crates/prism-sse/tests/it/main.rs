//! What the library promises, tested at its boundary. One binary, so that it links once.
//!
//! - `page`: the Swift page this library started from, point by point
//! - `resume`: history, ids, gaps at connect, where a subscription starts
//! - `regressions`: faults that were found by adversarial tests
//! - `races`: the same, of operations that interleave
//! - `audience`: topics, grants, private events, broadcasts
//! - `patterns`: patterns as selectors and as grants
//! - `templates`: what a URI Template matches, checked against its expansions
//! - `url_patterns`: what a URL Pattern matches
//! - `keys`: idempotency keys
//! - `slow`: slow readers
//! - `ends`: how connections close, and that everything is freed
//! - `time`: heartbeats, marks, maximum age, all in virtual time
//! - `transient`: transient events, kept apart from the history
//! - `engines`: the conformance suite, and what readers see of engines that misbehave
//! - `http`: requests and responses, in memory and over sockets
//! - `model`: random sequences of operations, checked against the oracle
//! - `schedules`: publishers and readers on many threads, checked against the oracle
//! - `settings`: limits and refusals
//! - `holds`: how much is done while the lock of a manager is held
//!
//! Here clients read response bodies. The target `over_serve` runs the tests with clients once
//! more, over delivery shards.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod audience;
mod below;
mod ends;
mod engines;
mod holds;
mod http;
mod keys;
mod model;
mod page;
mod pages;
mod patterns;
mod races;
mod regressions;
mod resume;
mod schedules;
mod settings;
mod slow;
mod store;
mod templates;
mod time;
mod transient;
#[cfg(feature = "patterns")]
mod url_patterns;

use axum::Router;
use axum::body::Body;
use pages::{app, client, keeping, page, page_after, select, text, with_history};
use prism_sse::test::Client;

/// A client that calls the application directly.
type Page = Client<Router, Body>;

/// The application as clients call it.
fn served(app: Router) -> Router {
    app
}
