//! Resume and gaps: a page that was disconnected receives what it missed, and gets a gap if its
//! server was restarted and has lost the history in its memory.

mod server;

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, response::Html};
use prism_sse::{Event, Manager, Retention, SseLayer};
use serde_json::json;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let sse =
        Manager::builder().history(Retention::default()).retry(Duration::from_secs(2)).build()?;
    let app = Router::new()
        .route("/", get(Html(include_str!("resume.html"))))
        .route("/cut", post(cut))
        .with_state(sse.clone())
        .layer(SseLayer::new(sse.clone(), "/events"));
    tokio::spawn(tick(sse.clone()));
    Ok(server::run(app, sse).await?)
}

/// Closes every connection. The pages reconnect after the reconnection time that they were sent.
async fn cut(State(sse): State<Manager>) -> StatusCode {
    for connection in sse.connections() {
        connection.remove();
    }
    StatusCode::NO_CONTENT
}

async fn tick(sse: Manager) -> Result<(), Error> {
    for n in 1_u64.. {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let tick = json!({"n": n, "at": at.as_millis() as u64});
        sse.broadcast(Event::json(&tick)?.event("tick")?)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
