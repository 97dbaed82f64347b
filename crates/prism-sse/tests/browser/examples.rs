//! What the pages of the examples show.

use std::process::Command;

use serde_json::json;

use crate::browser::Browser;
use crate::server::Example;

async fn open(name: &'static str) -> (Example, Browser) {
    let example = Example::start(name).await;
    let browser = Browser::start().await;
    browser.open(&example.url("/")).await;
    (example, browser)
}

#[tokio::test]
async fn the_minimal_example_shows_messages() {
    let (_example, browser) = open("minimal").await;
    browser.until("log.children.length >= 3").await;
    assert_eq!(browser.text("#state").await, "live");
    // The page shows consecutive seconds, whenever it is opened.
    let shown = browser.eval("[...log.children].map((item) => item.textContent)").await;
    let shown = shown.as_array().expect("an array of texts");
    let second = shown[0].as_str().and_then(|text| text.strip_prefix("second "));
    let first: u32 = second.and_then(|n| n.parse().ok()).expect("the number of a second");
    let expected = (first..).map(|n| format!("second {n}"));
    for (shown, expected) in shown.iter().zip(expected) {
        assert_eq!(*shown, expected);
    }
}

#[tokio::test]
async fn the_dashboard_example_shows_prices_that_change() {
    let (_example, browser) = open("dashboard").await;
    let is_price = r"/^\$\d{3}\.\d{2}$/.test(price.textContent)";
    browser.until(is_price).await;
    browser.until_text("#state", "live").await;
    assert_eq!(browser.eval("document.getElementById('state').className").await, "live");
    assert_eq!(browser.text("#symbol").await, "AAPL");

    let first = browser.text("#price").await;
    browser.until(&format!("price.textContent !== {}", json!(first))).await;
    assert_eq!(browser.eval(is_price).await, true);
    // One look at both, as the next price may come between two.
    let change = browser.until("change.className && [change.className, change.textContent]").await;
    let text = change[1].as_str().expect("a text");
    match change[0].as_str() {
        Some("up") => assert!(text.starts_with('+'), "{change}"),
        Some("down") => assert!(text.starts_with('-'), "{change}"),
        _ => panic!("{change}"),
    }
    let points = r"line.getAttribute('d').match(/[\d.]+ [\d.]+/g)?.length";
    assert_eq!(browser.eval(&format!("{points} === prices.length")).await, true);
    assert_eq!(browser.eval("prices.length >= 2").await, true);
    assert_eq!(browser.eval("line.getBoundingClientRect().width > 100").await, true);
}

#[tokio::test]
async fn an_order_posted_with_curl_appears_in_every_tab() {
    let (example, browser) = open("notifications").await;
    let first = browser.current_tab().await;
    browser.until_text("#state", "live").await;
    let second = browser.open_tab(&example.url("/")).await;
    browser.until_text("#state", "live").await;

    for order in [1234, 1235] {
        let command = browser.text("#curl").await;
        assert_eq!(command, format!("curl -X POST {}", example.url("/orders")));
        assert_eq!(curl(&command).await, "{\"status\":\"created\"}\n201");
        for tab in [&first, &second] {
            browser.switch_to(tab).await;
            browser.until(&format!("feed.children.length === {}", order - 1233)).await;
            let message = "feed.firstChild.firstChild.textContent";
            assert_eq!(browser.eval(message).await, format!("New order #{order}"));
        }
    }
}

/// Runs the command that the page shows, and returns the answer's body and, in a line of its own,
/// the answer's status.
async fn curl(command: &str) -> String {
    let mut words = command.split(' ');
    let mut curl = Command::new(words.next().expect("a command has a first word"));
    curl.args(words).args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--write-out",
        "\n%{http_code}",
    ]);
    let output = tokio::task::spawn_blocking(move || curl.output()).await;
    let output = output.expect("curl does not panic").expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the answer is text")
}

#[tokio::test]
async fn the_progress_example_runs_a_job_to_its_end() {
    let (_example, browser) = open("progress").await;
    assert_eq!(browser.text("#state").await, "idle");
    // Intermediate states are recorded in the page, because a slow test would miss them.
    let record = "(window.shown = [], window.states = [], \
                   ((plain) => { show = (to) => { shown.push(to.percent); plain(to); }; })(show), \
                   window.EventSource = class extends EventSource { \
                       constructor(url) { super(url); window.source = this; } \
                   }, \
                   new MutationObserver(() => states.push(state.textContent)) \
                       .observe(state, { childList: true }))";
    browser.eval(record).await;
    browser.click("#start").await;

    browser.until_text("#percent", "100 %").await;
    assert_eq!(browser.eval("bar.value").await, 100);
    assert_eq!(browser.text("#state").await, "closed");
    assert_eq!(browser.eval("states").await, json!(["connecting", "live", "closed"]));
    assert_eq!(browser.eval("source.readyState === EventSource.CLOSED").await, true);
    // The page's own 0 before the job began, and then every step of the job.
    let steps: Vec<u32> = [0].into_iter().chain(0..=100).collect();
    assert_eq!(browser.eval("shown").await, json!(steps));
    assert_eq!(browser.text("#step").await, "done");
    assert_eq!(browser.eval("document.getElementById('start').disabled").await, false);
}
