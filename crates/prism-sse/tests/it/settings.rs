//! Limits and refusals: each error names the value and what is allowed.

use std::time::Duration;

use prism_sse::{Audience, Manager, OnLag, PublishError, Retention, Start, SubscribeError};

use super::select;

#[test]
fn a_setting_out_of_bounds_is_refused_with_its_bounds() {
    let second = Duration::from_secs(1);
    let cases = [
        (Manager::builder().heartbeat(Duration::from_millis(249)), "heartbeat", "250 ms"),
        (Manager::builder().heartbeat(Duration::ZERO), "heartbeat", "no_heartbeat"),
        (Manager::builder().retry(Duration::ZERO), "retry", "1 ms to 2147483647 ms"),
        (Manager::builder().retry(Duration::from_millis(2_147_483_648)), "retry", "2147483647"),
        (Manager::builder().max_age(second / 2), "max_age", "at least 1 s"),
        (Manager::builder().max_connections(0), "max_connections", "at least 1"),
        (Manager::builder().max_event_bytes(0), "max_event_bytes", "at least 1"),
        (Manager::builder().on_lag(OnLag::Disconnect), "on_lag", "with history alone"),
        (Manager::builder().lag_bytes(0), "lag_bytes", "at least 1"),
        (Manager::builder().lag_age(Duration::ZERO), "lag_age", "at least 1 ms"),
        (Manager::builder().idempotency_window(second / 2), "idempotency_window", "at least 1 s"),
        (Manager::builder().idempotency_bytes(319), "idempotency_bytes", "at least 320"),
        (Manager::builder().history(Retention::default().count(0)), "history count", "1"),
        (Manager::builder().history(Retention::default().bytes(0)), "history bytes", "1"),
        (
            Manager::builder().history(Retention::default().age(Duration::ZERO)),
            "history age",
            "1 ms",
        ),
        (Manager::builder().transient(Retention::default().count(0)), "transient count", "1"),
        (Manager::builder().transient(Retention::default().bytes(0)), "transient bytes", "1"),
        (
            Manager::builder().transient(Retention::default().age(Duration::ZERO)),
            "transient age",
            "1 ms",
        ),
    ];
    for (builder, setting, allowed) in cases {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(&format!("`{setting}`")) && error.contains(allowed), "{error}");
    }
}

#[test]
fn an_event_above_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let sse = Manager::builder().max_event_bytes(10).build().unwrap();
    sse.broadcast("x".repeat(10)).unwrap();
    let error = sse.broadcast("x".repeat(11)).unwrap_err();
    assert_eq!(error, PublishError::TooLarge { len: 11, max: 10 });
    assert_eq!(error.to_string(), "an event has 11 bytes of text; at most 10 are allowed");
    Manager::new().broadcast("x".repeat(1 << 20)).unwrap();
    Manager::new().broadcast("x".repeat((1 << 20) + 1)).unwrap_err();
}

#[test]
fn connections_above_the_limit_are_refused_until_one_ends() {
    let sse = Manager::builder().max_connections(2).build().unwrap();
    let one = sse.subscribe(select("a"), Start::Now).unwrap();
    let _two = sse.subscribe(select("a"), Start::Now).unwrap();
    let error = sse.subscribe(select("a"), Start::Now).unwrap_err();
    assert_eq!(error, SubscribeError::Full { max: 2 });
    assert_eq!(error.to_string(), "2 connections are open; no more are allowed");
    drop(one);
    let _three = sse.subscribe(select("a"), Start::Now).unwrap();
}

#[test]
fn hostile_topics_and_selectors_are_refused() {
    let sse = Manager::new();
    for topic in ["", "a\nb", "a\0b", "*"] {
        assert!(matches!(sse.publish(topic, "x"), Err(PublishError::Topic(_))), "{topic:?}");
    }
    for selector in ["", "a\rb"] {
        Audience::select(selector).unwrap_err();
        select("a").grant(selector).unwrap_err();
    }
    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    assert!(sse.publish(many.clone(), "x").is_err());
    assert!(Audience::select(many).is_err());
    assert_eq!((sse.stats().topics, sse.connection_count()), (0, 0));
}

#[test]
fn a_publishers_name_has_a_limit() {
    let publication = prism_sse::Publication::broadcast("x");
    let error = publication.publisher("p".repeat(256)).unwrap_err();
    assert_eq!(error.to_string(), "a publisher's name has 256 bytes; at most 255 are allowed");
}

#[tokio::test(start_paused = true)]
async fn every_duration_and_size_is_fine_at_its_ends() {
    use std::time::Duration;

    use futures_util::{FutureExt, StreamExt};
    use prism_sse::{Event, Manager, Retention};

    let durations =
        [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1), Duration::MAX];
    for duration in durations {
        for size in [0, 1, usize::MAX] {
            let retention = Retention::default().age(duration).count(size).bytes(size);
            let setters: [&dyn Fn() -> prism_sse::ManagerBuilder; 10] = [
                &|| Manager::builder().history(retention.clone()),
                &|| Manager::builder().transient(retention.clone()),
                &|| Manager::builder().heartbeat(duration),
                &|| Manager::builder().retry(duration),
                &|| Manager::builder().max_age(duration),
                &|| Manager::builder().lag_age(duration),
                &|| Manager::builder().idempotency_window(duration),
                &|| Manager::builder().lag_bytes(size),
                &|| Manager::builder().max_connections(size),
                &|| Manager::builder().max_event_bytes(size),
            ];
            for setter in setters {
                // A value that is refused is refused with a sentence, and not with a panic.
                let Ok(sse) = setter().build() else { continue };
                let mut reader = sse.add_connection();
                drop(sse.broadcast("x"));
                for _ in 0..3 {
                    drop(reader.next().now_or_never());
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
                sse.stats();
            }
        }
        drop(Event::new("x").retry(duration));
        let sse = Manager::new();
        let reader = sse.add_connection();
        let drain = sse.drain(duration);
        tokio::pin!(drain);
        // With one connection it ends once that is closed; its moment may be a day away.
        assert!(tokio::time::timeout(Duration::from_secs(100_000), drain).await.is_ok());
        drop(reader);
    }
}
