//! Slow readers of delivery shards. A shard counts bytes as delivered when the socket takes them,
//! so that a reader is slow once its socket takes no more. These readers stop in the middle of an
//! event.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prism_sse::{CloseReason, Manager, ManagerBuilder, OnLag, Retention};

use super::{Page, page};

const SECOND: Duration = Duration::from_secs(1);

/// The data of an event that is larger than the buffer of a connection in memory.
fn long(n: u32) -> String {
    format!("{n:0300}")
}

/// A reader that received a part of the first event, with 100 further events that wait for it.
async fn stopped(builder: ManagerBuilder) -> (Manager, Page) {
    let sse = builder.history(Retention::default()).build().unwrap();
    let mut slow = page(&sse).await;
    let mut other = page(&sse).await;
    slow.expect_named("prism.open").await;
    other.expect_named("prism.open").await;
    sse.publish("first", long(0)).unwrap();
    // Once the other reader has the event, the shard has tried to write it to both.
    other.expect("message", &long(0)).await;
    for n in 1..=100 {
        sse.publish(format!("topic {}", n % 3), long(n)).unwrap();
        other.expect("message", &long(n)).await;
    }
    (sse, slow)
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_within_the_bounds_receives_everything() {
    let (sse, mut slow) = stopped(Manager::builder()).await;
    for n in 0..=100 {
        slow.stall(Duration::from_millis(200)).await;
        slow.expect("message", &long(n)).await;
    }
    sse.broadcast("next").unwrap();
    slow.expect("message", "next").await;
    assert_eq!(sse.stats().gaps, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lags_is_disconnected_and_resumes() {
    let (_sse, mut slow) = stopped(Manager::builder().lag_bytes(20_000)).await;
    slow.expect("message", &long(0)).await;
    slow.expect_end().await;
    slow.reconnect().await.unwrap();
    assert!(slow.headers().get("prism-gap").is_none());
    slow.expect_named("prism.open").await;
    for n in 1..=100 {
        slow.expect("message", &long(n)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lags_is_told_of_the_gap_and_goes_on_with_new_events() {
    let builder = Manager::builder().lag_bytes(20_000).on_lag(OnLag::SkipWithGap);
    let (sse, mut slow) = stopped(builder).await;
    let first = slow.expect("message", &long(0)).await;
    let gap = slow.expect_named("prism.gap").await;
    let end = first.id.replace(".1", ".101");
    assert_eq!(gap.id, end);
    let data = format!(r#"{{"reason":"lag","after":"{}","resumed_at":"{end}"}}"#, first.id);
    assert_eq!(gap.data, data);
    sse.broadcast("next").unwrap();
    slow.expect("message", "next").await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lags_gets_the_newest_event_of_each_topic() {
    let builder = Manager::builder().lag_bytes(20_000).on_lag(OnLag::LatestPerTopic);
    let (sse, mut slow) = stopped(builder).await;
    slow.expect("message", &long(0)).await;
    slow.expect_named("prism.gap").await;
    for n in 98..=100 {
        slow.expect("message", &long(n)).await;
    }
    sse.publish("topic 0", "next").unwrap();
    slow.expect("message", "next").await;
    assert_eq!(sse.stats().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_oldest_event_is_too_old_lags() {
    let builder = Manager::builder().lag_age(10 * SECOND).on_lag(OnLag::SkipWithGap);
    let (_sse, mut slow) = stopped(builder).await;
    slow.stall(11 * SECOND).await;
    slow.expect("message", &long(0)).await;
    slow.expect_named("prism.gap").await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_for_15_seconds_is_closed_and_others_are_unaffected() {
    for on_lag in [OnLag::Disconnect, OnLag::SkipWithGap] {
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&reasons);
        let builder = Manager::builder()
            .on_lag(on_lag)
            .on_disconnect(move |_, reason| told.lock().unwrap().push(reason));
        let (sse, slow) = stopped(builder).await;
        let mut healthy = page(&sse).await;
        healthy.expect_named("prism.open").await;
        healthy.listen(14 * SECOND).await;
        assert_eq!(sse.connection_count(), 2);
        healthy.listen(2 * SECOND).await;
        assert_eq!(sse.connection_count(), 1);
        sse.broadcast("still here").unwrap();
        healthy.expect("message", "still here").await;
        drop(slow);
        let reasons = reasons.lock().unwrap();
        assert_eq!(*reasons, [CloseReason::Disconnected, CloseReason::Stalled]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_a_byte_now_and_then_makes_progress_and_is_not_stalled() {
    let (sse, mut slow) = stopped(Manager::builder().no_heartbeat()).await;
    slow.stall(10 * SECOND).await;
    slow.expect("message", &long(0)).await;
    slow.stall(10 * SECOND).await;
    slow.expect("message", &long(1)).await;
    assert_eq!(sse.connection_count(), 1);
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
