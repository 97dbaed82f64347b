//! Prism SSE as an application uses it: a manager, and a layer on a router.

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prism_sse::{Audience, Manager, Publication, Retention, SseLayer, SseRequest};

use super::contract::{PUBLISH_PATH, PUBLISH_TOPIC_PATH, SUBSCRIBE_PATH, SUBSCRIBE_TOPIC_PATH};
use crate::cli::ServeTargetArgs;

/// No bound on the bytes of the history: it is bounded by its number of events.
const HISTORY_BYTES: usize = 1 << 40;

#[derive(Clone)]
struct LayerState {
    sse: Manager,
    private: bool,
}

pub(super) fn router(args: &ServeTargetArgs) -> Result<Router> {
    let mut builder = Manager::builder();
    if !args.heartbeats {
        builder = builder.no_heartbeat();
    }
    if let Some(events) = args.history {
        builder = builder.history(Retention::default().count(events).bytes(HISTORY_BYTES));
    }
    let sse = builder.build()?;
    Ok(Router::new()
        .route(PUBLISH_PATH, post(publish))
        .route(PUBLISH_TOPIC_PATH, post(publish_to_topic))
        .route(SUBSCRIBE_TOPIC_PATH, get(subscribe_to_topic))
        .with_state(LayerState { sse: sse.clone(), private: args.private })
        .layer(SseLayer::new(sse, SUBSCRIBE_PATH)))
}

async fn publish(State(state): State<LayerState>, text: String) -> StatusCode {
    match state.sse.broadcast(text) {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn publish_to_topic(
    State(state): State<LayerState>,
    Path(topic): Path<String>,
    text: String,
) -> StatusCode {
    let Ok(publication) = Publication::new(topic, text) else { return StatusCode::BAD_REQUEST };
    let publication = if state.private { publication.private() } else { publication };
    match state.sse.append(publication) {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn subscribe_to_topic(
    State(state): State<LayerState>,
    Path(topic): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let audience = Audience::select(topic.as_str()).and_then(|audience| match state.private {
        true => audience.grant(topic.as_str()),
        false => Ok(audience),
    });
    let Ok(audience) = audience else { return StatusCode::BAD_REQUEST.into_response() };
    match SseRequest::new(&method, &headers) {
        Ok(request) => state.sse.respond(request.audience(audience)).map(axum::body::Body::new),
        Err(_) => StatusCode::NOT_ACCEPTABLE.into_response(),
    }
}
