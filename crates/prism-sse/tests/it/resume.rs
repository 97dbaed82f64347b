//! History: what a reader that reconnects receives, and the gap it gets if that is not everything.

use std::time::Duration;

use prism_sse::test::Delayed;
use prism_sse::{
    Audience, Event, Gap, Manager, Publication, PublishError, Retention, Selector, Start,
};

use super::{Page, app, client, keeping, page, page_after, select, text, with_history};

fn publish(sse: &Manager, range: std::ops::Range<u32>) {
    for n in range {
        sse.broadcast(n.to_string()).unwrap();
    }
}

async fn expect(page: &mut Page, range: std::ops::Range<u32>) {
    for n in range {
        page.expect("message", &n.to_string()).await;
    }
}

async fn expect_gap(page: &mut Page, reason: &str, after: &str) -> String {
    assert_eq!(page.headers()["prism-gap"], reason);
    page.expect_named("prism.open").await;
    let gap = page.expect_named("prism.gap").await;
    let data = format!(r#"{{"reason":"{reason}","after":{after},"resumed_at":"{}"}}"#, gap.id);
    assert_eq!(gap.data, data);
    gap.id
}

#[tokio::test]
async fn a_reader_that_reconnects_misses_nothing_and_gets_nothing_twice() {
    let sse = with_history();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    publish(&sse, 0..3);
    expect(&mut page, 0..3).await;

    page.hang_up();
    publish(&sse, 3..6);
    page.reconnect().await.unwrap();
    assert!(page.headers().get("prism-gap").is_none());
    page.expect_named("prism.open").await;
    publish(&sse, 6..8);
    expect(&mut page, 3..8).await;
}

#[tokio::test]
async fn a_reader_cut_off_before_its_first_event_misses_nothing() {
    let sse = with_history();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    page.hang_up();
    publish(&sse, 0..10);
    page.reconnect().await.unwrap();
    page.expect_named("prism.open").await;
    expect(&mut page, 0..10).await;
}

#[tokio::test]
async fn the_first_event_carries_the_connection_id_the_position_and_a_jittered_retry() {
    let sse = with_history();
    publish(&sse, 0..2);
    let mut retries = std::collections::HashSet::new();
    for _ in 0..20 {
        let mut page = page(&sse).await;
        let open = page.expect_named("prism.open").await;
        assert!(open.id.ends_with(".2"), "{}", open.id);
        let id = open.data.strip_prefix(r#"{"connection":""#).unwrap().strip_suffix(r#""}"#);
        let id = id.unwrap().parse().unwrap();
        assert!(sse.connection(id).is_some());
        let retry = page.retry().unwrap();
        assert!((3000..=4500).contains(&retry.as_millis()), "{retry:?}");
        retries.insert(retry);
    }
    assert!(retries.len() > 10, "spread: {retries:?}");
}

#[tokio::test]
async fn every_event_carries_its_position_or_the_id_its_publisher_chose() {
    let sse = with_history();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    let mut receipt = sse.broadcast("ours").unwrap();
    let position = receipt.try_ack().unwrap().unwrap().position;
    sse.broadcast(Event::new("theirs").id("order-7").unwrap()).unwrap();
    assert_eq!(page.expect("message", "ours").await.id, position.to_string());
    assert_eq!(page.expect("message", "theirs").await.id, "order-7");
}

#[tokio::test]
async fn a_publishers_id_resumes_after_its_event() {
    let sse = with_history();
    sse.broadcast(Event::new("a").id("a").unwrap()).unwrap();
    publish(&sse, 0..2);
    let mut page = page_after(&sse, "a").await;
    page.expect_named("prism.open").await;
    expect(&mut page, 0..2).await;
}

#[tokio::test]
async fn an_id_used_twice_resumes_after_its_first_event() {
    let sse = with_history();
    sse.broadcast(Event::new("first").id("twice").unwrap()).unwrap();
    publish(&sse, 0..1);
    sse.broadcast(Event::new("second").id("twice").unwrap()).unwrap();
    let mut page = page_after(&sse, "twice").await;
    page.expect_named("prism.open").await;
    expect(&mut page, 0..1).await;
    page.expect("message", "second").await;
}

#[tokio::test]
async fn an_id_whose_first_event_was_evicted_is_expired_even_if_a_later_one_is_retained() {
    let sse = keeping(3);
    sse.broadcast(Event::new("first").id("twice").unwrap()).unwrap();
    publish(&sse, 0..2);
    sse.broadcast(Event::new("second").id("twice").unwrap()).unwrap();
    let mut page = page_after(&sse, "twice").await;
    expect_gap(&mut page, "expired", r#""twice""#).await;
    expect(&mut page, 0..2).await;
}

#[tokio::test]
async fn an_id_that_was_evicted_and_is_used_again_is_expired() {
    let sse = keeping(3);
    sse.broadcast(Event::new("first").id("again").unwrap()).unwrap();
    publish(&sse, 0..5);
    expect_gap(&mut page_after(&sse, "again").await, "expired", r#""again""#).await;
    sse.broadcast(Event::new("second").id("again").unwrap()).unwrap();
    expect_gap(&mut page_after(&sse, "again").await, "expired", r#""again""#).await;
}

#[tokio::test]
async fn an_id_that_is_used_again_after_many_others_is_expired_and_resumes_nothing_in_silence() {
    let sse = keeping(1);
    let named = |id: &str| Event::new(id).id(id).unwrap();
    for round in 0..20 {
        let again = format!("again {round}");
        sse.broadcast(named(&again)).unwrap();
        for n in 0..5000 {
            sse.broadcast(named(&format!("{round} {n}"))).unwrap();
        }
        // A reader that saw its first use has missed 5,000 events.
        sse.broadcast(named(&again)).unwrap();
        let resumed = sse.subscribe(Audience::everything(), Start::After(again)).unwrap();
        assert_eq!(resumed.gap(), Some(Gap::Expired), "{round}");
    }
}

#[tokio::test]
async fn a_private_events_id_is_as_unknown_as_one_that_nobody_used_to_who_may_not_read_it() {
    let sse = keeping(2);
    let secret = Event::new("x").id("secret").unwrap();
    sse.append(Publication::new("users/7", secret).unwrap().private()).unwrap();
    let gap_of = |audience: Audience, id: &str| {
        sse.subscribe(audience, Start::After(id.to_owned())).unwrap().gap()
    };
    let stranger = || Audience::everything().grant("users/8").unwrap();
    let template = Selector::template("users/{id}").unwrap();
    for (is_evicted, known) in [(false, None), (true, Some(Gap::Expired))] {
        for audience in [Audience::everything(), stranger()] {
            assert_eq!(gap_of(audience.clone(), "secret"), Some(Gap::Unknown), "{is_evicted}");
            assert_eq!(gap_of(audience, "never used"), Some(Gap::Unknown));
        }
        for grant in [Selector::try_from("users/7").unwrap(), template.clone(), Selector::Any] {
            let granted = Audience::everything().grant(grant).unwrap();
            assert_eq!(gap_of(granted, "secret"), known, "{is_evicted}");
        }
        (0..2).for_each(|n| _ = sse.broadcast(format!("{n}")).unwrap());
    }
}

#[tokio::test]
async fn an_expired_id_is_a_gap_and_the_stream_continues_with_the_oldest_event() {
    let sse = keeping(3);
    let mut page = page(&sse).await;
    let open = page.expect_named("prism.open").await;
    page.hang_up();
    publish(&sse, 0..5);
    page.reconnect().await.unwrap();
    let resumed_at = expect_gap(&mut page, "expired", &format!("{:?}", open.id)).await;
    expect(&mut page, 2..5).await;

    // The position in the gap can be resumed after.
    let mut again = page_after(&sse, &resumed_at).await;
    assert!(again.headers().get("prism-gap").is_none());
    again.expect_named("prism.open").await;
    expect(&mut again, 2..5).await;
}

#[tokio::test]
async fn an_id_that_was_never_assigned_is_a_gap() {
    let sse = with_history();
    publish(&sse, 0..2);
    for id in ["nobody", "#", "#zz.1", "#1", "\u{e9}\"\\", "*"] {
        let mut page = page_after(&sse, id).await;
        let after = serde_json::to_string(id).unwrap();
        expect_gap(&mut page, "unknown", &after).await;
        expect(&mut page, 0..2).await;
    }
}

#[tokio::test]
async fn an_id_above_the_length_limit_is_not_repeated_in_the_gap() {
    let sse = with_history();
    let mut page = page_after(&sse, &"x".repeat(256)).await;
    expect_gap(&mut page, "unknown", "null").await;
}

#[tokio::test]
async fn a_position_that_does_not_exist_yet_is_unknown() {
    let sse = with_history();
    let mut page = page(&sse).await;
    let open = page.expect_named("prism.open").await;
    let future = open.id.replace(".0", ".5");
    let mut page = page_after(&sse, &future).await;
    expect_gap(&mut page, "unknown", &format!("{future:?}")).await;
}

#[tokio::test]
async fn an_id_from_before_a_restart_is_a_gap() {
    let before = with_history();
    publish(&before, 0..3);
    let mut page = page(&before).await;
    let open = page.expect_named("prism.open").await;

    let after = with_history();
    publish(&after, 0..2);
    let mut page = page_after(&after, &open.id).await;
    expect_gap(&mut page, "epoch", &format!("{:?}", open.id)).await;
    expect(&mut page, 0..2).await;
}

#[tokio::test]
async fn an_id_of_an_earlier_epoch_resumes_unless_its_records_were_lost() {
    let engine = Delayed::new();
    let sse = Manager::builder().history(Retention::default()).engine(engine.clone());
    let sse = sse.build().unwrap();
    publish(&sse, 0..4);
    while engine.apply() {}
    engine.begin_epoch(4);
    publish(&sse, 4..6);
    while engine.apply() {}

    let mut page = page_after(&sse, "#1.2").await;
    page.expect_named("prism.open").await;
    expect(&mut page, 2..6).await;
    // Positions of the first epoch that were lost before the second began.
    let mut page = page_after(&sse, "#1.5").await;
    expect_gap(&mut page, "epoch", r##""#1.5""##).await;
    expect(&mut page, 0..6).await;
}

#[tokio::test]
async fn an_id_of_a_lost_tail_stays_a_gap_when_its_epoch_begins_again() {
    let engine = Delayed::new();
    let sse = Manager::builder().history(Retention::default()).engine(engine.clone());
    let sse = sse.build().unwrap();
    publish(&sse, 0..4);
    while engine.apply() {}
    let gap_after = |id: &str| {
        let start = Start::After(id.to_owned());
        sse.subscribe(Audience::everything(), start).unwrap().gap()
    };
    assert_eq!(gap_after("#1.4"), None);
    engine.begin_epoch_again(2);
    assert_eq!(gap_after("#1.2"), None);
    assert_eq!(gap_after("#1.4"), Some(Gap::Epoch));
    publish(&sse, 10..14);
    while engine.apply() {}
    // The places 3 and 4 were handed out twice, and 5 and 6 once.
    for (id, gap) in
        [("#1.3", Some(Gap::Epoch)), ("#1.4", Some(Gap::Epoch)), ("#1.5", None), ("#1.6", None)]
    {
        assert_eq!(gap_after(id), gap, "{id}");
    }
    // Another order in between changes nothing.
    engine.begin_epoch(6);
    engine.begin_epoch(1);
    publish(&sse, 20..30);
    while engine.apply() {}
    assert_eq!(gap_after("#1.4"), Some(Gap::Epoch));
}

#[tokio::test]
async fn connected_readers_get_a_gap_when_the_order_is_replaced() {
    let engine = Delayed::new();
    let sse = Manager::builder().history(Retention::default()).engine(engine.clone());
    let sse = sse.build().unwrap();
    publish(&sse, 0..4);
    while engine.apply() {}
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;

    engine.begin_epoch(1);
    publish(&sse, 10..12);
    while engine.apply() {}
    let gap = page.expect_named("prism.gap").await;
    assert_eq!(gap.data, r##"{"reason":"epoch","after":null,"resumed_at":"#2.1"}"##);
    expect(&mut page, 10..12).await;
    let mut back = page_after(&sse, "#1.4").await;
    expect_gap(&mut back, "epoch", r##""#1.4""##).await;
    expect(&mut back, 10..12).await;
}

#[tokio::test]
async fn earliest_replays_everything_retained_without_a_gap() {
    let sse = keeping(3);
    publish(&sse, 0..5);
    let mut page = page_after(&sse, "earliest").await;
    assert!(page.headers().get("prism-gap").is_none());
    page.expect_named("prism.open").await;
    expect(&mut page, 2..5).await;
}

#[tokio::test]
async fn a_quiet_topic_resumes_however_much_others_published() {
    let sse = keeping(10);
    sse.publish("quiet", "one").unwrap();
    let mut receipt = sse.publish("quiet", "two").unwrap();
    let two = receipt.try_ack().unwrap().unwrap().position;
    let start = || Start::After(two.to_string());
    let _reader = sse.subscribe(select("quiet"), Start::Now).unwrap();
    for n in 0..100 {
        sse.publish("loud", n.to_string()).unwrap();
    }
    assert_eq!(sse.subscribe(select("quiet"), start()).unwrap().gap(), None);
    let gap = sse.subscribe(select("loud"), start()).unwrap().gap();
    assert_eq!(gap, Some(Gap::Expired));
}

#[tokio::test]
async fn evicted_events_of_a_dropped_topic_are_a_gap() {
    let sse = keeping(2);
    let mut receipt = sse.publish("other", "before").unwrap();
    let before = receipt.try_ack().unwrap().unwrap().position.to_string();
    sse.publish("gone", "evicted").unwrap();
    for n in 0..5 {
        sse.publish("other", n.to_string()).unwrap();
    }
    assert_eq!(sse.stats().topics, 1, "`gone` has neither records nor readers");
    let connection = sse.subscribe(select("gone"), Start::After(before)).unwrap();
    assert_eq!(connection.gap(), Some(Gap::Expired));
}

#[tokio::test]
async fn reserved_ids_and_names_are_refused() {
    let sse = with_history();
    for id in ["#1.2", "#", "earliest"] {
        let error = sse.broadcast(Event::new("").id(id).unwrap()).unwrap_err();
        assert_eq!(error, PublishError::ReservedId);
    }
    for manager in [sse, Manager::new()] {
        let event = Event::new("").event("prism.gap").unwrap();
        assert_eq!(manager.broadcast(event).unwrap_err(), PublishError::ReservedName);
        let event = Event::new("").event("prism").unwrap();
        manager.broadcast(event).unwrap();
    }
}

#[tokio::test]
async fn without_history_there_are_no_positions_and_the_last_event_id_is_ignored() {
    let sse = Manager::new();
    publish(&sse, 0..2);
    let mut page = page_after(&sse, "#1.1").await;
    assert!(page.headers().get("prism-gap").is_none());
    publish(&sse, 2..3);
    assert_eq!(page.expect("message", "2").await.id, "");
    assert!(!text(page.raw()).contains("prism."), "{}", text(page.raw()));
    assert!(!text(page.raw()).contains("id:"), "{}", text(page.raw()));
}

#[tokio::test]
async fn control_events_can_be_switched_off() {
    let sse = Manager::builder().history(Retention::default().count(2)).control_events(false);
    let sse = sse.build().unwrap();
    publish(&sse, 0..5);
    let mut page = page_after(&sse, "#1.1").await;
    assert_eq!(page.headers()["prism-gap"], "epoch");
    expect(&mut page, 3..5).await;
    assert!(text(page.raw()).starts_with("retry: "));
    assert!(!text(page.raw()).contains("prism."));
}

#[tokio::test]
async fn an_event_to_one_connection_has_no_id_and_is_lost_with_it() {
    let sse = with_history();
    let mut page = page(&sse).await;
    let open = page.expect_named("prism.open").await;
    let id = open.data[15..47].parse().unwrap();
    publish(&sse, 0..1);
    sse.send("you", id).unwrap();
    publish(&sse, 1..2);
    expect(&mut page, 0..1).await;
    page.expect("message", "you").await;
    assert!(text(page.raw()).contains("\n\ndata: you\n\n"));
    expect(&mut page, 1..2).await;

    let mut back = page_after(&sse, &open.id).await;
    back.expect_named("prism.open").await;
    expect(&mut back, 0..2).await;
}

#[tokio::test]
async fn oldest_begins_with_the_oldest_retained_event() {
    let sse = keeping(3);
    publish(&sse, 0..5);
    let mut page = client(starting(&sse, Start::Oldest), "/").await;
    page.expect_named("prism.open").await;
    expect(&mut page, 2..5).await;
}

#[tokio::test]
async fn latest_begins_with_the_newest_event_of_each_topic() {
    let sse = with_history();
    for (topic, data) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("c", "c1"), ("c", "c2")] {
        sse.publish(topic, data).unwrap();
    }
    sse.broadcast("all 1").unwrap();
    sse.broadcast("all 2").unwrap();
    let mut page = client(starting(&sse, Start::Latest), "/").await;
    let open = page.expect_named("prism.open").await;
    assert!(open.id.ends_with(".0"), "cut off here, it would miss nothing: {}", open.id);
    sse.publish("a", "a3").unwrap();
    sse.publish("a", "a4").unwrap();
    for data in ["b1", "a2", "c2", "all 2", "a3", "a4"] {
        page.expect("message", data).await;
    }
}

fn starting(sse: &Manager, start: Start) -> axum::Router {
    let sse = sse.clone();
    let events =
        move |request: prism_sse::SseRequest| async move { sse.respond(request.start(start)) };
    axum::Router::new().route("/", axum::routing::get(events))
}

#[tokio::test(start_paused = true)]
async fn events_older_than_the_retention_are_not_replayed() {
    let retention = Retention::default().age(Duration::from_secs(60));
    let sse = Manager::builder().history(retention).build().unwrap();
    let mut page = page(&sse).await;
    let open = page.expect_named("prism.open").await;
    publish(&sse, 0..1);
    tokio::time::sleep(Duration::from_secs(40)).await;
    publish(&sse, 1..2);
    tokio::time::sleep(Duration::from_secs(40)).await;
    let mut back = page_after(&sse, &open.id).await;
    expect_gap(&mut back, "expired", &format!("{:?}", open.id)).await;
    expect(&mut back, 1..2).await;
}

#[tokio::test]
async fn the_log_is_bounded_by_bytes() {
    let retention = Retention::default().bytes(10_000);
    let sse = Manager::builder().history(retention).build().unwrap();
    for _ in 0..100 {
        sse.broadcast("x".repeat(1000)).unwrap();
        assert!(sse.stats().bytes <= 10_000 + 1300);
    }
    sse.broadcast("y".repeat(20_000)).unwrap();
    assert_eq!(sse.stats().records, 1, "the newest is kept whatever its size");
    let _app = app(&sse);
}
