//! What only shards do: hand-over, drain, and members that leave their group and join it again.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prism_sse::test::{Client, Served};
use prism_sse::{Manager, SseLayer};

use super::{Page, app, page, served, with_history};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_unmodified_stream_is_handed_over_and_other_answers_are_not() {
    let sse = Manager::new();
    let other = Router::new().route("/other", get(|| async { "other" }));
    let app = served(other.layer(SseLayer::new(sse.clone(), "/events")));
    let page = Client::connect(app.clone(), "/events").await.unwrap();
    assert!(Client::connect(app.clone(), "/other").await.is_err());
    // The shard adopts the connection at its next turn.
    tokio::task::yield_now().await;
    assert_eq!((sse.connection_count(), app.handed_over()), (1, 1));
    drop(page);
    tokio::time::sleep(SECOND).await;
    assert_eq!((sse.connection_count(), app.handed_over()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_every_stream_within_its_window_with_a_retry_time() {
    let sse = with_history();
    let app: Served<Router> = served(app(&sse));
    let mut pages: Vec<Page> = Vec::new();
    for _ in 0..50 {
        let mut page = Client::connect(app.clone(), "/events").await.unwrap();
        page.expect_named("prism.open").await;
        pages.push(page);
    }
    app.drain(10 * SECOND);
    tokio::time::sleep(5 * SECOND).await;
    let half_way = sse.connection_count();
    assert!((10..=40).contains(&half_way), "{half_way} of 50 after half of the window");
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(sse.connection_count(), 0);
    for page in &mut pages {
        page.expect_named("prism.mark").await;
        assert!(page.retry().unwrap() >= 3 * SECOND);
        page.expect_end().await;
        assert!(page.raw().ends_with(b"data:\n\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn events_sent_to_one_reader_keep_their_order_among_broadcasts() {
    let sse = Manager::new();
    let mut one = page(&sse).await;
    let mut other = page(&sse).await;
    let id = sse.connections()[0].id();
    for n in 0..200 {
        sse.broadcast(format!("all {n}")).unwrap();
        sse.send(format!("one {n}"), id).unwrap();
        if n % 7 == 0 {
            // Lets the shard take a turn from time to time.
            tokio::task::yield_now().await;
        }
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for page in [&mut one, &mut other] {
        let data: Vec<String> =
            page.listen(SECOND).await.into_iter().map(|event| event.data).collect();
        if data.len() == 400 { with = data } else { without = data }
    }
    let all: Vec<String> = (0..200).map(|n| format!("all {n}")).collect();
    assert_eq!(without, all);
    let both: Vec<String> =
        (0..200).flat_map(|n| [format!("all {n}"), format!("one {n}")]).collect();
    assert_eq!(with, both);
}
