//! Idempotency keys: a publication that is handed over again is published once.

use std::time::Duration;

use prism_sse::{Manager, Publication, PublishError};

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
