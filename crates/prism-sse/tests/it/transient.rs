//! Transient events: a retention class of their own, in one order with the history.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use prism_sse::test::Delayed;
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{
    Audience, Connection, Durability, Event, Manager, ManagerBuilder, OnLag, Publication,
    PublishError, Retention, Selector, Start,
};

use super::select;

mod generated;

/// Retains so many events of each class.
fn kept(history: usize, transient: usize) -> ManagerBuilder {
    let [history, transient] = [history, transient].map(|count| Retention::default().count(count));
    Manager::builder().history(history).transient(transient)
}

fn keeping(history: usize, transient: usize) -> Manager {
    kept(history, transient).build().unwrap()
}

/// Publishes an event. Returns its position.
fn publish(sse: &Manager, topic: &str, data: impl Into<Event>) -> String {
    placed(sse, Publication::new(topic, data).unwrap())
}

fn transient(sse: &Manager, topic: &str, data: impl Into<Event>) -> String {
    placed(sse, Publication::new(topic, data).unwrap().transient())
}

fn placed(sse: &Manager, publication: Publication) -> String {
    sse.append(publication).unwrap().try_ack().unwrap().unwrap().position.to_string()
}

/// The first word of each event that is due, and the reason of each gap.
fn due(connection: &mut Connection) -> String {
    let mut parser = Parser::new();
    let mut seen = Vec::new();
    while let Some(Some(bytes)) = connection.next().now_or_never() {
        let mut bytes = &bytes[..];
        while let Some(parsed) = parser.next(&mut bytes) {
            let Parsed::Event(event) = parsed else { continue };
            match event.name.as_str() {
                "message" => seen.push(event.data.split(' ').next().unwrap().to_owned()),
                "prism.gap" => seen.push(event.data.split('"').nth(3).unwrap().to_owned()),
                _ => {}
            }
        }
    }
    seen.join(" ")
}

fn read(sse: &Manager, audience: Audience, start: Start) -> String {
    due(&mut sse.subscribe(audience, start).unwrap())
}

fn after(id: impl Into<String>) -> Start {
    Start::After(id.into())
}

/// What a reader of everything receives from the oldest event on.
fn all(sse: &Manager) -> String {
    let [oldest, earliest] =
        [Start::Oldest, after("earliest")].map(|start| read(sse, Audience::everything(), start));
    assert_eq!(oldest, earliest);
    oldest
}

#[tokio::test]
async fn neither_class_evicts_the_other() {
    let sse = keeping(3, 2);
    (0..3).for_each(|n| _ = publish(&sse, "a", format!("h{n}")));
    (0..100).for_each(|n| _ = transient(&sse, "a", format!("t{n}")));
    assert_eq!(all(&sse), "h0 h1 h2 t98 t99");
    (3..100).for_each(|n| _ = publish(&sse, "a", format!("h{n}")));
    assert_eq!(all(&sse), "t98 t99 h97 h98 h99");
    let stats = sse.stats();
    assert_eq!((stats.records, stats.transient, stats.published), (3, 2, 200));
}

#[tokio::test]
async fn many_transient_topics_evict_no_history_by_their_bytes() {
    let bytes = Retention::default().bytes(4096);
    let sse = Manager::builder().history(bytes.clone()).transient(bytes).build().unwrap();
    (0..2).for_each(|_| _ = publish(&sse, "a", "old"));
    for n in 0..100 {
        transient(&sse, &format!("{n}/{}", "t".repeat(500)), "x");
    }
    assert_eq!(sse.stats().records, 2);
    assert!((1..5).contains(&sse.stats().transient), "{:?}", sse.stats());
    for n in 0..100 {
        publish(&sse, &format!("{n}/{}", "h".repeat(500)), "x");
    }
    assert!((1..5).contains(&sse.stats().records), "{:?}", sse.stats());
    assert!((1..5).contains(&sse.stats().transient), "{:?}", sse.stats());
    assert!(sse.stats().bytes <= 2 * 4096, "{:?}", sse.stats());
}

