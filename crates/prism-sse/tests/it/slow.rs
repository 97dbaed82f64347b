//! Slow readers: when a reader lags, what happens then, and that other readers are not affected.

use std::time::Duration;

use prism_sse::{CloseReason, Manager, OnLag, Retention};

use super::{page, select, text, with_history};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_reader_whose_events_were_evicted_gets_a_gap_and_then_live_events() {
    let sse = Manager::new();
    let mut page = page(&sse).await;
    sse.broadcast("first").unwrap();
    page.expect("message", "first").await;
    for n in 0..5000 {
        sse.broadcast(n.to_string()).unwrap();
    }
    let gap = page.expect_named("prism.gap").await;
    assert_eq!(gap.data, r#"{"reason":"lag","after":null,"resumed_at":null}"#);
    sse.broadcast("next").unwrap();
    page.expect("message", "next").await;
    assert_eq!(sse.stats().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_history_that_lags_is_disconnected_and_resumes() {
    let sse = Manager::builder().history(Retention::default()).lag_bytes(10_000).build().unwrap();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    for n in 0..100 {
        sse.broadcast(format!("{n:0200}")).unwrap();
    }
    page.expect_end().await;
    assert_eq!(sse.connection_count(), 0);
    page.reconnect().await.unwrap();
    assert!(page.headers().get("prism-gap").is_none());
    page.expect_named("prism.open").await;
    for n in 0..100 {
        page.expect("message", &format!("{n:0200}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_by_lag_carries_the_last_sent_position_and_the_applied_mark() {
    let sse = Manager::builder()
        .history(Retention::default().count(3))
        .on_lag(OnLag::SkipWithGap)
        .build()
        .unwrap();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    sse.broadcast("first").unwrap();
    let first = page.expect("message", "first").await;
    for n in 0..5 {
        sse.broadcast(n.to_string()).unwrap();
    }
    let gap = page.expect_named("prism.gap").await;
    let end = first.id.replace(".1", ".6");
    assert_eq!(gap.id, end);
    let data = format!(r#"{{"reason":"lag","after":"{}","resumed_at":"{end}"}}"#, first.id);
    assert_eq!(gap.data, data);
    sse.broadcast("next").unwrap();
    page.expect("message", "next").await;
}

#[tokio::test(start_paused = true)]
async fn latest_per_topic_sends_a_gap_and_the_newest_event_of_each_topic() {
    let sse = Manager::builder()
        .history(Retention::default())
        .on_lag(OnLag::LatestPerTopic)
        .lag_bytes(1000)
        .build()
        .unwrap();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    sse.publish("a", "first").unwrap();
    let first = page.expect("message", "first").await;
    for n in 0..100 {
        sse.publish(format!("topic {}", n % 3), n.to_string()).unwrap();
    }
    let gap = page.expect_named("prism.gap").await;
    assert_eq!(gap.id, first.id, "cut off here, it would resume from where it was");
    for n in 97..100 {
        page.expect("message", &n.to_string()).await;
    }
    sse.publish("topic 0", "next").unwrap();
    page.expect("message", "next").await;
    assert_eq!(sse.stats().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_newest_event_that_is_evicted_before_it_is_read_is_no_second_gap() {
    let retention = Retention::default().count(10);
    let builder = Manager::builder().history(retention).on_lag(OnLag::LatestPerTopic);
    let sse = builder.build().unwrap();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    for n in 0..20 {
        sse.publish(format!("topic {n}"), n.to_string()).unwrap();
    }
    page.expect_named("prism.gap").await;
    for n in 20..25 {
        sse.publish("topic 19", n.to_string()).unwrap();
    }
    for n in [15, 16, 17, 18, 19, 20, 21, 22, 23, 24] {
        page.expect("message", &n.to_string()).await;
    }
    assert_eq!(sse.stats().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_lags_when_its_oldest_event_is_too_old() {
    let builder = Manager::builder().history(Retention::default()).lag_age(10 * SECOND);
    let sse = builder.on_lag(OnLag::SkipWithGap).build().unwrap();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    sse.broadcast("in time").unwrap();
    page.stall(9 * SECOND).await;
    page.expect("message", "in time").await;
    sse.broadcast("too late").unwrap();
    page.stall(11 * SECOND).await;
    page.expect_named("prism.gap").await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_no_lag_however_old_its_events_are() {
    let sse = Manager::builder()
        .history(Retention::default())
        .lag_age(10 * SECOND)
        .lag_bytes(1000)
        .build()
        .unwrap();
    let mut page = page(&sse).await;
    let _open = page.expect_named("prism.open").await;
    page.hang_up();
    for n in 0..100 {
        sse.broadcast(format!("{n:0100}")).unwrap();
    }
    page.stall(100 * SECOND).await;
    page.reconnect().await.unwrap();
    page.expect_named("prism.open").await;
    for n in 0..100 {
        page.expect("message", &format!("{n:0100}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn others_bytes_do_not_make_a_reader_lag() {
    let sse = Manager::builder().history(Retention::default()).lag_bytes(1000).build().unwrap();
    let mut reader = sse.subscribe(select("quiet"), prism_sse::Start::Now).unwrap();
    for _ in 0..100 {
        sse.publish("loud", "x".repeat(100)).unwrap();
    }
    sse.publish("quiet", "hush").unwrap();
    let mut seen = String::new();
    while !seen.contains("hush") {
        let bytes = futures_util::StreamExt::next(&mut reader).await.unwrap();
        seen.push_str(text(&bytes));
    }
    assert_eq!(reader.close_reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_accepts_nothing_for_15_seconds_is_closed() {
    for on_lag in [OnLag::Disconnect, OnLag::SkipWithGap] {
        let sse = Manager::builder().history(Retention::default()).on_lag(on_lag).build().unwrap();
        let mut stalled = page(&sse).await;
        let mut healthy = page(&sse).await;
        stalled.expect_named("prism.open").await;
        healthy.expect_named("prism.open").await;
        assert!(stalled.listen(SECOND).await.is_empty());
        sse.broadcast("due").unwrap();
        healthy.listen(14 * SECOND).await;
        assert_eq!(sse.connection_count(), 2);
        healthy.listen(12 * SECOND).await;
        assert_eq!(sse.connection_count(), 1);
        stalled.expect_end().await;
        sse.broadcast("still here").unwrap();
        healthy.expect("message", "still here").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_for_whom_nothing_is_due_is_never_stalled() {
    let sse = Manager::builder().no_heartbeat().build().unwrap();
    let mut quiet = page(&sse).await;
    quiet.listen(SECOND).await;
    quiet.stall(Duration::from_secs(3600)).await;
    assert_eq!(sse.connection_count(), 1);
    sse.broadcast("at last").unwrap();
    quiet.expect("message", "at last").await;
}

#[tokio::test(start_paused = true)]
async fn the_disconnect_hook_gets_the_reason_lagged() {
    let reasons = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = reasons.clone();
    let sse = Manager::builder()
        .history(Retention::default())
        .lag_bytes(1)
        .on_disconnect(move |_, reason| seen.lock().unwrap().push(reason))
        .build()
        .unwrap();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    sse.broadcast("what comes next is no backlog").unwrap();
    sse.broadcast("more than a byte").unwrap();
    page.expect_end().await;
    drop(page);
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::Lagged]);
}

#[tokio::test]
async fn a_publisher_never_waits_for_a_reader() {
    let sse = with_history();
    let _never_read: Vec<_> = (0..100).map(|_| sse.add_connection()).collect();
    for n in 0..20_000 {
        sse.broadcast(n.to_string()).unwrap();
    }
    assert_eq!(sse.stats().published, 20_000);
    assert_eq!(sse.stats().records, 10_000);
}
