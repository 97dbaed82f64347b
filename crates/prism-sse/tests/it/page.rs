//! The Swift page: events, the manager, the middleware.

use std::time::Duration;

use futures_util::StreamExt;
use prism_sse::{Event, Manager, SendError};

use super::{page, text};

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
async fn one_is_sent_to_and_all_are_broadcast_to() {
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
fn an_id_of_another_connection_in_the_same_place_does_not_match() {
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
fn a_receipt_tells_how_many_connections_an_event_was_for() {
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
