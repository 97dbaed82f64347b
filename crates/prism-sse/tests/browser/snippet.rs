//! The few lines of JavaScript that a page needs, unchanged.

use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use prism_sse::{Event, Manager, SseLayer};

use crate::browser::Browser;
use crate::server::Server;
use crate::wait::wait_for;

fn prices() -> (Manager, Router) {
    let sse = Manager::builder().retry(Duration::from_millis(100)).build();
    let sse = sse.expect("the settings are valid");
    let app = Router::new()
        .route("/", get(Html(include_str!("snippet.html"))))
        .layer(SseLayer::new(sse.clone(), "/prices"));
    (sse, app)
}

async fn publish(sse: &Manager, data: &str) {
    wait_for("a page reads the prices", || (sse.connection_count() > 0).then_some(())).await;
    let event = Event::new(data).event("price-update").expect("the name is valid");
    sse.broadcast(event).expect("a small event is taken");
}

#[tokio::test]
async fn the_few_lines_of_javascript_work_unchanged() {
    let (sse, app) = prices();
    let server = Server::start(app, &sse).await;
    let browser = Browser::start().await;
    browser.open(&server.url("/")).await;
    assert_eq!(browser.text("#price").await, "");

    publish(&sse, r#"{"symbol":"AAPL","price":142.50}"#).await;
    browser.until_text("#price", "$142.5").await;
    publish(&sse, r#"{"symbol":"AAPL","price":143.25}"#).await;
    browser.until_text("#price", "$143.25").await;
    assert_eq!(browser.eval("logged.length").await, 0, "nothing was lost so far");

    let address = server.stop();
    browser.until("logged.includes('Connection lost, reconnecting...')").await;

    let (sse, app) = prices();
    let _server = Server::start_at(address, app, &sse).await;
    publish(&sse, r#"{"symbol":"AAPL","price":144}"#).await;
    browser.until_text("#price", "$144").await;
}
