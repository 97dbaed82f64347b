//! What most axum applications do: axum's own `Sse` on a broadcast channel of tokio.

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

use super::{PUBLISH_PATH, SUBSCRIBE_PATH};

/// Events that wait for the slowest reader.
const CAPACITY: usize = 1024;

#[derive(Clone)]
struct Hub {
    events: Sender<String>,
    heartbeats: bool,
}

pub(super) fn router(heartbeats: bool) -> Router {
    Router::new()
        .route(SUBSCRIBE_PATH, get(subscribe))
        .route(PUBLISH_PATH, post(publish))
        .with_state(Hub { events: Sender::new(CAPACITY), heartbeats })
}

async fn subscribe(State(hub): State<Hub>) -> Response {
    stream(&hub.events, hub.heartbeats)
}

/// A stream of what the channel is sent from now on.
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

async fn publish(State(hub): State<Hub>, text: String) -> StatusCode {
    // An event without readers is nobody's loss.
    drop(hub.events.send(text));
    StatusCode::NO_CONTENT
}
