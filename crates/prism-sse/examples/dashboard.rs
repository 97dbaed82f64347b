//! Live stock prices on a page that reconnects by itself.

mod server;

use std::convert::Infallible;
use std::time::Duration;

use axum::{Router, response::Html, routing::get};
use prism_sse::{Event, EventName, Manager, SseLayer};

const PRICE_UPDATE: EventName = EventName::from_static("price-update");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sse = Manager::new();
    let app = Router::new()
        .route("/", get(Html(include_str!("dashboard.html"))))
        .layer(SseLayer::new(sse.clone(), "/prices"));
    tokio::spawn(simulate_prices(sse.clone()));
    Ok(server::run(app, sse).await?)
}

async fn simulate_prices(
    sse: Manager,
) -> Result<Infallible, Box<dyn std::error::Error + Send + Sync>> {
    loop {
        let price = 100.0 + 100.0 * fastrand::f64();
        let event = Event::new(format!(r#"{{"symbol":"AAPL","price":{price:.2}}}"#));
        sse.broadcast(event.event(PRICE_UPDATE)?)?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
