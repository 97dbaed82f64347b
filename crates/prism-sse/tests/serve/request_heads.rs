//! The heads of requests: whole, in pieces, too slow, too long, and several at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prism_sse::Manager;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{
    End, LISTEN, Reader, TestServer, app, connect, eventually, with_history, within_deadline,
};

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

/// Reads an answer with a length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let byte = within_deadline(stream.read_u8()).await;
        let text = String::from_utf8_lossy(&seen).into_owned();
        seen.push(byte.unwrap_or_else(|error| panic!("{error} after {text:?}")));
        let text = std::str::from_utf8(&seen).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if body.len() == length {
            return String::from_utf8(seen).unwrap();
        }
    }
}

/// Waits until the server has closed the connection. Returns what it sent before.
async fn closed(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    // A reset closes the connection too.
    drop(within_deadline(stream.read_to_end(&mut received)).await);
    String::from_utf8(received).unwrap()
}

/// Checks that the stream receives what is broadcast.
async fn assert_receives(sse: &Manager, reader: &mut Reader, what: &str) {
    sse.broadcast(what).unwrap();
    assert_eq!(reader.data().await, what);
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_understood() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    for first in ["", HELLO] {
        let mut stream = connect(server.address).await;
        stream.set_nodelay(true).unwrap();
        for byte in format!("{first}{LISTEN}").bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        if !first.is_empty() {
            assert!(answer(&mut stream).await.ends_with("hello"));
        }
        assert_receives(&sse, &mut Reader::read_head(stream).await, "whole").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_after_other_requests_is_handed_over_and_receives_events() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut stream = connect(server.address).await;
    for _ in 0..3 {
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.ends_with("hello"));
    }
    let mut reader = Reader::request_on(stream, LISTEN).await;
    assert!(reader.head.contains("connection: close"), "{}", reader.head);
    for n in 0..50 {
        assert_receives(&sse, &mut reader, &format!("event {n}")).await;
    }
    server.stop().await;
    assert_eq!(reader.end().await, End::Clean);
}

#[tokio::test]
async fn pipelined_requests_are_answered_up_to_the_subscription() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut stream = connect(server.address).await;
    stream.write_all(format!("{HELLO}{HELLO}{LISTEN}").as_bytes()).await.unwrap();
    for _ in 0..2 {
        assert!(answer(&mut stream).await.ends_with("hello"));
    }
    assert_receives(&sse, &mut Reader::read_head(stream).await, "after two").await;
    server.stop().await;
}

#[tokio::test]
async fn requests_after_the_stream_are_not_answered_and_do_no_harm() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut reader = Reader::request(server.address, &format!("{LISTEN}{HELLO}{LISTEN}")).await;
    assert!(reader.head.contains("connection: close"), "{}", reader.head);
    for n in 0..20 {
        reader.stream.write_all(HELLO.as_bytes()).await.unwrap();
        assert_receives(&sse, &mut reader, &format!("event {n}")).await;
    }
    assert_eq!(sse.connection_count(), 1);
    server.stop().await;
    assert_eq!(reader.end().await, End::Clean);
}

#[tokio::test]
async fn a_reader_that_sends_too_much_is_closed() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut quiet = Reader::open(server.address).await;
    let mut talker = Reader::open(server.address).await;
    talker.stream.write_all(&[b'x'; 16 * 1024]).await.unwrap();
    assert_receives(&sse, &mut talker, "as much as it may").await;
    // The connection may be closed before all of this is sent.
    drop(talker.stream.write_all(&[b'x'; 4096]).await);
    eventually(|| sse.connection_count() == 1).await;
    assert_eq!(talker.end().await, End::Cut);
    assert_eq!(quiet.data().await, "as much as it may");
    assert_receives(&sse, &mut quiet, "the other one stays").await;
    server.stop().await;
}

