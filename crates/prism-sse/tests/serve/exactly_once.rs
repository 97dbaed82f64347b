//! No event is lost, repeated or out of order, whatever readers and publishers do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::get;
use futures_util::StreamExt;
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{Audience, ConnectionId, Event, Manager, OnLag, Retention, SseRequest, Start};
use tokio::task::JoinSet;

use crate::{
    End, LISTEN, Reader, TestServer, app, connect, eventually, resume_request, with_history,
    within_deadline,
};

const READERS: usize = 200;
const PUBLISHERS: usize = 4;
const EVENTS: usize = 400;
const TOPICS: [&str; 4] = ["t0", "t1", "t2", "t3"];

/// The audience of a reader, by the number in its path. Several readers share one.
fn audience(number: usize) -> Audience {
    match number % 6 {
        0 => Audience::everything(),
        1 => Audience::select(["t0"]).unwrap(),
        2 => Audience::select(["t1", "t2"]).unwrap(),
        3 => Audience::select(["t3"]).unwrap().broadcasts(false),
        4 => Audience::select(["t0", "t3"]).unwrap(),
        _ => Audience::select(["unused"]).unwrap(),
    }
}

/// Whether an event is for the audience, judged by its data: its topics, publisher and number.
fn is_for(number: usize, data: &str) -> bool {
    let topics = data.split(' ').next().unwrap();
    match number % 6 {
        0 => true,
        _ if topics == "all" => number % 6 != 3,
        1 => topics.contains("t0"),
        2 => topics.contains("t1") || topics.contains("t2"),
        3 => topics.contains("t3"),
        4 => topics.contains("t0") || topics.contains("t3"),
        _ => false,
    }
}

fn audiences(sse: &Manager) -> Router {
    async fn events(
        Path(number): Path<usize>,
        State(sse): State<Manager>,
        request: SseRequest,
    ) -> axum::response::Response {
        sse.respond(request.audience(audience(number))).map(Body::new)
    }
    Router::new().route("/{number}", get(events)).with_state(sse.clone())
}

/// Everything in the log, in its order.
async fn log(sse: &Manager) -> Vec<String> {
    let mut connection = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
    let (mut parser, mut log) = (Parser::new(), Vec::new());
    while log.last().is_none_or(|last| last != "all end") {
        let bytes = within_deadline(connection.next()).await.unwrap();
        let mut rest = &bytes[..];
        while let Some(parsed) = parser.next(&mut rest) {
            match parsed {
                Parsed::Event(event) if event.name == "message" => log.push(event.data),
                _ => {}
            }
        }
    }
    log
}

/// Reads in small pieces, with pauses, and reconnects at random. Returns what it received.
async fn read_with_interruptions(
    address: SocketAddr,
    number: usize,
    mut reader: Reader,
) -> Vec<String> {
    let mut seen = Vec::new();
    let mut id = reader.named("prism.open").await.id;
    loop {
        // The first read may have brought everything already.
        drain(&mut reader, &mut seen);
        assert_eq!(reader.end, None, "after {:?}", seen.last());
        if seen.last().is_some_and(|last| last == "all end") {
            return seen;
        }
        match fastrand::u32(0..100) {
            0..5 => tokio::time::sleep(Duration::from_millis(fastrand::u64(0..40))).await,
            5..40 => reader.read(fastrand::usize(1..200)).await,
            40..43 => {
                if fastrand::bool() {
                    reader.stream.set_zero_linger().unwrap();
                }
                drain(&mut reader, &mut seen);
                // Cut off before the first id of this connection, it resumes from the last one.
                if !reader.last_event_id().is_empty() {
                    id = reader.last_event_id().to_owned();
                }
                drop(reader);
                reader =
                    Reader::request(address, &resume_request(&format!("/{number}"), &id)).await;
            }
            _ => reader.read(64 * 1024).await,
        }
    }
}

/// Takes the events that were parsed already.
fn drain(reader: &mut Reader, seen: &mut Vec<String>) {
    for event in reader.take_parsed() {
        assert_ne!(event.name, "prism.gap", "{}", event.data);
        if event.name == "message" {
            seen.push(event.data);
        }
    }
}

