//! Layers that change a stream, and the values that layers keep in it.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use prism_sse::Manager;

use crate::{End, Reader, TestServer, app, eventually, with_history};

/// A request whose answer may be handed over, and one whose answer stays with hyper.
const REQUESTS: [&str; 2] =
    [crate::LISTEN, "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"];

/// The application with a layer that replaces each body by another stream.
fn with_layer<S>(
    sse: &Manager,
    change: impl Fn(BodyDataStream) -> S + Clone + Send + Sync + 'static,
) -> Router
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Send + 'static,
{
    app(sse).layer(map_response(move |response: Response| {
        let (head, body) = response.into_parts();
        let body = Body::from_stream(change(body.into_data_stream()));
        ready(Response::from_parts(head, body))
    }))
}

/// Checks that readers receive all events, changed by `seen`, and a clean end.
async fn assert_all_events_arrive(sse: &Manager, app: Router, seen: impl Fn(&str) -> String) {
    let server = TestServer::with(app).await;
    for ask in REQUESTS {
        let mut reader = Reader::request(server.address, ask).await;
        for n in 0..50 {
            sse.broadcast(format!("event {n}")).unwrap();
        }
        for n in 0..50 {
            assert_eq!(reader.data().await, seen(&format!("event {n}")));
        }
        sse.close_only().await;
        assert_eq!(reader.end().await, End::Clean);
    }
    server.stop().await;
}

trait CloseOnly {
    async fn close_only(&self);
}

impl CloseOnly for Manager {
    /// Ends the only connection.
    async fn close_only(&self) {
        assert!(self.connections()[0].remove());
    }
}

#[tokio::test]
async fn a_layer_that_passes_the_body_on_changes_nothing() {
    let sse = with_history();
    assert_all_events_arrive(&sse, with_layer(&sse, |body| body), str::to_owned).await;
}

#[tokio::test]
async fn a_layer_that_rewrites_events_is_applied() {
    let sse = with_history();
    let shout = |bytes: Bytes| Bytes::from(bytes.to_ascii_uppercase());
    let app = with_layer(&sse, move |body| body.map_ok(shout));
    let server = TestServer::with(app).await;
    for ask in REQUESTS {
        let mut reader = Reader::request(server.address, ask).await;
        sse.broadcast("quiet").unwrap();
        reader.wait_for_text("DATA: QUIET\n\n").await;
        sse.broadcast("please").unwrap();
        reader.wait_for_text("DATA: QUIET\n\nID: ").await;
        reader.wait_for_text("DATA: PLEASE\n\n").await;
    }
    server.stop().await;
}

/// The bytes of the first frame are equal but the buffer is not, so that the layer may change later
/// frames.
#[tokio::test]
async fn a_layer_that_copies_frames_is_applied_to_the_end() {
    let sse = with_history();
    let copied = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&copied);
    let app = with_layer(&sse, move |body| {
        let counter = Arc::clone(&counter);
        body.map_ok(move |bytes| {
            counter.fetch_add(1, Ordering::Relaxed);
            Bytes::copy_from_slice(&bytes)
        })
    });
    assert_all_events_arrive(&sse, app, str::to_owned).await;
    assert!(copied.load(Ordering::Relaxed) >= REQUESTS.len() * 2);
}

#[tokio::test]
async fn a_layer_that_prepends_an_event_is_applied() {
    let sse = with_history();
    let first = || stream::once(ready(Ok(Bytes::from_static(b"data: first\n\n"))));
    let app = with_layer(&sse, move |body| first().chain(body));
    let server = TestServer::with(app).await;
    for ask in REQUESTS {
        let mut reader = Reader::request(server.address, ask).await;
        assert_eq!(reader.data().await, "first");
        reader.named("prism.open").await;
        sse.broadcast("second").unwrap();
        assert_eq!(reader.data().await, "second");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_layer_that_delays_the_first_frame_gives_the_same_stream() {
    let sse = with_history();
    let app = with_layer(&sse, |body| {
        let wait = tokio::time::sleep(Duration::from_millis(20));
        stream::once(wait).filter_map(|()| ready(None)).chain(body)
    });
    assert_all_events_arrive(&sse, app, str::to_owned).await;
}

#[tokio::test]
async fn a_layer_that_forwards_from_a_task_gives_the_same_stream() {
    let sse = with_history();
    let app = with_layer(&sse, |mut body| {
        let (forward, mut forwarded) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(frame) = body.next().await {
                if forward.send(frame).await.is_err() {
                    break;
                }
            }
        });
        stream::poll_fn(move |cx| forwarded.poll_recv(cx))
    });
    assert_all_events_arrive(&sse, app, str::to_owned).await;
}

