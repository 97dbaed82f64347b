//! The page of `prism-hub demo`: live prices, orders and a debugger.
//!
//! The page uses the hub's public HTTP API alone. This module serves its files and publishes the
//! prices.

use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{Audience, Event, EventName, PublishError, Selector, Start, Topic};
use serde_json::{Value, json};

use crate::hub::Hub;

const PAGE: &str = include_str!("demo/page.html");
const SCRIPT: &str = include_str!("demo/script.js");
const STYLE: &str = include_str!("demo/style.css");

/// The page loads nothing from other origins and runs no inline scripts.
const CONTENT_POLICY: &str =
    "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'";

const PRICE_UPDATE: EventName = EventName::from_static("price-update");

/// Time between two price updates.
const UPDATE_INTERVAL: Duration = Duration::from_millis(600);

/// The symbols of the shares, and their first prices.
const SHARES: [(&str, f64); 4] =
    [("AAPL", 142.5), ("MSFT", 318.2), ("NVDA", 121.7), ("TSLA", 204.9)];

/// The files of the page.
pub(crate) fn router() -> Router {
    let file = |content_type: &'static str, text: &'static str| {
        get(move || async move { file_response(content_type, text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", PAGE))
        .route("/demo.css", file("text/css; charset=utf-8", STYLE))
        .route("/demo.js", file("text/javascript; charset=utf-8", SCRIPT))
}

/// Publishes a price in regular intervals, without end.
pub(crate) async fn publish_prices(hub: Hub) {
    let mut prices = SHARES;
    let last = last_tick(&hub).await;
    for tick in last + 1.. {
        let share = &mut prices[(tick % SHARES.len() as u64) as usize];
        // At most 1 % up or down. Without a random number the price falls, which is good enough.
        let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        share.1 *= 1.0 + (random - 0.5) / 50.0;
        if let Err(error) = publish_price(&hub, *share, tick) {
            tracing::warn!("a price was not published: {error}");
        }
        tokio::time::sleep(UPDATE_INTERVAL).await;
    }
}

/// The number of the newest price that an earlier run of the demo published; 0 if there is none.
async fn last_tick(hub: &Hub) -> u64 {
    let prices =
        Selector::template("prices/{symbol}").ok().and_then(|it| Audience::select(it).ok());
    let newest = prices.map(|prices| hub.events().subscribe(prices, Start::Latest));
    let Some(Ok(mut newest)) = newest else { return 0 };
    // It ends once what there is was read.
    if let Some(handle) = newest.handle() {
        handle.remove();
    }
    let (mut last, mut parser) = (0, Parser::new());
    while let Some(Ok(frame)) = newest.frame().await {
        let Ok(bytes) = frame.into_data() else { continue };
        let mut bytes = &*bytes;
        while let Some(parsed) = parser.next(&mut bytes) {
            let Parsed::Event(event) = parsed else { continue };
            let price: Value = serde_json::from_str(&event.data).unwrap_or_default();
            last = last.max(price["tick"].as_u64().unwrap_or_default());
        }
    }
    last
}

/// Publishes one price. The tick numbers are consecutive, so that the page can check that it missed
/// none.
fn publish_price(hub: &Hub, (symbol, price): (&str, f64), tick: u64) -> Result<(), PublishError> {
    let price = (price * 100.0).round() / 100.0;
    let data = json!({"symbol": symbol, "price": price, "tick": tick}).to_string();
    let Ok(event) = Event::new(data).event(PRICE_UPDATE) else { return Ok(()) };
    let topic = Topic::try_from(format!("prices/{symbol}").as_str())?;
    hub.events().publish(topic, event).map(drop)
}

fn file_response(content_type: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers: [(HeaderName, &'static str); 3] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
