//! Prism SSE as an application would use it: a layer on a router, and a manager.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use prism_sse::{Manager, SseLayer};

use super::{PUBLISH_PATH, SUBSCRIBE_PATH};

pub(super) fn router(heartbeats: bool) -> Result<Router> {
    let builder = Manager::builder();
    let sse = if heartbeats { builder } else { builder.no_heartbeat() }.build()?;
    Ok(Router::new()
        .route(PUBLISH_PATH, post(publish))
        .with_state(sse.clone())
        .layer(SseLayer::new(sse, SUBSCRIBE_PATH)))
}

async fn publish(State(sse): State<Manager>, text: String) -> StatusCode {
    match sse.broadcast(text) {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
