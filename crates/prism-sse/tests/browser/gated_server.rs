//! A server that records requests for events, and answers none of them while its gate is closed.
//!
//! The gate lets a test decide how long a page is disconnected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Html;
use axum::routing::get;
use prism_sse::{Manager, SseLayer};
use tokio::sync::watch;

use crate::browser::Browser;
use crate::server::Server;
use crate::wait::wait_for;

/// One request for events.
#[derive(Clone, Debug)]
pub(crate) struct EventsRequest {
    pub(crate) at: Instant,
    pub(crate) last_event_id: Option<String>,
}

pub(crate) struct GatedServer {
    sse: Manager,
    requests: Arc<Mutex<Vec<EventsRequest>>>,
    gate: watch::Sender<bool>,
    server: Server,
}

impl GatedServer {
    /// Serves `recorder.html` and, while the gate is open, the manager's events.
    pub(crate) async fn start(sse: &Manager) -> Self {
        let requests = Arc::<Mutex<Vec<EventsRequest>>>::default();
        let (gate, opening) = watch::channel(true);
        let recorded = Arc::clone(&requests);
        let admit = move |request: Request, next: Next| {
            let recorded = Arc::clone(&recorded);
            let mut opening = opening.clone();
            async move {
                if request.uri().path() == "/events" {
                    let id = request.headers().get("last-event-id");
                    let id = id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
                    lock(&recorded).push(EventsRequest { at: Instant::now(), last_event_id: id });
                    // The sender is dropped when the test is over; then the answer does not matter.
                    drop(opening.wait_for(|open| *open).await);
                }
                next.run(request).await
            }
        };
        let app = Router::new()
            .route("/", get(Html(include_str!("recorder.html"))))
            .layer(SseLayer::new(sse.clone(), "/events"))
            .layer(from_fn(admit));
        Self { sse: sse.clone(), requests, gate, server: Server::start(app, sse).await }
    }

    /// A page that records everything, connected.
    pub(crate) async fn visit(&self) -> Browser {
        let browser = Browser::start().await;
        browser.open(&self.url()).await;
        browser.until("opened === 1").await;
        browser
    }

    /// The address of the page that records everything.
    pub(crate) fn url(&self) -> String {
        self.server.url("/")
    }

    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Ends every connection. The pages were connected until the returned instant at least.
    pub(crate) fn cut_off(&self) -> Instant {
        let connections = self.sse.connections();
        assert!(!connections.is_empty(), "there is no connection to cut off");
        let at = Instant::now();
        for connection in connections {
            assert!(self.sse.remove_connection(connection.id()), "a page disconnected by itself");
        }
        at
    }

    /// The first request is number 1. Waits for it.
    pub(crate) async fn request(&self, number: usize) -> EventsRequest {
        let what = format!("request {number} for events");
        wait_for(&what, || lock(&self.requests).get(number - 1).cloned()).await
    }

    pub(crate) fn requests(&self) -> usize {
        lock(&self.requests).len()
    }
}

fn lock(requests: &Mutex<Vec<EventsRequest>>) -> MutexGuard<'_, Vec<EventsRequest>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}
