//! Order notifications: each order that is posted is shown on every open page.

mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router};
use prism_sse::{Event, Manager, SseLayer};
use serde_json::json;

#[derive(Clone)]
struct Shop {
    notifications: Manager,
    next_order: Arc<AtomicU32>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let notifications = Manager::new();
    let shop =
        Shop { notifications: notifications.clone(), next_order: Arc::new(AtomicU32::new(1234)) };
    let app = Router::new()
        .route("/", get(Html(include_str!("notifications.html"))))
        .route("/orders", post(create_order))
        .with_state(shop)
        .layer(SseLayer::new(notifications.clone(), "/notifications"));
    Ok(server::run(app, notifications).await?)
}

async fn create_order(State(shop): State<Shop>) -> Result<impl IntoResponse, String> {
    let number = shop.next_order.fetch_add(1, Ordering::Relaxed);
    let order = json!({"type": "order", "message": format!("New order #{number}")});
    let event = Event::json(&order).and_then(|event| event.event("notification"));

    let notify = event.map(|event| shop.notifications.broadcast(event));
    notify.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok((StatusCode::CREATED, Json(json!({"status": "created"}))))
}
