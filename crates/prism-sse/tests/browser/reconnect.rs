//! When a page comes back, and that it does.

use std::time::Duration;

use prism_sse::{Audience, Event, Manager, Retention, Start};
use serde_json::json;

use crate::browser::Browser;
use crate::gatekeeper::Gatekeeper;

/// What Chromium waits unless told otherwise.
const DEFAULT_OF_CHROMIUM: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_page_comes_back_when_it_was_told_to() {
    const SOON: Duration = Duration::from_millis(300);
    const LATE: Duration = Duration::from_secs(5);
    let sse = Manager::builder().retry(SOON).build().unwrap();
    let gatekeeper = Gatekeeper::start(&sse).await;
    let browser = gatekeeper.visit().await;

    // A machine that stands still for seconds proves nothing; one of three times it will not.
    let mut times_away = Vec::new();
    for attempt in 1..=3 {
        let left = gatekeeper.cut_off();
        let away = gatekeeper.arrival(attempt + 1).await.at - left;
        assert!(away >= SOON, "told to wait {SOON:?}, the page was back after {away:?}");
        browser.until(&format!("opened === {}", attempt + 1)).await;
        times_away.push(away);
        if away < DEFAULT_OF_CHROMIUM {
            break;
        }
    }
    let soon = times_away.iter().any(|away| *away < DEFAULT_OF_CHROMIUM);
    assert!(soon, "told to wait {SOON:?}, the page was away for {times_away:?}");

    sse.broadcast(Event::new("come back late").retry(LATE).unwrap()).unwrap();
    browser.until("messages().includes('come back late')").await;
    let left = gatekeeper.cut_off();
    let away = gatekeeper.arrival(times_away.len() + 2).await.at - left;
    assert!(away >= LATE, "told to wait {LATE:?}, the page was back after {away:?}");
}

#[tokio::test]
async fn a_page_that_found_no_room_does_not_give_up() {
    let sse = Manager::builder()
        .history(Retention::default())
        .retry(Duration::from_millis(100))
        .max_connections(1)
        .build()
        .unwrap();
    let only_seat = sse.subscribe(Audience::everything(), Start::Now).unwrap();
    let gatekeeper = Gatekeeper::start(&sse).await;
    let browser = Browser::start().await;
    browser.open(&gatekeeper.url()).await;

    // The fourth try means that three were refused.
    gatekeeper.arrival(4).await;
    browser.until("statesAfterErrors.length >= 3").await;
    assert_eq!(browser.eval("seen").await, json!([]), "a refusal has no events");

    drop(only_seat);
    browser.until("of('prism.open').length === 1").await;
    sse.broadcast("welcome").unwrap();
    browser.until("messages().includes('welcome')").await;
    assert_eq!(browser.eval("source.readyState === EventSource.OPEN").await, true);
    let given_up = "statesAfterErrors.some((state) => state !== EventSource.CONNECTING)";
    assert_eq!(browser.eval(given_up).await, false, "the page gave up in between");
}
