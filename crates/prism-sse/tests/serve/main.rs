//! `prism_sse::serve` over real sockets, with hostile peers.
//!
//! - `aborted`: streams that stay with hyper and whose readers stop reading
//! - `apps`: everything that can be served
//! - `request_heads`: heads that arrive whole, in pieces, too slowly, or are too long
//! - `protocols`: HTTP/2, HTTP/1.0, upgrades, connections that stay with hyper
//! - `keep_alive`: connections that a browser keeps and uses again
//! - `layers`: layers that change a stream, or keep values in it
//! - `bodies`: bodies that an application makes of a connection itself
//! - `backpressure`: a reader that is closed because it takes nothing
//! - `slow`: readers that read slowly, partly or never
//! - `disconnects`: readers that disconnect, each in its own way
//! - `shutdown`: the end of a server, of a manager, of one connection
//! - `accept`: the bound on connections, and several listeners
//! - `exactly_once`: no event is lost, repeated or out of order
//! - `own_process`: tests that measure their whole process, or exhaust its resources

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::panic, reason = "a test that panics has failed")]

mod aborted;
mod accept;
mod apps;
mod backpressure;
mod bodies;
mod disconnects;
mod exactly_once;
mod keep_alive;
mod layers;
mod own_process;
mod protocols;
mod reader;
mod request_heads;
mod shutdown;
mod slow;
mod test_server;

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use prism_sse::{Manager, Retention, SseLayer};
use reader::{End, LISTEN, Reader, connect, resume_request};
use test_server::TestServer;

/// How long anything may take that must happen. It takes far less, so that only a failure waits.
const DEADLINE: Duration = Duration::from_secs(20);

async fn within_deadline<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("nothing happened within {DEADLINE:?}"))
}

/// Waits until `condition` holds, for what no event tells.
async fn eventually(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within_deadline(wait).await;
}

fn with_history() -> Manager {
    Manager::builder().history(Retention::default()).build().unwrap()
}

/// An application with events at `/events`, and two ordinary routes.
fn app(sse: &Manager) -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/echo", post(|body: String| async { body }))
        .layer(SseLayer::new(sse.clone(), "/events"))
}
