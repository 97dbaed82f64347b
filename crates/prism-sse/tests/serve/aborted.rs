//! Streams that stay with hyper, and whose readers stop reading: hyper does not poll a body while
//! its bytes wait, so that the server has to end such a stream by itself. These tests last as long
//! as a stall, and run side by side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::response::IntoResponse;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prism_sse::{CloseReason, Manager, OnLag, SseRequest, limits};
use tokio::io::AsyncReadExt;

use crate::slow::{CloseReasons, large, with_close_reasons};
use crate::{Reader, TestServer, connect, within_deadline};

/// Requests whose streams stay with hyper over HTTP/1.
const STAY: [&str; 3] = [
    "GET /events HTTP/1.0\r\nHost: x\r\n\r\n",
    "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
    "GET /events HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
];

/// A server whose streams each hold a permit until they are dropped.
struct WithPermits {
    sse: Manager,
    told: CloseReasons,
    permit: Arc<()>,
    server: TestServer,
}

impl WithPermits {
    async fn start() -> Self {
        let (sse, told) = with_close_reasons(|it| it.on_lag(OnLag::SkipWithGap));
        let permit = Arc::new(());
        let (manager, held) = (sse.clone(), Arc::clone(&permit));
        let events = move |request: SseRequest| {
            let response = manager.respond(request.state(Arc::clone(&held)));
            std::future::ready(response.map(Body::new).into_response())
        };
        let app = Router::new().route("/events", get(events));
        Self { sse, told, permit, server: TestServer::with(app).await }
    }

    /// How many permits the streams hold. The test and the application have one handle each.
    fn held(&self) -> usize {
        Arc::strong_count(&self.permit) - 2
    }

    /// Waits until so many permits are held, and returns how long that took.
    async fn until_held(&self, permits: usize) -> Duration {
        let begin = Instant::now();
        while self.held() != permits {
            assert!(begin.elapsed() < Duration::from_secs(60), "{} are held", self.held());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begin.elapsed()
    }

    /// Waits until so many streams were closed as stalled.
    async fn until_stalled(&mut self, streams: usize) {
        for _ in 0..streams {
            let reason = tokio::time::timeout(Duration::from_secs(60), self.told.recv()).await;
            assert_eq!(reason.unwrap(), Some(CloseReason::Stalled));
        }
    }
}

/// Whether a connection ends by a reset, after what has arrived already.
async fn is_reset(mut reader: Reader) -> bool {
    let mut rest = Vec::new();
    within_deadline(reader.stream.read_to_end(&mut rest)).await.is_err()
}

#[tokio::test]
async fn a_stalled_stream_with_hyper_is_dropped_and_its_connection_reset() {
    let mut it = WithPermits::start().await;
    let mut stuck = Vec::new();
    for request in STAY {
        stuck.push(Reader::request_with_smallest_buffer(it.server.address, request).await);
    }
    let mut healthy = Reader::open(it.server.address).await;
    for what in ["first", "second"] {
        it.sse.broadcast(large(what)).unwrap();
        assert!(healthy.data().await.starts_with(what));
    }
    it.until_stalled(stuck.len()).await;
    let took = it.until_held(1).await;
    assert!(took < limits::STALL / 3, "their permits were held for {took:?} more");
    for reader in stuck {
        assert!(is_reset(reader).await);
    }
    it.sse.broadcast("life goes on").unwrap();
    assert_eq!(healthy.data().await, "life goes on");
    it.server.stop().await;
}

/// Whatever ends a stream that is not read, it is dropped within the stall time.
#[tokio::test]
async fn a_removed_stream_that_is_not_read_is_dropped_within_the_stall_time() {
    let it = WithPermits::start().await;
    let mut stuck = Vec::new();
    for request in STAY {
        stuck.push(Reader::request_with_smallest_buffer(it.server.address, request).await);
    }
    it.sse.broadcast(large("first")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let removed = it.sse.connections().into_iter().filter(|connection| connection.remove());
    assert_eq!(removed.count(), STAY.len());
    let took = it.until_held(0).await;
    assert!(took < limits::STALL + Duration::from_secs(2), "it took {took:?}");
    drop(stuck);
    it.server.stop().await;
}

/// Most bytes that the buffers between the manager and a stuck reader hold beside its own.
#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_no_more_than_the_capacity_says() {
    let it = WithPermits::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let most = prism_sse::serve(listener, Router::new()).capacity().bytes_per_reader as u64;
    for request in STAY {
        let before = it.sse.stats().delivered_bytes;
        let stuck = Reader::request_with_smallest_buffer(it.server.address, request).await;
        let mut given = 0;
        for _ in 0..2000 {
            it.sse.broadcast("x".repeat(1000)).unwrap();
            tokio::task::yield_now().await;
            given = it.sse.stats().delivered_bytes - before;
        }
        assert!(given > 0);
        // The reader's own buffer is the smallest that the system makes.
        assert!(given < most + 8 * 1024, "{given} bytes for {request:?}");
        drop(stuck);
        it.until_held(0).await;
    }
    it.server.stop().await;
}

/// Begins HTTP/2 with streams that take so many bytes before they are read.
async fn http2(server: &TestServer, window: u32) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TokioIo::new(connect(server.address).await);
    let mut client = http2::Builder::new(TokioExecutor::new());
    let begun = within_deadline(client.initial_stream_window_size(window).handshake(stream)).await;
    let (requests, connection) = begun.unwrap();
    tokio::spawn(connection);
    requests
}

async fn listen(requests: &mut http2::SendRequest<Empty<Bytes>>) -> Incoming {
    let request = Request::get("http://x/events").body(Empty::new()).unwrap();
    within_deadline(requests.send_request(request)).await.unwrap().into_body()
}

async fn read_until(body: &mut Incoming, what: &str) {
    let mut seen = String::new();
    while !seen.contains(what) {
        let frame = within_deadline(body.frame()).await.unwrap().unwrap();
        seen += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
}

/// One connection whose streams take nothing at all, and one whose streams take a few bytes.
#[tokio::test]
async fn a_stalled_http2_stream_is_reset_alone() {
    let mut it = WithPermits::start().await;
    let (mut closed, mut narrow) = (http2(&it.server, 0).await, http2(&it.server, 64).await);
    let mut sibling = listen(&mut narrow).await;
    read_until(&mut sibling, "prism.open").await;
    let mut stuck = Vec::new();
    for requests in [&mut closed, &mut narrow] {
        for _ in 0..20 {
            stuck.push(listen(requests).await);
        }
    }
    assert_eq!(it.held(), 41);
    let events = it.sse.clone();
    let publishing = tokio::spawn(async move {
        loop {
            events.broadcast("again and again").unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let reading = tokio::spawn(async move {
        read_until(&mut sibling, "the last").await;
        sibling
    });
    it.until_stalled(40).await;
    let took = it.until_held(1).await;
    assert!(took < limits::STALL / 3, "their permits were held for {took:?} more");
    for mut body in stuck {
        // After what the window let through, the end: a reset, which hyper's client does not tell
        // from a proper end.
        within_deadline(async { while let Some(Ok(_)) = body.frame().await {} }).await;
    }
    publishing.abort();
    // The siblings live: the one that reads, and new ones on both connections.
    let newer = listen(&mut closed).await;
    assert_eq!(it.held(), 2);
    it.sse.broadcast("the last").unwrap();
    drop(within_deadline(reading).await.unwrap());
    drop(newer);
    it.server.stop().await;
}
