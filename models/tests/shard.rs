//! Model checks of delivery shards: publish, the shard's wake-up, and what it then takes.
//!
//! The test drives the shard, and checks that its waker is called for everything that it has not
//! taken yet.

#![cfg(prism_loom)]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::task::Waker;

use loom::thread;
use prism_models::WakeCounter;
use prism_sse::Manager;
use prism_sse::test::Shard;

/// A shard that runs after each wake-up, as it does on its thread.
struct Thread {
    shard: Shard,
    wakes: Arc<WakeCounter>,
    seen_wakes: usize,
}

impl Thread {
    fn new() -> Self {
        let wakes = WakeCounter::new();
        Self { shard: Shard::new(Waker::from(Arc::clone(&wakes))), wakes, seen_wakes: 0 }
    }

    /// Runs as long as there was a wake-up since the last run.
    fn run_while_woken(&mut self) {
        loop {
            let wakes = self.wakes.count();
            if wakes == self.seen_wakes {
                return;
            }
            self.seen_wakes = wakes;
            self.run();
        }
    }

    fn run(&mut self) {
        while self.shard.turn() {}
    }

    fn data(&mut self, reader: usize) -> Vec<String> {
        let seen = String::from_utf8(self.shard.read(reader)).unwrap();
        let data = seen.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(str::to_owned).collect()
    }
}

#[test]
fn what_is_published_while_the_shard_takes_its_calls_is_written() {
    loom::model(|| {
        let sse = Manager::builder().no_heartbeat().build().unwrap();
        let mut thread = Thread::new();
        let reader = thread.shard.adopt(sse.add_connection());
        thread.run();
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
                sse.broadcast("y").unwrap();
            })
        };
        thread.run_while_woken();
        publisher.join().unwrap();
        thread.run_while_woken();
        assert_eq!(thread.data(reader), ["x", "y"]);
    });
}

#[test]
fn a_connection_that_is_adopted_while_an_event_is_published_gets_it_once() {
    loom::model(|| {
        let sse = Manager::builder().no_heartbeat().build().unwrap();
        let mut thread = Thread::new();
        let connection = sse.add_connection();
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
            })
        };
        let reader = thread.shard.adopt(connection);
        thread.run();
        publisher.join().unwrap();
        thread.run_while_woken();
        assert_eq!(thread.data(reader), ["x"]);
    });
}

#[test]
fn what_is_sent_to_one_keeps_its_place_while_the_shard_is_at_work() {
    loom::model(|| {
        let sse = Manager::builder().no_heartbeat().build().unwrap();
        let mut thread = Thread::new();
        let connection = sse.add_connection();
        let id = connection.id();
        let reader = thread.shard.adopt(connection);
        thread.run();
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
                sse.send("y", id).unwrap();
            })
        };
        thread.run_while_woken();
        publisher.join().unwrap();
        thread.run_while_woken();
        assert_eq!(thread.data(reader), ["x", "y"]);
    });
}