fn publish(sse: &Manager, publisher: usize) {
    for n in 0..EVENTS / PUBLISHERS {
        let pad = "x".repeat(if fastrand::u8(..) == 0 { 60_000 } else { fastrand::usize(0..300) });
        if fastrand::u8(0..5) == 0 {
            sse.broadcast(format!("all {publisher} {n} {pad}")).unwrap();
        } else {
            let first = fastrand::choice(TOPICS).unwrap();
            let second = fastrand::choice(TOPICS).unwrap();
            let topics = if fastrand::bool() { vec![first] } else { vec![first, second] };
            let event = Event::new(format!("{} {publisher} {n} {pad}", topics.join("+")));
            sse.publish(topics, event).unwrap();
        }
        if fastrand::u8(0..8) == 0 {
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..8)));
        }
    }
}

async fn check_readers_that_reconnect(shards: usize) {
    let sse = with_history();
    let server = TestServer::configured(audiences(&sse), |serve| serve.shards(shards)).await;
    let address = server.address;
    let mut open = Vec::new();
    for number in 0..READERS {
        // Two readers of each audience connect one after the other.
        let ask = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", number % 12);
        open.push(match number % 3 {
            // With a smaller buffer, a reader of small pieces would wait for timers of TCP.
            0 => Reader::request_with_buffer(32 * 1024, address, &ask).await,
            _ => Reader::request(address, &ask).await,
        });
    }
    let mut readers = JoinSet::new();
    for (number, reader) in open.into_iter().enumerate() {
        readers.spawn(async move {
            let audience = number % 12;
            (audience, read_with_interruptions(address, audience, reader).await)
        });
    }
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let sse = sse.clone();
            std::thread::spawn(move || publish(&sse, publisher))
        })
        .collect();
    eventually(|| publishers.iter().all(std::thread::JoinHandle::is_finished)).await;
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    sse.publish(TOPICS, "t0+t1+t2+t3 last").unwrap();
    sse.broadcast("all end").unwrap();
    // The end for audiences without broadcasts.
    sse.publish("t3", "all end").unwrap();
    let mut log = log(&sse).await;
    log.truncate(EVENTS + 1);
    assert!(log[EVENTS].ends_with(" last"));
    while let Some(reader) = within_deadline(readers.join_next()).await {
        let (number, mut seen) = reader.unwrap();
        // An audience with both broadcasts and `t3` may have read the end twice.
        seen.dedup_by(|b, a| a == "all end" && a == b);
        let mut expected: Vec<&String> = log.iter().filter(|data| is_for(number, data)).collect();
        let end = "all end".to_owned();
        expected.push(&end);
        let place = seen.iter().zip(&expected).position(|(seen, expected)| seen != *expected);
        let cut = |data: &str| data.split(" x").next().unwrap().to_owned();
        let there = place.map(|place| (cut(&seen[place]), cut(expected[place])));
        let lens = (seen.len(), expected.len());
        assert!(there.is_none() && lens.0 == lens.1, "audience {number}: {there:?}, {lens:?}");
    }
    eventually(|| sse.connection_count() == 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_repeated_or_reordered_with_one_shard() {
    check_readers_that_reconnect(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_repeated_or_reordered_with_two_shards() {
    check_readers_that_reconnect(2).await;
}

/// One thread sends to single connections and broadcasts, while others publish. Every reader sees
/// the order of that thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_sent_to_one_reader_keep_their_order_among_broadcasts() {
    let sse = with_history();
    let shards = 2;
    let server = TestServer::configured(app(&sse), |serve| serve.shards(shards)).await;
    let mut readers = Vec::new();
    let mut ids: Vec<ConnectionId> = Vec::new();
    for number in 0..60 {
        let mut stream = connect(server.address).await;
        if number % 6 == 5 {
            // Not the first request: it stays with hyper.
            let hello = "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n";
            stream = Reader::request_on(stream, hello).await.stream;
        }
        let mut reader = Reader::request_on(stream, LISTEN).await;
        let open = reader.named("prism.open").await.data;
        ids.push(open.split('"').nth(3).unwrap().parse().unwrap());
        readers.push(reader);
    }
    let over = Arc::new(AtomicBool::new(false));
    let noise = std::thread::spawn({
        let (sse, over) = (sse.clone(), Arc::clone(&over));
        move || {
            while !over.load(Ordering::Relaxed) {
                sse.broadcast("noise").unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    });
    let ordered = std::thread::spawn({
        let sse = sse.clone();
        move || {
            let mut expected = vec![Vec::new(); ids.len()];
            for n in 0..3000 {
                if n % 100 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if fastrand::u8(0..10) == 0 {
                    sse.broadcast(n.to_string()).unwrap();
                    expected.iter_mut().for_each(|expected| expected.push(n.to_string()));
                } else {
                    let to = fastrand::usize(0..ids.len());
                    sse.send(n.to_string(), ids[to]).unwrap();
                    expected[to].push(n.to_string());
                }
            }
            sse.broadcast("end").unwrap();
            expected
        }
    });
    for (number, reader) in readers.iter_mut().enumerate() {
        let mut seen = Vec::new();
        loop {
            match reader.data().await {
                data if data == "noise" => {}
                data if data == "end" => break,
                data => seen.push(data),
            }
        }
        reader.text = seen.join(" ").into();
        assert!(number < 60);
    }
    let expected = ordered.join().unwrap();
    over.store(true, Ordering::Relaxed);
    noise.join().unwrap();
    for (number, (reader, expected)) in readers.iter().zip(expected).enumerate() {
        let seen: Vec<&str> = std::str::from_utf8(&reader.text).unwrap().split(' ').collect();
        let place = seen.iter().zip(&expected).position(|(seen, expected)| seen != expected);
        let there = place.map(|place| (seen[place], &expected[place]));
        let lens = (seen.len(), expected.len());
        assert!(there.is_none() && lens.0 == lens.1, "reader {number}: {there:?}, {lens:?}");
    }
    server.stop().await;
}

/// The log is so short that single readers and whole groups miss evicted events again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_short_log_are_told_of_every_gap_and_catch_up() {
    let history = Retention::default().count(8);
    let sse = Manager::builder().history(history).on_lag(OnLag::SkipWithGap).build().unwrap();
    let shards = 2;
    let server = TestServer::configured(app(&sse), |serve| serve.shards(shards)).await;
    let address = server.address;
    let over = Arc::new(AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let (sse, over) = (sse.clone(), Arc::clone(&over));
        move || {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                for _ in 0..fastrand::usize(1..40) {
                    sse.broadcast(n.to_string()).unwrap();
                    n += 1;
                }
                std::thread::sleep(Duration::from_micros(fastrand::u64(0..2000)));
            }
        }
    });
    let mut readers = JoinSet::new();
    for _ in 0..400 {
        // Readers connect one after the other while events are published.
        let mut reader = Reader::open(address).await;
        let leaves = fastrand::u8(0..3) == 0;
        readers.spawn(async move {
            let mut last = None;
            let mut gap = true;
            loop {
                let event = reader.next().await.unwrap();
                match event.name.as_str() {
                    "prism.gap" => gap = true,
                    "message" if event.data == "end" => break,
                    "message" => {
                        let n: u64 = event.data.parse().unwrap();
                        let next = last.map_or(n, |last| last + 1);
                        assert!(n == next || gap && n > next, "{n} after {last:?}");
                        (last, gap) = (Some(n), false);
                        if leaves && fastrand::u8(0..20) == 0 {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
    }
    over.store(true, Ordering::Relaxed);
    publisher.join().unwrap();
    // A reader that lags may skip the end too, so that it is published again and again.
    let end = async {
        loop {
            sse.broadcast("end").unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let all = async {
        while let Some(reader) = within_deadline(readers.join_next()).await {
            reader.unwrap();
        }
    };
    tokio::select! { () = end => {}, () = all => {} }
    eventually(|| sse.connection_count() == 0).await;
    server.stop().await;
}

/// Many readers resume at once, each from another position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_when_many_readers_resume_at_once() {
    let sse = with_history();
    let shards = 2;
    let server = TestServer::configured(app(&sse), |serve| serve.shards(shards)).await;
    let address = server.address;
    let mut ids = Vec::new();
    for n in 0..1000 {
        let receipt = sse.broadcast(format!("{n} {}", "x".repeat(100))).unwrap();
        ids.push(receipt.await.unwrap().position.to_string());
    }
    let mut readers = JoinSet::new();
    for number in 0..200 {
        let after = number * 5;
        let id = ids[after].clone();
        readers.spawn(async move {
            let mut reader = Reader::resume(address, &id).await;
            for n in after + 1..1001 {
                let data = reader.data().await;
                assert_eq!(data.split(' ').next().unwrap(), n.to_string());
            }
            reader
        });
        if number == 100 {
            sse.broadcast("1000 live").unwrap();
        }
    }
    let mut open = Vec::new();
    while let Some(reader) = within_deadline(readers.join_next()).await {
        open.push(reader.unwrap());
    }
    sse.broadcast("all are live").unwrap();
    for reader in &mut open {
        assert_eq!(reader.data().await, "all are live");
    }
    server.stop().await;
    for reader in &mut open {
        assert_eq!(reader.end().await, End::Clean);
    }
}
