//! Connections as browsers use them: with other requests before the one for events, kept open for
//! later requests, or opened without any request yet.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use prism_sse::{Manager, Retention, SseLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(10);

const LARGE: usize = 8 << 20;

async fn read_until(stream: &mut TcpStream, what: &str) -> String {
    let mut seen = String::new();
    let mut buf = [0; 4096];
    while !seen.contains(what) {
        let len = timeout(DEADLINE, stream.read(&mut buf)).await;
        let len = len.unwrap_or_else(|_| panic!("{what:?} does not come: {seen:?}")).unwrap();
        assert!(len > 0, "the end before {what:?}: {seen:?}");
        seen += std::str::from_utf8(&buf[..len]).unwrap();
    }
    seen
}

/// A manager and a connection to a server of its events, which has a receive buffer of its own.
async fn connect() -> (Manager, TcpStream) {
    let sse = Manager::builder().history(Retention::default()).build().unwrap();
    let app = Router::new()
        .route("/", get(|| async { "the page" }))
        .route("/large", post(answer_at_once))
        .route("/other", get(upgrade))
        .layer(SseLayer::new(sse.clone(), "/events"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { prism_sse::serve(listener, app).await });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    (sse, socket.connect(address).await.unwrap())
}

/// Answers before the request has come, and reads it nevertheless. hyper waits for room itself
/// before it goes on after a large body, but not after a large head.
async fn answer_at_once(body: Body) -> impl IntoResponse {
    tokio::spawn(axum::body::to_bytes(body, 16));
    [("large", "~".repeat(LARGE))]
}

async fn upgrade(request: Request) -> impl IntoResponse {
    tokio::spawn(async {
        let mut other = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        other.write_all(b"another protocol").await.unwrap();
    });
    (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "other")])
}

fn get_of(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test]
async fn a_stream_is_handed_over_after_other_requests() {
    let (sse, mut page) = connect().await;
    for _ in 0..3 {
        page.write_all(get_of("/").as_bytes()).await.unwrap();
        read_until(&mut page, "the page").await;
    }
    page.write_all(get_of("/events").as_bytes()).await.unwrap();
    let head = read_until(&mut page, "prism.open").await;
    // Only a stream that was handed over has this header.
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    sse.broadcast("news").unwrap();
    read_until(&mut page, "data: news").await;
}

/// hyper reads the next request before its answer to this one is written, if the rest of this
/// request arrives meanwhile.
#[tokio::test]
async fn no_byte_of_an_earlier_answer_is_lost_in_a_hand_over() {
    let (sse, mut page) = connect().await;
    page.write_all(b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1").await.unwrap();
    let (mut large, mut rest) = (0, Vec::new());
    let mut buf = vec![0; 64 * 1024];
    let mut asked = false;
    while !String::from_utf8_lossy(&rest).contains("prism.open") {
        let len = page.read(&mut buf).await.unwrap();
        assert!(len > 0, "the end after {large} bytes: {:?}", String::from_utf8_lossy(&rest));
        large += buf[..len].iter().filter(|byte| **byte == b'~').count();
        rest.extend(buf[..len].iter().filter(|byte| **byte != b'~'));
        if !std::mem::replace(&mut asked, true) {
            page.write_all(format!("2{}", get_of("/events")).as_bytes()).await.unwrap();
            // The server reads it while its answer waits for room.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert_eq!(large, LARGE, "{}", String::from_utf8_lossy(&rest));
    sse.broadcast("news").unwrap();
    read_until(&mut page, "data: news").await;
}

#[tokio::test]
async fn a_connection_is_upgraded_after_other_requests() {
    let (_sse, mut page) = connect().await;
    page.write_all(get_of("/").as_bytes()).await.unwrap();
    read_until(&mut page, "the page").await;
    let request = "GET /other HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    page.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut page, "another protocol").await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_connections_without_a_request() {
    let app = Router::new().route("/", get(|| async { "the page" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = prism_sse::serve(listener, app)
        .drain(10 * DEADLINE)
        .with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(get_of("/").as_bytes()).await.unwrap();
    read_until(&mut kept, "the page").await;
    stop.send(()).unwrap();
    timeout(DEADLINE, server).await.expect("the server waits").unwrap().unwrap();
}
