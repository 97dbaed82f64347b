//! When a page reconnects, and that it does.

use std::time::Duration;

use prism_sse::{Audience, Event, Manager, Retention, Start};
use serde_json::json;

use crate::browser::Browser;
use crate::gated_server::GatedServer;

/// The reconnection time of Chromium without a `retry:`.
const CHROMIUM_DEFAULT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_page_reconnects_after_the_retry_time() {
    const SOON: Duration = Duration::from_millis(300);
    const LATE: Duration = Duration::from_secs(5);
    let sse = Manager::builder().retry(SOON).build().unwrap();
    let gated_server = GatedServer::start(&sse).await;
    let browser = gated_server.visit().await;

    // A busy machine may delay a reconnect by seconds, but not three times in a row.
    let mut times_away = Vec::new();
    for attempt in 1..=3 {
        let left = gated_server.cut_off();
        let away = gated_server.request(attempt + 1).await.at - left;
        assert!(away >= SOON, "told to wait {SOON:?}, the page was back after {away:?}");
        browser.until(&format!("opened === {}", attempt + 1)).await;
        times_away.push(away);
        if away < CHROMIUM_DEFAULT {
            break;
        }
    }
    let soon = times_away.iter().any(|away| *away < CHROMIUM_DEFAULT);
    assert!(soon, "told to wait {SOON:?}, the page was away for {times_away:?}");

    sse.broadcast(Event::new("come back late").retry(LATE).unwrap()).unwrap();
    browser.until("messages().includes('come back late')").await;
    let left = gated_server.cut_off();
    let away = gated_server.request(times_away.len() + 2).await.at - left;
    assert!(away >= LATE, "told to wait {LATE:?}, the page was back after {away:?}");
}

#[tokio::test]
async fn a_page_that_is_refused_for_want_of_room_tries_again() {
    let sse = Manager::builder()
        .history(Retention::default())
        .retry(Duration::from_millis(100))
        .max_connections(1)
        .build()
        .unwrap();
    let only_connection = sse.subscribe(Audience::everything(), Start::Now).unwrap();
    let gated_server = GatedServer::start(&sse).await;
    let browser = Browser::start().await;
    browser.open(&gated_server.url()).await;

    // The fourth try means that three were refused.
    gated_server.request(4).await;
    browser.until("statesAfterErrors.length >= 3").await;
    assert_eq!(browser.eval("seen").await, json!([]), "a refusal has no events");

    drop(only_connection);
    browser.until("of('prism.open').length === 1").await;
    sse.broadcast("welcome").unwrap();
    browser.until("messages().includes('welcome')").await;
    assert_eq!(browser.eval("source.readyState === EventSource.OPEN").await, true);
    let given_up = "statesAfterErrors.some((state) => state !== EventSource.CONNECTING)";
    assert_eq!(browser.eval(given_up).await, false, "the page gave up in between");
}
