//! Readers that disconnect, each in its own way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prism_sse::{CloseReason, ConnectionId, Manager, Retention};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::{End, LISTEN, Reader, TestServer, app, connect, eventually, within_deadline};

const LISTEN_VIA_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";

#[derive(Clone, Copy, Debug)]
enum LeaveMode {
    /// It closes its socket.
    Closes,
    /// It closes its socket with a reset.
    Resets,
    /// It closes the sending half only.
    HalfCloses,
}

async fn leave(mut reader: Reader, how: LeaveMode) {
    match how {
        LeaveMode::Closes => drop(reader),
        LeaveMode::Resets => reader.stream.set_zero_linger().unwrap(),
        LeaveMode::HalfCloses => {
            reader.stream.shutdown().await.unwrap();
            reader.end().await;
        }
    }
}

#[tokio::test]
async fn a_disconnect_is_noticed_at_once_and_without_traffic() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let sse = Manager::builder()
        .history(Retention::default())
        .no_heartbeat()
        .on_disconnect(move |gone, reason| tell.send((gone.id(), reason)).unwrap())
        .build()
        .unwrap();
    let server = TestServer::with(app(&sse)).await;
    let mut stays = Reader::open(server.address).await;
    for ask in [LISTEN, LISTEN_VIA_HYPER] {
        for how in [LeaveMode::Closes, LeaveMode::Resets, LeaveMode::HalfCloses] {
            let mut reader = Reader::request(server.address, ask).await;
            let open = reader.named("prism.open").await;
            leave(reader, how).await;
            let (gone, reason) = within_deadline(told.recv()).await.unwrap();
            assert!(open.data.contains(&gone.to_string()));
            assert_eq!(reason, CloseReason::Disconnected, "{how:?}");
            assert_eq!(sse.connection_count(), 1);
        }
    }
    sse.broadcast("who stays").unwrap();
    assert_eq!(stays.data().await, "who stays");
    server.stop().await;
    assert_eq!(stays.end().await, End::Clean);
}

/// The reader disconnects before its request is answered, or during the hand-over.
#[tokio::test]
async fn a_reader_that_disconnects_before_the_answer_leaves_nothing_behind() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let sse = Manager::builder()
        .on_disconnect(move |_, reason| tell.send(reason).unwrap())
        .build()
        .unwrap();
    let server = TestServer::with(app(&sse)).await;
    for round in 0..300 {
        let mut stream = connect(server.address).await;
        if round % 4 < 2 {
            stream.set_zero_linger().unwrap();
        }
        stream.write_all(LISTEN.as_bytes()).await.unwrap();
        if round % 2 == 0 {
            sse.broadcast("on the way").unwrap();
        }
        drop(stream);
    }
    Reader::open(server.address).await.wait_for_text("retry: ").await;
    eventually(|| sse.connection_count() == 0).await;
    for _ in 0..sse.stats().connected {
        assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Disconnected));
    }
    server.stop().await;
    assert!(told.try_recv().is_err());
}

/// How often `on_connect` was called for a connection, and the reasons of `on_disconnect`.
#[derive(Debug, Default)]
struct ConnectionLife {
    began: usize,
    ended: Vec<CloseReason>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_are_called_once_for_each_connection_whatever_ends_it() {
    let assert_receives: Arc<Mutex<HashMap<ConnectionId, ConnectionLife>>> = Arc::default();
    let (begin, end) = (Arc::clone(&assert_receives), Arc::clone(&assert_receives));
    let sse = Manager::builder()
        .history(Retention::default())
        .on_connect(move |new| {
            begin.lock().unwrap().entry(new.id()).or_default().began += 1;
        })
        .on_disconnect(move |gone, reason| {
            end.lock().unwrap().entry(gone.id()).or_default().ended.push(reason);
        })
        .build()
        .unwrap();
    let server = TestServer::configured(app(&sse), |serve| serve.shards(2)).await;
    let address = server.address;
    let publisher = tokio::spawn({
        let sse = sse.clone();
        async move {
            loop {
                sse.broadcast("tick").unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..160 {
        let sse = sse.clone();
        readers.spawn(async move {
            let ask = if number % 4 == 3 { LISTEN_VIA_HYPER } else { LISTEN };
            let mut reader = Reader::request(address, ask).await;
            let open = reader.named("prism.open").await.data;
            let id: ConnectionId = open.split('"').nth(3).unwrap().parse().unwrap();
            for _ in 0..fastrand::usize(0..3) {
                reader.data().await;
            }
            let expected = match number % 5 {
                0 => {
                    assert!(sse.remove_connection(id));
                    // The connection is removed and disconnects; the first of both is the reason.
                    drop(reader);
                    CloseReason::Removed
                }
                1 => {
                    leave(reader, LeaveMode::Resets).await;
                    CloseReason::Disconnected
                }
                2 => {
                    leave(reader, LeaveMode::Closes).await;
                    CloseReason::Disconnected
                }
                3 => {
                    leave(reader, LeaveMode::HalfCloses).await;
                    CloseReason::Disconnected
                }
                _ => {
                    assert!(sse.remove_connection(id));
                    assert_eq!(reader.end().await, End::Clean);
                    CloseReason::Removed
                }
            };
            (id, expected)
        });
    }
    let mut expected = Vec::new();
    while let Some(reader) = within_deadline(readers.join_next()).await {
        expected.push(reader.unwrap());
    }
    eventually(|| sse.connection_count() == 0).await;
    publisher.abort();
    let mut last = Reader::open(address).await;
    let open = last.named("prism.open").await.data;
    expected.push((open.split('"').nth(3).unwrap().parse().unwrap(), CloseReason::Shutdown));
    server.stop().await;
    let assert_receives = assert_receives.lock().unwrap();
    assert_eq!(assert_receives.len(), expected.len());
    for (id, reason) in expected {
        let life = &assert_receives[&id];
        assert_eq!((life.began, &life.ended[..]), (1, &[reason][..]));
    }
}