/// The first frame is the connection's own, but the layer has dropped the connection by then.
#[tokio::test]
async fn a_layer_that_drops_the_body_after_the_first_frame_ends_that_stream_only() {
    let sse = with_history();
    let cut = Arc::new(AtomicUsize::new(0));
    let app = with_layer(&sse, move |body| {
        let cuts = cut.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        stream::unfold(Some(body), move |body| async move {
            let mut body = body?;
            let frame = body.next().await?;
            Some((frame, (!cuts).then_some(body)))
        })
    });
    let server = TestServer::with(app).await;
    for ask in REQUESTS {
        let mut whole = Reader::request(server.address, ask).await;
        let mut short = Reader::request(server.address, ask).await;
        let (events, end) = short.read_to_end().await;
        assert_eq!((events.len(), end), (1, End::Clean));
        for n in 0..10 {
            sse.broadcast(format!("event {n}")).unwrap();
            assert_eq!(whole.data().await, format!("event {n}"));
        }
        assert_eq!(sse.connection_count(), 1);
        drop(whole);
        eventually(|| sse.connection_count() == 0).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn headers_that_layers_add_arrive_and_a_length_is_respected() {
    let sse = with_history();
    for (name, value) in
        [("content-length", "5000"), ("x-layer", "was here"), ("connection", "close")]
    {
        let app = app(&sse).layer(map_response(move |mut response: Response| {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(HeaderName::from_static(name), value);
            ready(response)
        }));
        let server = TestServer::with(app).await;
        let mut reader = Reader::open(server.address).await;
        assert!(reader.head.contains(&format!("\r\n{name}: {value}\r\n")), "{}", reader.head);
        let both = ["content-length: ", "transfer-encoding: "].map(|it| reader.head.contains(it));
        assert_eq!(both, [name == "content-length", name != "content-length"]);
        sse.broadcast("with a header").unwrap();
        assert_eq!(reader.data().await, "with a header");
        server.stop().await;
    }
}

/// Counts the values that a layer keeps in bodies.
struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        // Layers expect to be dropped inside the runtime, as other servers do.
        tokio::spawn(async {});
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_a_layer_keeps_in_a_body_lives_as_long_as_the_stream() {
    let sse = with_history();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let app = with_layer(&sse, move |body| {
        counter.fetch_add(1, Ordering::SeqCst);
        let guard = InFlight(Arc::clone(&counter));
        body.inspect_ok(move |_| {
            let _kept = &guard;
        })
    });
    let server = TestServer::with(app).await;
    let mut readers = Vec::new();
    for ask in REQUESTS.iter().cycle().take(20) {
        readers.push(Reader::request(server.address, ask).await);
    }
    for round in 0..20 {
        sse.broadcast(format!("round {round}")).unwrap();
        for reader in &mut readers {
            assert_eq!(reader.data().await, format!("round {round}"));
        }
        assert_eq!(count.load(Ordering::SeqCst), 20 - round);
        drop(readers.pop());
        eventually(|| count.load(Ordering::SeqCst) < 20 - round).await;
        assert_eq!(count.load(Ordering::SeqCst), 20 - round - 1);
    }
    let mut reader = Reader::open(server.address).await;
    server.stop().await;
    assert_eq!(reader.end().await, End::Clean);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a layer that panics when it is dropped");
        }
    }
}

#[tokio::test]
async fn a_body_that_panics_when_it_is_dropped_harms_nobody_else() {
    let sse = with_history();
    let bomb = Arc::new(AtomicUsize::new(0));
    let app = with_layer(&sse, move |body| {
        let kept = (bomb.fetch_add(1, Ordering::Relaxed) == 1).then(|| PanicsWhenDropped);
        body.inspect_ok(move |_| {
            let _kept = &kept;
        })
    });
    let server = TestServer::with(app).await;
    let mut stays = Reader::open(server.address).await;
    let goes = Reader::open(server.address).await;
    drop(goes);
    eventually(|| sse.connection_count() == 1).await;
    sse.broadcast("unharmed").unwrap();
    assert_eq!(stays.data().await, "unharmed");
    drop(stays);
    eventually(|| sse.connection_count() == 0).await;
    server.stop().await;
}
