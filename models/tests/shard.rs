//! Model checks of delivery shards: publishing, the wake-up of the shard, and the events it then
//! takes.
//!
//! The shard is driven by hand. The models check that it is woken for everything it has not taken.

#![cfg(prism_loom)]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::task::Waker;

use loom::thread;
use prism_models::WakeCounter;
use prism_sse::Manager;
use prism_sse::test::Shard;

/// A shard that runs after it was woken, as its thread does.
struct ShardThread {
    shard: Shard,
    wakes: Arc<WakeCounter>,
    /// The count of wakes at the last run.
    handled_wakes: usize,
}

impl ShardThread {
    fn new() -> Self {
        let wakes = WakeCounter::new();
        let shard = Shard::new(Waker::from(Arc::clone(&wakes)));
        Self { shard, wakes, handled_wakes: 0 }
    }

    /// Runs until there is nothing to do and there was no further wake.
    fn run_if_woken(&mut self) {
        loop {
            let wakes = self.wakes.count();
            if wakes == self.handled_wakes {
                return;
            }
            self.handled_wakes = wakes;
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
fn events_published_while_the_shard_takes_its_wake_ups_are_written() {
    loom::model(|| {
        let sse = Manager::builder().no_heartbeat().build().unwrap();
        let mut thread = ShardThread::new();
        let reader = thread.shard.adopt(sse.add_connection());
        thread.run();
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
                sse.broadcast("y").unwrap();
            })
        };
        thread.run_if_woken();
        publisher.join().unwrap();
        thread.run_if_woken();
        assert_eq!(thread.data(reader), ["x", "y"]);
    });
}

#[test]
fn a_connection_that_is_adopted_while_an_event_is_published_gets_it_once() {
    loom::model(|| {
        let sse = Manager::builder().no_heartbeat().build().unwrap();
        let mut thread = ShardThread::new();
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
        thread.run_if_woken();
        assert_eq!(thread.data(reader), ["x"]);
    });
}

#[test]
fn an_event_sent_to_one_connection_keeps_its_order_while_the_shard_runs() {
    loom::model(|| {
        let sse = Manager::builder().no_heartbeat().build().unwrap();
        let mut thread = ShardThread::new();
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
        thread.run_if_woken();
        publisher.join().unwrap();
        thread.run_if_woken();
        assert_eq!(thread.data(reader), ["x", "y"]);
    });
}
