//! Bodies that an application makes of a connection itself. They begin as an event stream of a
//! manager does, and the application may change everything after that.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::get;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use prism_sse::{Audience, Manager, Publication, Start};
use tokio::io::AsyncWriteExt;

use crate::{End, LISTEN, Reader, TestServer, app, connect, with_history};

const MADE: &str = "GET /made HTTP/1.1\r\nHost: x\r\n\r\n";

/// The usual application, with the stream that `make` returns at `/made`.
fn with_made<S>(
    sse: &Manager,
    make: impl Fn(Manager) -> S + Clone + Send + Sync + 'static,
) -> Router
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let manager = sse.clone();
    let answer = move || async move {
        let stream = make(manager).map(Ok::<_, io::Error>);
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(Body::from_stream(stream)).unwrap()
    };
    Router::new().route("/made", get(answer)).merge(app(sse))
}

/// The first bytes of a connection that is dropped before they are sent.
fn first_bytes(sse: Manager) -> impl Stream<Item = Bytes> + Send {
    stream::once(async move { sse.add_connection().next().await.unwrap() })
}

/// Requests `/made` twice: as the first request of a connection, and after another request.
async fn request_made_streams(server: &TestServer) -> [Reader; 2] {
    let fresh = Reader::request(server.address, MADE).await;
    let hello = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut used = Reader::request_on(connect(server.address).await, hello).await;
    let mut answer = [0; 5];
    crate::within_deadline(tokio::io::AsyncReadExt::read_exact(&mut used.stream, &mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"hello");
    [fresh, Reader::request_on(used.stream, MADE).await]
}

#[tokio::test]
async fn a_body_whose_connection_was_dropped_is_served_to_its_end_and_does_not_end_the_shard() {
    let sse = with_history();
    let server = TestServer::with(with_made(&sse, first_bytes)).await;
    let mut before = Reader::open(server.address).await;
    for mut made in request_made_streams(&server).await {
        let (events, end) = made.read_to_end().await;
        assert_eq!((events.len(), end), (1, End::Clean));
        assert_eq!(events[0].name, "prism.open");
    }
    // The only shard still serves earlier streams, and adopts later ones.
    let mut after = Reader::open(server.address).await;
    assert!(after.head.contains("connection: close"), "{}", after.head);
    for n in 0..20 {
        sse.broadcast(format!("event {n}")).unwrap();
        for reader in [&mut before, &mut after] {
            assert_eq!(reader.data().await, format!("event {n}"));
        }
    }
    server.stop().await;
}

/// The connection is dropped within the poll that offers it, and another one gets its slot.
#[tokio::test]
async fn a_slot_that_was_given_to_another_connection_is_not_handed_over() {
    let sse = with_history();
    let others = Arc::new(Mutex::new(Vec::new()));
    let server = TestServer::with(with_made(&sse, {
        let others = Arc::clone(&others);
        move |sse| {
            let others = Arc::clone(&others);
            let first = async move {
                let mut connection = sse.add_connection();
                let first = connection.next().await.unwrap();
                drop(connection);
                let audience = Audience::select("secrets").unwrap().grant("secrets").unwrap();
                others.lock().unwrap().push(sse.subscribe(audience, Start::Now).unwrap());
                first
            };
            stream::once(first)
        }
    }))
    .await;
    for mut made in request_made_streams(&server).await {
        let secret = Publication::new("secrets", "for the other one").unwrap().private();
        sse.append(secret).unwrap();
        assert_eq!(made.end().await, End::Clean);
        assert!(!String::from_utf8(made.text).unwrap().contains("for the other one"));
    }
    let others = std::mem::take(&mut *others.lock().unwrap());
    for mut other in others {
        // It receives its event at once.
        let mut text = Vec::new();
        while let Some(bytes) = other.next().now_or_never().flatten() {
            text.extend_from_slice(&bytes);
        }
        assert!(String::from_utf8(text).unwrap().contains("for the other one"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_changes_later_frames_is_served_as_changed() {
    let sse = with_history();
    let redacted = |sse: Manager| {
        sse.add_connection().map(|bytes| {
            let secret = bytes.windows(6).any(|word| word == b"secret");
            if secret { Bytes::from_static(b"data: [redacted]\n\n") } else { bytes }
        })
    };
    let server = TestServer::with(with_made(&sse, redacted)).await;
    for mut made in request_made_streams(&server).await {
        made.named("prism.open").await;
        sse.broadcast("a secret").unwrap();
        assert_eq!(made.data().await, "[redacted]");
        sse.broadcast("in the open").unwrap();
        assert_eq!(made.data().await, "in the open");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_ends_early_ends_there() {
    let sse = with_history();
    let server = TestServer::with(with_made(&sse, |sse| sse.add_connection().take(2))).await;
    for mut made in request_made_streams(&server).await {
        made.named("prism.open").await;
        sse.broadcast("one").unwrap();
        assert_eq!(made.data().await, "one");
        sse.broadcast("two").unwrap();
        let (events, end) = made.read_to_end().await;
        assert_eq!((events.len(), end), (0, End::Clean));
    }
    server.stop().await;
}

/// A body that has no connection yet when it is polled first.
#[tokio::test]
async fn a_connection_that_a_body_makes_later_ends_with_the_drain() {
    let sse = with_history();
    let (begin, begins) = tokio::sync::watch::channel(false);
    let late = move |sse: Manager| {
        let mut begins = begins.clone();
        let connection = async move {
            begins.wait_for(|begins| *begins).await.unwrap();
            sse.add_connection()
        };
        stream::once(connection).flatten()
    };
    let server = TestServer::with(with_made(&sse, late)).await;
    let mut made = Reader::request(server.address, MADE).await;
    begin.send(true).unwrap();
    made.named("prism.open").await;
    sse.broadcast("before the end").unwrap();
    assert_eq!(made.data().await, "before the end");
    server.stop().await;
    let (events, end) = made.read_to_end().await;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!((names, end), (vec!["prism.mark"], End::Clean));
}

#[tokio::test]
async fn a_server_that_served_many_such_bodies_still_gives_streams_to_its_shard() {
    let sse = with_history();
    let server = TestServer::with(with_made(&sse, first_bytes)).await;
    for _ in 0..20 {
        let mut stream = connect(server.address).await;
        stream.write_all(MADE.as_bytes()).await.unwrap();
        assert_eq!(Reader::read_head(stream).await.end().await, End::Clean);
        let mut reader = Reader::request(server.address, LISTEN).await;
        sse.broadcast("it lives").unwrap();
        assert_eq!(reader.data().await, "it lives");
    }
    server.stop().await;
}
