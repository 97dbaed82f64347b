//! What a page receives after a reconnect.

use std::ops::RangeInclusive;
use std::time::Duration;

use prism_sse::{Manager, ManagerBuilder, Retention};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::gated_server::GatedServer;
use crate::server::Example;

/// Pages reconnect at once; the gate of the server decides when they are answered.
fn with_history(retention: Retention) -> ManagerBuilder {
    Manager::builder().history(retention).retry(Duration::from_millis(50))
}

fn publish(sse: &Manager, numbers: RangeInclusive<u32>) {
    for number in numbers {
        sse.broadcast(number.to_string()).expect("a small event is taken");
    }
}

/// The numbers as the page records them.
fn recorded(numbers: impl Iterator<Item = u32>) -> Value {
    numbers.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn events_published_while_away_arrive_once_and_in_order() {
    let sse = with_history(Retention::default()).build().unwrap();
    let gated_server = GatedServer::start(&sse).await;
    let browser = gated_server.visit().await;
    assert_eq!(gated_server.request(1).await.last_event_id, None);
    publish(&sse, 1..=3);
    browser.until("messages().includes('3')").await;

    for (visit, first) in [(2, 10), (3, 20), (4, 30)] {
        let last_id = browser.eval("seen.at(-1).id").await;
        gated_server.close_gate();
        gated_server.cut_off();
        publish(&sse, first..=first + 4);
        let request = gated_server.request(visit).await;
        assert_eq!(request.last_event_id.as_deref(), last_id.as_str(), "visit {visit}");
        publish(&sse, first + 5..=first + 8);
        gated_server.open_gate();
        // The last event is live. All replayed events come before it, and so would repeated ones.
        browser.until(&format!("opened === {visit}")).await;
        publish(&sse, first + 9..=first + 9);
        browser.until(&format!("messages().includes('{}')", first + 9)).await;
    }

    assert_eq!(browser.eval("messages()").await, recorded((1..=3).chain(10..=39)));
    let ids = "of('message').map((event) => event.id)";
    assert_eq!(browser.eval(&format!("new Set({ids}).size")).await, 33, "ids are not distinct");
    assert_eq!(browser.eval("of('prism.gap')").await, json!([]));
}

#[tokio::test]
async fn a_page_cut_off_before_its_first_event_misses_none() {
    let sse = with_history(Retention::default()).build().unwrap();
    let gated_server = GatedServer::start(&sse).await;
    let browser = gated_server.visit().await;
    browser.until("of('prism.open').length === 1").await;
    assert_eq!(browser.eval("seen.length").await, 1, "there was no event yet");

    gated_server.close_gate();
    gated_server.cut_off();
    assert_eq!(gated_server.requests(), 1);
    publish(&sse, 1..=10);
    let request = gated_server.request(2).await;
    let opening = browser.eval("seen[0].id").await;
    assert!(opening != "" && request.last_event_id.as_deref() == opening.as_str(), "{request:?}");
    gated_server.open_gate();

    browser.until("messages().includes('10')").await;
    assert_eq!(browser.eval("messages()").await, recorded(1..=10));
    assert_eq!(browser.eval("of('prism.gap')").await, json!([]));
}

#[tokio::test]
async fn a_page_whose_events_expired_gets_a_gap_and_what_is_retained() {
    let sse = with_history(Retention::default().count(3)).build().unwrap();
    let gated_server = GatedServer::start(&sse).await;
    let browser = gated_server.visit().await;
    publish(&sse, 1..=1);
    browser.until("messages().includes('1')").await;

    gated_server.close_gate();
    gated_server.cut_off();
    publish(&sse, 2..=9);
    let request = gated_server.request(2).await;
    gated_server.open_gate();
    browser.until("messages().includes('9')").await;

    let after_reconnect = "seen.slice(seen.findLastIndex((event) => event.type === 'prism.open'))";
    let types = browser.eval(&format!("{after_reconnect}.map((event) => event.type)")).await;
    assert_eq!(types, json!(["prism.open", "prism.gap", "message", "message", "message"]));
    assert_eq!(browser.eval("messages()").await, json!(["1", "7", "8", "9"]));
    let gap = browser.eval("JSON.parse(of('prism.gap')[0].data)").await;
    assert_eq!(gap["reason"], "expired");
    assert_eq!(gap["after"].as_str(), request.last_event_id.as_deref());
    assert_eq!(gap["resumed_at"], browser.eval("of('prism.gap')[0].id").await);
}

/// The example's page, connected and with a tick received.
async fn ticking(example: &Example) -> Browser {
    let browser = Browser::start().await;
    browser.open(&example.url("/")).await;
    browser.until("document.querySelectorAll('.tick').length > 0").await;
    browser.until_text("#state", "live").await;
    browser
}

#[tokio::test]
async fn the_resume_example_replays_what_a_cut_page_missed() {
    let example = Example::start("resume").await;
    let browser = ticking(&example).await;
    assert_eq!(browser.text("#replayed").await, "0");

    browser.click("#cut").await;
    browser.until("document.querySelectorAll('.reconnect').length === 1").await;
    browser.until("document.querySelectorAll('.tick.replayed').length > 0").await;
    // Only a live tick after the replay shows that no tick before it is missing.
    browser.until("timeline.firstChild.className === 'tick'").await;
    browser.until_text("#state", "live").await;

    assert_ne!(browser.text("#replayed").await, "0");
    assert_eq!(browser.text("#missing").await, "0");
    assert_eq!(browser.text("#gaps").await, "0");
    assert_eq!(browser.text("#problem").await, "");
}

#[tokio::test]
async fn the_resume_example_shows_a_gap_after_a_restart() {
    let example = Example::start("resume").await;
    let browser = ticking(&example).await;
    let listen =
        "source.addEventListener('prism.gap', (e) => { window.gap = JSON.parse(e.data); })";
    browser.eval(listen).await;

    let _example = example.restart().await;
    browser.until("document.querySelectorAll('.gap').length === 1").await;
    assert_eq!(browser.eval("gap.reason").await, "epoch");
    let row = browser.text(".gap").await;
    assert!(row.starts_with("Gap: the server restarted and its memory is gone"), "{row}");
    browser.until("timeline.firstChild.className.startsWith('tick')").await;
    browser.until_text("#state", "live").await;
    assert_eq!(browser.text("#gaps").await, "1");
    assert_eq!(browser.text("#missing").await, "0", "a told gap is not a silent loss");
}
