//! Bodies that an application makes of a connection by hand: they begin as a stream of ours does,
//! and are whatever the application makes of them.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::get;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use prism_sse::{Audience, Manager, Publication, Start};
use tokio::io::AsyncWriteExt;

use crate::{End, LISTEN, Reader, Running, app, connect, with_history};

const MADE: &str = "GET /made HTTP/1.1\r\nHost: x\r\n\r\n";

/// The usual application, and at `/made` what `make` gives.
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

/// The first bytes of a connection that is gone when they arrive.
fn first_bytes(sse: Manager) -> impl Stream<Item = Bytes> + Send {
    stream::once(async move { sse.add_connection().next().await.unwrap() })
}

/// As the first request of its connection, and after another one.
async fn makes(server: &Running) -> [Reader; 2] {
    let fresh = Reader::ask(server.address, MADE).await;
    let hello = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut used = Reader::begin(connect(server.address).await, hello).await;
    let mut answer = [0; 5];
    crate::soon(tokio::io::AsyncReadExt::read_exact(&mut used.stream, &mut answer)).await.unwrap();
    assert_eq!(&answer, b"hello");
    [fresh, Reader::begin(used.stream, MADE).await]
}

#[tokio::test]
async fn a_body_whose_connection_is_gone_is_served_to_its_end_and_ends_no_shard() {
    let sse = with_history();
    let server = Running::with(with_made(&sse, first_bytes)).await;
    let mut before = Reader::open(server.address).await;
    for mut made in makes(&server).await {
        let (events, end) = made.rest().await;
        assert_eq!((events.len(), end), (1, End::Clean));
        assert_eq!(events[0].name, "prism.open");
    }
    // The only shard has those that came before, and takes those that come after.
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

/// The connection ends within the poll that offers it, and another reader begins in its place.
#[tokio::test]
async fn a_place_that_is_another_readers_by_now_is_not_taken() {
    let sse = with_history();
    let others = Arc::new(Mutex::new(Vec::new()));
    let server = Running::with(with_made(&sse, {
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
    for mut made in makes(&server).await {
        let secret = Publication::new("secrets", "for the other one").unwrap().private();
        sse.append(secret).unwrap();
        assert_eq!(made.end().await, End::Clean);
        assert!(!String::from_utf8(made.text).unwrap().contains("for the other one"));
    }
    let others = std::mem::take(&mut *others.lock().unwrap());
    for mut other in others {
        // It is told so at once: nobody waits in its place.
        let mut text = Vec::new();
        while let Some(bytes) = other.next().now_or_never().flatten() {
            text.extend_from_slice(&bytes);
        }
        assert!(String::from_utf8(text).unwrap().contains("for the other one"));
    }
    server.stop().await;
}

#[tokio::test]
async fn what_an_application_changes_later_in_a_stream_is_changed() {
    let sse = with_history();
    let redacted = |sse: Manager| {
        sse.add_connection().map(|bytes| {
            let secret = bytes.windows(6).any(|word| word == b"secret");
            if secret { Bytes::from_static(b"data: [redacted]\n\n") } else { bytes }
        })
    };
    let server = Running::with(with_made(&sse, redacted)).await;
    for mut made in makes(&server).await {
        made.named("prism.open").await;
        sse.broadcast("a secret").unwrap();
        assert_eq!(made.data().await, "[redacted]");
        sse.broadcast("in the open").unwrap();
        assert_eq!(made.data().await, "in the open");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_an_application_cuts_short_ends_there() {
    let sse = with_history();
    let server = Running::with(with_made(&sse, |sse| sse.add_connection().take(2))).await;
    for mut made in makes(&server).await {
        made.named("prism.open").await;
        sse.broadcast("one").unwrap();
        assert_eq!(made.data().await, "one");
        sse.broadcast("two").unwrap();
        let (events, end) = made.rest().await;
        assert_eq!((events.len(), end), (0, End::Clean));
    }
    server.stop().await;
}

/// A stream that does not know at its first poll whether it is one.
#[tokio::test]
async fn a_connection_that_a_body_begins_late_ends_with_the_drain() {
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
    let server = Running::with(with_made(&sse, late)).await;
    let mut made = Reader::ask(server.address, MADE).await;
    begin.send(true).unwrap();
    made.named("prism.open").await;
    sse.broadcast("before the end").unwrap();
    assert_eq!(made.data().await, "before the end");
    server.stop().await;
    let (events, end) = made.rest().await;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!((names, end), (vec!["prism.mark"], End::Clean));
}

#[tokio::test]
async fn a_server_that_served_many_such_bodies_still_gives_streams_to_its_shard() {
    let sse = with_history();
    let server = Running::with(with_made(&sse, first_bytes)).await;
    for _ in 0..20 {
        let mut stream = connect(server.address).await;
        stream.write_all(MADE.as_bytes()).await.unwrap();
        assert_eq!(Reader::of(stream).await.end().await, End::Clean);
        let mut reader = Reader::ask(server.address, LISTEN).await;
        sse.broadcast("it lives").unwrap();
        assert_eq!(reader.data().await, "it lives");
    }
    server.stop().await;
}
