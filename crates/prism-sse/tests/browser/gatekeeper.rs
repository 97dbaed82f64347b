//! A server that notes who comes for events, and lets nobody in while its gate is closed.
//!
//! With the gate closed a page is away for as long as a test wants, not for as long as it happens
//! to take.

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
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) last_event_id: Option<String>,
}

pub(crate) struct Gatekeeper {
    sse: Manager,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    gate: watch::Sender<bool>,
    server: Server,
}

impl Gatekeeper {
    /// Serves `recorder.html` and, while the gate is open, the manager's events.
    pub(crate) async fn start(sse: &Manager) -> Self {
        let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
        let (gate, opening) = watch::channel(true);
        let noted = Arc::clone(&arrivals);
        let admit = move |request: Request, next: Next| {
            let noted = Arc::clone(&noted);
            let mut opening = opening.clone();
            async move {
                if request.uri().path() == "/events" {
                    let id = request.headers().get("last-event-id");
                    let id = id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
                    lock(&noted).push(Arrival { at: Instant::now(), last_event_id: id });
                    // An error means that the test is over; so is this request, then.
                    drop(opening.wait_for(|open| *open).await);
                }
                next.run(request).await
            }
        };
        let app = Router::new()
            .route("/", get(Html(include_str!("recorder.html"))))
            .layer(SseLayer::new(sse.clone(), "/events"))
            .layer(from_fn(admit));
        Self { sse: sse.clone(), arrivals, gate, server: Server::start(app, sse).await }
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

    /// Ends every connection. The pages were connected until after the returned instant.
    pub(crate) fn cut_off(&self) -> Instant {
        let connections = self.sse.connections();
        assert!(!connections.is_empty(), "there is nobody to cut off");
        let at = Instant::now();
        for connection in connections {
            assert!(self.sse.remove_connection(connection.id()), "a page went away by itself");
        }
        at
    }

    /// The first request is number 1. Waits for it.
    pub(crate) async fn arrival(&self, number: usize) -> Arrival {
        let what = format!("request {number} for events");
        wait_for(&what, || lock(&self.arrivals).get(number - 1).cloned()).await
    }

    pub(crate) fn arrivals(&self) -> usize {
        lock(&self.arrivals).len()
    }
}

fn lock(arrivals: &Mutex<Vec<Arrival>>) -> MutexGuard<'_, Vec<Arrival>> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}
