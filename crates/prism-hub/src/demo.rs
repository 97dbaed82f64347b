//! What a person sees who tries the hub out: live prices, orders, and a debugger, on one page.
//!
//! The page does nothing that any other page could not: it reads and publishes over the hub's HTTP
//! API. Only the prices are made here.

use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use prism_sse::{Event, EventName, PublishError, Topic};
use serde_json::json;

use crate::serve::Hub;

const PAGE: &str = include_str!("demo/page.html");
const SCRIPT: &str = include_str!("demo/script.js");
const STYLE: &str = include_str!("demo/style.css");

/// The page needs nothing from elsewhere, and runs nothing that is written into it.
const POLICY: &str = "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'";

const PRICE_UPDATE: EventName = EventName::from_static("price-update");

/// Time between two prices.
const TICK: Duration = Duration::from_millis(600);

/// What is traded, and at which price it begins.
const SHARES: [(&str, f64); 4] =
    [("AAPL", 142.5), ("MSFT", 318.2), ("NVDA", 121.7), ("TSLA", 204.9)];

/// The page and what it is made of.
pub(crate) fn router() -> Router<Hub> {
    let file =
        |kind: &'static str, text: &'static str| get(move || async move { answer(kind, text) });
    Router::new()
        .route("/", file("text/html; charset=utf-8", PAGE))
        .route("/demo.css", file("text/css; charset=utf-8", STYLE))
        .route("/demo.js", file("text/javascript; charset=utf-8", SCRIPT))
}

/// Publishes a price now and then, for as long as the hub takes them.
pub(crate) async fn trade(hub: Hub) {
    let mut prices = SHARES;
    for tick in 1_u64.. {
        let share = &mut prices[(tick % SHARES.len() as u64) as usize];
        // Up to 1 % up or down. Without randomness the price goes down, and that is all.
        let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        share.1 *= 1.0 + (random - 0.5) / 50.0;
        if let Err(error) = publish(&hub, *share, tick) {
            tracing::warn!("a price was not published: {error}");
        }
        tokio::time::sleep(TICK).await;
    }
}

/// The tick is counted, so that the page can tell that it missed none.
fn publish(hub: &Hub, (symbol, price): (&str, f64), tick: u64) -> Result<(), PublishError> {
    let price = (price * 100.0).round() / 100.0;
    let data = json!({"symbol": symbol, "price": price, "tick": tick}).to_string();
    let Ok(event) = Event::new(data).event(PRICE_UPDATE) else { return Ok(()) };
    let topic = Topic::try_from(format!("prices/{symbol}").as_str())?;
    hub.events().publish(topic, event).map(drop)
}

fn answer(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers: [(HeaderName, &'static str); 3] =
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, POLICY)];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
