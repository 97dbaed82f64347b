//! HTTP/2 and upgrades, beside event streams on the same listener.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{Serve, SseLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    DEADLINE, End, Reader, TestServer, app, connect, eventually, with_history, within_deadline,
};

type Requests = http2::SendRequest<Empty<Bytes>>;

/// Begins HTTP/2 with prior knowledge.
async fn http2(server: &TestServer) -> Requests {
    let stream = TokioIo::new(connect(server.address).await);
    let begun = within_deadline(http2::handshake(TokioExecutor::new(), stream)).await;
    let (requests, connection) = begun.unwrap();
    tokio::spawn(connection);
    requests
}

async fn listen(requests: &mut Requests) -> Incoming {
    let request = Request::get("http://x/events").body(Empty::new()).unwrap();
    let answer = within_deadline(requests.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body()
}

/// The data of all events up to the end.
async fn all(mut body: Incoming) -> Vec<String> {
    let (mut parser, mut seen) = (Parser::new(), Vec::new());
    while let Some(frame) = within_deadline(body.frame()).await {
        let Ok(bytes) = frame.unwrap().into_data() else { continue };
        let mut rest = &bytes[..];
        while let Some(parsed) = parser.next(&mut rest) {
            match parsed {
                Parsed::Event(event) if event.name == "message" => seen.push(event.data),
                _ => {}
            }
        }
    }
    seen
}

#[tokio::test]
async fn http2_and_http1_share_a_listener_and_see_the_same() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut requests = http2(&server).await;
    let mut bodies = Vec::new();
    for _ in 0..10 {
        bodies.push(listen(&mut requests).await);
    }
    let mut reader = Reader::open(server.address).await;
    assert_eq!(sse.connection_count(), 11);
    let expected: Vec<String> = (0..100).map(|n| format!("event {n}")).collect();
    for event in &expected {
        sse.broadcast(event.as_str()).unwrap();
    }
    for event in &expected {
        assert_eq!(reader.data().await, *event);
    }
    server.stop().await;
    for seen in join_all(bodies.into_iter().map(all)).await {
        assert_eq!(seen, expected);
    }
    assert_eq!(reader.end().await, End::Clean);
}

#[tokio::test]
async fn an_http2_stream_that_is_reset_is_removed_and_others_stay() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut requests = http2(&server).await;
    let stays = listen(&mut requests).await;
    let goes = listen(&mut requests).await;
    assert_eq!(sse.connection_count(), 2);
    drop(goes);
    eventually(|| sse.connection_count() == 1).await;
    sse.broadcast("who is there").unwrap();
    server.stop().await;
    assert_eq!(all(stays).await, ["who is there"]);
}

/// Its client answers every PING.
#[tokio::test]
async fn an_http2_connection_without_an_open_stream_ends_after_the_header_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let sse = with_history();
    let set = |serve: Serve<_, _>| serve.shards(1).header_timeout(TIMEOUT);
    let server = TestServer::configured(app(&sse), set).await;
    let begin = Instant::now();
    let mut never_used = http2(&server).await;
    let mut used = http2(&server).await;
    let stream = listen(&mut used).await;
    while !never_used.is_closed() {
        assert!(begin.elapsed() < DEADLINE, "it is open");
        assert!(used.ready().await.is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begin.elapsed() >= TIMEOUT);
    assert!(never_used.ready().await.is_err());
    tokio::time::sleep(2 * TIMEOUT).await;
    sse.broadcast("it is open").unwrap();
    assert!(!used.is_closed(), "it has an open stream");
    let begin = Instant::now();
    drop(stream);
    eventually(|| used.is_closed()).await;
    assert!(begin.elapsed() >= TIMEOUT);
    server.stop().await;
}

#[tokio::test]
async fn the_streams_of_an_http2_connection_are_bounded() {
    let sse = with_history();
    let server = TestServer::configured(app(&sse), |serve| serve.shards(1).max_http2_streams(3));
    let server = server.await;
    let mut requests = http2(&server).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(listen(&mut requests).await);
    }
    // The client itself waits until there is room for a fourth one.
    let mut more = requests.clone();
    let fourth = tokio::spawn(async move { listen(&mut more).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sse.connection_count(), 3);
    open.pop();
    open.push(within_deadline(fourth).await.unwrap());
    assert_eq!(sse.connection_count(), 3);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_is_upgraded_to_another_protocol() {
    let sse = with_history();
    let upgrade = |mut request: Request<Body>| async move {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut received = [0; 4];
            io.read_exact(&mut received).await.unwrap();
            io.write_all(&received.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
        });
        let headers = [("connection", "upgrade"), ("upgrade", "shout")];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    };
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/shout", get(upgrade))
        .layer(SseLayer::new(sse.clone(), "/events"));
    let server = TestServer::with(app).await;
    let mut reader = Reader::open(server.address).await;
    let shout = "GET /shout HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n";
    let hello = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    // As the first request, as a later one, and with bytes of the new protocol in the same packet.
    for (before, with, after) in [("", "", "abcd"), (hello, "", "abcd"), ("", "abcd", "")] {
        let mut stream = connect(server.address).await;
        stream.write_all(before.as_bytes()).await.unwrap();
        if !before.is_empty() {
            let mut byte = [0];
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\nhello") {
                within_deadline(stream.read_exact(&mut byte)).await.unwrap();
                seen.push(byte[0]);
            }
        }
        stream.write_all(format!("{shout}{with}").as_bytes()).await.unwrap();
        let mut upgraded = Reader::read_head(stream).await;
        assert_eq!(upgraded.status(), 101);
        upgraded.stream.write_all(after.as_bytes()).await.unwrap();
        let mut shouted = [0; 4];
        within_deadline(upgraded.stream.read_exact(&mut shouted)).await.unwrap();
        assert_eq!(&shouted, b"ABCD");
    }
    sse.broadcast("beside it").unwrap();
    assert_eq!(reader.data().await, "beside it");
    server.stop().await;
}

/// The service fails by an error, and by a panic.
#[tokio::test]
async fn a_service_that_fails_closes_its_connection_only() {
    let sse = with_history();
    let inner = app(&sse);
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let mut inner = inner.clone();
        async move {
            match request.uri().path() {
                "/fails" => Err(std::io::Error::other("it fails")),
                "/panics" => panic!("a handler that panics"),
                _ => {
                    let answer: Result<_, Infallible> =
                        tower::Service::call(&mut inner, request).await;
                    Ok(answer.unwrap())
                }
            }
        }
    });
    let server = TestServer::with(service).await;
    let mut reader = Reader::open(server.address).await;
    for path in ["/fails", "/panics"] {
        let mut stream = connect(server.address).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        drop(within_deadline(stream.read_to_end(&mut received)).await);
        assert!(received.is_empty());
    }
    sse.broadcast("unharmed").unwrap();
    assert_eq!(reader.data().await, "unharmed");
    server.stop().await;
}
