//! When a shard writes what came while it was writing: together, and without falling behind.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::rig::{Bench, ROOM, Reader};
use super::{Delivery, Turn};
use crate::limits;
use crate::manager::Manager;

/// Counts how often a shard is woken.
#[derive(Default)]
struct Rings(AtomicUsize);

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// So many readers that a pass takes several turns.
fn crowd(bench: &mut Bench, sse: &Manager) -> Vec<Reader> {
    let crowd = (0..4 * limits::PASS_SLICE).map(|_| bench.adopt(sse)).collect();
    bench.work();
    crowd
}

#[test]
fn what_comes_during_a_pass_goes_out_together_after_a_rest() {
    let sse = Manager::new();
    let mut bench = Bench::new(ROOM);
    let crowd = crowd(&mut bench, &sse);
    sse.broadcast("first").unwrap();
    bench.now += 1;
    assert_eq!(bench.shard.turn(bench.now), Turn::Soon, "publishers may go on meanwhile");
    sse.broadcast("second").unwrap();
    let rested = loop {
        // All of the pass at one moment.
        match bench.shard.turn(bench.now) {
            Turn::Soon => {}
            turn => break turn,
        }
    };
    let rest = limits::PASS_REST.as_millis() as u64;
    assert_eq!(rested, Turn::At(bench.now + rest));
    sse.broadcast("third").unwrap();
    assert_eq!(bench.shard.turn(bench.now), Turn::At(bench.now + rest), "it rests all the same");
    for reader in &crowd {
        assert_eq!(reader.text().matches("data: ").count(), 1);
    }
    bench.work();
    for reader in &crowd {
        let text = reader.text();
        assert!(text.contains("second") && text.contains("third"), "{text:?}");
    }
}

#[test]
fn what_comes_during_a_rest_wakes_nobody_more_than_once() {
    let rings = Arc::new(Rings::default());
    let sse = Manager::new();
    let mut bench = Bench::new(ROOM);
    bench.shard = Delivery::new(Waker::from(Arc::clone(&rings)), ROOM);
    let crowd = crowd(&mut bench, &sse);
    sse.broadcast("first").unwrap();
    bench.shard.turn(bench.now);
    sse.broadcast("second").unwrap();
    while bench.shard.turn(bench.now) == Turn::Soon {}
    let before = rings.0.load(Ordering::Relaxed);
    for number in 0..100 {
        sse.broadcast(format!("{number}")).unwrap();
        assert!(matches!(bench.shard.turn(bench.now), Turn::At(_)));
    }
    assert!(rings.0.load(Ordering::Relaxed) - before <= 1);
    bench.work();
    for reader in &crowd {
        assert_eq!(reader.text().matches("data: ").count(), 102);
    }
}

#[test]
fn a_manager_without_a_resting_group_waits_for_no_other_one() {
    let [busy, quiet] = [Manager::new(), Manager::new()];
    let mut bench = Bench::new(ROOM);
    let _crowd = crowd(&mut bench, &busy);
    let reader = bench.adopt(&quiet);
    bench.work();
    busy.broadcast("first").unwrap();
    bench.shard.turn(bench.now);
    busy.broadcast("second").unwrap();
    while bench.shard.turn(bench.now) == Turn::Soon {}
    quiet.broadcast("at once").unwrap();
    bench.shard.turn(bench.now);
    assert!(reader.text().contains("at once"));
}

#[test]
fn who_has_everything_is_written_to_at_once() {
    let sse = Manager::new();
    let mut bench = Bench::new(ROOM);
    let reader = bench.adopt(&sse);
    bench.work();
    for text in ["one", "two", "three"] {
        sse.broadcast(text).unwrap();
        bench.shard.turn(bench.now);
        assert!(reader.text().contains(text), "no time passed since the last");
    }
}

#[test]
fn more_than_goes_out_at_once_is_no_reason_to_rest() {
    let sse = Manager::new();
    let mut bench = Bench::new(ROOM);
    let reader = bench.adopt(&sse);
    bench.work();
    let event = "x".repeat(limits::FRAME_BYTES / 4);
    for _ in 0..40 {
        sse.broadcast(event.as_str()).unwrap();
    }
    while bench.shard.turn(bench.now) == Turn::Again {}
    assert_eq!(reader.text().matches("data: ").count(), 40, "and no time passed");
}
