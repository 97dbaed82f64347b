//! A server of a key set with scripted answers, and a hub that fetches from it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower_service::Service as _;

use crate::auth::tests::fixture::{ISSUER, KeyPair, NOW, get, mercure, post};
use crate::auth::{AuthError, Clock, KeyError};
use crate::config::Config;
use crate::hub::Hub;
use crate::jwks::{KeySetRefresher, RefreshTiming};

/// A timeout that no test reaches.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A server that gives every request the same answer, and counts the connections.
pub(super) struct KeySetServer {
    pub(super) url: String,
    answer: Arc<Mutex<ServerAnswer>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// The answer of the server.
#[derive(Clone, Debug)]
pub(super) enum ServerAnswer {
    /// These bytes; then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes; then the connection stays open and silent.
    Silence(Vec<u8>),
}

impl ServerAnswer {
    pub(super) fn of(status: &str, headers: &str, body: &str) -> Self {
        let len = body.len();
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\n{headers}\r\n{body}");
        Self::Bytes(text.into_bytes())
    }

    /// A set of the public keys of these pairs, each with its id.
    pub(super) fn keys(pairs: &[(&str, &KeyPair)]) -> Self {
        let keys: Vec<Value> = pairs.iter().map(|(id, pair)| pair.jwk(&[("kid", id)])).collect();
        Self::of("200 OK", "", &json!({ "keys": keys }).to_string())
    }
}

impl KeySetServer {
    pub(super) async fn start(answer: ServerAnswer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(serve(listener, Arc::clone(&answer), Arc::clone(&asked)));
        Self { url, answer, asked, task }
    }

    pub(super) fn now_gives(&self, answer: ServerAnswer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// The number of connections so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Closes every connection from now on without an answer. The port stays bound, so that no
    /// other test gets it.
    pub(super) fn goes_down(&self) {
        self.now_gives(ServerAnswer::Bytes(Vec::new()));
    }
}

impl Drop for KeySetServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<ServerAnswer>>, asked: Arc<AtomicUsize>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        asked.fetch_add(1, Ordering::Relaxed);
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connections.spawn(exchange(stream, answer));
    }
}

async fn exchange(mut stream: TcpStream, answer: ServerAnswer) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    // The client may have closed the connection.
    match answer {
        ServerAnswer::Bytes(bytes) => _ = stream.write_all(&bytes).await.is_ok(),
        ServerAnswer::Silence(bytes) => {
            _ = stream.write_all(&bytes).await.is_ok();
            std::future::pending().await
        }
    }
}

/// A timing in which nothing happens unless a test asks for it.
pub(super) const TIMING: RefreshTiming = RefreshTiming {
    fetch_timeout: PATIENCE,
    interval: Duration::from_secs(3600),
    min_interval: Duration::ZERO,
    startup_timeout: Duration::ZERO,
};

/// A hub, its clock, and its refresher.
pub(super) struct TestHub {
    pub(super) hub: Hub,
    pub(super) now: Arc<AtomicU64>,
    pub(super) refresher: KeySetRefresher,
}

impl TestHub {
    /// A hub whose only keys are those of a server.
    pub(super) fn new(endpoint: &KeySetServer, timing: RefreshTiming) -> Self {
        Self::of(&["--jwks", &endpoint.url], timing)
    }

    pub(super) fn of(args: &[&str], timing: RefreshTiming) -> Self {
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = Arc::clone(&now);
        let clock = Clock::from_fn(move || clock.load(Ordering::Relaxed));
        let args = [&["--engine", "memory"], args].concat();
        let hub = Hub::new(Config::from_args(args).unwrap(), clock).unwrap();
        hub.set_ready(true);
        let (config, rules, metrics) =
            (hub.config().clone(), hub.rules().clone(), hub.metrics().clone());
        Self { hub, now, refresher: KeySetRefresher::new(config, rules, metrics, timing) }
    }

    pub(super) async fn started(endpoint: &KeySetServer) -> Self {
        let mut fixture = Self::new(endpoint, TIMING);
        fixture.refresher.start().await.unwrap();
        fixture
    }

    /// Fetches the key set now, before it is due.
    pub(super) async fn refresh(&mut self) -> Result<(), KeyError> {
        self.refresher.next_fetch.values_mut().for_each(|due| *due = Instant::now());
        self.refresher.next_result().await.1
    }

    pub(super) fn publishes(&self, token: &str) -> Result<(), AuthError> {
        let request = post(&[("authorization", &format!("Bearer {token}"))]);
        self.hub.rules().current().authority.publisher(&request).map(drop)
    }

    pub(super) fn reads(&self, token: &str) -> Result<(), AuthError> {
        let request = get("/events", &[("authorization", &format!("Bearer {token}"))]);
        self.hub.rules().current().authority.subscriber(&request).map(drop)
    }

    /// The text of the metrics.
    pub(super) async fn metrics(&self) -> String {
        let request = http::Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = crate::api::admin_router(&self.hub).call(request).await.unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// The statuses of a publish by each of these tokens.
    pub(super) fn statuses<const N: usize>(&self, tokens: [&str; N]) -> [u16; N] {
        tokens.map(|token| status(&self.hub, token))
    }
}

/// The status of a publish by a token.
pub(super) fn status(hub: &Hub, token: &str) -> u16 {
    let request = post(&[("authorization", &format!("Bearer {token}"))]);
    let rights = hub.rules().current().authority.publisher(&request);
    rights.map_or_else(|error| error.status().as_u16(), |_| 200)
}

/// A token of draft-07 that grants everything, with this key id.
pub(super) fn token(id: &str, pair: &KeyPair) -> String {
    let header = format!(r#"{{"alg":"{:?}","kid":"{id}"}}"#, pair.algorithm);
    let claims = mercure(&["*"]).to_string();
    crate::auth::tests::fixture::sign(&header, &claims, &pair.signing, pair.algorithm)
}

/// A token of draft-08 of this issuer that grants everything.
pub(super) fn token_of(issuer: &str, pair: &KeyPair) -> String {
    let header = format!(r#"{{"alg":"{:?}","typ":"at+jwt"}}"#, pair.algorithm);
    let detail = crate::auth::tests::fixture::detail(json!([{"match": "*"}]));
    let mut claims = crate::auth::tests::fixture::details(json!([detail]));
    claims["iss"] = issuer.into();
    claims["exp"] = (NOW + 1_000_000).into();
    crate::auth::tests::fixture::sign(&header, &claims.to_string(), &pair.signing, pair.algorithm)
}

/// Arguments of a hub that trusts [`ISSUER`] and [`OTHER_ISSUER`], each with its key set.
pub(super) fn of_two<'a>(first: &'a str, other: &'a str) -> Vec<&'a str> {
    vec![
        "--public-url",
        "https://hub.example",
        "--issuer",
        ISSUER,
        "--issuer",
        OTHER_ISSUER,
        "--jwks",
        first,
        "--jwks",
        other,
    ]
}

pub(super) const OTHER_ISSUER: &str = "https://other.example";
