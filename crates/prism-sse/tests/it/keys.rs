//! Idempotency keys: a publication that is repeated is published once.

use std::time::Duration;

use prism_sse::test::Delayed;
use prism_sse::{
    AckError, Durability, EngineError, Event, Manager, Publication, PublishError, Retention,
};

fn keyed(key: &str, data: &str) -> Publication {
    Publication::new("orders", data).unwrap().idempotency_key(key).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_same_key_and_content_gets_the_first_acknowledgement_again() {
    let sse = Manager::new();
    let _reader = sse.add_connection();
    let first = sse.append(keyed("k", "one")).unwrap().await.unwrap();
    let _later = sse.add_connection();
    tokio::time::advance(Duration::from_secs(119)).await;
    assert_eq!(sse.append(keyed("k", "one")).unwrap().await, Ok(first));
    assert_eq!(sse.append(keyed("k", "one")).unwrap().try_ack(), Some(Ok(first)));
    assert_eq!(sse.stats().published, 1);
    assert_eq!(sse.append(keyed("k", "other")).unwrap_err(), PublishError::KeyReused);
    tokio::time::advance(Duration::from_secs(2)).await;
    let second = sse.append(keyed("k", "other")).unwrap().await.unwrap();
    assert!(second.position.seq > first.position.seq, "the window is over");
}

fn delayed() -> (Manager, Delayed) {
    let engine = Delayed::new();
    let sse = Manager::builder().history(Retention::default()).engine(engine.clone());
    (sse.build().unwrap(), engine)
}

#[test]
fn concurrent_publishers_with_one_key_make_one_event_and_get_one_acknowledgement() {
    for round in 0..50 {
        let sse = Manager::new();
        let key = format!("round {round}");
        let acks: Vec<_> = std::thread::scope(|scope| {
            let publish = || sse.append(keyed(&key, "x")).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(publish)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut acks = acks.into_iter().map(|mut receipt| receipt.try_ack().unwrap().unwrap());
        let first = acks.next().unwrap();
        assert!(acks.all(|ack| ack == first));
        assert_eq!(sse.stats().published, 1);
    }
}

#[tokio::test]
async fn a_publication_that_is_repeated_before_the_engine_answered_gets_the_same_answer() {
    let (sse, engine) = delayed();
    let mut first = sse.append(keyed("k", "x")).unwrap();
    let second = sse.append(keyed("k", "x")).unwrap();
    drop(sse.append(keyed("k", "x")).unwrap());
    assert_eq!(sse.append(keyed("k", "y")).unwrap_err(), PublishError::KeyReused);
    let waiting = tokio::spawn(second);
    tokio::task::yield_now().await;
    assert!(engine.apply() && !engine.apply(), "it was appended once");
    assert_eq!(first.try_ack(), None);
    assert!(engine.acknowledge_first() && !engine.acknowledge_first());
    let ack = first.await.unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(ack));
    assert_eq!((ack.position.seq, ack.durability), (1, Durability::Fsync));
}

#[tokio::test]
async fn an_event_that_was_applied_without_an_answer_is_not_published_again() {
    let (sse, engine) = delayed();
    let first = sse.append(keyed("k", "x")).unwrap();
    engine.forget_first();
    assert_eq!(first.await, Err(AckError::Unknown));
    engine.apply();
    let ack = sse.append(keyed("k", "x")).unwrap().await.unwrap();
    assert_eq!(ack.position.seq, 1);
    assert!(!engine.apply(), "nothing was appended");
    assert_eq!(sse.append(keyed("k", "x")).unwrap().await, Ok(ack));
}

#[tokio::test]
async fn an_event_that_failed_or_whose_outcome_is_unknown_is_appended_again() {
    let (sse, engine) = delayed();
    let lost = sse.append(keyed("lost", "x")).unwrap();
    engine.forget_first();
    assert_eq!(lost.await, Err(AckError::Unknown));
    let failed = sse.append(keyed("failed", "x")).unwrap();
    engine.fail_first();
    assert_eq!(failed.await, Err(AckError::Failed));
    for key in ["lost", "failed"] {
        let again = sse.append(keyed(key, "x")).unwrap();
        while engine.apply() {}
        engine.acknowledge_first();
        again.await.unwrap();
    }
}

#[tokio::test]
async fn an_event_that_the_engine_refused_leaves_no_key() {
    let (sse, engine) = delayed();
    engine.set_capacity(0);
    let refused = sse.append(keyed("k", "x")).unwrap_err();
    assert_eq!(refused, PublishError::Engine(EngineError::Overloaded));
    engine.set_capacity(1);
    let mut other = sse.append(keyed("k", "other")).unwrap();
    engine.apply();
    engine.acknowledge_first();
    assert!(other.try_ack().unwrap().is_ok());
}

#[tokio::test]
async fn the_key_of_an_event_that_another_node_published_is_known() {
    let (sse, engine) = delayed();
    engine.apply_again(7, keyed("k", "x"));
    let ack = sse.append(keyed("k", "x")).unwrap().await.unwrap();
    assert_eq!(ack.position.seq, 7);
    assert_eq!(sse.append(keyed("k", "y")).unwrap_err(), PublishError::KeyReused);
}

#[tokio::test]
async fn a_key_of_a_replaced_order_is_forgotten() {
    let (sse, engine) = delayed();
    let first = sse.append(keyed("k", "x")).unwrap();
    engine.apply();
    engine.acknowledge_first();
    first.await.unwrap();
    engine.begin_epoch(0);
    let again = sse.append(keyed("k", "x")).unwrap();
    engine.apply();
    engine.acknowledge_first();
    again.await.unwrap();
}

#[tokio::test]
async fn each_publisher_has_its_own_keys_and_content_is_what_readers_see() {
    let sse = Manager::new();
    let by = |who: &str, data| keyed("k", data).publisher(who).unwrap();
    sse.append(by("a", "x")).unwrap();
    sse.append(by("b", "y")).unwrap();
    sse.append(keyed("k", "z")).unwrap();
    assert_eq!(sse.stats().published, 3);
    let event = Event::new("x");
    let others = [
        Publication::new("orders", event.clone().event("e").unwrap()).unwrap(),
        Publication::new("orders", event.clone().id("i").unwrap()).unwrap(),
        Publication::new("other", event.clone()).unwrap(),
        Publication::new("orders", event.clone()).unwrap().private(),
        Publication::broadcast(event),
    ];
    for other in others {
        let other = other.idempotency_key("k").unwrap().publisher("a").unwrap();
        assert_eq!(sse.append(other).unwrap_err(), PublishError::KeyReused);
    }
}

#[test]
fn keys_have_a_length_limit() {
    let refused = |key: String| keyed("k", "x").idempotency_key(key).unwrap_err().to_string();
    assert_eq!(refused(String::new()), "an idempotency key has 0 bytes; 1 to 255 are allowed");
    assert_eq!(refused("k".repeat(256)), "an idempotency key has 256 bytes; 1 to 255 are allowed");
    assert_eq!(keyed(&"k".repeat(255), "x").key().unwrap().len(), 255);
}

#[test]
fn a_publisher_that_floods_takes_no_keys_from_others() {
    let sse = Manager::builder().idempotency_bytes(1 << 16).build().unwrap();
    let publish = |publisher: Option<&str>, key: usize| {
        let publication = keyed(&key.to_string(), "x");
        let publication = match publisher {
            Some(name) => publication.publisher(name).unwrap(),
            None => publication,
        };
        sse.append(publication).map(|mut receipt| receipt.try_ack().unwrap().unwrap().position)
    };
    let first = publish(Some("flooding"), 0).unwrap();
    let refused = (1..10_000).find(|&key| publish(Some("flooding"), key).is_err()).unwrap();
    let error = publish(Some("flooding"), refused).unwrap_err();
    assert_eq!(error, PublishError::TooManyKeys { max: 1 << 16 });
    for key in 0..10 {
        publish(None, key).unwrap();
        publish(Some("quiet"), key).unwrap();
    }
    publish(Some("flooding"), refused).unwrap_err();
    assert_eq!(publish(Some("flooding"), 0), Ok(first), "a key that was accepted is remembered");
}
