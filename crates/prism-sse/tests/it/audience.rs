//! Topics, grants and broadcasts.

use futures_util::{FutureExt, StreamExt};
use prism_sse::{Audience, Connection, Manager, Publication, Start};

use super::{select, text};

/// Everything due now, without the opening.
fn due(connection: &mut Connection) -> String {
    let mut seen = String::new();
    while let Some(Some(bytes)) = connection.next().now_or_never() {
        seen.push_str(text(&bytes));
    }
    let events = seen.split("\n\n").filter_map(|block| block.rsplit_once("data: "));
    events.map(|(_, data)| data).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_topic_reaches_those_who_select_it_and_those_who_select_everything() {
    let sse = Manager::new();
    let mut a = sse.subscribe(select("a"), Start::Now).unwrap();
    let mut ab = sse.subscribe(select(["a", "b"]), Start::Now).unwrap();
    let mut star = sse.subscribe(select("*"), Start::Now).unwrap();
    let mut all = sse.add_connection();
    sse.publish("a", "to-a").unwrap();
    sse.publish("b", "to-b").unwrap();
    sse.publish("c", "to-c").unwrap();
    sse.broadcast("to-all").unwrap();
    assert_eq!(due(&mut a), "to-a to-all");
    assert_eq!(due(&mut ab), "to-a to-b to-all");
    assert_eq!(due(&mut star), "to-a to-b to-c to-all");
    assert_eq!(due(&mut all), "to-a to-b to-c to-all");
}

#[tokio::test]
async fn an_event_of_several_topics_is_delivered_once_and_counted_once() {
    let sse = Manager::new();
    let mut reader = sse.subscribe(select(["a", "b", "c"]), Start::Now).unwrap();
    let mut receipt = sse.publish(["a", "b", "b"], "once").unwrap();
    assert_eq!(receipt.try_ack().unwrap().unwrap().receivers, 1);
    assert_eq!(due(&mut reader), "once");
}

#[tokio::test]
async fn a_private_event_reaches_only_those_who_select_and_are_granted_one_of_its_topics() {
    let sse = Manager::new();
    let secret = |topics: &[&str]| {
        let publication = Publication::new(topics, "secret").unwrap().private();
        sse.append(publication).unwrap().try_ack().unwrap().unwrap().receivers
    };
    let connect = |audience| sse.subscribe(audience, Start::Now).unwrap();
    let _public = connect(select(["a", "b"]));
    let _star = connect(Audience::everything());
    assert_eq!(secret(&["a"]), 0);
    // Selected by one topic, granted by another.
    let _granted = connect(select("a").grant("b").unwrap());
    assert_eq!(secret(&["a"]), 0);
    assert_eq!(secret(&["a", "b"]), 1);
    assert_eq!(secret(&["b"]), 0, "granted but not selected");
    let _all = connect(Audience::everything().grant("*").unwrap());
    assert_eq!(secret(&["a"]), 1);
}

#[tokio::test]
async fn unreadable_events_leave_no_trace_in_a_stream() {
    let sse = Manager::new();
    let mut public = sse.add_connection();
    for n in 0..3000 {
        let secret = Publication::new("a", format!("secret {n}")).unwrap().private();
        sse.append(secret).unwrap();
    }
    sse.publish("a", "open").unwrap();
    // More than one turn may look at: the reader wakes itself and goes on.
    let mut seen = String::new();
    while !seen.contains("open") {
        seen.push_str(text(&public.next().await.unwrap()));
    }
    assert!(!seen.contains("secret"));
}

#[tokio::test]
async fn an_audience_can_do_without_broadcasts() {
    let sse = Manager::new();
    let audience = select("a").broadcasts(false);
    let _connection = sse.subscribe(audience, Start::Now).unwrap();
    let mut broadcast = sse.broadcast("to all").unwrap();
    assert_eq!(broadcast.try_ack().unwrap().unwrap().receivers, 0);
    let mut published = sse.publish("a", "to a").unwrap();
    assert_eq!(published.try_ack().unwrap().unwrap().receivers, 1);
}

#[tokio::test]
async fn a_hundred_selectors_on_one_connection_keep_the_order_of_the_hub() {
    let sse = Manager::new();
    let topics: Vec<String> = (0..100).map(|n| format!("topic {n}")).collect();
    let mut reader = sse.subscribe(select(&topics[..]), Start::Now).unwrap();
    let mut expected = Vec::new();
    for n in 0..1000_usize {
        sse.publish(&topics[n * 37 % 100], n.to_string()).unwrap();
        expected.push(n.to_string());
    }
    assert_eq!(due(&mut reader), expected.join(" "));
}

#[tokio::test]
async fn topics_and_audiences_are_freed_with_their_last_reader() {
    let sse = Manager::builder().history(prism_sse::Retention::default().count(1)).build().unwrap();
    let readers: Vec<_> = (0..50)
        .map(|n| {
            sse.subscribe(select([format!("own {n}"), "common".to_owned()]), Start::Now).unwrap()
        })
        .collect();
    assert_eq!((sse.stats().audiences, sse.stats().topics), (50, 51));
    sse.publish("own 7", "x").unwrap();
    sse.broadcast("pushes x out").unwrap();
    drop(readers);
    assert_eq!((sse.stats().audiences, sse.stats().topics), (0, 0));
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn equal_wishes_share_an_audience() {
    let sse = Manager::new();
    let _one = sse.subscribe(select(["a", "b"]), Start::Now).unwrap();
    let _two = sse.subscribe(select(["b", "a"]), Start::Now).unwrap();
    assert_eq!(sse.stats().audiences, 1);
}
