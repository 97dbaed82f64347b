//! Managers, applications and clients for tests.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue};
use prism_sse::test::Client;
use prism_sse::{Audience, Manager, OneOrMany, Retention, Selector, SseLayer};

use crate::{Page, served};

pub(crate) fn app(sse: &Manager) -> Router {
    Router::new().layer(SseLayer::new(sse.clone(), "/events"))
}

pub(crate) async fn page(sse: &Manager) -> Page {
    client(app(sse), "/events").await
}

/// A client of this path.
pub(crate) async fn client(app: Router, path: &str) -> Page {
    Client::connect(served(app), path).await.unwrap()
}

/// A client that reconnects with this last event id.
pub(crate) async fn page_after(sse: &Manager, id: &str) -> Page {
    let mut headers = HeaderMap::new();
    headers.insert("last-event-id", HeaderValue::from_bytes(id.as_bytes()).unwrap());
    Client::connect_with(served(app(sse)), "/events", headers).await.unwrap()
}

pub(crate) fn select(selectors: impl OneOrMany<Selector>) -> Audience {
    Audience::select(selectors).unwrap()
}

pub(crate) fn with_history() -> Manager {
    Manager::builder().history(Retention::default()).build().unwrap()
}

pub(crate) fn keeping(records: usize) -> Manager {
    Manager::builder().history(Retention::default().count(records)).build().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
