//! Model checks of delivery shards: publish, the shard's wake-up, and what it then takes.
//!
//! The shard is driven by hand; what is checked is that its waker rings for whatever it has not
//! taken.

#![cfg(prism_loom)]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use prism_sse::Manager;
use prism_sse::test::Shard;

/// Counts how often it was rung.
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A shard that has a turn when its bell was rung, as its thread does.
struct Thread {
    shard: Shard,
    bell: Arc<Bell>,
    answered: usize,
}

impl Thread {
    fn new() -> Self {
        let bell = Arc::new(Bell(AtomicUsize::new(0)));
        Self { shard: Shard::new(Waker::from(Arc::clone(&bell))), bell, answered: 0 }
    }

    /// Works until there is nothing more to do and nobody rang.
    fn answer(&mut self) {
        loop {
            let rung = self.bell.0.load(Ordering::SeqCst);
            if rung == self.answered {
                return;
            }
            self.answered = rung;
            self.work();
        }
    }

    fn work(&mut self) {
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
        thread.work();
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
                sse.broadcast("y").unwrap();
            })
        };
        thread.answer();
        publisher.join().unwrap();
        thread.answer();
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
        thread.work();
        publisher.join().unwrap();
        thread.answer();
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
        thread.work();
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
                sse.send("y", id).unwrap();
            })
        };
        thread.answer();
        publisher.join().unwrap();
        thread.answer();
        assert_eq!(thread.data(reader), ["x", "y"]);
    });
}
