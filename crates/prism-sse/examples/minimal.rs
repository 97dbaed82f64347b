//! The shortest possible: every page that reads `/events` sees the time go by.

use std::time::Duration;

use axum::{Router, response::Html, routing::get};
use prism_sse::{Manager, SseLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sse = Manager::new();
    let app = Router::new()
        .route("/", get(Html(include_str!("minimal.html"))))
        .layer(SseLayer::new(sse.clone(), "/events"));

    tokio::spawn(async move {
        for second in 0.. {
            sse.broadcast(format!("second {second}"))?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<(), prism_sse::PublishError>(())
    });

    let address = std::env::var("PRISM_LISTEN").unwrap_or("127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
