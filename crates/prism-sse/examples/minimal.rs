//! The shortest example: every page that reads `/events` shows a running counter.

mod server;

use std::time::Duration;

use axum::{Router, response::Html, routing::get};
use prism_sse::{Manager, SseLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sse = Manager::new();
    let app = Router::new()
        .route("/", get(Html(include_str!("minimal.html"))))
        .layer(SseLayer::new(sse.clone(), "/events"));

    let clock = sse.clone();
    tokio::spawn(async move {
        for second in 0.. {
            clock.broadcast(format!("second {second}"))?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<(), prism_sse::PublishError>(())
    });

    // This is `axum::serve(listener, app)` or `prism_sse::serve(listener, app)`.
    Ok(server::run(app, sse).await?)
}
