//! Regression tests of operations that interleave: evictions, replaced orders, runtimes that end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use prism_sse::test::Delayed;
use prism_sse::{Audience, Connection, Manager, OnLag, Retention, SendError, Start};

fn drain(c: &mut Connection, most: usize) -> (String, usize) {
    let mut all = Vec::new();
    let mut n = 0;
    while n < most {
        match c.next().now_or_never() {
            Some(Some(b)) => {
                all.extend_from_slice(&b);
                n += 1;
            }
            _ => break,
        }
    }
    (String::from_utf8(all).unwrap(), n)
}

#[test]
fn an_event_sent_during_a_replay_waits_whatever_is_sent_to_others() {
    let sse = Manager::builder().history(Retention::default()).build().unwrap();
    for n in 0..5 {
        sse.broadcast(format!("h{n}")).unwrap();
    }
    let mut c = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
    sse.send("direct", c.id()).unwrap();
    let big = "x".repeat(1024 * 1024 - 10);
    let others: Vec<_> = (0..80).map(|_| sse.add_connection()).collect();
    let sent = others.iter().filter(|other| sse.send(big.clone(), other.id()).is_ok()).count();
    assert!((60..64).contains(&sent), "{sent} of 64 MiB have room");
    assert_eq!(sse.send(big.clone(), others[70].id()).unwrap_err(), SendError::Full);
    let (text, _) = drain(&mut c, 1000);
    assert!(text.contains("data: h4") && text.ends_with("data: direct\n\n"), "{text}");
    assert!(!text.contains("prism.gap"), "{text}");
}

#[test]
fn what_waits_for_one_connection_is_bounded_and_refused_to_its_sender() {
    let sse = Manager::new();
    let mut slow = sse.add_connection();
    let mut other = sse.add_connection();
    let _ = (drain(&mut slow, 1), drain(&mut other, 1));
    // One event may wait whatever its size, and nothing beside it.
    sse.send("x".repeat(500_000), slow.id()).unwrap();
    assert_eq!(sse.send("y", slow.id()).unwrap_err(), SendError::Full);
    sse.send("z", other.id()).unwrap();
    assert_eq!(drain(&mut other, 1).0, "data: z\n\n");
    assert!(drain(&mut slow, 1).0.len() > 500_000);
    sse.send("y", slow.id()).unwrap();
    assert_eq!(drain(&mut slow, 1).0, "data: y\n\n");
}

#[test]
fn many_connections_that_are_sent_one_event_each_get_it() {
    let sse = Manager::new();
    let mut connections: Vec<_> = (0..70_000).map(|_| sse.add_connection()).collect();
    for c in &connections {
        let ack = sse.send("an event for one", c.id()).unwrap().try_ack().unwrap();
        assert_eq!(ack.unwrap().receivers, 1);
    }
    for c in &mut connections {
        assert!(drain(c, 2).0.ends_with("data: an event for one\n\n"));
    }
}

#[test]
fn events_sent_to_one_connection_count_as_its_lag() {
    let sse = Manager::builder()
        .history(Retention::default())
        .lag_bytes(10_000)
        .on_lag(OnLag::SkipWithGap)
        .build()
        .unwrap();
    let mut c = sse.add_connection();
    let _ = drain(&mut c, 1);
    let text = "z".repeat(1000);
    while sse.send(text.clone(), c.id()).is_ok() {}
    let (got, _) = drain(&mut c, 5000);
    assert!(got.contains("prism.gap"));
}

#[test]
fn many_small_events_count_as_lag() {
    let sse = Manager::builder()
        .history(Retention::default())
        .lag_bytes(200_000)
        .on_lag(OnLag::SkipWithGap)
        .build()
        .unwrap();
    let mut c = sse.add_connection();
    let _ = drain(&mut c, 1);
    let text = "z".repeat(100);
    for _ in 0..9000 {
        sse.broadcast(text.clone()).unwrap();
    }
    let (got, _) = drain(&mut c, 50000);
    assert!(got.contains("prism.gap"));
}

#[test]
fn an_event_sent_after_a_replacement_arrives_whether_or_not_something_follows() {
    for follows in [true, false] {
        let engine = Delayed::new();
        let builder = Manager::builder().engine(engine.clone()).history(Retention::default());
        let sse = builder.build().unwrap();
        sse.broadcast("old").unwrap();
        engine.apply();
        let mut c = sse.add_connection();
        drain(&mut c, 10);
        engine.begin_epoch(0);
        sse.send("direct", c.id()).unwrap();
        engine.apply();
        if follows {
            sse.broadcast("new").unwrap();
            engine.apply();
        }
        let (got, _) = drain(&mut c, 100);
        assert!(got.contains("data: direct"));
        assert_eq!(got.contains("data: new"), follows);
    }
}

#[test]
fn a_runtime_that_unwinds_does_not_stop_heartbeats() {
    let sse = Manager::builder().heartbeat(Duration::from_millis(250)).build().unwrap();
    let other = sse.clone();
    let panicked = std::thread::spawn(move || {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut c = other.add_connection();
        rt.block_on(async {
            c.next().await;
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        });
        panic!("application");
    })
    .join();
    panicked.unwrap_err();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let mut c = sse.add_connection();
        c.next().await.unwrap();
        let beat = tokio::time::timeout(Duration::from_secs(30), c.next()).await;
        assert!(beat.is_ok(), "no heartbeat");
    });
}

#[test]
fn readers_do_not_spin_after_their_runtime_ended() {
    let sse = Manager::new();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = rt.handle().clone();
    drop(rt);
    let _entered = handle.enter();
    let mut c = sse.add_connection();
    struct W(AtomicUsize);
    impl Wake for W {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let w = Arc::new(W(0.into()));
    let waker = w.clone().into();
    let mut cx = Context::from_waker(&waker);
    for _ in 0..100 {
        drop(c.poll_next_unpin(&mut cx));
    }
    let n = w.0.load(Ordering::SeqCst);
    assert!(n < 5);
}

#[test]
fn the_largest_sequence_number_is_harmless() {
    let engine = Delayed::new();
    let sse =
        Manager::builder().engine(engine.clone()).history(Retention::default()).build().unwrap();
    engine.begin_epoch(u64::MAX);
    drop(sse.subscribe(Audience::everything(), Start::After("earliest".into())));
    drop(sse.subscribe(Audience::everything(), Start::After("#2.18446744073709551615".into())));
}

/// A waker that remembers whether it was called.
fn flag() -> (Arc<Flag>, Waker) {
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    (flag.clone(), flag.into())
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_connection_that_moves_to_another_task_right_after_a_frame_wakes_the_new_one() {
    let sse = Manager::new();
    let mut c = sse.add_connection();
    let (_, first) = flag();
    drop(c.poll_next_unpin(&mut Context::from_waker(&first)));
    sse.broadcast("one").unwrap();
    drop(c.poll_next_unpin(&mut Context::from_waker(&first)));
    drop(first);

    let (flag, second) = flag();
    assert!(c.poll_next_unpin(&mut Context::from_waker(&second)).is_pending());
    sse.broadcast("two").unwrap();
    assert!(flag.0.load(Ordering::SeqCst), "the task that polled last is woken");
}
