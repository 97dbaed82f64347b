//! Regression tests: each was a fault once, or a suspected one, found by adversarial tests.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::http;
use futures_util::{FutureExt, StreamExt};
use prism_sse::test::{Client, Delayed};
use prism_sse::*;

use super::{keeping, page, select, served, text, with_history};

const SECOND: Duration = Duration::from_secs(1);

fn due(connection: &mut Connection) -> String {
    let mut seen = String::new();
    for _ in 0..10_000 {
        match connection.next().now_or_never() {
            Some(Some(bytes)) => seen.push_str(text(&bytes)),
            Some(None) => {
                seen.push_str("<END>");
                break;
            }
            None => break,
        }
    }
    seen
}

#[tokio::test]
async fn one_send_to_each_of_5000_connections_arrives() {
    let sse = Manager::new();
    let mut all: Vec<_> = (0..5000).map(|_| sse.add_connection()).collect();
    for c in &mut all {
        due(c);
    }
    for c in sse.connections() {
        c.send("personal").unwrap();
    }
    let got = all.iter_mut().filter_map(|c| due(c).contains("personal").then_some(())).count();
    assert_eq!(got, 5000);
}

#[tokio::test]
async fn events_for_others_do_not_make_a_healthy_reader_lag() {
    let sse = Manager::new();
    let mut idle = sse.add_connection();
    let other = sse.add_connection();
    due(&mut idle);
    for _ in 0..5000 {
        drop(sse.send("not yours", other.id()));
        tokio::task::yield_now().await;
    }
    sse.broadcast("x").unwrap();
    assert_eq!(due(&mut idle), "data: x\n\n");
}

#[tokio::test]
async fn private_events_do_not_disconnect_a_healthy_public_reader() {
    let sse = keeping(100);
    let mut idle = sse.add_connection();
    due(&mut idle);
    for _ in 0..200 {
        sse.append(Publication::new("users/7", "secret").unwrap().private()).unwrap();
        tokio::task::yield_now().await;
    }
    sse.broadcast("x").unwrap();
    let seen = due(&mut idle);
    assert!(seen.contains("data: x"), "{seen:?} {:?}", idle.close_reason());
}

#[tokio::test]
async fn a_private_broadcast_is_private() {
    let sse = Manager::new();
    let mut anyone = sse.add_connection();
    due(&mut anyone);
    let ack =
        sse.append(Publication::broadcast("secret").private()).unwrap().try_ack().unwrap().unwrap();
    assert_eq!(ack.receivers, 0);
    assert_eq!(due(&mut anyone), "");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_continue_after_a_time_without_connections() {
    let sse = Manager::new();
    let mut first = page(&sse).await;
    first.listen(SECOND).await;
    drop(first);
    tokio::time::sleep(30 * SECOND).await;
    let mut second = page(&sse).await;
    second.listen(3600 * SECOND).await;
    let n = text(second.raw()).lines().filter(|l| *l == ":").count();
    assert!(n > 200, "{n} heartbeats in an hour");
}

#[tokio::test]
async fn the_mark_before_a_close_never_covers_undelivered_events_of_a_replaced_order() {
    let engine = Delayed::new();
    let sse =
        Manager::builder().history(Retention::default()).engine(engine.clone()).build().unwrap();
    for n in 0..4 {
        sse.broadcast(n.to_string()).unwrap();
    }
    while engine.apply() {}
    let mut p = page(&sse).await;
    p.expect_named("prism.open").await;
    let id = sse.connections()[0].id();
    sse.remove_connection(id); // the close is decided at the applied mark 4 of the old order
    engine.begin_epoch(1); // the order is replaced
    for n in 12..15 {
        sse.broadcast(n.to_string()).unwrap();
    } // sequence numbers 2, 3, 4
    while engine.apply() {}
    let mut ids = Vec::new();
    while let Some(e) = p.event().await {
        ids.push((e.name, e.id, e.data));
    }
    p.reconnect().await.unwrap();
    p.expect_named("prism.open").await;
    let next = p.listen(Duration::from_millis(100)).await;
    let data: Vec<_> = next.iter().map(|e| &*e.data).collect();
    assert_eq!(data, ["12", "13", "14"], "after {ids:?}");
}

#[test]
fn an_attached_value_may_use_the_manager_when_it_is_dropped() {
    struct Guard(Manager);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.connection_count();
        }
    }
    let (done, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let sse = Manager::new();
        let request = SseRequest::new(&http::Method::GET, &Default::default()).unwrap();
        let response = sse.respond(request.state(Guard(sse.clone())));
        let id = sse.connections()[0].id();
        sse.remove_connection(id);
        drop(response);
        done.send(()).unwrap();
    });
    assert!(rx.recv_timeout(5 * SECOND).is_ok(), "deadlock");
}
#[derive(Debug, Default)]
struct Naive(Mutex<(Option<Follower>, u64)>);
impl Engine for Naive {
    fn follow(&self, f: Follower) {
        f.begin_epoch(Epoch::new(1), 0).wake();
        self.0.lock().unwrap().0 = Some(f);
    }
    fn append(&self, p: Publication, c: Completion) -> Result<(), EngineError> {
        let (f, seq) = {
            let mut g = self.0.lock().unwrap();
            g.1 += 1;
            (g.0.clone().unwrap(), g.1)
        };
        f.apply(seq, p).wake();
        c.acknowledge(seq, Durability::Memory);
        Ok(())
    }
    fn durability(&self) -> Durability {
        Durability::Memory
    }
}

