//! The end of a server, of a manager, of one connection.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prism_sse::{CloseReason, Manager, Retention};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::{
    End, LISTEN, Reader, TestServer, app, connect, eventually, with_history, within_deadline,
};

const LISTEN_VIA_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";

/// Longer than any test may take, so that a test that ends has not waited for it.
const LONG: Duration = Duration::from_secs(3600);

/// A manager, and the reasons why its connections end.
fn with_close_reasons() -> (Manager, mpsc::UnboundedReceiver<CloseReason>) {
    let (tell, told) = mpsc::unbounded_channel();
    let sse = Manager::builder()
        .history(Retention::default())
        .on_disconnect(move |_, reason| tell.send(reason).unwrap_or(()))
        .build()
        .unwrap();
    (sse, told)
}

/// Waits until the connection is closed, in order or with an error.
async fn is_closed(mut stream: TcpStream) {
    drop(within_deadline(stream.read_to_end(&mut Vec::new())).await);
}

#[tokio::test]
async fn a_drain_ends_every_stream_with_a_mark_and_a_retry_time() {
    let (sse, mut told) = with_close_reasons();
    let mut server = TestServer::with(app(&sse)).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, LISTEN_VIA_HYPER].iter().cycle().take(40) {
        readers.push(Reader::request(server.address, ask).await);
    }
    sse.broadcast("the last one").unwrap();
    // The position is behind the last event that readers receive, so that only a mark tells it.
    let position = sse.publish("nobody", "unheard").unwrap().await.unwrap().position;
    server.signal();
    for reader in &mut readers {
        let (events, end) = reader.read_to_end().await;
        assert_eq!(end, End::Clean);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["prism.open", "message", "message", "prism.mark"]);
        assert_eq!(events[3].id, position.to_string());
        assert!(reader.text.windows(7).filter(|window| window == b"retry: ").count() == 2);
    }
    server.ended().await;
    for _ in 0..40 {
        assert_eq!(told.try_recv().unwrap(), CloseReason::Shutdown);
    }
    assert!(told.try_recv().is_err());
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn no_connection_is_accepted_after_the_signal() {
    let sse = with_history();
    let mut server =
        TestServer::configured(app(&sse), |serve| serve.drain(Duration::from_secs(2))).await;
    let readers = [Reader::open(server.address).await, Reader::open(server.address).await];
    server.signal();
    let address = server.address;
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within_deadline(refused).await;
    drop(readers);
    server.ended().await;
}

