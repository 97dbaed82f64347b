//! What a shard does where made-up histories seldom come: between an offer and its adoption, at its
//! bounds, and with many managers.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::panic, reason = "a test that panics has failed")]

use std::time::Duration;

use super::rig::{Batching, Bench, ROOM, Reader, Wire};
use crate::audience::Audience;
use crate::engine::{Completion, Durability, Engine, EngineError, Follower, Publication};
use crate::log::Retention;
use crate::manager::{Manager, ManagerBuilder};

const HOUR: u64 = 3_600_000;

fn batching() -> (ManagerBuilder, Batching) {
    let engine = Batching::default();
    (Manager::builder().engine(engine.clone()), engine)
}

#[test]
fn what_is_sent_to_one_is_not_lost_when_another_one_joins_first() {
    let (sse, engine) = batching();
    let sse = sse.build().unwrap();
    let mut bench = Bench::new(ROOM);
    let one = bench.adopt(&sse);
    bench.work();
    engine.hold();
    sse.send("for one", one.id).unwrap();
    // It is applied, and the shard was not woken yet.
    let other = bench.adopt(&sse);
    bench.work();
    engine.wake();
    bench.work();
    assert!(one.text().contains("for one"));
    assert!(!other.text().contains("for one"));
}

#[test]
fn what_is_sent_to_one_is_not_lost_when_its_group_is_told_its_place_first() {
    let (sse, engine) = batching();
    let age = Retention::default().age(Duration::from_secs(400));
    let sse = sse.no_heartbeat().history(age).build().unwrap();
    let mut bench = Bench::new(ROOM);
    let one = bench.adopt_for(&sse, Audience::select(["t1"]).unwrap(), ROOM);
    bench.work();
    sse.publish("other", "not for one").unwrap();
    bench.work();
    engine.hold();
    sse.send("for one", one.id).unwrap();
    bench.wait(200_000);
    engine.wake();
    bench.work();
    let text = one.text();
    assert!(text.contains("for one"), "{text:?}");
}

#[test]
fn what_was_sent_before_the_shard_took_over_takes_no_later_call_away() {
    let (sse, engine) = batching();
    let sse = sse.build().unwrap();
    let mut bench = Bench::new(ROOM);
    let wire = Wire::new(ROOM);
    let hand_over = bench.offer(&sse, &wire);
    let reader = Reader { id: hand_over.id, key: bench.shard.next_key(), wire };
    engine.hold();
    // Whoever looks after bodies is called for it, and does not come before the shard has it.
    sse.send("one", reader.id).unwrap();
    bench.shard.adopt(hand_over, bench.now);
    bench.work();
    assert!(reader.text().contains("one"));
    sse.send("two", reader.id).unwrap();
    engine.wake();
    bench.work();
    assert!(reader.text().contains("two"));
}

#[test]
fn an_end_decided_about_the_time_the_shard_took_over_is_an_end() {
    for sends_before in [false, true] {
        let (sse, engine) = batching();
        let sse = sse.build().unwrap();
        let mut bench = Bench::new(ROOM);
        let wire = Wire::new(ROOM);
        let hand_over = bench.offer(&sse, &wire);
        let id = hand_over.id;
        engine.hold();
        if sends_before {
            sse.send("one", id).unwrap();
        }
        bench.shard.adopt(hand_over, bench.now);
        bench.work();
        assert!(sse.remove_connection(id));
        bench.work();
        bench.wait(HOUR);
        assert!(wire.is_closed(), "open an hour after it was removed");
        assert_eq!((bench.shard.len(), sse.connection_count()), (0, 0));
    }
}

#[test]
fn a_connection_that_ended_on_its_way_leaves_nothing_in_the_shard() {
    let sse = Manager::new();
    let mut bench = Bench::new(ROOM);
    let stays = bench.adopt(&sse);
    bench.work();
    for _ in 0..3 {
        let wire = Wire::new(ROOM);
        let hand_over = bench.offer(&sse, &wire);
        let id = hand_over.id;
        assert!(sse.remove_connection(id));
        bench.shard.adopt(hand_over, bench.now);
        bench.work();
        assert!(wire.is_closed());
        assert_eq!((bench.shard.len(), sse.connection_count(), bench.open.count()), (1, 1, 1));
    }
    sse.broadcast("unharmed").unwrap();
    bench.work();
    assert!(stays.text().contains("unharmed"));
}

#[test]
fn an_event_above_the_shards_room_reaches_a_reader_that_reads() {
    let sse = Manager::new();
    let mut bench = Bench::new(1000);
    let reader = bench.adopt_for(&sse, Audience::everything(), 500);
    bench.work();
    sse.broadcast("x".repeat(5000)).unwrap();
    let mut read = 0;
    while read < 5000 {
        bench.work();
        let new = reader.wire.read(usize::MAX).len();
        read += new;
        assert!(new > 0 && !reader.wire.is_closed(), "closed or stuck after {read} bytes");
        bench.shard.socket_is(reader.key, false, true);
    }
}

/// Many readers of different events of 30 kB, each of which takes this much and then nothing.
/// Answers who is still connected to a shard with room for 100 kB.
fn stopped_after(room: usize) -> Vec<bool> {
    let sse = Manager::new();
    let mut bench = Bench::new(100_000);
    let mut readers = Vec::new();
    for n in 0..50 {
        let topic = format!("t{n}");
        let audience = Audience::select([topic.as_str()]).unwrap();
        readers.push(bench.adopt_for(&sse, audience, room));
        bench.work();
        assert!(readers[n].wire.read(usize::MAX).ends_with(b"\r\n"));
        sse.publish(topic, "x".repeat(30_000)).unwrap();
        bench.work();
    }
    readers.iter().map(|reader| !reader.wire.is_closed()).collect()
}