#[tokio::test]
async fn all_readers_see_both_classes_in_one_order() {
    let sse = keeping(10, 10);
    let mut live = sse.subscribe(Audience::everything(), Start::Now).unwrap();
    due(&mut live);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(publish(&sse, "a", format!("h{n}")));
        ids.push(transient(&sse, "b", format!("t{n}")));
    }
    let order = "h0 t0 h1 t1 h2 t2 h3 t3 h4 t4";
    assert_eq!(due(&mut live), order);
    assert_eq!(all(&sse), order);
    for (n, id) in ids.into_iter().enumerate() {
        let rest: Vec<&str> = order.split(' ').skip(n + 1).collect();
        assert_eq!(read(&sse, Audience::everything(), after(id.clone())), rest.join(" "));
        let own: Vec<&str> = rest.into_iter().filter(|data| data.starts_with('t')).collect();
        assert_eq!(read(&sse, select("b"), after(id)), own.join(" "));
    }
}

#[tokio::test(start_paused = true)]
async fn each_class_expires_by_time_without_further_publishes() {
    let hour = Duration::from_secs(3600);
    let sse = Manager::builder().history(Retention::default().age(hour)).build().unwrap();
    let mut reader = sse.add_connection();
    due(&mut reader);
    drop(reader);
    publish(&sse, "a", "h");
    // Without a reader the driver sleeps until the next record expires.
    tokio::time::sleep(Duration::from_secs(60)).await;
    transient(&sse, "a", "t");
    let counts = || (sse.stats().records, sse.stats().transient);
    tokio::time::sleep(Duration::from_millis(10 * 60 * 1000 - 1)).await;
    assert_eq!(counts(), (1, 1));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(counts(), (1, 0), "transient events are kept for ten minutes");
    tokio::time::sleep(hour).await;
    assert_eq!(counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_history_both_classes_are_kept_for_readers_that_are_slightly_behind() {
    let sse = Manager::new();
    let mut reader = sse.add_connection();
    due(&mut reader);
    publish(&sse, "a", "h");
    transient(&sse, "a", "t");
    assert_eq!(due(&mut reader), "h t");
    tokio::time::sleep(Duration::from_millis(60_100)).await;
    assert_eq!((sse.stats().records, sse.stats().transient), (0, 0));
}

#[tokio::test]
async fn only_readers_that_could_read_an_evicted_event_get_a_gap() {
    let sse = keeping(100, 1);
    let begin = publish(&sse, "a", "h0");
    transient(&sse, "b", "t0");
    let between = publish(&sse, "a", "h1");
    let secret = Publication::new("c", "s0").unwrap().private().transient();
    placed(&sse, secret);
    let last = publish(&sse, "a", "h2");
    transient(&sse, "d", "t1");

    let template = |text| select(Selector::template(text).unwrap());
    let granted = |topic: &str| select(topic).grant(topic).unwrap();
    let everything = Audience::everything;
    let cases = [
        (everything(), &begin, "expired h1 h2 t1"),
        (everything(), &between, "h2 t1"),
        (select("a"), &begin, "h1 h2"),
        (select("b"), &begin, "expired"),
        (select("b"), &between, ""),
        (select("c"), &begin, ""),
        (granted("c"), &begin, "expired"),
        (granted("c"), &between, "expired"),
        (granted("c"), &last, ""),
        (granted("a"), &begin, "h1 h2"),
        (everything().grant("*").unwrap(), &between, "expired h2 t1"),
        (template("{+x}"), &begin, "expired h1 h2 t1"),
        (template("{+x}"), &between, "h2 t1"),
        (template("{+x}").grant("*").unwrap(), &between, "expired h2 t1"),
    ];
    for (audience, id, seen) in cases {
        assert_eq!(read(&sse, audience.clone(), after(id)), seen, "{audience:?} after {id}");
    }
}

#[tokio::test]
async fn a_slow_reader_gets_a_gap_for_evicted_events_of_either_class() {
    let audience = || select(["a", "b"]);
    let mut readers = Vec::new();
    for of_both in [true, false] {
        let sse = kept(100, 2).on_lag(OnLag::SkipWithGap).build().unwrap();
        let mut both = sse.subscribe(audience(), Start::Now).unwrap();
        let mut one = sse.subscribe(select("a"), Start::Now).unwrap();
        due(&mut both);
        due(&mut one);
        publish(&sse, "a", "h");
        (0..if of_both { 3 } else { 2 }).for_each(|n| _ = transient(&sse, "b", format!("t{n}")));
        readers.push((due(&mut both), due(&mut one)));
    }
    let expected = [("lag", "h"), ("h t0 t1", "h")];
    assert_eq!(readers, expected.map(|(both, one)| (both.to_owned(), one.to_owned())));
}

#[tokio::test]
async fn oldest_begins_with_the_oldest_of_both_classes_without_a_gap() {
    for (history, transients) in [(1, 50), (50, 1), (2, 3), (3, 2), (100, 100)] {
        let sse = keeping(history, transients);
        let mut published = Vec::new();
        for n in 0..50 {
            publish(&sse, "a", format!("h{n}"));
            transient(&sse, "b", format!("t{n}"));
            published.extend([format!("h{n}"), format!("t{n}")]);
        }
        let begin = |data: &str, kept: usize| {
            let n: usize = data[1..].parse().unwrap();
            n + kept >= 50
        };
        published
            .retain(|data| begin(data, if data.starts_with('h') { history } else { transients }));
        assert_eq!(all(&sse), published.join(" "), "{history} and {transients}");
        let pattern = select(Selector::template("{x}").unwrap());
        assert_eq!(read(&sse, pattern, Start::Oldest), published.join(" "));
    }
}

#[tokio::test]
async fn a_reader_that_began_with_the_oldest_and_is_cut_off_loses_nothing_without_a_gap() {
    let sse = keeping(5, 1);
    (0..5).for_each(|n| _ = publish(&sse, "a", format!("h{n}")));
    (0..5).for_each(|n| _ = transient(&sse, "a", format!("t{n}")));
    let mut cut_off = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
    let opening = cut_off.next().now_or_never().flatten().unwrap();
    let mut parser = Parser::new();
    let mut bytes = &opening[..];
    while parser.next(&mut bytes).is_some() {}
    let id = parser.last_event_id();
    assert_eq!(read(&sse, Audience::everything(), after(id)), "expired h0 h1 h2 h3 h4 t4");
}

#[tokio::test]
async fn a_replay_from_the_oldest_gets_a_gap_when_eviction_of_either_class_overtakes_it() {
    let cases = [
        (2, 0, "h6 h7 t4 t5 t6 t7 x x", "what was evicted was read"),
        (3, 0, "expired h7 t4 t5 t6 t7 x x x", "h6 was not"),
        (0, 1, "expired h6 h7 t5 t6 t7 x", "t4 was not"),
        (3, 1, "expired h7 t5 t6 t7 x x x x", "one gap for both"),
    ];
    for (history, transients, seen, why) in cases {
        let sse = kept(4, 4).on_lag(OnLag::SkipWithGap).build().unwrap();
        // Each event is a frame of its own.
        let big = |name: String| format!("{name} {}", "x".repeat(20_000));
        (0..8).for_each(|n| _ = publish(&sse, "a", big(format!("h{n}"))));
        (0..8).for_each(|n| _ = transient(&sse, "a", big(format!("t{n}"))));
        let mut reader = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
        // The opening, h4 and h5.
        (0..3).for_each(|_| _ = reader.next().now_or_never().flatten().unwrap());
        (0..history).for_each(|_| _ = publish(&sse, "a", "x"));
        (0..transients).for_each(|_| _ = transient(&sse, "a", "x"));
        assert_eq!(due(&mut reader), seen, "{why}");
    }
}

#[tokio::test]
async fn replays_and_gaps_of_a_pattern_cover_both_classes() {
    // More events of each class than the index of a pattern has.
    let sse = keeping(1000, 400);
    let template = || select(Selector::template("/a/{x}").unwrap());
    let mut in_use = sse.subscribe(template(), Start::Now).unwrap();
    due(&mut in_use);
    let mut ids = Vec::new();
    for n in 0..400 {
        ids.push(publish(&sse, &format!("/a/{n}"), format!("h{n}")));
        ids.push(transient(&sse, &format!("/a/{n}"), format!("t{n}")));
        publish(&sse, "/b/x", "other");
    }
    let mut all = Vec::new();
    let mut reader = sse.subscribe(template(), Start::Oldest).unwrap();
    while all.len() < 800 {
        all.extend(due(&mut reader).split_whitespace().map(str::to_owned));
        tokio::task::yield_now().await;
    }
    let order = (0..400).flat_map(|n| [format!("h{n}"), format!("t{n}")]);
    assert!(all.into_iter().eq(order));
    // Only evicted events that the pattern matches count as missed.
    (0..400).for_each(|n| _ = transient(&sse, "/b/x", format!("{n}")));
    for (n, id) in ids.iter().enumerate() {
        let connection = sse.subscribe(template(), after(id)).unwrap();
        assert_eq!(connection.gap().is_some(), n < 799, "the last one was t399: {n}");
    }
    assert_eq!(in_use.gap(), None);
}

#[tokio::test]
async fn the_id_of_a_transient_event_is_valid_while_it_is_retained() {
    let sse = keeping(10, 1);
    let named = |data: &str| Event::new(data).id(data).unwrap();
    publish(&sse, "a", "h0");
    transient(&sse, "a", named("t0"));
    publish(&sse, "a", "h1");
    assert_eq!(read(&sse, Audience::everything(), after("t0")), "h1");
    transient(&sse, "b", named("t1"));
    let expected = "expired h1";
    assert_eq!(read(&sse, select("a"), after("t0")), expected, "earlier events are not sent again");
    assert_eq!(read(&sse, Audience::everything(), after("t0")), "expired h1 t1");
    let secret = Publication::new("a", named("s0")).unwrap().private().transient();
    placed(&sse, secret);
    assert_eq!(read(&sse, select("a"), after("s0")), "unknown h0 h1");
    transient(&sse, "b", "t2");
    assert_eq!(read(&sse, select("a"), after("s0")), "unknown h0 h1", "nor is it told later");
    let granted = select("a").grant("a").unwrap();
    assert_eq!(read(&sse, granted, after("s0")), "expired");
}

#[tokio::test]
async fn a_topic_with_events_of_both_classes_keeps_each_by_its_own_retention() {
    let sse = keeping(3, 2);
    for n in 0..4 {
        publish(&sse, "a", format!("h{n}"));
        transient(&sse, "a", format!("t{n}"));
    }
    assert_eq!(read(&sse, select("a"), Start::Oldest), "h1 h2 t2 h3 t3");
    (0..2).for_each(|n| _ = transient(&sse, "b", format!("{n}")));
    assert_eq!(read(&sse, select("a"), Start::Oldest), "h1 h2 h3");
    (0..3).for_each(|n| _ = publish(&sse, "b", format!("{n}")));
    assert_eq!(read(&sse, select("a"), Start::Oldest), "");
    assert_eq!(sse.stats().topics, 1, "the topic was dropped with its last record");
}

#[tokio::test]
async fn replacing_the_order_evicts_both_classes() {
    let engine = Delayed::new();
    let sse = kept(3, 3).engine(engine.clone()).build().unwrap();
    let publish_both = |range: std::ops::Range<u32>| {
        for n in range {
            sse.publish("a", format!("h{n}")).unwrap();
            let typing = Publication::new("a", format!("t{n}")).unwrap().transient();
            sse.append(typing).unwrap();
            while engine.apply() {}
        }
    };
    publish_both(0..5);
    let mut reader = sse.subscribe(select("a"), Start::Oldest).unwrap();
    let mut wide = sse.subscribe(Audience::everything(), Start::Now).unwrap();
    due(&mut wide);
    let old = sse.position().unwrap().to_string();
    engine.begin_epoch(3);
    assert_eq!((sse.stats().records, sse.stats().transient), (0, 0));
    assert_eq!((due(&mut reader), due(&mut wide)), ("epoch".to_owned(), "epoch".to_owned()));
    publish_both(5..7);
    assert_eq!(
        (due(&mut reader), due(&mut wide)),
        ("h5 t5 h6 t6".to_owned(), "h5 t5 h6 t6".to_owned())
    );
    assert_eq!(read(&sse, select("a"), after(old)), "epoch h5 t5 h6 t6");
    assert_eq!(all(&sse), "h5 t5 h6 t6");
}

#[tokio::test]
async fn latest_begins_with_the_newest_event_of_each_class() {
    let sse = kept(10, 1).on_lag(OnLag::LatestPerTopic).lag_bytes(40).build().unwrap();
    let mut slow = sse.subscribe(Audience::everything(), Start::Now).unwrap();
    due(&mut slow);
    publish(&sse, "a", "h0");
    publish(&sse, "b", "h1");
    transient(&sse, "b", "t0");
    assert_eq!(read(&sse, Audience::everything(), Start::Latest), "h0 h1 t0");
    transient(&sse, "a", "t1");
    assert_eq!(read(&sse, Audience::everything(), Start::Latest), "h0 h1 t1", "t0 is not kept");
    publish(&sse, "a", "h2");
    assert_eq!(read(&sse, Audience::everything(), Start::Latest), "h1 t1 h2");
    assert_eq!(due(&mut slow), "lag h1 t1 h2");
}

#[tokio::test]
async fn transient_events_have_idempotency_keys_and_receipts() {
    let sse = keeping(10, 1);
    let _reader = sse.subscribe(select("a"), Start::Now).unwrap();
    let event = || Publication::new("a", "x").unwrap().idempotency_key("k").unwrap();
    let first = sse.append(event().transient()).unwrap().try_ack().unwrap().unwrap();
    assert_eq!((first.receivers, first.durability), (1, Durability::Memory));
    let again = || sse.append(event().transient()).unwrap().try_ack().unwrap().unwrap();
    assert_eq!(again(), first);
    assert_eq!(sse.append(event()).unwrap_err(), PublishError::KeyReused, "another kind");
    transient(&sse, "b", "y");
    assert_eq!(again(), first, "although it is not kept any more");
    assert_eq!(sse.stats().published, 2);
}

#[tokio::test]
async fn a_transient_event_without_an_answer_is_acknowledged_with_durability_memory() {
    let engine = Delayed::new();
    let sse = kept(1, 1).engine(engine.clone()).build().unwrap();
    for (transient, durability) in [(true, Durability::Memory), (false, Durability::Fsync)] {
        let event = Publication::new("a", format!("{transient}")).unwrap();
        let event = event.idempotency_key(format!("{transient}")).unwrap();
        let event = if transient { event.transient() } else { event };
        let mut lost = sse.append(event.clone()).unwrap();
        engine.apply();
        engine.forget_first();
        assert!(lost.try_ack().unwrap().is_err());
        let again = sse.append(event).unwrap().try_ack().unwrap().unwrap();
        assert_eq!(again.durability, durability);
    }
}

#[tokio::test]
async fn the_newest_event_is_delivered_even_if_a_newer_transient_one_is_evicted_before_it_is_read()
{
    let sse = keeping(1000, 1);
    let large = |word: &str| format!("{word} {}", "x".repeat(20_000));
    publish(&sse, "a", "h-a");
    publish(&sse, "b", large("b"));
    publish(&sse, "c", large("c"));
    transient(&sse, "a", "t-a");
    let mut slow = sse.subscribe(Audience::everything(), Start::Latest).unwrap();
    // The opening, and the first events.
    slow.next().now_or_never().flatten().unwrap();
    let first = slow.next().now_or_never().flatten().unwrap();
    transient(&sse, "z", "t-z");
    let rest = due(&mut slow);
    assert!(String::from_utf8_lossy(&first).contains("h-a"), "of {rest:?}");
    assert_eq!(read(&sse, select("a"), Start::Latest), "h-a");
}

#[tokio::test]
async fn a_reader_that_has_read_past_a_known_gap_gets_no_second_gap() {
    let sse = keeping(1000, 1);
    publish(&sse, "a", "h0");
    transient(&sse, "a", "t0");
    transient(&sse, "z", "t1");
    let mut page = sse.subscribe(select("a"), after("earliest")).unwrap();
    let mut last = String::new();
    let mut parser = Parser::new();
    let mut seen = 0;
    while let Some(Some(bytes)) = page.next().now_or_never() {
        let mut bytes = &bytes[..];
        while let Some(parsed) = parser.next(&mut bytes) {
            let Parsed::Event(event) = parsed else { continue };
            seen += usize::from(event.name.as_str() == "message");
        }
        last = parser.last_event_id().to_owned();
    }
    assert_eq!(seen, 1);
    drop(page);
    assert_eq!(read(&sse, select("a"), after(last)), "", "nothing was missed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn marks_are_sent_before_transient_events_expire() {
    let transient_age = Retention::default().age(Duration::from_secs(60));
    let builder = Manager::builder().history(Retention::default()).transient(transient_age);
    let sse = builder.no_heartbeat().build().unwrap();
    let secret = Audience::select(["mine"]).unwrap().grant(["mine"]).unwrap();
    let mut page = sse.subscribe(secret, Start::Now).unwrap();
    page.next().await.unwrap();
    transient(&sse, "other", "t");
    let before = tokio::time::Instant::now();
    let mark = page.next().await.unwrap();
    assert!(String::from_utf8_lossy(&mark).contains("prism.mark"));
    assert!(before.elapsed() < Duration::from_secs(60));
}
