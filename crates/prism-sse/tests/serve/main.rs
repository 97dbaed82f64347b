//! `prism_sse::serve` over real sockets, attacked.
//!
//! - `apps`: everything that can be served
//! - `heads`: what comes in, whole, in pieces, too slow and too long
//! - `protocols`: HTTP/2, HTTP/1.0, upgrades, connections that stay with hyper
//! - `kept`: connections as a browser keeps them
//! - `layers`: what layers do to a stream, and what they keep in it
//! - `slow`: readers that read slowly, partly or never
//! - `gone`: readers that leave, each in its own way
//! - `ends`: the end of a server, of a manager, of one connection
//! - `accepting`: more connections than there is room for
//! - `exact`: nothing lost, nothing doubled, nothing out of order
//! - `abandoned`: readers that are given up
//! - `alone`: tests that measure their whole process, or take something from it

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::panic, reason = "a test that panics has failed")]

mod abandoned;
mod accepting;
mod alone;
mod apps;
mod ends;
mod exact;
mod gone;
mod heads;
mod kept;
mod layers;
mod protocols;
mod reader;
mod running;
mod slow;

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use prism_sse::{Manager, Retention, SseLayer};
use reader::{End, LISTEN, Reader, comes_back, connect};
use running::Running;

/// A failure's guard: what must happen happens long before.
const SOON: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("it does not happen"))
}

/// Waits until something is so of which nobody tells.
async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(wait).await;
}

fn with_history() -> Manager {
    Manager::builder().history(Retention::default()).build().unwrap()
}

/// Events at `/events`, and two requests that stay requests.
fn app(sse: &Manager) -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/echo", post(|body: String| async { body }))
        .layer(SseLayer::new(sse.clone(), "/events"))
}
