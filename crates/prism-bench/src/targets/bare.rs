//! The least that a publish over HTTP takes: an axum handler that reads the hub's form, verifies
//! the token, and hands the data to axum's own `Sse` on a broadcast channel of tokio.
//!
//! It verifies the signature each time, as jsonwebtoken does it, and knows one topic.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use tokio::sync::broadcast::Sender;

use super::idiom;
use super::{PUBLISH_PATH, SUBSCRIBE_PATH};
use crate::token::Verifier;

/// Events that wait for the slowest reader: so many that none is lost when publishers are answered
/// faster than a reader reads.
const CAPACITY: usize = 64 * 1024;

#[derive(Clone)]
struct Hub {
    events: Sender<String>,
    verifier: Arc<Verifier>,
    heartbeats: bool,
}

/// The fields of the hub's form.
#[derive(Deserialize)]
struct Update {
    topic: String,
    #[serde(default)]
    data: String,
    // Read and left alone: what a form has costs something to read.
    #[serde(rename = "private")]
    _private: Option<String>,
    #[serde(rename = "id")]
    _id: Option<String>,
    #[serde(rename = "type")]
    _kind: Option<String>,
    #[serde(rename = "retry")]
    _retry: Option<u64>,
}

pub(super) fn router(heartbeats: bool) -> Router {
    let verifier = Arc::new(Verifier::new());
    Router::new()
        .route(SUBSCRIBE_PATH, get(subscribe))
        .route(PUBLISH_PATH, post(publish))
        .with_state(Hub { events: Sender::new(CAPACITY), verifier, heartbeats })
}

async fn subscribe(State(hub): State<Hub>) -> Response {
    idiom::stream(&hub.events, hub.heartbeats)
}

async fn publish(
    State(hub): State<Hub>,
    headers: HeaderMap,
    Form(update): Form<Update>,
) -> StatusCode {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = value.and_then(|value| value.strip_prefix("Bearer ")) else {
        return StatusCode::UNAUTHORIZED;
    };
    if !hub.verifier.may_publish(token, &update.topic) {
        return StatusCode::FORBIDDEN;
    }
    // An event without readers is nobody's loss.
    drop(hub.events.send(update.data));
    StatusCode::NO_CONTENT
}
