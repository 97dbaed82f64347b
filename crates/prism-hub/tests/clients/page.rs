//! A page in a browser, with the origin of the hub.

use serde_json::{Value, json};

use crate::browser::Browser;

/// An empty page in a browser of its own.
pub(crate) struct Page {
    pub(crate) browser: Browser,
}

impl Page {
    /// Opens a page of this origin. The hub has no pages; its 404 is a document of its origin.
    pub(crate) async fn of(origin: &str) -> Self {
        let browser = Browser::start().await;
        let page = Self { browser };
        page.open(origin).await;
        page
    }

    /// Opens a new page, which keeps the cookies alone.
    pub(crate) async fn open(&self, origin: &str) {
        self.browser.open(&format!("{origin}/")).await;
        self.browser.eval(include_str!("page.js").trim_end()).await;
    }

    /// Opens an `EventSource` and waits until it is open.
    pub(crate) async fn listen(&self, url: &str, names: &[&str]) {
        let before = self.eval("opened").await.as_u64().expect("a number");
        self.call("listen", &[json!(url), json!(names)]).await;
        self.until(&format!("opened > {before}")).await;
    }

    /// Publishes with `fetch`.
    pub(crate) async fn publish(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        token: Option<&str>,
    ) -> Value {
        self.call("publish", &[json!(url), json!(fields), json!(token)]).await
    }

    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.browser.eval(expression).await
    }

    pub(crate) async fn until(&self, expression: &str) -> Value {
        self.browser.until(expression).await
    }

    /// Waits for a message with this data.
    pub(crate) async fn until_message(&self, data: &str) {
        self.until(&format!("messages().includes({})", json!(data))).await;
    }

    pub(crate) async fn call(&self, function: &str, arguments: &[Value]) -> Value {
        let arguments: Vec<String> = arguments.iter().map(Value::to_string).collect();
        self.eval(&format!("{function}({})", arguments.join(", "))).await
    }
}
