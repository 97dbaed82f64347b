//! axum's own `Sse` on a broadcast channel of tokio, as most axum applications do it.

use std::convert::Infallible;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::broadcast::Sender;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::contract::{PUBLISH_PATH, SUBSCRIBE_PATH};

/// Number of events that the channel keeps for the slowest subscriber.
const CAPACITY: usize = 1024;

#[derive(Clone)]
struct AxumState {
    events: Sender<String>,
    heartbeats: bool,
}

pub(super) fn router(heartbeats: bool) -> Router {
    Router::new()
        .route(SUBSCRIBE_PATH, get(subscribe))
        .route(PUBLISH_PATH, post(publish))
        .with_state(AxumState { events: Sender::new(CAPACITY), heartbeats })
}

async fn subscribe(State(state): State<AxumState>) -> Response {
    stream(&state.events, state.heartbeats)
}

/// A stream of all events that are sent to the channel from now on.
pub(super) fn stream(events: &Sender<String>, heartbeats: bool) -> Response {
    let events = BroadcastStream::new(events.subscribe())
        .filter_map(Result::ok)
        .map(|text| Ok::<_, Infallible>(Event::default().data(text)));
    let stream = Sse::new(events);
    match heartbeats {
        true => stream.keep_alive(KeepAlive::default()).into_response(),
        false => stream.into_response(),
    }
}

async fn publish(State(state): State<AxumState>, text: String) -> StatusCode {
    // Sending fails only if there are no subscribers.
    drop(state.events.send(text));
    StatusCode::NO_CONTENT
}