#[tokio::test]
async fn an_engine_that_applies_an_ephemeral_publication_as_an_ordinary_one_does_not_broadcast_it()
{
    let sse = Manager::builder().engine(Naive::default()).build().unwrap();
    let one = sse.add_connection();
    let mut other = sse.add_connection();
    due(&mut other);
    drop(sse.send("for one", one.id()));
    assert_eq!(due(&mut other), "");
}
#[tokio::test]
async fn an_epoch_that_continues_the_order_makes_no_quiet_reader_lag() {
    let engine = Delayed::new();
    let sse = Manager::builder()
        .history(Retention::default().count(10))
        .engine(engine.clone())
        .build()
        .unwrap();
    let mut quiet = sse.subscribe(select("quiet"), Start::Now).unwrap();
    due(&mut quiet);
    for _ in 0..20 {
        sse.publish("loud", "x").unwrap();
    }
    while engine.apply() {}
    let sub = sse.subscribe(select("quiet"), Start::After("#1.0".into())).unwrap();
    assert_eq!(sub.gap(), None, "before");
    engine.begin_epoch(20);
    sse.publish("quiet", "hush").unwrap();
    while engine.apply() {}
    let resumed = sse.subscribe(select("quiet"), Start::After("#1.0".into())).unwrap().gap();
    let seen = due(&mut quiet);
    assert!(
        seen.contains("hush") && resumed.is_none(),
        "{seen:?} {:?} resumed: {resumed:?}",
        quiet.close_reason()
    );
}

#[tokio::test]
async fn a_replay_from_the_oldest_event_is_not_disconnected_when_one_more_event_evicts() {
    let sse = keeping(100);
    for n in 0..200 {
        sse.broadcast(n.to_string()).unwrap();
    }
    let mut c = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
    sse.broadcast("one more").unwrap();
    let seen = due(&mut c);
    assert!(seen.contains("one more"), "{seen:?} {:?}", c.close_reason());
}

#[test]
fn receivers_are_open_connections() {
    let sse = Manager::new();
    let c = sse.add_connection();
    sse.remove_connection(c.id());
    assert_eq!(sse.connection_count(), 0);
    assert_eq!(sse.broadcast("x").unwrap().try_ack().unwrap().unwrap().receivers, 0);
}

#[tokio::test]
async fn events_after_a_close_was_decided_are_no_lag() {
    let sse = keeping(10);
    let mut c = sse.add_connection();
    due(&mut c);
    sse.broadcast("due").unwrap();
    assert!(due(&mut c).contains("due"));
    sse.remove_connection(c.id());
    for n in 0..20 {
        sse.broadcast(n.to_string()).unwrap();
    }
    let seen = due(&mut c);
    assert!(seen.contains("prism.mark"), "{seen:?}");
}

#[tokio::test]
async fn events_after_a_close_was_decided_are_no_gap() {
    let sse = Manager::builder()
        .history(Retention::default().count(10))
        .on_lag(OnLag::SkipWithGap)
        .build()
        .unwrap();
    let mut c = sse.add_connection();
    due(&mut c);
    sse.remove_connection(c.id());
    for n in 0..20 {
        sse.broadcast(n.to_string()).unwrap();
    }
    let seen = due(&mut c);
    assert!(!seen.contains("prism.gap"), "{seen:?}");
}

