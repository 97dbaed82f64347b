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

use crate::{End, LISTEN, Reader, Running, app, connect, soon, until, with_history};

const BY_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";

/// Longer than any test may take: whatever ends earlier does not wait for it.
const LONG: Duration = Duration::from_secs(3600);

/// A manager that tells why connections end.
fn telling() -> (Manager, mpsc::UnboundedReceiver<CloseReason>) {
    let (tell, told) = mpsc::unbounded_channel();
    let sse = Manager::builder()
        .history(Retention::default())
        .on_disconnect(move |_, reason| tell.send(reason).unwrap_or(()))
        .build()
        .unwrap();
    (sse, told)
}

/// Nothing more comes, however that is told.
async fn is_closed(mut stream: TcpStream) {
    drop(soon(stream.read_to_end(&mut Vec::new())).await);
}

#[tokio::test]
async fn a_drain_tells_every_reader_when_to_come_back_and_where_it_was() {
    let (sse, mut told) = telling();
    let mut server = Running::with(app(&sse)).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, BY_HYPER].iter().cycle().take(40) {
        readers.push(Reader::ask(server.address, ask).await);
    }
    sse.broadcast("the last one").unwrap();
    // It is behind the last event in the stream, and no reader has to be told before.
    let position = sse.publish("nobody", "unheard").unwrap().await.unwrap().position;
    server.signal();
    for reader in &mut readers {
        let (events, end) = reader.rest().await;
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
async fn nobody_is_accepted_once_a_server_ends() {
    let sse = with_history();
    let mut server = Running::set(app(&sse), |serve| serve.drain(Duration::from_secs(2))).await;
    let readers = [Reader::open(server.address).await, Reader::open(server.address).await];
    server.signal();
    let address = server.address;
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(refused).await;
    drop(readers);
    server.ended().await;
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_hold_up_the_end() {
    let sse = with_history();
    let mut server = Running::set(app(&sse), |serve| serve.drain(LONG).header_timeout(LONG)).await;
    let mut waiting = Vec::new();
    for begin in ["", "P", "PRI * HTTP/2.0\r\n", "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = connect(server.address).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    // Answered: all that came before it was accepted.
    assert_eq!(
        Reader::ask(server.address, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.status(),
        200
    );
    server.signal();
    server.ended().await;
    for stream in waiting {
        is_closed(stream).await;
    }
}

/// A request whose answer takes longer than the drain.
async fn is_answering(sse: &Manager) -> (Running, TcpStream, Arc<AtomicBool>) {
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
    let server = Running::with(Router::new().route("/never", get(never)).merge(app(sse))).await;
    let mut stream = connect(server.address).await;
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    soon(was_asked.recv()).await.unwrap();
    (server, stream, dropped)
}

#[tokio::test]
async fn what_is_still_open_after_a_drain_is_cut_off() {
    let sse = with_history();
    let (server, stream, dropped) = is_answering(&sse).await;
    server.stop().await;
    is_closed(stream).await;
    until(|| dropped.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
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
    let mut server = Running::set(app, |serve| serve.drain(LONG)).await;
    let mut stream = connect(server.address).await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    soon(was_asked.recv()).await.unwrap();
    server.signal();
    until(|| std::net::TcpStream::connect(server.address).is_err()).await;
    answer.send(true).unwrap();
    let mut said = String::new();
    soon(stream.read_to_string(&mut said)).await.unwrap();
    assert!(said.ends_with("at last"), "{said:?}");
    server.ended().await;
}

#[tokio::test]
async fn dropping_a_server_ends_everything() {
    let (sse, mut told) = telling();
    let (server, stream, dropped) = is_answering(&sse).await;
    let mut silent = connect(server.address).await;
    silent.write_all(b"GET /hel").await.unwrap();
    let quiet = connect(server.address).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, BY_HYPER].iter().cycle().take(20) {
        readers.push(Reader::ask(server.address, ask).await);
    }
    server.drop_it().await;
    for stream in [stream, silent, quiet] {
        is_closed(stream).await;
    }
    for mut reader in readers {
        reader.end().await;
        assert_eq!(soon(told.recv()).await, Some(CloseReason::Disconnected));
    }
    until(|| dropped.load(Ordering::SeqCst)).await;
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn dropping_a_server_in_its_drain_ends_everything_too() {
    let (sse, mut told) = telling();
    let (mut server, stream, _) = is_answering(&sse).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, BY_HYPER].iter().cycle().take(10) {
        readers.push(Reader::ask(server.address, ask).await);
    }
    server.signal();
    until(|| std::net::TcpStream::connect(server.address).is_err()).await;
    server.drop_it().await;
    is_closed(stream).await;
    for mut reader in readers {
        reader.end().await;
        soon(told.recv()).await.unwrap();
    }
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn a_service_that_is_never_made_does_not_hold_up_the_end() {
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let made = tower::service_fn(move |_: std::net::SocketAddr| {
        asked.send(()).unwrap();
        pending::<Result<Router, &str>>()
    });
    let mut server = Running::with(made).await;
    let stream = connect(server.address).await;
    soon(was_asked.recv()).await.unwrap();
    server.signal();
    server.ended().await;
    is_closed(stream).await;
}

#[tokio::test]
async fn a_server_without_connections_ends_at_once() {
    let mut server = Running::set(app(&with_history()), |serve| serve.drain(LONG)).await;
    server.signal();
    server.ended().await;
}

#[tokio::test]
async fn a_manager_that_is_closed_ends_its_streams_and_the_server_goes_on() {
    let (sse, mut told) = telling();
    let server = Running::set(app(&sse), |serve| serve.shards(2)).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, LISTEN, BY_HYPER].iter().cycle().take(60) {
        readers.push(Reader::ask(server.address, ask).await);
    }
    sse.broadcast("before the end").unwrap();
    sse.close();
    for reader in &mut readers {
        let (events, end) = reader.rest().await;
        assert_eq!(end, End::Clean);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["prism.open", "message", "prism.mark"]);
        assert_eq!(soon(told.recv()).await, Some(CloseReason::Shutdown));
    }
    let refused = Reader::open(server.address).await;
    assert!(refused.head.contains("503") || refused.head.contains("prism-refused: drain"));
    server.stop().await;
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_that_is_removed_gets_what_was_due_and_nothing_after() {
    let (sse, mut told) = telling();
    let server = Running::with(app(&sse)).await;
    let mut stays = Reader::open(server.address).await;
    for round in 0..20 {
        let mut goes = Reader::open(server.address).await;
        let data = goes.named("prism.open").await.data;
        let id = data.split('"').nth(3).unwrap().parse().unwrap();
        sse.broadcast(format!("{round} before")).unwrap();
        sse.send(format!("{round} alone"), id).unwrap();
        assert!(sse.remove_connection(id));
        assert!(!sse.remove_connection(id));
        assert!(sse.send("too late", id).is_err());
        sse.broadcast(format!("{round} after")).unwrap();
        let (events, end) = goes.rest().await;
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        let due = [format!("{round} before"), format!("{round} alone"), String::new()];
        assert_eq!((data, end), (due.iter().map(String::as_str).collect(), End::Clean));
        assert_eq!(soon(told.recv()).await, Some(CloseReason::Removed));
        for when in ["before", "after"] {
            assert_eq!(stays.data().await, format!("{round} {when}"));
        }
    }
    server.stop().await;
}
