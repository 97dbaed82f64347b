//! A page of the hub's origin, and what it does.

use serde_json::{Value, json};

use crate::browser::Browser;

/// An empty page in a browser of its own.
pub(crate) struct Page {
    pub(crate) browser: Browser,
}

impl Page {
    /// A page of this origin. A hub has none of its own, but its answer says so in a document.
    pub(crate) async fn of(origin: &str) -> Self {
        let browser = Browser::start().await;
        let page = Self { browser };
        page.open(origin).await;
        page
    }

    /// Opens a new page, which remembers nothing but cookies.
    pub(crate) async fn open(&self, origin: &str) {
        self.browser.open(&format!("{origin}/")).await;
        self.browser.eval(include_str!("page.js").trim_end()).await;
    }

    /// Listens, and waits until the hub said yes.
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
