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
//! - `engines`: what engines must do, and what readers see of engines that misbehave
//! - `http`: requests and responses, in memory and over sockets
//! - `model`: made-up histories of everything at once, held against the oracle
//! - `schedules`: publishers and readers on many threads, held against the oracle
//! - `settings`: limits and refusals

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod attacks;
mod audience;
mod ends;
mod engines;
mod http;
mod keys;
mod model;
mod page;
mod patterns;
mod races;
mod resume;
mod schedules;
mod settings;
mod slow;
mod templates;
mod time;
#[cfg(feature = "patterns")]
mod url_patterns;

use axum::Router;
use axum::body::Body;
use prism_sse::test::Client;
use prism_sse::{Audience, Manager, OneOrMany, Retention, Selector, SseLayer};

/// A page that reads `/events`.
type Page = Client<Router, Body>;

fn app(sse: &Manager) -> Router {
    Router::new().layer(SseLayer::new(sse.clone(), "/events"))
}

async fn page(sse: &Manager) -> Page {
    Client::connect(app(sse), "/events").await.unwrap()
}

/// A page that comes back with this id.
async fn page_after(sse: &Manager, id: &str) -> Page {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("last-event-id", axum::http::HeaderValue::from_bytes(id.as_bytes()).unwrap());
    Client::connect_with(app(sse), "/events", headers).await.unwrap()
}

fn select(selectors: impl OneOrMany<Selector>) -> Audience {
    Audience::select(selectors).unwrap()
}

fn with_history() -> Manager {
    Manager::builder().history(Retention::default()).build().unwrap()
}

fn keeping(records: usize) -> Manager {
    Manager::builder().history(Retention::default().count(records)).build().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
