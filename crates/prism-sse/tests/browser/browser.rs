//! A browser for one test.

use std::time::Instant;

use fantoccini::wd::{Capabilities, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::process::{Process, TemporaryDirectory};
use crate::wait::{DEADLINE, PAUSE};

/// Permits for browsers that run at the same time. More of them are slower on two processors.
static BROWSER_PERMITS: Semaphore = Semaphore::const_new(2);

/// Headless, and silent: a browser in a test talks to nobody but the test's servers.
const ARGUMENTS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    // A screenshot must not be taken in the middle of an animation.
    "--force-prefers-reduced-motion",
];

/// A Chromium with a profile of its own, and the driver that controls it. Dropping it ends both.
///
/// Chromium's crash handlers are in other process groups. They end when Chromium does.
pub(crate) struct Browser {
    client: Client,
    // Dropped in this order: the processes use the directory until they end.
    _driver: Process,
    _directory: TemporaryDirectory,
    _permit: SemaphorePermit<'static>,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        Self::sized(1280, 800).await
    }

    /// A browser whose pages have exactly this size, which may be narrower than a window can be.
    pub(crate) async fn sized(width: u32, height: u32) -> Self {
        Self::launch(width, height, &[]).await
    }

    /// A browser that is started with more arguments.
    pub(crate) async fn launch(width: u32, height: u32, more: &[&str]) -> Self {
        let permit = BROWSER_PERMITS.acquire().await.expect("the semaphore is never closed");
        let directory = TemporaryDirectory::new();

        let (driver, port) = start_driver(&directory).await;

        let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
        let arguments: Vec<&str> =
            ARGUMENTS.iter().chain(more).copied().chain([profile.as_str()]).collect();
        let screen = json!({
            "width": width, "height": height, "pixelRatio": 1.0, "mobile": false, "touch": false,
        });
        let options = json!({
            "args": arguments, "mobileEmulation": { "deviceMetrics": screen },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(Capabilities::from_iter([
                ("goog:chromeOptions".to_owned(), options),
                // Certificates are made by the tests.
                ("acceptInsecureCerts".to_owned(), json!(true)),
            ]))
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("chromedriver does not start Chromium: {error}"));
        Self { client, _driver: driver, _directory: directory, _permit: permit }
    }

    /// Opens an address in the current tab, and returns when the page is loaded.
    pub(crate) async fn open(&self, url: &str) {
        let opened = self.client.goto(url).await;
        opened.unwrap_or_else(|error| panic!("cannot open {url}: {error}"));
    }

    /// Opens an address in a new tab, which becomes the current one.
    pub(crate) async fn open_tab(&self, url: &str) -> WindowHandle {
        let tab = self.client.new_window(true).await;
        let tab = tab.unwrap_or_else(|error| panic!("no new tab: {error}")).handle;
        self.switch_to(&tab).await;
        self.open(url).await;
        tab
    }

    pub(crate) async fn current_tab(&self) -> WindowHandle {
        let tab = self.client.window().await;
        tab.unwrap_or_else(|error| panic!("there is no current tab: {error}"))
    }

    pub(crate) async fn switch_to(&self, tab: &WindowHandle) {
        let switched = self.client.switch_to_window(tab.clone()).await;
        switched.unwrap_or_else(|error| panic!("cannot switch the tab: {error}"));
    }

    /// What a JavaScript expression is in the current page.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let value = self.client.execute(&format!("return ({expression});"), Vec::new()).await;
        value.unwrap_or_else(|error| panic!("cannot evaluate `{expression}`: {error}"))
    }

    /// Waits until a JavaScript expression is true in the current page, as JavaScript sees it, and
    /// returns its value.
    pub(crate) async fn until(&self, expression: &str) -> Value {
        let start = Instant::now();
        loop {
            let value = self.eval(expression).await;
            if !matches!(&value, Value::Null | Value::Bool(false)) && value != 0 && value != "" {
                return value;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "after {DEADLINE:?}, `{expression}` is still {value}; the page says:\n{}",
                self.eval("document.body.innerText").await,
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The text of the first element that matches a CSS selector.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector('{selector}').textContent")).await;
        text.as_str().expect("the content of an element is a string").to_owned()
    }

    /// Waits until the first element that matches a CSS selector has this text.
    pub(crate) async fn until_text(&self, selector: &str, text: &str) {
        let content = format!("document.querySelector('{selector}').textContent");
        self.until(&format!("{content} === {}", json!(text))).await;
    }

    /// Clicks as a user does: on an element that is in view and that nothing covers.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.client.find(Locator::Css(selector)).await;
        let element = element.unwrap_or_else(|error| panic!("there is no `{selector}`: {error}"));
        let clicked = element.click().await;
        clicked.unwrap_or_else(|error| panic!("cannot click `{selector}`: {error}"));
    }

    /// What the current tab shows, as a PNG.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        let image = self.client.screenshot().await;
        image.unwrap_or_else(|error| panic!("no screenshot: {error}"))
    }
}

/// Starts the driver, and returns its port.
async fn start_driver(directory: &TemporaryDirectory) -> (Process, String) {
    // The driver listens at one port of two addresses, and ends if the port is taken at the second.
    for _ in 0..10 {
        let mut command = Process::command("chromedriver");
        command.arg("--port=0").env("TMPDIR", directory.path());
        let started = Process::try_start(command, "chromedriver", |line| {
            line.strip_prefix("ChromeDriver was started successfully on port ")?.strip_suffix('.')
        });
        if let Some(started) = started.await {
            return started;
        }
    }
    panic!("chromedriver ends again and again before it announces its address");
}
