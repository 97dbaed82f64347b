//! What generated histories seldom reach: the time between a hand-over and the adoption, the bounds
//! of a shard, and many managers.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::panic, reason = "a test that panics has failed")]

use std::time::Duration;

use super::harness::{BatchingEngine, ROOM, ShardHarness, ShardReader, SocketPeer};
use crate::audience::Audience;
use crate::engine::{Completion, Durability, Engine, EngineError, Follower, Publication};
use crate::log::Retention;
use crate::manager::{Manager, ManagerBuilder};

const HOUR: u64 = 3_600_000;

fn batching() -> (ManagerBuilder, BatchingEngine) {
    let engine = BatchingEngine::default();
    (Manager::builder().engine(engine.clone()), engine)
}

#[test]
fn an_event_sent_to_one_member_is_not_lost_when_another_member_joins_first() {
    let (sse, engine) = batching();
    let sse = sse.build().unwrap();
    let mut harness = ShardHarness::new(ROOM);
    let one = harness.adopt(&sse);
    harness.run_until_idle();
    engine.hold_wakes();
    sse.send("for one", one.id).unwrap();
    // The event is applied, and the shard was not woken for it yet.
    let other = harness.adopt(&sse);
    harness.run_until_idle();
    engine.release_wakes();
    harness.run_until_idle();
    assert!(one.text().contains("for one"));
    assert!(!other.text().contains("for one"));
}

#[test]
fn an_event_sent_to_one_member_is_not_lost_when_its_group_gets_a_mark_first() {
    let (sse, engine) = batching();
    let age = Retention::default().age(Duration::from_secs(400));
    let sse = sse.no_heartbeat().history(age).build().unwrap();
    let mut harness = ShardHarness::new(ROOM);
    let one = harness.adopt_for(&sse, Audience::select(["t1"]).unwrap(), ROOM);
    harness.run_until_idle();
    sse.publish("other", "not for one").unwrap();
    harness.run_until_idle();
    engine.hold_wakes();
    sse.send("for one", one.id).unwrap();
    harness.wait(200_000);
    engine.release_wakes();
    harness.run_until_idle();
    let text = one.text();
    assert!(text.contains("for one"), "{text:?}");
}

#[test]
fn an_event_sent_before_the_adoption_does_not_suppress_later_calls() {
    let (sse, engine) = batching();
    let sse = sse.build().unwrap();
    let mut harness = ShardHarness::new(ROOM);
    let peer = SocketPeer::new(ROOM);
    let connection = harness.hand_over(&sse, &peer);
    let reader = ShardReader { id: connection.id, key: harness.shard.next_key(), peer };
    engine.hold_wakes();
    // The connection is still registered as a body, so that the driver is called for it; the shard
    // adopts it before the driver runs.
    sse.send("one", reader.id).unwrap();
    harness.shard.adopt(connection, harness.now);
    harness.run_until_idle();
    assert!(reader.text().contains("one"));
    sse.send("two", reader.id).unwrap();
    engine.release_wakes();
    harness.run_until_idle();
    assert!(reader.text().contains("two"));
}

#[test]
fn a_connection_removed_right_after_its_adoption_is_closed() {
    for sends_before in [false, true] {
        let (sse, engine) = batching();
        let sse = sse.build().unwrap();
        let mut harness = ShardHarness::new(ROOM);
        let peer = SocketPeer::new(ROOM);
        let connection = harness.hand_over(&sse, &peer);
        let id = connection.id;
        engine.hold_wakes();
        if sends_before {
            sse.send("one", id).unwrap();
        }
        harness.shard.adopt(connection, harness.now);
        harness.run_until_idle();
        assert!(sse.remove_connection(id));
        harness.run_until_idle();
        harness.wait(HOUR);
        assert!(peer.is_closed(), "it is open an hour after it was removed");
        assert_eq!((harness.shard.len(), sse.connection_count()), (0, 0));
    }
}

