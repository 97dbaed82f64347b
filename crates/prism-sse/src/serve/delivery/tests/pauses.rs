//! The pause between two passes of a group: events that come during a pass are written together
//! after it, and nothing else waits for them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::super::{DeliveryShard, NextTurn};
use super::harness::{ROOM, ShardHarness, ShardReader};
use crate::limits;
use crate::manager::Manager;

/// Counts how often the shard is woken.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connects so many readers that a pass takes several turns.
fn connect_crowd(harness: &mut ShardHarness, sse: &Manager) -> Vec<ShardReader> {
    let crowd = (0..4 * limits::PASS_SLICE).map(|_| harness.adopt(sse)).collect();
    harness.run_until_idle();
    crowd
}

#[test]
fn events_that_come_during_a_pass_are_written_together_after_a_pause() {
    let sse = Manager::new();
    let mut harness = ShardHarness::new(ROOM);
    let crowd = connect_crowd(&mut harness, &sse);
    sse.broadcast("first").unwrap();
    harness.now += 1;
    assert_eq!(
        harness.shard.turn(harness.now),
        NextTurn::AfterYield,
        "it yields, so that publishers can go on"
    );
    sse.broadcast("second").unwrap();
    let paused = loop {
        // The clock does not move during the pass.
        match harness.shard.turn(harness.now) {
            NextTurn::AfterYield => {}
            turn => break turn,
        }
    };
    let pause = limits::PASS_PAUSE.as_millis() as u64;
    assert_eq!(paused, NextTurn::At(harness.now + pause));
    sse.broadcast("third").unwrap();
    assert_eq!(
        harness.shard.turn(harness.now),
        NextTurn::At(harness.now + pause),
        "it still pauses"
    );
    for reader in &crowd {
        assert_eq!(reader.text().matches("data: ").count(), 1);
    }
    harness.run_until_idle();
    for reader in &crowd {
        let text = reader.text();
        assert!(text.contains("second") && text.contains("third"), "{text:?}");
    }
}

#[test]
fn events_that_come_during_a_pause_wake_the_shard_at_most_once() {
    let wakes = Arc::new(WakeCounter::default());
    let sse = Manager::new();
    let mut harness = ShardHarness::new(ROOM);
    harness.shard = DeliveryShard::new(Waker::from(Arc::clone(&wakes)), ROOM);
    let crowd = connect_crowd(&mut harness, &sse);
    sse.broadcast("first").unwrap();
    harness.shard.turn(harness.now);
    sse.broadcast("second").unwrap();
    while harness.shard.turn(harness.now) == NextTurn::AfterYield {}
    let before = wakes.0.load(Ordering::Relaxed);
    for number in 0..100 {
        sse.broadcast(format!("{number}")).unwrap();
        assert!(matches!(harness.shard.turn(harness.now), NextTurn::At(_)));
    }
    assert!(wakes.0.load(Ordering::Relaxed) - before <= 1);
    harness.run_until_idle();
    for reader in &crowd {
        assert_eq!(reader.text().matches("data: ").count(), 102);
    }
}

#[test]
fn a_pause_of_one_manager_does_not_delay_another() {
    let [busy, quiet] = [Manager::new(), Manager::new()];
    let mut harness = ShardHarness::new(ROOM);
    let _crowd = connect_crowd(&mut harness, &busy);
    let reader = harness.adopt(&quiet);
    harness.run_until_idle();
    busy.broadcast("first").unwrap();
    harness.shard.turn(harness.now);
    busy.broadcast("second").unwrap();
    while harness.shard.turn(harness.now) == NextTurn::AfterYield {}
    quiet.broadcast("at once").unwrap();
    harness.shard.turn(harness.now);
    assert!(reader.text().contains("at once"));
}

#[test]
fn an_event_that_comes_after_a_pass_is_written_at_once() {
    let sse = Manager::new();
    let mut harness = ShardHarness::new(ROOM);
    let reader = harness.adopt(&sse);
    harness.run_until_idle();
    for text in ["one", "two", "three"] {
        sse.broadcast(text).unwrap();
        harness.shard.turn(harness.now);
        assert!(reader.text().contains(text), "no time has passed since the last one");
    }
}

#[test]
fn a_pass_that_was_full_is_followed_by_the_next_one_without_a_pause() {
    let sse = Manager::new();
    let mut harness = ShardHarness::new(ROOM);
    let reader = harness.adopt(&sse);
    harness.run_until_idle();
    let event = "x".repeat(limits::FRAME_BYTES / 4);
    for _ in 0..40 {
        sse.broadcast(event.as_str()).unwrap();
    }
    while harness.shard.turn(harness.now) == NextTurn::Now {}
    assert_eq!(reader.text().matches("data: ").count(), 40, "no time has passed");
}
