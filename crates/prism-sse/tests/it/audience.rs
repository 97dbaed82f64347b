//! Topics, grants and broadcasts.

use futures_util::{FutureExt, StreamExt};
use prism_sse::{Audience, Connection, Event, Gap, Manager, Publication, Selector, Start, Topic};

use super::{select, text, with_history};

/// Everything that is due now, without the opening.
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
    // More than one poll may look at: the connection wakes its task to continue.
    let mut seen = String::new();
    while !seen.contains("open") {
        seen.push_str(text(&public.next().await.unwrap()));
    }
    assert!(!seen.contains("secret"));
}

#[tokio::test]
async fn an_audience_can_exclude_broadcasts() {
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
async fn subscriptions_with_equal_selectors_and_grants_share_an_audience() {
    let sse = Manager::new();
    let _one = sse.subscribe(select(["a", "b"]), Start::Now).unwrap();
    let _two = sse.subscribe(select(["b", "a"]), Start::Now).unwrap();
    assert_eq!(sse.stats().audiences, 1);
}

#[tokio::test]
async fn an_audience_that_wants_no_control_events_gets_the_retry_line_and_its_events() {
    let sse = with_history();
    let id = sse.publish("a", "one").unwrap().try_ack().unwrap().unwrap().position.to_string();
    sse.publish("a", "two").unwrap();
    let audience = select("a").control_events(false);
    let mut quiet = sse.subscribe(audience.clone(), Start::After(id)).unwrap();
    let opening = quiet.next().await.unwrap();
    assert!(opening.starts_with(b"retry: ") && opening.ends_with(b"\n"));
    assert!(!text(&opening).contains("prism."), "{opening:?}");
    assert_eq!(due(&mut quiet), "two");

    let mut lost = sse.subscribe(audience, Start::After("nobody's".to_owned())).unwrap();
    assert_eq!(lost.gap(), Some(Gap::Unknown));
    assert!(!text(&lost.next().await.unwrap()).contains("prism."));
    assert_eq!(due(&mut lost), "one two");
    sse.close();
    let last = text(&quiet.next().await.unwrap()).to_owned();
    assert!(last.starts_with("retry: ") && !last.contains("prism."), "{last}");
    assert_eq!(quiet.next().await, None);
}

#[tokio::test]
async fn the_id_of_a_private_event_is_unknown_to_readers_that_may_not_read_it() {
    let sse = with_history();
    let secret = Event::new("secret").id("payslip-7").unwrap();
    sse.append(Publication::new("users/7", secret).unwrap().private()).unwrap();
    sse.publish("news", "public").unwrap();
    let start = || Start::After("payslip-7".to_owned());
    let other = sse.subscribe(Audience::everything(), start()).unwrap();
    assert_eq!(other.gap(), Some(Gap::Unknown), "like an id that was never published");
    let owner = Audience::everything().grant("users/7").unwrap();
    let mut owner = sse.subscribe(owner, start()).unwrap();
    assert_eq!(owner.gap(), None);
    assert!(due(&mut owner).ends_with("public"));
}

#[test]
fn receivers_stay_exact_while_audiences_with_common_selectors_are_removed_in_any_order() {
    let sse = Manager::new();
    let mut rng = fastrand::Rng::with_seed(1);
    // Each audience selects two of four common topics, one of two patterns, and a topic of its own
    // that makes it distinct.
    let mut open = Vec::new();
    for n in 0..60 {
        let names = [n % 4, (n + 1 + n / 20) % 4].map(|n| format!("topic{n}"));
        let pattern = ["p", "q"][n % 2];
        let mut selectors = vec![Selector::template(&format!("{pattern}{{x}}")).unwrap()];
        for name in names.iter().chain([&format!("own{n}")]) {
            selectors.push(Topic::try_from(name.as_str()).unwrap().into());
        }
        open.push((sse.subscribe(select(selectors), Start::Now).unwrap(), names, pattern));
    }
    while !open.is_empty() {
        let receivers =
            |topic: String| sse.publish(topic, "x").unwrap().try_ack().unwrap().unwrap().receivers;
        for topic in (0..4).map(|n| format!("topic{n}")) {
            let expected = open.iter().filter(|(_, names, _)| names.contains(&topic)).count();
            assert_eq!(receivers(topic), expected);
        }
        for pattern in ["p", "q"] {
            let expected = open.iter().filter(|(_, _, own)| *own == pattern).count();
            assert_eq!(receivers(format!("{pattern}1")), expected);
        }
        drop(open.swap_remove(rng.usize(..open.len())));
    }
    assert_eq!(sse.stats().audiences, 0);
}