#[test]
fn a_connection_that_ended_before_its_adoption_leaves_nothing_in_the_shard() {
    let sse = Manager::new();
    let mut harness = ShardHarness::new(ROOM);
    let stays = harness.adopt(&sse);
    harness.run_until_idle();
    for _ in 0..3 {
        let peer = SocketPeer::new(ROOM);
        let connection = harness.hand_over(&sse, &peer);
        let id = connection.id;
        assert!(sse.remove_connection(id));
        harness.shard.adopt(connection, harness.now);
        harness.run_until_idle();
        assert!(peer.is_closed());
        assert_eq!((harness.shard.len(), sse.connection_count(), harness.open.get()), (1, 1, 1));
    }
    sse.broadcast("unharmed").unwrap();
    harness.run_until_idle();
    assert!(stays.text().contains("unharmed"));
}

#[test]
fn an_event_larger_than_the_pin_limit_reaches_a_reader_that_reads() {
    let sse = Manager::new();
    let mut harness = ShardHarness::new(1000);
    let reader = harness.adopt_for(&sse, Audience::everything(), 500);
    harness.run_until_idle();
    sse.broadcast("x".repeat(5000)).unwrap();
    let mut read = 0;
    while read < 5000 {
        harness.run_until_idle();
        let new = reader.peer.read(usize::MAX).len();
        read += new;
        assert!(new > 0 && !reader.peer.is_closed(), "closed or stuck after {read} bytes");
        harness.shard.socket_ready(reader.key, false, true);
    }
}

/// Connects 50 readers, each with an event of its own of 30 kB of which it takes `room` bytes and
/// then nothing. Returns which readers are still connected to a shard that may pin 100 kB.
fn open_after_stalls(room: usize) -> Vec<bool> {
    let sse = Manager::new();
    let mut harness = ShardHarness::new(100_000);
    let mut readers = Vec::new();
    for n in 0..50 {
        let topic = format!("t{n}");
        let audience = Audience::select([topic.as_str()]).unwrap();
        readers.push(harness.adopt_for(&sse, audience, room));
        harness.run_until_idle();
        assert!(readers[n].peer.read(usize::MAX).ends_with(b"\r\n"));
        sse.publish(topic, "x".repeat(30_000)).unwrap();
        harness.run_until_idle();
    }
    readers.iter().map(|reader| !reader.peer.is_closed()).collect()
}

#[test]
fn the_longest_stalled_members_are_closed_when_the_pin_limit_is_exceeded() {
    // A half of an event keeps the whole buffer, so that three of them fit.
    let open = open_after_stalls(15_000);
    assert_eq!(open.iter().filter(|open| **open).count(), 3);
    assert_eq!(open[47..], [true; 3], "the member that stalled first is closed first");
}

#[test]
fn a_few_unwritten_bytes_of_an_event_do_not_pin_all_of_it() {
    assert_eq!(open_after_stalls(29_000), [true; 50]);
}

#[test]
fn timers_of_removed_members_do_not_pile_up() {
    let day = Duration::from_secs(86_400);
    let sse = Manager::builder().no_heartbeat().max_age(day).build().unwrap();
    let mut harness = ShardHarness::new(ROOM);
    for _ in 0..5000 {
        let reader = harness.adopt(&sse);
        harness.run_until_idle();
        harness.hang_up(&reader);
        harness.wait(1000);
    }
    assert_eq!(harness.shard.len(), 0);
    let mut timers = 0;
    while let Some((_, keys)) = harness.shard.member_timers.take_due(u64::MAX / 2, usize::MAX) {
        timers += keys.len();
    }
    assert!(timers < 1000, "{timers} timers of 5000 that left within the last 5000 seconds");
}

#[test]
fn durations_of_the_largest_size_do_not_overflow_the_shards_clock() {
    let endless = Retention::default().age(Duration::MAX);
    let sse = Manager::builder().history(endless).max_age(Duration::MAX);
    let sse = sse.heartbeat(Duration::MAX).build().unwrap();
    let mut harness = ShardHarness::new(ROOM);
    harness.wait(10_000);
    let reader = harness.adopt(&sse);
    harness.run_until_idle();
    sse.broadcast("at last").unwrap();
    harness.run_until_idle();
    assert!(reader.text().contains("at last"));
    harness.shard.drain(harness.now, Duration::MAX);
    harness.run_until_idle();
}