#[test]
fn readers_that_keep_different_events_keep_no_more_than_there_is_room_for() {
    // Half of a buffer keeps all of it.
    let open = stopped_after(15_000);
    assert_eq!(open.iter().filter(|open| **open).count(), 3);
    assert_eq!(open[47..], [true; 3], "who stopped first is given up first");
}

#[test]
fn readers_that_miss_a_few_bytes_of_an_event_do_not_keep_all_of_it() {
    assert_eq!(stopped_after(29_000), [true; 50]);
}

#[test]
fn readers_that_come_and_go_leave_no_timers_behind_for_long() {
    let day = Duration::from_secs(86_400);
    let sse = Manager::builder().no_heartbeat().max_age(day).build().unwrap();
    let mut bench = Bench::new(ROOM);
    for _ in 0..5000 {
        let reader = bench.adopt(&sse);
        bench.work();
        bench.hang_up(&reader);
        bench.wait(1000);
    }
    assert_eq!(bench.shard.len(), 0);
    let mut timers = 0;
    while let Some((_, keys)) = bench.shard.looks.take_due(u64::MAX / 2, usize::MAX) {
        timers += keys.len();
    }
    assert!(timers < 1000, "{timers} timers of 5000 that left within the last 5000 seconds");
}

#[test]
fn ages_without_end_are_allowed_in_a_shard_that_is_older_than_the_manager() {
    let endless = Retention::default().age(Duration::MAX);
    let sse = Manager::builder().history(endless).max_age(Duration::MAX);
    let sse = sse.heartbeat(Duration::MAX).build().unwrap();
    let mut bench = Bench::new(ROOM);
    bench.wait(10_000);
    let reader = bench.adopt(&sse);
    bench.work();
    sse.broadcast("at last").unwrap();
    bench.work();
    assert!(reader.text().contains("at last"));
    bench.shard.drain(bench.now, Duration::MAX);
    bench.work();
}

#[test]
fn an_event_counts_as_delivered_once_for_each_reader_however_it_came() {
    let (sse, engine) = batching();
    let sse = sse.build().unwrap();
    let mut bench = Bench::new(ROOM);
    let one = bench.adopt(&sse);
    bench.work();
    engine.hold();
    sse.broadcast("e0").unwrap();
    // It comes behind the first event, and after one turn it waits for its group, which has not
    // seen that. Both events then come in one batch.
    let other = bench.adopt(&sse);
    bench.shard.turn(bench.now);
    sse.broadcast("e1").unwrap();
    engine.wake();
    bench.work();
    let (one, other) = (one.text(), other.text());
    assert!(one.contains("e0") && one.contains("e1"));
    assert!(!other.contains("e0") && other.contains("e1"));
    assert_eq!(sse.stats().delivered, 3);
    assert_eq!(sse.stats().delivered_bytes, 3 * "data: e0\n\n".len() as u64);
}

/// Between two turns the shard asks the system about its sockets.
#[test]
fn an_event_for_many_audiences_of_one_reader_each_takes_few_turns() {
    let sse = Manager::new();
    let mut bench = Bench::new(ROOM);
    let mut readers = Vec::new();
    for n in 0..1000 {
        let audience = Audience::select([format!("users/{n}"), "news".to_owned()]).unwrap();
        readers.push(bench.adopt_for(&sse, audience, ROOM));
    }
    bench.work();
    sse.publish("news", "hello").unwrap();
    let turns = bench.work();
    assert!(readers.iter().all(|reader| reader.text().contains("hello")));
    assert!(turns < 50, "{turns} turns for 1000 readers");
}

/// A manager that is gone leaves its place to another one, in the shard and in memory.
#[test]
fn managers_that_come_and_go_do_not_mix() {
    let mut bench = Bench::new(ROOM);
    let mut present: Vec<(Manager, Reader)> = Vec::new();
    for round in 0..200 {
        if round % 3 == 2 {
            let (sse, reader) = present.remove(round % present.len());
            bench.hang_up(&reader);
            assert_eq!(sse.connection_count(), 0);
        }
        let sse = Manager::new();
        let reader = bench.adopt(&sse);
        present.push((sse, reader));
        if round % 7 == 0 {
            for (number, (sse, _)) in present.iter().enumerate() {
                sse.broadcast(format!("[{number}]")).unwrap();
            }
            bench.work();
            for (number, (_, reader)) in present.iter().enumerate() {
                let text = reader.text();
                assert!(text.ends_with(&format!("data: [{number}]\n\n\r\n")), "{text:?}");
                assert_eq!(text.matches('[').count(), 1);
            }
        }
    }
    assert_eq!(bench.shard.len(), present.len());
    bench.shard.drop_all();
    assert_eq!((bench.shard.len(), bench.shard.sources.len(), bench.open.count()), (0, 0, 0));
}

/// An engine whose end panics.
#[derive(Debug)]
struct Fragile(Batching);

impl Engine for Fragile {
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

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("the engine's end");
    }
}

#[test]
fn an_engine_that_panics_when_its_manager_goes_is_not_the_shards_end() {
    let fragile = Manager::builder().engine(Fragile(Batching::default())).build().unwrap();
    let sse = Manager::new();
    let mut bench = Bench::new(ROOM);
    let stays = bench.adopt(&sse);
    let goes = bench.adopt(&fragile);
    bench.work();
    // The shard has the last handle on it.
    drop(fragile);
    bench.hang_up(&goes);
    sse.broadcast("unharmed").unwrap();
    bench.work();
    assert!(stays.text().contains("unharmed"));
    assert_eq!((bench.shard.len(), bench.open.count()), (1, 1));
}
