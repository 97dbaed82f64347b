//! The page of `prism-hub demo`, used as a person uses it, and photographed.

use std::path::Path;

use super::Hub;
use crate::browser::Browser;

#[tokio::test]
async fn the_demo_shows_prices_orders_and_whatever_is_published() {
    let hub = Hub::start(&["demo", "--listen", "127.0.0.1:0"]).await;
    for (width, height) in [(1280, 800), (390, 844)] {
        let browser = Browser::sized(width, height).await;
        browser.open(&format!("http://{}/", hub.address)).await;
        browser.until_text("#state", "live").await;
        browser.until("shares.size === 4 && ticks > 6").await;

        browser.click("#order").await;
        browser.until("byId('feed').textContent.includes('New order #')").await;
        browser.until("debug && byId('debug-state').className === 'live'").await;
        browser.click("#publish .end button").await;
        browser.until("byId('events').textContent.includes('Hello, World!')").await;
        browser.until("byId('answer').textContent.startsWith('Published as #')").await;

        let root = "document.documentElement";
        let overflows = format!("{root}.scrollWidth > {root}.clientWidth");
        assert_eq!(browser.eval(&overflows).await, false, "the page is wider than {width}");
        photograph(&browser, &format!("hub-demo-{width}x{height}.png")).await;
    }
}

#[tokio::test]
async fn a_cut_line_costs_no_price() {
    let hub = Hub::start(&["demo", "--listen", "127.0.0.1:0"]).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", hub.address)).await;
    browser.until("ticks > 3").await;
    browser.click("#cut").await;
    browser.until_text("#state", "cut").await;
    browser.until("byId('resumed').textContent.startsWith('Back')").await;
    let replayed = browser.eval("Number(byId('resumed').textContent.match(/replayed (\\d+)/)[1])");
    assert!(replayed.await.as_u64() > Some(4), "five seconds of prices");
    browser.until("ticks === lastTick && missed === 0").await;
}

async fn photograph(browser: &Browser, name: &str) {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = temporary.parent().expect("it is in the target directory");
    let directory = target.join("screenshots");
    std::fs::create_dir_all(&directory).expect("the target directory can be written to");
    std::fs::write(directory.join(name), browser.screenshot().await).expect("as can a file in it");
}