#[test]
fn an_event_is_counted_once_for_each_reader_that_received_it() {
    let (sse, engine) = batching();
    let sse = sse.build().unwrap();
    let mut harness = ShardHarness::new(ROOM);
    let one = harness.adopt(&sse);
    harness.run_until_idle();
    engine.hold_wakes();
    sse.broadcast("e0").unwrap();
    // The other reader starts behind the first event, which its group has not read yet, so that it
    // waits for the group after one turn. The group then reads both events in one batch.
    let other = harness.adopt(&sse);
    harness.shard.turn(harness.now);
    sse.broadcast("e1").unwrap();
    engine.release_wakes();
    harness.run_until_idle();
    let (one, other) = (one.text(), other.text());
    assert!(one.contains("e0") && one.contains("e1"));
    assert!(!other.contains("e0") && other.contains("e1"));
    assert_eq!(sse.stats().delivered, 3);
    assert_eq!(sse.stats().delivered_bytes, 3 * "data: e0\n\n".len() as u64);
}

/// Each turn costs a system call, because the shard polls its sockets between two turns.
#[test]
fn an_event_for_1000_groups_of_one_member_takes_few_turns() {
    let sse = Manager::new();
    let mut harness = ShardHarness::new(ROOM);
    let mut readers = Vec::new();
    for n in 0..1000 {
        let audience = Audience::select([format!("users/{n}"), "news".to_owned()]).unwrap();
        readers.push(harness.adopt_for(&sse, audience, ROOM));
    }
    harness.run_until_idle();
    sse.publish("news", "hello").unwrap();
    let turns = harness.run_until_idle();
    assert!(readers.iter().all(|reader| reader.text().contains("hello")));
    assert!(turns < 50, "{turns} turns for 1000 readers");
}

/// The key and the address of a manager that is gone may be those of a later one.
#[test]
fn a_manager_that_reuses_a_key_does_not_get_the_events_of_another() {
    let mut harness = ShardHarness::new(ROOM);
    let mut present: Vec<(Manager, ShardReader)> = Vec::new();
    for round in 0..200 {
        if round % 3 == 2 {
            let (sse, reader) = present.remove(round % present.len());
            harness.hang_up(&reader);
            assert_eq!(sse.connection_count(), 0);
        }
        let sse = Manager::new();
        let reader = harness.adopt(&sse);
        present.push((sse, reader));
        if round % 7 == 0 {
            for (number, (sse, _)) in present.iter().enumerate() {
                sse.broadcast(format!("[{number}]")).unwrap();
            }
            harness.run_until_idle();
            for (number, (_, reader)) in present.iter().enumerate() {
                let text = reader.text();
                assert!(text.ends_with(&format!("data: [{number}]\n\n\r\n")), "{text:?}");
                assert_eq!(text.matches('[').count(), 1);
            }
        }
    }
    assert_eq!(harness.shard.len(), present.len());
    harness.shard.drop_all();
    assert_eq!((harness.shard.len(), harness.shard.managers.len(), harness.open.get()), (0, 0, 0));
}

/// An engine that panics when it is dropped.
#[derive(Debug)]
struct PanickingEngine(BatchingEngine);

impl Engine for PanickingEngine {
    fn follow(&self, follower: Follower) {
        self.0.follow(follower);
    }

    fn append(&self, publication: Publication, completion: Completion) -> Result<(), EngineError> {
        self.0.append(publication, completion)
    }

    fn durability(&self) -> Durability {
        self.0.durability()
    }
}

impl Drop for PanickingEngine {
    fn drop(&mut self) {
        panic!("the engine's end");
    }
}

#[test]
fn an_engine_that_panics_when_it_is_dropped_does_not_end_the_shard() {
    let fragile =
        Manager::builder().engine(PanickingEngine(BatchingEngine::default())).build().unwrap();
    let sse = Manager::new();
    let mut harness = ShardHarness::new(ROOM);
    let stays = harness.adopt(&sse);
    let goes = harness.adopt(&fragile);
    harness.run_until_idle();
    // The shard has the last handle on the manager, and with it on the engine.
    drop(fragile);
    harness.hang_up(&goes);
    sse.broadcast("unharmed").unwrap();
    harness.run_until_idle();
    assert!(stays.text().contains("unharmed"));
    assert_eq!((harness.shard.len(), harness.open.get()), (1, 1));
}
