//! The page of `prism-hub demo`, and screenshots of it.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::browser::Browser;
use crate::hub::Hub;
use crate::process::Process;
use crate::program::Program;

async fn open() -> (Hub, Browser) {
    let hub = Hub::demo().await;
    let browser = Browser::start().await;
    browser.open(&hub.url("/")).await;
    browser.until_text("#state", "live").await;
    browser.until("document.getElementById('debug-state').className === 'live'").await;
    (hub, browser)
}

/// Runs a command that the page shows, in a shell.
async fn run(line: &str) -> String {
    let mut command = Process::command("sh");
    command.env("NO_PROXY", "*").args(["-c", &format!("{line} --silent; echo")]);
    Program::start(command).line().await
}

/// The cells of the newest row of the debugger with this data.
fn row(data: &str) -> String {
    format!(
        "[...document.querySelectorAll('#events tr')]\
         .map((row) => [...row.children].map((cell) => cell.textContent))\
         .find((cells) => cells[3] === {})",
        json!(data)
    )
}

#[tokio::test]
async fn prices_move_and_none_is_missing_after_a_cut() {
    let (_hub, browser) = open().await;
    browser.until("document.querySelectorAll('#prices li').length === 4").await;
    for share in 1..=4 {
        let price =
            format!("document.querySelector('#prices li:nth-child({share}) b').textContent");
        let first = browser.until(&format!(r"/^\$\d+\.\d\d$/.test({price}) && {price}")).await;
        browser.until(&format!("{price} !== {first}")).await;
    }
    browser.click("#cut").await;
    browser.until("resumed.textContent.startsWith('Back: the hub replayed')").await;
    let resumed = browser.text("#resumed").await;
    let replayed = resumed.split_whitespace().find_map(|word| word.parse::<u32>().ok());
    assert!(replayed.is_some_and(|count| count > 0), "{resumed}");
    assert!(resumed.contains("none is missing"), "{resumed}");
    browser.until_text("#state", "live").await;
    assert_eq!(browser.text("#missed").await, "0");
    assert_eq!(browser.eval("cut.disabled").await, false);
}

/// README.md promises this.
#[tokio::test]
async fn after_kill_9_and_a_new_start_the_page_misses_no_price_and_gets_none_twice() {
    let (hub, browser) = open().await;
    browser.until("ticks > 8").await;
    let hub = hub.kill_and_restart().await;
    browser.until_text("#state", "live").await;
    let ticks = browser.eval("ticks").await;
    browser.until(&format!("ticks > {ticks} + 4")).await;
    // Every price has a number, one higher than the last.
    assert_eq!(browser.eval("lastTick - ticks").await, 0);
    assert_eq!(browser.text("#missed").await, "0");
    let told = browser.text("#resumed").await;
    assert!(told.starts_with("The browser reconnects by itself"), "{told}");
    // The debugger reconnects too.
    browser.until("document.getElementById('debug-state').className === 'live'").await;
    hub.publish(&[("topic", "orders"), ("type", "notification"), ("data", "after")]).await;
    browser.until_text("#feed li span", "after").await;
    browser.until(&row("after")).await;
}

#[tokio::test]
async fn orders_by_button_and_by_the_shown_line_appear() {
    let (hub, browser) = open().await;
    browser.click("#order").await;
    browser.until("feed.children.length === 1").await;
    let message = browser.text("#feed li span").await;
    assert!(message.starts_with("New order #"), "{message}");

    let line = browser.text("#order-curl").await;
    assert!(line.starts_with(&format!("curl {} ", hub.url("/events"))), "{line}");
    let id = run(&line).await;
    browser.until("feed.children.length === 2").await;
    assert_eq!(browser.text("#feed li code").await, id);
    let number = browser.text("#feed li span").await;
    assert!(line.contains(&number), "{number} is not what {line} says");

    // The page shows an order as text, whatever it contains.
    hub.publish(&[("topic", "orders"), ("type", "notification"), ("data", "<b>5 & 6</b>")]).await;
    browser.until_text("#feed li span", "<b>5 & 6</b>").await;
}