#[tokio::test]
async fn connections_without_a_request_do_not_delay_the_shutdown() {
    let sse = with_history();
    let mut server =
        TestServer::configured(app(&sse), |serve| serve.drain(LONG).header_timeout(LONG)).await;
    let mut waiting = Vec::new();
    for begin in ["", "P", "PRI * HTTP/2.0\r\n", "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = connect(server.address).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    // Once this one is answered, all connections before it were accepted.
    assert_eq!(
        Reader::request(server.address, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.status(),
        200
    );
    server.signal();
    server.ended().await;
    for stream in waiting {
        is_closed(stream).await;
    }
}

/// A server with a request that is never answered, and whether its future was dropped.
async fn serve_unanswered_request(sse: &Manager) -> (TestServer, TcpStream, Arc<AtomicBool>) {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let never = {
        let dropped = Arc::clone(&dropped);
        move || async move {
            let _dropped = Dropped(dropped);
            asked.send(()).unwrap();
            pending::<&str>().await
        }
    };
    let server = TestServer::with(Router::new().route("/never", get(never)).merge(app(sse))).await;
    let mut stream = connect(server.address).await;
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    within_deadline(was_asked.recv()).await.unwrap();
    (server, stream, dropped)
}

#[tokio::test]
async fn a_connection_that_is_open_after_the_drain_is_cut_off() {
    let sse = with_history();
    let (server, stream, dropped) = serve_unanswered_request(&sse).await;
    server.stop().await;
    is_closed(stream).await;
    eventually(|| dropped.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_shutdown_ends() {
    let sse = with_history();
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let (answer, answered) = tokio::sync::watch::channel(false);
    let slow = move || async move {
        asked.send(()).unwrap();
        let mut answered = answered;
        answered.wait_for(|answered| *answered).await.unwrap();
        "at last"
    };
    let app = Router::new().route("/slow", get(slow)).merge(app(&sse));
    let mut server = TestServer::configured(app, |serve| serve.drain(LONG)).await;
    let mut stream = connect(server.address).await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    within_deadline(was_asked.recv()).await.unwrap();
    server.signal();
    eventually(|| std::net::TcpStream::connect(server.address).is_err()).await;
    answer.send(true).unwrap();
    let mut received = String::new();
    within_deadline(stream.read_to_string(&mut received)).await.unwrap();
    assert!(received.ends_with("at last"), "{received:?}");
    server.ended().await;
}

#[tokio::test]
async fn dropping_a_server_ends_everything() {
    let (sse, mut told) = with_close_reasons();
    let (server, stream, dropped) = serve_unanswered_request(&sse).await;
    let mut silent = connect(server.address).await;
    silent.write_all(b"GET /hel").await.unwrap();
    let quiet = connect(server.address).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, LISTEN_VIA_HYPER].iter().cycle().take(20) {
        readers.push(Reader::request(server.address, ask).await);
    }
    server.abort().await;
    for stream in [stream, silent, quiet] {
        is_closed(stream).await;
    }
    for mut reader in readers {
        reader.end().await;
        assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Disconnected));
    }
    eventually(|| dropped.load(Ordering::SeqCst)).await;
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn dropping_a_server_in_its_drain_ends_everything_too() {
    let (sse, mut told) = with_close_reasons();
    let (mut server, stream, _) = serve_unanswered_request(&sse).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, LISTEN_VIA_HYPER].iter().cycle().take(10) {
        readers.push(Reader::request(server.address, ask).await);
    }
    server.signal();
    eventually(|| std::net::TcpStream::connect(server.address).is_err()).await;
    server.abort().await;
    is_closed(stream).await;
    for mut reader in readers {
        reader.end().await;
        within_deadline(told.recv()).await.unwrap();
    }
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn a_service_that_is_never_made_does_not_delay_the_shutdown() {
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let made = tower::service_fn(move |_: std::net::SocketAddr| {
        asked.send(()).unwrap();
        pending::<Result<Router, &str>>()
    });
    let mut server = TestServer::with(made).await;
    let stream = connect(server.address).await;
    within_deadline(was_asked.recv()).await.unwrap();
    server.signal();
    server.ended().await;
    is_closed(stream).await;
}

#[tokio::test]
async fn a_server_without_connections_shuts_down_at_once() {
    let mut server = TestServer::configured(app(&with_history()), |serve| serve.drain(LONG)).await;
    server.signal();
    server.ended().await;
}

#[tokio::test]
async fn the_longest_drain_is_over_when_the_last_reader_has_disconnected() {
    let sse = with_history();
    for ask in [LISTEN, LISTEN_VIA_HYPER] {
        let endless =
            TestServer::configured(app(&sse), |serve| serve.drain(Duration::MAX).shards(1));
        let mut server = endless.await;
        let mut reader = Reader::request(server.address, ask).await;
        reader.named("prism.open").await;
        server.signal();
        eventually(|| std::net::TcpStream::connect(server.address).is_err()).await;
        drop(reader);
        server.ended().await;
    }
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn a_manager_that_is_closed_ends_its_streams_and_the_server_goes_on() {
    let (sse, mut told) = with_close_reasons();
    let server = TestServer::configured(app(&sse), |serve| serve.shards(2)).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, LISTEN, LISTEN_VIA_HYPER].iter().cycle().take(60) {
        readers.push(Reader::request(server.address, ask).await);
    }
    sse.broadcast("before the end").unwrap();
    sse.close();
    for reader in &mut readers {
        let (events, end) = reader.read_to_end().await;
        assert_eq!(end, End::Clean);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["prism.open", "message", "prism.mark"]);
        assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Shutdown));
    }
    let refused = Reader::open(server.address).await;
    assert!(refused.head.contains("503") || refused.head.contains("prism-refused: drain"));
    server.stop().await;
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_removed_connection_gets_the_events_from_before_its_removal_and_no_others() {
    let (sse, mut told) = with_close_reasons();
    let server = TestServer::with(app(&sse)).await;
    let mut stays = Reader::open(server.address).await;
    for round in 0..20 {
        let mut goes = Reader::open(server.address).await;
        let data = goes.named("prism.open").await.data;
        let id = data.split('"').nth(3).unwrap().parse().unwrap();
        sse.broadcast(format!("{round} before")).unwrap();
        sse.send(format!("{round} in_own_process"), id).unwrap();
        assert!(sse.remove_connection(id));
        assert!(!sse.remove_connection(id));
        assert!(sse.send("too late", id).is_err());
        sse.broadcast(format!("{round} after")).unwrap();
        let (events, end) = goes.read_to_end().await;
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        let due = [format!("{round} before"), format!("{round} in_own_process"), String::new()];
        assert_eq!((data, end), (due.iter().map(String::as_str).collect(), End::Clean));
        assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Removed));
        for when in ["before", "after"] {
            assert_eq!(stays.data().await, format!("{round} {when}"));
        }
    }
    server.stop().await;
}
