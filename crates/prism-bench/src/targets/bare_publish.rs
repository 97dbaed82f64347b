//! The least work that a publish over HTTP takes: an axum handler that parses the hub's form,
//! verifies the token, and sends the data to axum's own `Sse` on a broadcast channel of tokio.
//!
//! jsonwebtoken verifies the signature of each request. There is one topic.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use tokio::sync::broadcast::Sender;

use super::axum_sse;
use super::contract::{PUBLISH_PATH, SUBSCRIBE_PATH};
use crate::token::Verifier;

/// Number of events that the channel keeps for the slowest subscriber: so many that none is lost
/// when publishers are answered faster than a subscriber reads.
const CAPACITY: usize = 64 * 1024;

#[derive(Clone)]
struct BarePublishState {
    events: Sender<String>,
    verifier: Arc<Verifier>,
    heartbeats: bool,
}

/// The fields of the hub's form.
#[derive(Deserialize)]
struct PublishForm {
    topic: String,
    #[serde(default)]
    data: String,
    // Parsed and not used: the hub parses all fields too.
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
        .with_state(BarePublishState { events: Sender::new(CAPACITY), verifier, heartbeats })
}

async fn subscribe(State(state): State<BarePublishState>) -> Response {
    axum_sse::stream(&state.events, state.heartbeats)
}

async fn publish(
    State(state): State<BarePublishState>,
    headers: HeaderMap,
    Form(form): Form<PublishForm>,
) -> StatusCode {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = value.and_then(|value| value.strip_prefix("Bearer ")) else {
        return StatusCode::UNAUTHORIZED;
    };
    if !state.verifier.may_publish(token, &form.topic) {
        return StatusCode::FORBIDDEN;
    }
    // Sending fails only if there are no subscribers.
    drop(state.events.send(form.data));
    StatusCode::NO_CONTENT
}