#[tokio::test]
async fn the_debugger_shows_events_and_publishes() {
    let (hub, browser) = open().await;
    // With the button, and with the equivalent command.
    browser.click("#publish button:not([type])").await;
    let cells = browser.until(&row("Hello, World!")).await;
    assert_eq!(cells[2], "message", "{cells}");
    let time = r"/^\d\d:\d\d:\d\d$/";
    assert_eq!(browser.eval(&format!("{time}.test({})", cells[0])).await, true, "{cells}");
    let answer = browser.text("#answer").await;
    assert_eq!(answer, format!("Published as {}", cells[1].as_str().unwrap()));

    let hard = "it's 100% <b>&\n'two' \\ lines + $HOME";
    let fill = format!(
        "(data.value = {}, document.getElementById('name').value = 'greeting', \
         document.getElementById('publish').oninput(), true)",
        json!(hard)
    );
    browser.eval(&fill).await;
    let id = run(&browser.text("#publish-curl").await).await;
    let cells = browser.until(&row(hard)).await;
    assert_eq!((&cells[1], &cells[2]), (&json!(id), &json!("greeting")));

    // A click on an id resumes after it.
    hub.publish(&[("topic", "orders"), ("data", "last")]).await;
    browser.until(&row("last")).await;
    browser.eval("document.getElementById('clear').click()").await;
    browser.eval(&format!("(after.value = {}, disconnect(), subscribe(), true)", json!(id))).await;
    browser.until(&row("last")).await;
    assert_eq!(browser.eval("events.children.length").await, 1);

    // Refusals are shown.
    browser.eval("(topics.value = 'x'.repeat(10_000), disconnect(), subscribe(), true)").await;
    browser.until("document.getElementById('debug-state').className === 'refused'").await;
}

/// Width and height of the screenshots: a wide page, and one as narrow as a phone.
const SIZES: [(u32, u32); 2] = [(1280, 800), (390, 844)];

/// Takes the screenshots `target/screenshots/demo-*.png`.
#[tokio::test]
async fn screenshots_are_taken_in_every_size_and_scheme() {
    let directory = directory();
    std::fs::create_dir_all(&directory).expect("the target directory can be written to");
    let hub = Hub::demo().await;
    for (width, height) in SIZES {
        for (scheme, more) in [("light", &[][..]), ("dark", &["--force-dark-mode"])] {
            let browser = Browser::launch(width, height, more).await;
            browser.open(&hub.url("/")).await;
            let is_dark = "matchMedia('(prefers-color-scheme: dark)').matches";
            assert_eq!(browser.eval(is_dark).await, scheme == "dark");
            browser.until("document.getElementById('debug-state').className === 'live'").await;
            browser.eval("document.getElementById('order').click()").await;
            browser.eval("document.querySelector('#publish button:not([type])').click()").await;
            browser.until("feed.children.length > 0 && events.children.length > 1").await;
            browser.until("ticks > 15").await;
            let root = "document.documentElement";
            let overflows = format!("{root}.scrollWidth > {root}.clientWidth");
            assert_eq!(browser.eval(&overflows).await, false, "it is wider than {width}");
            let parts = [("top", "body"), ("debugger", "#debugger-title")];
            for (part, selector) in parts {
                let element = format!("document.querySelector('{selector}')");
                browser.eval(&format!("{element}.scrollIntoView()")).await;
                let path = directory.join(format!("demo-{part}-{scheme}-{width}x{height}.png"));
                let image = browser.screenshot().await;
                assert!(image.len() > 8 * 1024, "{}: is it blank?", path.display());
                std::fs::write(&path, image)
                    .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
            }
        }
    }
}

fn directory() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().expect("it is in the target directory").join("screenshots")
}
