//! Model checks of the core: loom explores every interleaving of small scenarios.
//!
//! They run under `--cfg prism_loom`, in a target directory of their own: `cargo xtask loom`. There
//! is no runtime in a model, so that publishers wake readers themselves; the lock, the atomics and
//! the wake-ups are those of every other build.

#![cfg(prism_loom)]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use loom::thread;
use prism_models::WakeCounter;
use prism_sse::{Audience, Connection, Manager, Retention, Start};

/// A connection that is polled after it was woken, as by a server.
struct PolledConnection {
    connection: Connection,
    wakes: Arc<WakeCounter>,
    /// The count of wakes at the last poll.
    handled_wakes: usize,
    seen: String,
}

impl PolledConnection {
    fn new(connection: Connection) -> Self {
        let wakes = WakeCounter::new();
        let mut page = Self { connection, wakes, handled_wakes: 0, seen: String::new() };
        page.poll();
        page.seen.clear();
        page
    }

    /// Reads everything that is due. `true` if the stream ended.
    fn poll(&mut self) -> bool {
        let waker = Waker::from(self.wakes.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self.connection).poll_next(&mut cx) {
                Poll::Ready(Some(bytes)) => self.seen += std::str::from_utf8(&bytes).unwrap(),
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
    }

    /// Polls until there was no wake since the last poll. `true` if the stream ended.
    fn poll_if_woken(&mut self) -> bool {
        loop {
            let wakes = self.wakes.count();
            if wakes == self.handled_wakes {
                return false;
            }
            self.handled_wakes = wakes;
            if self.poll() {
                return true;
            }
        }
    }

    fn data(&self) -> Vec<&str> {
        self.seen.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }
}

fn select(sse: &Manager, topics: &[&str]) -> Connection {
    sse.subscribe(Audience::select(topics).unwrap(), Start::Now).unwrap()
}

#[test]
fn a_reader_that_begins_to_wait_while_an_event_is_published_gets_it() {
    loom::model(|| {
        let sse = Manager::new();
        let mut page = PolledConnection::new(sse.add_connection());
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
            })
        };
        page.poll();
        publisher.join().unwrap();
        page.poll_if_woken();
        assert_eq!(page.data(), ["x"]);
    });
}

#[test]
fn a_reader_of_two_topics_sees_them_in_the_order_of_the_log() {
    loom::model(|| {
        let sse = Manager::new();
        let mut page = PolledConnection::new(select(&sse, &["a", "b"]));
        let publish = |topic: &'static str| {
            let sse = sse.clone();
            thread::spawn(move || {
                let ack = sse.publish(topic, topic).unwrap().try_ack().unwrap().unwrap();
                ack.position.seq
            })
        };
        let (a, b) = (publish("a"), publish("b"));
        page.poll_if_woken();
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        page.poll_if_woken();
        assert_eq!(page.data(), if a < b { ["a", "b"] } else { ["b", "a"] });
    });
}

#[test]
fn a_reader_that_connects_while_an_event_is_published_gets_it_live_or_begins_after_it() {
    loom::model(|| {
        let sse = Manager::builder().history(Retention::default()).build().unwrap();
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
            })
        };
        let connection = sse.add_connection();
        publisher.join().unwrap();
        let mut page = PolledConnection::new(connection);
        page.poll();
        // An event that it did not get is before the position in its opening.
        let replay = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
        assert_eq!(PolledConnection::new(replay).connection.gap(), None);
        assert!(page.data().len() <= 1);
    });
}

#[test]
fn a_connection_that_opens_while_the_manager_closes_ends() {
    loom::model(|| {
        let sse = Manager::new();
        let closing = {
            let sse = sse.clone();
            thread::spawn(move || sse.close())
        };
        let mut page = PolledConnection::new(sse.add_connection());
        let ended = page.poll();
        closing.join().unwrap();
        assert!(
            ended || page.poll_if_woken(),
            "the manager is closed and the stream is still open"
        );
        assert_eq!(sse.connection_count(), 0);
    });
}

#[test]
fn the_last_reader_may_disconnect_while_an_event_is_published() {
    loom::model(|| {
        let sse = Manager::new();
        let page = PolledConnection::new(select(&sse, &["a"]));
        let other = PolledConnection::new(select(&sse, &["a"]));
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.publish("a", "x").unwrap();
            })
        };
        drop(page);
        drop(other);
        publisher.join().unwrap();
        assert_eq!((sse.connection_count(), sse.stats().audiences), (0, 0));
    });
}

#[test]
fn a_member_is_woken_although_another_one_that_leaves_changes_the_order_of_members() {
    loom::model(|| {
        let sse = Manager::new();
        let first = PolledConnection::new(sse.add_connection());
        let mut second = PolledConnection::new(sse.add_connection());
        let publisher = {
            let sse = sse.clone();
            thread::spawn(move || {
                sse.broadcast("x").unwrap();
            })
        };
        // The second member moves to the index of the first while both are due.
        drop(first);
        publisher.join().unwrap();
        second.poll_if_woken();
        assert_eq!(second.data(), ["x"]);
    });
}