#[tokio::test]
async fn one_event_of_an_allowed_size_is_delivered() {
    let sse = Manager::new();
    let mut c = sse.add_connection();
    due(&mut c);
    sse.broadcast("\n".repeat(1 << 20)).unwrap();
    let seen = due(&mut c);
    assert!(seen.starts_with("data:"), "{}", &seen[..seen.len().min(100)]);
}

#[tokio::test]
async fn without_history_the_last_event_id_is_ignored_and_the_application_chooses_the_start() {
    let sse = Manager::new();
    sse.publish("t", Event::new("painted").id("m1").unwrap()).unwrap();
    let mut headers = http::HeaderMap::new();
    headers.insert("last-event-id", "m1".parse().unwrap());
    let s2 = sse.clone();
    let app = axum::Router::new().route(
        "/",
        axum::routing::get(move |r: SseRequest| async move { s2.respond(r.start(Start::Latest)) }),
    );
    let mut p = Client::connect_with(served(app), "/", headers).await.unwrap();
    let got = p.listen(Duration::from_millis(50)).await;
    assert_eq!(got.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reused_slot_is_not_due() {
    for drop_first in [false, true] {
        let sse = Manager::builder().no_heartbeat().build().unwrap();
        let mut driver = page(&sse).await;
        driver.listen(SECOND).await;
        if drop_first {
            drop(sse.add_connection());
        }
        let mut fresh = sse.add_connection();
        fresh.next().await.unwrap(); // the opening; nothing else is due
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(fresh.close_reason(), None, "drop_first {drop_first}");
    }
}

#[test]
fn an_age_below_a_millisecond_is_refused() {
    let Ok(sse) =
        Manager::builder().history(Retention::default().age(Duration::from_micros(500))).build()
    else {
        return;
    };
    sse.broadcast("x").unwrap();
    assert_eq!(sse.stats().records, 1);
}

#[tokio::test]
async fn events_to_one_connection_do_not_evict_history() {
    let sse = keeping(100);
    let mut receipt = sse.broadcast("a").unwrap();
    let a = receipt.try_ack().unwrap().unwrap().position.to_string();
    sse.broadcast("b").unwrap();
    let other = sse.add_connection();
    for _ in 0..100 {
        sse.send("you", other.id()).unwrap();
    }
    let back = sse.subscribe(Audience::everything(), Start::After(a)).unwrap();
    assert_eq!(back.gap(), None);
}

#[tokio::test]
async fn an_epoch_that_is_announced_again_continues() {
    #[derive(Debug, Clone, Default)]
    struct Again(Arc<Mutex<(Option<Follower>, u64)>>);
    impl Engine for Again {
        fn follow(&self, f: Follower) {
            f.begin_epoch(Epoch::new(7), 0).wake();
            self.0.lock().unwrap().0 = Some(f);
        }
        fn append(&self, p: Publication, c: Completion) -> Result<(), EngineError> {
            let (f, seq) = {
                let mut g = self.0.lock().unwrap();
                g.1 += 1;
                (g.0.clone().unwrap(), g.1)
            };
            f.apply(seq, p).wake();
            c.acknowledge(seq, Durability::Memory);
            Ok(())
        }
        fn durability(&self) -> Durability {
            Durability::Memory
        }
    }
    let engine = Again::default();
    let sse =
        Manager::builder().history(Retention::default()).engine(engine.clone()).build().unwrap();
    sse.broadcast("1").unwrap();
    let f = engine.0.lock().unwrap().0.clone().unwrap();
    // As after a lost connection to a shared engine whose order is unchanged.
    f.begin_epoch(Epoch::new(7), 1).wake();
    let p = sse.broadcast("2").unwrap().try_ack().unwrap().unwrap().position;
    sse.broadcast("3").unwrap();
    let back = sse.subscribe(Audience::everything(), Start::After(p.to_string())).unwrap();
    assert_eq!(back.gap(), None, "{p}");
}

#[tokio::test(start_paused = true)]
async fn a_comment_carries_no_position() {
    let sse = with_history();
    let mut p = page(&sse).await;
    p.expect_named("prism.open").await;
    sse.broadcast(Event::comment("hi").unwrap()).unwrap();
    let got = p.listen(1300 * SECOND).await;
    assert_eq!(got.len(), 1, "a mark, as the last id lies behind");
}

#[tokio::test]
async fn every_gap_is_reported() {
    let sse = Manager::builder()
        .history(Retention::default().count(3))
        .on_lag(OnLag::SkipWithGap)
        .control_events(false)
        .build()
        .unwrap();
    let mut c = sse.add_connection();
    due(&mut c);
    for n in 0..10 {
        sse.broadcast(n.to_string()).unwrap();
    }
    let mut seen = due(&mut c);
    sse.broadcast("next").unwrap();
    seen += &due(&mut c);
    assert!(seen.contains("gap") || seen.contains("<END>"), "{seen:?}");
}

#[tokio::test]
async fn an_epoch_that_begins_beyond_the_applied_mark_is_a_gap() {
    let engine = Delayed::new();
    let sse =
        Manager::builder().history(Retention::default()).engine(engine.clone()).build().unwrap();
    let mut live = page(&sse).await;
    live.expect_named("prism.open").await;
    for n in 0..10 {
        sse.broadcast(n.to_string()).unwrap();
    }
    for _ in 0..5 {
        engine.apply();
    }
    for n in 0..5 {
        live.expect("message", &n.to_string()).await;
    }
    engine.begin_epoch(10); // 6 to 10 were never applied here
    sse.broadcast("11").unwrap();
    while engine.apply() {}
    let e = live.event().await.unwrap();
    let back = sse.subscribe(Audience::everything(), Start::After("#1.5".into())).unwrap();
    assert!(e.name == "prism.gap" && back.gap().is_some(), "{e:?} {:?}", back.gap());
}

#[test]
fn grants_accumulate() {
    let a = Audience::select("t").unwrap().grant("x").unwrap().grant("y").unwrap();
    assert_eq!(a.grants().len(), 2, "{:?}", a.grants());
}

#[test]
fn an_audience_of_everything_can_exclude_broadcasts() {
    let sse = Manager::new();
    let _c = sse.subscribe(Audience::everything().broadcasts(false), Start::Now).unwrap();
    assert_eq!(sse.broadcast("x").unwrap().try_ack().unwrap().unwrap().receivers, 0);
}

#[tokio::test]
async fn a_stream_cut_between_prism_open_and_prism_gap_does_not_hide_the_gap() {
    let sse = keeping(3);
    for n in 0..10 {
        sse.broadcast(n.to_string()).unwrap();
    }
    let mut c = sse.subscribe(Audience::everything(), Start::After("nobody".into())).unwrap();
    let opening = c.next().await.unwrap();
    let first = text(&opening).split_inclusive("\n\n").next().unwrap(); // what arrived
    assert!(!first.contains("prism.gap"));
    let Some(id) = first.lines().find_map(|l| l.strip_prefix("id: ")) else { return };
    let back = sse.subscribe(Audience::everything(), Start::After(id.to_owned())).unwrap();
    assert!(back.gap().is_some(), "{first:?} then {:?}", back.gap());
}

#[tokio::test]
async fn a_steady_publisher_starves_no_reader() {
    const READERS: usize = 2000;
    let sse = Manager::new();
    let counts: Vec<_> =
        (0..READERS).map(|_| Arc::new(std::sync::atomic::AtomicUsize::new(0))).collect();
    for c in &counts {
        let (mut r, c) = (sse.add_connection(), c.clone());
        tokio::spawn(async move {
            while r.next().await.is_some() {
                c.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    for n in 0..3000 {
        // fewer than the live ring holds
        sse.broadcast(n.to_string()).unwrap();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    let c: Vec<_> = counts.iter().map(|c| c.load(std::sync::atomic::Ordering::Relaxed)).collect();
    let starved = c.iter().filter(|&&n| n <= 1).count(); // only the opening
    assert_eq!(
        starved,
        0,
        "of {READERS} readers got nothing while 3000 events went by; the last got {} frames",
        c[READERS - 1]
    );
}

#[tokio::test]
async fn stalled_sockets_count_against_the_limit() {
    tokio::time::pause();
    let sse = Manager::builder().max_connections(10).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..50 {
        let Ok(mut c) = sse.subscribe(Audience::everything(), Start::Now) else {
            tokio::time::sleep(21 * SECOND).await;
            continue;
        };
        c.next().await.unwrap();
        assert!(c.next().now_or_never().is_none());
        sse.broadcast("due, and never taken").unwrap();
        held.push(c);
    }
    assert!(
        held.len() <= 10,
        "{} bodies held under max_connections(10), open {}",
        held.len(),
        sse.connection_count()
    );
}