#[tokio::test]
async fn slow_heads_are_closed_and_streams_are_not() {
    let sse = with_history();
    let set = Duration::from_millis(300);
    let server = TestServer::configured(app(&sse), |serve| serve.header_timeout(set)).await;
    let mut reader = Reader::open(server.address).await;
    let mut slow = Vec::new();
    for begin in ["", "P", "PRI * HTTP/2.0\r\n", "GET /events HTTP/1.1\r\nHo", "GET /hello"] {
        let mut stream = connect(server.address).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for mut stream in slow {
        closed(&mut stream).await;
    }
    let mut trickle = connect(server.address).await;
    trickle.write_all(b"GET /events HTTP/1.1\r\nX: ").await.unwrap();
    let (mut read, mut write) = trickle.split();
    let trickles = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut received = Vec::new();
    let is_closed = async { drop(read.read_to_end(&mut received).await) };
    within_deadline(async {
        tokio::select! { () = trickles => {}, () = is_closed => {} }
    })
    .await;
    assert_receives(&sse, &mut reader, "older than a head may be").await;
    server.stop().await;
}

#[tokio::test]
async fn the_time_for_a_head_can_change_while_the_server_runs() {
    let sse = with_history();
    let millis = Arc::new(AtomicU64::new(u64::MAX));
    let asked = Arc::clone(&millis);
    let timeout = move || Duration::from_millis(asked.load(Ordering::Relaxed));
    let server =
        TestServer::configured(app(&sse), |serve| serve.header_timeout_with(timeout)).await;
    let mut early = connect(server.address).await;
    early.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(answer(&mut early).await.ends_with("hello"));

    millis.store(300, Ordering::Relaxed);
    for begin in ["", "GET /hello HTTP/1.1\r\nHo", HELLO] {
        let mut late = connect(server.address).await;
        late.write_all(begin.as_bytes()).await.unwrap();
        if begin == HELLO {
            assert!(answer(&mut late).await.ends_with("hello"));
        }
        closed(&mut late).await;
    }
    // It keeps the timeout from when it was accepted.
    early.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(answer(&mut early).await.ends_with("hello"));
    server.stop().await;
}

#[tokio::test]
async fn the_longest_header_timeout_does_not_overflow() {
    let sse = with_history();
    let server =
        TestServer::configured(app(&sse), |serve| serve.header_timeout(Duration::MAX)).await;
    let mut stream = connect(server.address).await;
    stream.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.ends_with("hello"));
    assert_receives(&sse, &mut Reader::request_on(stream, LISTEN).await, "after a request").await;
    assert_receives(&sse, &mut Reader::open(server.address).await, "at once").await;
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_with_431() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let long =
        |bytes| format!("GET /events HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(bytes));
    let mut reader = Reader::request(server.address, &long(15 * 1024)).await;
    assert_receives(&sse, &mut reader, "long enough").await;
    let mut stream = connect(server.address).await;
    drop(stream.write_all(long(64 * 1024).as_bytes()).await);
    let mut head = vec![0; 12];
    within_deadline(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 431");
    closed(&mut stream).await;
    let many = format!("GET /events HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200));
    assert_eq!(Reader::request(server.address, &many).await.status(), 431);
    server.stop().await;
    let server = TestServer::configured(app(&sse), |serve| serve.max_head_bytes(80 * 1024)).await;
    let mut reader = Reader::request(server.address, &long(64 * 1024)).await;
    assert_receives(&sse, &mut reader, "as long as it may be").await;
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    for bytes in ["\u{16}\u{3}\u{1}\r\n\r\n", "HELO\r\n\r\n", "GET  /events\r\n\r\n"] {
        let mut stream = connect(server.address).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let received = closed(&mut stream).await;
        assert!(
            received.is_empty() || received.starts_with("HTTP/1.1 400"),
            "{bytes:?}: {received:?}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_with_bodies_work_and_their_connections_go_on() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut stream = connect(server.address).await;
    let post = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde";
    let refused = "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    stream.write_all(format!("{post}{refused}{post}").as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.ends_with("abcde"));
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 404"));
    assert!(answer(&mut stream).await.ends_with("abcde"));
    assert_receives(&sse, &mut Reader::request_on(stream, LISTEN).await, "after bodies").await;
    let mut stream = connect(server.address).await;
    let expects = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
                   Expect: 100-continue\r\n\r\n";
    stream.write_all(expects.as_bytes()).await.unwrap();
    let mut goes_on = [0; 25];
    within_deadline(stream.read_exact(&mut goes_on)).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"later").await.unwrap();
    assert!(answer(&mut stream).await.ends_with("later"));
    server.stop().await;
}

#[tokio::test]
async fn every_form_of_request_gets_the_same_stream() {
    let sse = with_history();
    let server = TestServer::configured(app(&sse), |serve| serve.shards(2)).await;
    let get = "GET /events HTTP/1.1\r\nHost: x\r\n";
    let asks = [
        LISTEN.to_owned(),
        format!("{get}Connection: close\r\n\r\n"),
        format!("{get}Connection: keep-alive\r\nAccept: text/event-stream\r\n\r\n"),
        format!("{get}Content-Length: 0\r\n\r\n"),
        format!("{get}Content-Length: 5\r\n\r\nabcde"),
        format!("{get}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        format!("{get}Expect: 100-continue\r\n\r\n"),
        format!("{get}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        "GET /events HTTP/1.0\r\n\r\n".to_owned(),
        "GET http://x/events HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ];
    let mut readers = Vec::new();
    for ask in &asks {
        readers.push(Reader::request(server.address, ask).await);
    }
    for n in 0..50 {
        sse.broadcast(format!("event {n}")).unwrap();
    }
    for (reader, ask) in readers.iter_mut().zip(&asks) {
        assert_eq!(reader.status(), 200, "{ask:?}");
        for n in 0..50 {
            assert_eq!(reader.data().await, format!("event {n}"), "{ask:?}");
        }
    }
    assert_eq!(sse.connection_count(), asks.len());
    server.stop().await;
    for (mut reader, ask) in readers.into_iter().zip(&asks) {
        assert_eq!(reader.end().await, End::Clean, "{ask:?}");
        assert!(reader.text.ends_with(b"\n\n"), "{ask:?}");
    }
}

#[tokio::test]
async fn the_head_of_a_stream_is_the_same_from_hyper_and_from_a_shard() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let shard = Reader::open(server.address).await;
    let hyper = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
    let hyper = Reader::request(server.address, hyper).await;
    let lines = |reader: &Reader| {
        let mut lines: Vec<String> = reader.head.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("date: ") && line != "connection: close");
        lines.sort();
        lines
    };
    assert_eq!(lines(&shard), lines(&hyper));
    assert!(shard.head.contains("\r\ndate: ") && hyper.head.contains("\r\ndate: "));
    server.stop().await;
}

#[tokio::test]
async fn head_answers_without_a_stream_and_the_connection_goes_on() {
    let sse = with_history();
    let server = TestServer::with(app(&sse)).await;
    let mut stream = connect(server.address).await;
    stream.write_all(b"HEAD /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let head = Reader::read_head(stream).await;
    assert_eq!(head.status(), 200);
    assert_eq!(sse.connection_count(), 0);
    assert_receives(&sse, &mut Reader::request_on(head.stream, LISTEN).await, "after its head")
        .await;
    server.stop().await;
}
