//! Heartbeats and marks, in virtual time.

use std::time::Duration;

use prism_sse::{Manager, Retention, Start};

use super::{Page, client, page, text, with_history};

const SECOND: Duration = Duration::from_secs(1);

fn heartbeats(page: &Page) -> usize {
    text(page.raw()).lines().filter(|line| *line == ":").count()
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_gets_a_heartbeat_every_15_seconds_or_a_little_later() {
    let sse = Manager::new();
    let mut page = page(&sse).await;
    page.listen(Duration::from_millis(14_900)).await;
    assert_eq!(heartbeats(&page), 0);
    page.listen(Duration::from_millis(1200)).await;
    assert_eq!(heartbeats(&page), 1);
    page.listen(Duration::from_secs(24 * 60 * 60)).await;
    let day = heartbeats(&page);
    assert!((24 * 60 * 60 / 17..=24 * 60 * 60 / 15 + 1).contains(&day), "{day}");
}

#[tokio::test(start_paused = true)]
async fn traffic_takes_the_place_of_heartbeats() {
    let sse = Manager::new();
    let mut page = page(&sse).await;
    for n in 0..20 {
        page.listen(10 * SECOND).await;
        sse.broadcast(n.to_string()).unwrap();
        page.expect("message", &n.to_string()).await;
    }
    assert_eq!(heartbeats(&page), 0);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_a_line_and_not_a_block() {
    let sse = Manager::new();
    let mut page = page(&sse).await;
    page.listen(16 * SECOND).await;
    sse.broadcast("x").unwrap();
    page.expect("message", "x").await;
    assert!(text(page.raw()).ends_with("\n:\ndata: x\n\n"), "{:?}", text(page.raw()));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_spread_over_connections() {
    let sse = Manager::new();
    let mut pages = Vec::new();
    for _ in 0..64 {
        let mut page = page(&sse).await;
        page.listen(Duration::ZERO).await;
        pages.push(page);
    }
    // Every reader is polled at each step, as a server does.
    let mut at = std::collections::BTreeMap::new();
    tokio::time::sleep(Duration::from_secs(15)).await;
    for step in 0..24 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for page in &mut pages {
            let before = heartbeats(page);
            page.listen(Duration::ZERO).await;
            if heartbeats(page) > before {
                *at.entry(step).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(at.values().sum::<i32>(), 64, "{at:?}");
    assert!(at.len() > 8, "{at:?}");
    assert!(at.values().all(|&crowd| crowd < 20), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn no_heartbeat_sends_none() {
    let sse = Manager::builder().no_heartbeat().build().unwrap();
    let mut page = page(&sse).await;
    page.listen(Duration::from_secs(3600)).await;
    assert_eq!(heartbeats(&page), 0);
}

#[tokio::test(start_paused = true)]
async fn marks_move_the_last_event_id_of_a_reader_of_a_quiet_topic() {
    let sse = with_history();
    let events = {
        let sse = sse.clone();
        move |request: prism_sse::SseRequest| async move {
            let quiet = prism_sse::Audience::select("quiet").unwrap();
            sse.respond(request.audience(quiet).start(Start::Now))
        }
    };
    let app = axum::Router::new().route("/", axum::routing::get(events));
    let mut page = client(app, "/").await;
    let open = page.expect_named("prism.open").await;
    sse.publish("loud", "x").unwrap();
    let marks = page.listen(Duration::from_secs(601)).await;
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!((&*marks[0].name, &*marks[0].data), ("prism.mark", ""));
    assert_eq!(marks[0].id, open.id.replace(".0", ".1"));
    assert!(page.listen(Duration::from_secs(3600)).await.is_empty(), "no mark is due");
    for _ in 0..30_000 {
        sse.publish("loud", "x").unwrap();
    }
    page.listen(Duration::from_secs(601)).await;
    page.reconnect().await.unwrap();
    assert!(page.headers().get("prism-gap").is_none());
}

#[tokio::test(start_paused = true)]
async fn marks_are_sent_every_quarter_of_the_retention() {
    let retention = Retention::default().age(Duration::from_secs(400));
    let sse = Manager::builder().history(retention).build().unwrap();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    let mut hidden = 0;
    for _ in 0..10 {
        let secret = prism_sse::Publication::new("t", "x").unwrap().private();
        sse.append(secret).unwrap();
        hidden += 1;
        let marks = page.listen(Duration::from_secs(101)).await;
        assert_eq!(marks.len(), 1, "after {hidden} events it may not read");
    }
}

#[tokio::test(start_paused = true)]
async fn marks_keep_the_id_of_a_quiet_reader_valid_for_a_day() {
    const MINUTE: Duration = Duration::from_secs(60);
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let retention = Retention::default().age(60 * MINUTE);
    let sse = Manager::builder().history(retention).build().unwrap();
    let publisher = sse.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(5 * MINUTE);
        for n in 0.. {
            ticks.tick().await;
            // With this many dropped topics, their floors are folded in a hash table: an id before
            // the oldest record is a gap for the reader of any other topic.
            let loud: Vec<String> = (0..100).map(|part| format!("loud/{n}/{part}")).collect();
            publisher.publish(loud, "x").unwrap();
        }
    });
    let events = {
        let sse = sse.clone();
        move |request: prism_sse::SseRequest| async move {
            sse.respond(request.audience(super::select("quiet")))
        }
    };
    let app = axum::Router::new().route("/", axum::routing::get(events));
    let mut page = client(app, "/").await;
    page.expect_named("prism.open").await;
    let end = tokio::time::Instant::now() + 24 * 60 * MINUTE;
    while tokio::time::Instant::now() < end {
        // Connected long enough for a mark, then away for less than the retention after it.
        let stay = rng.u32(11 * 60..120 * 60);
        let seen = page.listen(stay * SECOND).await;
        assert!(seen.iter().all(|event| event.name == "prism.mark"), "seed {seed}: {seen:?}");
        // A quarter of the retention, but at most ten minutes, and up to a tick later.
        let marks = stay as usize / 601..=stay as usize / 600;
        assert!(marks.contains(&seen.len()), "seed {seed}: {} in {stay} s", seen.len());
        page.hang_up();
        page.stall(rng.u32(..45 * 60) * SECOND).await;
        page.reconnect().await.unwrap();
        assert!(page.headers().get("prism-gap").is_none(), "seed {seed}");
        page.expect_named("prism.open").await;
    }
    assert_eq!(sse.stats().gaps, 0, "seed {seed}");
}

#[test]
fn readers_are_woken_after_the_runtime_of_the_driver_ended() {
    let sse = Manager::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut connection = sse.add_connection();
    runtime().block_on(async {
        futures_util::StreamExt::next(&mut connection).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(1), async {
            futures_util::StreamExt::next(&mut connection).await
        });
        assert!(waiting.await.is_err(), "nothing is due");
    });
    // The driver ended with its runtime. Without one, the publisher wakes readers itself.
    sse.broadcast("one").unwrap();
    let one = futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(&mut connection));
    assert_eq!(one.unwrap().unwrap(), "data: one\n\n");
    runtime().block_on(async {
        let reader =
            tokio::spawn(async move { futures_util::StreamExt::next(&mut connection).await });
        tokio::task::yield_now().await;
        sse.broadcast("two").unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), "data: two\n\n");
    });
}
