//! How long the manager's lock is held: in steps, which do not depend on the machine.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use prism_sse::test::{Delayed, take_longest_hold};
use prism_sse::{Audience, Connection, Manager, Publication, Retention, Selector, Start};

/// Steps that no act takes more of while it holds the lock, whatever there is of anything.
const MOST: u64 = 4096;

fn manager() -> Manager {
    Manager::builder().history(Retention::default().count(20_000)).build().unwrap()
}

/// Reads what is there, until so many polls in a row found nothing: a replay gives way to others
/// after each piece, whether it found something or not.
async fn read(connection: &mut Connection, polls: usize) -> usize {
    let (mut events, mut idle) = (0, 0);
    while idle < polls {
        match connection.next().now_or_never() {
            Some(Some(bytes)) => {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                events += text.matches("data: e").count();
                idle = 0;
            }
            Some(None) => break,
            None => idle += 1,
        }
        tokio::task::yield_now().await;
    }
    events
}

/// The steps of the longest hold during `act`.
async fn longest<T>(act: impl Future<Output = T>) -> (T, u64) {
    take_longest_hold();
    let result = act.await;
    (result, take_longest_hold())
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_patterns_that_match_nothing_holds_the_lock_no_longer_than_any_act() {
    let sse = manager();
    for n in 0..20_000 {
        sse.publish(format!("/prices/{n}"), format!("e{n}")).unwrap();
    }
    let patterns: Vec<Selector> =
        (0..100).map(|n| Selector::template(&format!("/{{a}}/{{b}}/{n}")).unwrap()).collect();
    let audience = Audience::select(patterns).unwrap();
    let (events, steps) = longest(async {
        let mut reader = sse.subscribe(audience, Start::Oldest).unwrap();
        read(&mut reader, 1000).await
    })
    .await;
    assert_eq!(events, 0);
    assert!(steps <= MOST, "{steps} steps");
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_everything_and_one_of_the_newest_hold_the_lock_no_longer_than_any_act() {
    let sse = manager();
    for n in 0..20_000 {
        let topic = format!("/prices/{}", n % 5000);
        let event = Publication::new(topic, format!("e{n}")).unwrap();
        sse.append(if n % 3 == 0 { event.private() } else { event }).unwrap();
    }
    let everything = Audience::everything().grant("*").unwrap();
    for (start, expected) in [(Start::Oldest, 20_000), (Start::Latest, 5000)] {
        let (events, steps) = longest(async {
            let mut reader = sse.subscribe(everything.clone(), start).unwrap();
            read(&mut reader, 1000).await
        })
        .await;
        assert_eq!(events, expected);
        assert!(steps <= MOST, "{steps} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_for_many_audiences_is_matched_in_pieces() {
    let sse = manager();
    let mut readers: Vec<_> = (0..3000)
        .map(|n| {
            let audience = Audience::everything().grant(format!("users/{n}")).unwrap();
            sse.subscribe(audience, Start::Now).unwrap()
        })
        .collect();
    let (ack, steps) = longest(async { sse.broadcast("e").unwrap().await.unwrap() }).await;
    assert_eq!(ack.receivers, 3000);
    assert!(steps <= MOST / 4, "{steps} steps");
    for reader in &mut readers {
        assert_eq!(read(reader, 2).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_event_asks_those_it_is_granted_to_however_many_read() {
    let mut holds = Vec::new();
    for readers in [100, 2000] {
        let sse = manager();
        let _readers: Vec<_> = (0..readers)
            .map(|n| {
                let audience = Audience::everything().grant(format!("users/{n}")).unwrap();
                sse.subscribe(audience, Start::Now).unwrap()
            })
            .collect();
        let secret = Publication::new("users/7", "e").unwrap().private();
        let (ack, steps) = longest(async { sse.append(secret).unwrap().await.unwrap() }).await;
        assert_eq!(ack.receivers, 1);
        holds.push(steps);
    }
    assert_eq!(holds[0], holds[1]);
}

#[tokio::test(start_paused = true)]
async fn records_that_expire_together_are_evicted_in_pieces() {
    let retention = Retention::default().count(20_000).age(Duration::from_secs(10));
    let sse = Manager::builder().history(retention).build().unwrap();
    let mut reader = sse.add_connection();
    for n in 0..10_000 {
        sse.broadcast(format!("e{n}")).unwrap();
    }
    assert_eq!(read(&mut reader, 1000).await, 10_000);
    let (_, steps) = longest(async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        sse.broadcast("e").unwrap().await.unwrap()
    })
    .await;
    assert!(steps <= MOST, "{steps} steps");
    assert!(sse.stats().records < 2, "{} are kept", sse.stats().records);
}

#[tokio::test(start_paused = true)]
async fn closing_and_replacing_reach_all_connections_in_pieces() {
    let engine = Delayed::new();
    let builder = Manager::builder().engine(engine.clone()).history(Retention::default());
    let sse = builder.build().unwrap();
    let mut readers: Vec<_> = (0..3000)
        .map(|n| sse.subscribe(Audience::select(format!("t{n}")).unwrap(), Start::Now).unwrap())
        .collect();
    sse.publish("t7", "e").unwrap();
    engine.apply();
    for reader in &mut readers {
        read(reader, 2).await;
    }
    let (_, steps) = longest(async {
        engine.begin_epoch(0);
        for reader in &mut readers {
            while let Some(Some(bytes)) = reader.next().now_or_never() {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                assert!(text.contains("event: prism."), "{text}");
            }
        }
    })
    .await;
    assert!(steps <= MOST, "{steps} steps");
    let (_, steps) = longest(async { sse.close() }).await;
    assert!(steps <= MOST, "{steps} steps");
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_topic_is_matched_with_hostile_patterns_while_the_lock_is_free() {
    let sse = manager();
    let mut readers = Vec::new();
    // As many as are let in: each could match any topic of two segments.
    for n in 0..10_000 {
        let template = Selector::template(&format!("/{{a}}/{{b:{}}}", n % 900 + 1)).unwrap();
        let other = Selector::template(&format!("/{{c{n}}}/{{+d}}")).unwrap();
        let Ok(reader) = sse.subscribe(Audience::select([template, other]).unwrap(), Start::Now)
        else {
            break;
        };
        readers.push(reader);
    }
    assert!(readers.len() < 5000, "{} are let in", readers.len());
    for n in 0..100 {
        let topic = format!("/prices/{n}{}", "x".repeat(900));
        let (_, steps) = longest(async {
            // Who connects and disconnects makes nobody else match anything.
            let churn = Audience::select(Selector::template(&format!("/churn/{n}/{{a}}")).unwrap());
            let reader = sse.subscribe(churn.unwrap(), Start::Now);
            sse.publish(topic, "e").unwrap().await.unwrap();
            drop(reader);
        })
        .await;
        assert!(steps <= 4 * MOST, "{steps} steps");
    }
}
