//! The features of the Swift page this library started from: events, the manager, the middleware.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use prism_sse::{Event, Manager, SendError};

use super::{page, page_after, text, with_history};

#[test]
fn events_have_the_bytes_of_the_page() {
    let simple = Event::new("Hello, World!");
    assert_eq!(simple.encode(), "data: Hello, World!\n\n");

    let update = Event::new("{\"price\": 42.50}").id("msg-123").unwrap();
    let update = update.event("price-update").unwrap();
    assert_eq!(update.encode(), "id: msg-123\nevent: price-update\ndata: {\"price\": 42.50}\n\n",);

    let retry = Event::new("reconnect test").retry(Duration::from_millis(5000)).unwrap();
    assert_eq!(retry.encode(), "retry: 5000\ndata: reconnect test\n\n");
}

#[tokio::test]
async fn send_reaches_one_connection_and_broadcast_reaches_all() {
    let sse = Manager::new();
    let mut first = sse.add_connection();
    let mut second = sse.add_connection();
    assert_eq!(sse.connection_count(), 2);

    sse.send("just for you", first.id()).unwrap();
    sse.broadcast("everyone gets this").unwrap();

    let opening = first.next().await.unwrap();
    assert!(text(&opening).starts_with("retry: "));
    assert_eq!(first.next().await.unwrap(), "data: just for you\n\ndata: everyone gets this\n\n",);
    second.next().await.unwrap();
    assert_eq!(second.next().await.unwrap(), "data: everyone gets this\n\n");

    assert!(sse.remove_connection(first.id()));
    assert!(!sse.remove_connection(first.id()));
    assert_eq!(sse.connection_count(), 1);
    assert!(sse.connection(first.id()).is_none());
    assert!(sse.connection(second.id()).is_some());
}

#[test]
fn sending_to_an_unknown_connection_is_an_error() {
    let sse = Manager::new();
    let id = sse.add_connection().id();
    let error = sse.send("anyone there?", id).unwrap_err();
    assert_eq!(error, SendError::NoSuchConnection { id });
    assert_eq!(error.to_string(), format!("no open connection has the id {id}"));
}

#[test]
fn the_id_of_an_earlier_connection_in_the_same_slot_does_not_match() {
    let sse = Manager::new();
    let old = sse.add_connection().id();
    let new = sse.add_connection();
    assert_ne!(old, new.id());
    assert!(sse.send("for the old one", old).is_err());
}

#[tokio::test]
async fn the_middleware_serves_events_as_an_event_stream() {
    let sse = Manager::new();
    let mut page = page(&sse).await;
    assert_eq!(page.headers()["content-type"], "text/event-stream");
    let event = Event::new("{\"price\": 42.50}").id("msg-123").unwrap();
    sse.broadcast(event.event("price-update").unwrap()).unwrap();

    let event = page.expect("price-update", "{\"price\": 42.50}").await;
    assert_eq!(event.id, "msg-123");
    let block = "id: msg-123\nevent: price-update\ndata: {\"price\": 42.50}\n\n";
    assert!(text(page.raw()).ends_with(block));
}

#[test]
fn a_receipt_counts_the_receivers_of_an_event() {
    let sse = Manager::new();
    let mut none = sse.broadcast("nobody").unwrap();
    assert_eq!(none.try_ack().unwrap().unwrap().receivers, 0);

    let connections: Vec<_> = (0..3).map(|_| sse.add_connection()).collect();
    let mut all = sse.broadcast("all").unwrap();
    assert_eq!(all.try_ack().unwrap().unwrap().receivers, 3);
    let mut one = sse.send("one", connections[0].id()).unwrap();
    assert_eq!(one.try_ack().unwrap().unwrap().receivers, 1);
}

#[tokio::test]
async fn small_events_share_a_frame_and_none_is_lost_between_frames() {
    let sse = Manager::new();
    let mut connection = sse.add_connection();
    connection.next().await.unwrap();
    let mut expected = String::new();
    for n in 0..100 {
        let data = n.to_string().repeat(2000);
        sse.broadcast(data.as_str()).unwrap();
        expected += &format!("data: {data}\n\n");
    }
    let (mut seen, mut frames) = (String::new(), 0);
    while seen.len() < expected.len() {
        let frame = connection.next().await.unwrap();
        assert!(frame.len() <= 16 * 1024);
        seen += text(&frame);
        frames += 1;
    }
    assert!(seen == expected, "every event once, in order");
    assert!(frames < 50, "{frames}");
}

/// The number of events in what a client read, and their bytes, without control events.
fn events_in(raw: &[u8]) -> (u64, u64) {
    let blocks = text(raw).split_inclusive("\n\n");
    let blocks = blocks.map(|block| block.trim_start_matches(":\n"));
    let events = blocks.filter(|block| block.contains("data: ") && !block.contains(": prism."));
    events.fold((0, 0), |(events, bytes), block| (events + 1, bytes + block.len() as u64))
}

#[tokio::test(start_paused = true)]
async fn delivered_events_and_bytes_are_counted_as_in_the_stream() {
    let sse = with_history();
    let mut pages = vec![page(&sse).await, page(&sse).await];
    let first = sse.broadcast("first").unwrap().await.unwrap().position;
    let data: Vec<String> = [20_000, 1, 300, 2, 9_000, 9_000].map(|len| "x".repeat(len)).into();
    for data in &data {
        sse.broadcast(data.as_str()).unwrap();
    }
    for page in &mut pages {
        page.expect_named("prism.open").await;
        page.expect("message", "first").await;
    }
    let mut back = page_after(&sse, &first.to_string()).await;
    back.expect_named("prism.open").await;
    pages.push(back);
    for page in &mut pages {
        for data in &data {
            page.expect("message", data).await;
        }
    }
    // Meanwhile heartbeats and marks are sent.
    join_all(pages.iter_mut().map(|page| page.listen(Duration::from_secs(3600)))).await;
    sse.broadcast("last").unwrap();
    sse.close();
    let mut expected = (0, 0);
    for page in &mut pages {
        page.expect("message", "last").await;
        page.expect_named("prism.mark").await;
        page.expect_end().await;
        assert!(text(page.raw()).contains(":\n"));
        let (events, bytes) = events_in(page.raw());
        expected = (expected.0 + events, expected.1 + bytes);
    }
    assert_eq!(expected.0, 3 * 8 - 1);
    let stats = sse.stats();
    assert_eq!((stats.delivered, stats.delivered_bytes), expected);
}
