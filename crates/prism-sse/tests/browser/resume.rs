//! What a page gets that was away.

use std::ops::RangeInclusive;
use std::time::Duration;

use prism_sse::{Manager, ManagerBuilder, Retention};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::gatekeeper::Gatekeeper;
use crate::server::Example;

/// Pages come back at once; how long they are away is the gatekeeper's to say.
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
    let gatekeeper = Gatekeeper::start(&sse).await;
    let browser = gatekeeper.visit().await;
    assert_eq!(gatekeeper.arrival(1).await.last_event_id, None);
    publish(&sse, 1..=3);
    browser.until("messages().includes('3')").await;

    for (visit, first) in [(2, 10), (3, 20), (4, 30)] {
        let last_id = browser.eval("seen.at(-1).id").await;
        gatekeeper.close_gate();
        gatekeeper.cut_off();
        publish(&sse, first..=first + 4);
        let arrival = gatekeeper.arrival(visit).await;
        assert_eq!(arrival.last_event_id.as_deref(), last_id.as_str(), "visit {visit}");
        publish(&sse, first + 5..=first + 8);
        gatekeeper.open_gate();
        // The last one is live. All that is replayed comes before it, and so do doubles.
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
    let gatekeeper = Gatekeeper::start(&sse).await;
    let browser = gatekeeper.visit().await;
    browser.until("of('prism.open').length === 1").await;
    assert_eq!(browser.eval("seen.length").await, 1, "there was no event yet");

    gatekeeper.close_gate();
    gatekeeper.cut_off();
    assert_eq!(gatekeeper.arrivals(), 1);
    publish(&sse, 1..=10);
    let arrival = gatekeeper.arrival(2).await;
    let opening = browser.eval("seen[0].id").await;
    assert!(opening != "" && arrival.last_event_id.as_deref() == opening.as_str(), "{arrival:?}");
    gatekeeper.open_gate();

    browser.until("messages().includes('10')").await;
    assert_eq!(browser.eval("messages()").await, recorded(1..=10));
    assert_eq!(browser.eval("of('prism.gap')").await, json!([]));
}

#[tokio::test]
async fn a_page_that_was_away_too_long_is_told_so_and_gets_what_is_kept() {
    let sse = with_history(Retention::default().count(3)).build().unwrap();
    let gatekeeper = Gatekeeper::start(&sse).await;
    let browser = gatekeeper.visit().await;
    publish(&sse, 1..=1);
    browser.until("messages().includes('1')").await;

    gatekeeper.close_gate();
    gatekeeper.cut_off();
    publish(&sse, 2..=9);
    let arrival = gatekeeper.arrival(2).await;
    gatekeeper.open_gate();
    browser.until("messages().includes('9')").await;

    let after_reconnect = "seen.slice(seen.findLastIndex((event) => event.type === 'prism.open'))";
    let types = browser.eval(&format!("{after_reconnect}.map((event) => event.type)")).await;
    assert_eq!(types, json!(["prism.open", "prism.gap", "message", "message", "message"]));
    assert_eq!(browser.eval("messages()").await, json!(["1", "7", "8", "9"]));
    let gap = browser.eval("JSON.parse(of('prism.gap')[0].data)").await;
    assert_eq!(gap["reason"], "expired");
    assert_eq!(gap["after"].as_str(), arrival.last_event_id.as_deref());
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
    // A live tick after the replay: only it shows a hole before it.
    browser.until("timeline.firstChild.className === 'tick'").await;
    browser.until_text("#state", "live").await;

    assert_ne!(browser.text("#replayed").await, "0");
    assert_eq!(browser.text("#missing").await, "0");
    assert_eq!(browser.text("#gaps").await, "0");
    assert_eq!(browser.text("#problem").await, "");
}

#[tokio::test]
async fn the_resume_example_tells_of_a_restart() {
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
