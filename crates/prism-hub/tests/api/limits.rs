//! What there is too much of.

use std::time::Duration;

use axum::body::Body;
use prism_sse::Manager;
use tower_service::Service as _;

use super::fixture::{EVENTS, ISSUER, MERCURE, SECRET, TestHub, address, all_08, bearer, stream};

#[tokio::test(start_paused = true)]
async fn m08_019_connections_are_bounded_softly_for_who_reads_streams() {
    let hub = TestHub::with(&["--max-connections", "2"]);
    let first = hub.page(EVENTS, &[]).await;
    let _second = hub.page(EVENTS, &[]).await;
    let soft = hub.send(stream(EVENTS)).await.expect(200);
    assert_eq!(soft.header("prism-refused"), "limit");
    let mut told = hub.page(EVENTS, &[]).await;
    assert!(told.listen(Duration::from_secs(1)).await.is_empty() && !told.is_open());
    let retry = told.retry().unwrap();
    assert!((Duration::from_secs(3)..=Duration::from_millis(4500)).contains(&retry), "{retry:?}");
    let hard = hub.get(EVENTS).await.expect(503);
    assert!(hard.header("retry-after").parse::<u32>().unwrap() >= 3);
    drop(first);
    assert_eq!(hub.send(stream(EVENTS)).await.expect(200).header("prism-refused"), "");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_statuses_where_the_hub_is_told_so() {
    let hub = TestHub::with(&["--max-connections", "1", "--refuse", "status"]);
    let _first = hub.page(EVENTS, &[]).await;
    assert_eq!(hub.send(stream(EVENTS)).await.expect(503).header("prism-refused"), "limit");
}

#[tokio::test(start_paused = true)]
async fn patterns_are_bounded() {
    for (args, status) in [(&[][..], 200), (&["--refuse", "status"], 503)] {
        let hub = TestHub::with(args);
        let address = |numbers: std::ops::Range<usize>| {
            let patterns: Vec<_> =
                numbers.map(|n| ("match_urlpattern", format!("/:a{n}/x"))).collect();
            let pairs: Vec<_> = patterns.iter().map(|(name, text)| (*name, &**text)).collect();
            address(MERCURE, &pairs)
        };
        let max = prism_sse::limits::PATTERNS;
        let mut pages = Vec::new();
        for begin in (0..max).step_by(100) {
            pages.push(hub.page(&address(begin..begin + 100), &[]).await);
        }
        let one_more = address(max..max + 1);
        let refused = hub.send(stream(&one_more)).await.expect(status);
        assert_eq!(refused.header("prism-refused"), "limit");
        let hard = hub.get(&one_more).await.expect(503);
        assert!(hard.text.contains("As many different patterns are in use"));
        let admin = TestHub { app: prism_hub::api::admin_router(&hub.hub), hub: hub.hub.clone() };
        let metrics = admin.get("/metrics").await.expect(200).text;
        assert!(metrics.contains("prism_refusals_total{reason=\"limit\"} 2"), "{metrics}");
        drop(pages);
        let taken = hub.send(stream(&one_more)).await.expect(200);
        assert_eq!(taken.header("prism-refused"), "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_ends_takes_nothing_new() {
    let hub = TestHub::new();
    hub.hub.set_ready(false);
    assert_eq!(hub.send(stream(EVENTS)).await.expect(200).header("prism-refused"), "drain");
    hub.get(EVENTS).await.expect(503);
    hub.publish(&[("topic", "a")]).await.expect(503);
    hub.get("/readyz").await.expect(503);
    hub.get("/healthz").await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let hub = TestHub::with(&["--max-body", "1KiB"]);
    let long = format!("topic=a&data={}", "x".repeat(1024));
    let kind = "application/x-www-form-urlencoded";
    hub.post(&all_08(), MERCURE, kind, &long).await.expect(413);
    let announced = http::Request::post(MERCURE)
        .header("authorization", bearer(&all_08()))
        .header("content-type", kind)
        .header("content-length", "99999999999999999999");
    let answer = hub.send(announced.body("topic=a".to_owned()).unwrap()).await;
    assert!(answer.status == 200 || answer.status == 413);
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_does_not_accept_is_not_sent() {
    let hub = TestHub::new();
    let request = http::Request::get(EVENTS).header("accept", "application/json");
    hub.send(request.body(String::new()).unwrap()).await.expect(406);
    let query = address(MERCURE, &[("match", "a")]);
    let request = http::Request::get(query).header("accept", "text/*");
    hub.send(request.body(String::new()).unwrap()).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_not_waited_for() {
    let hub = TestHub::new();
    // A connection is a body that goes on for ever.
    let endless = Body::new(Manager::new().add_connection());
    let request = http::Request::post(MERCURE)
        .header("authorization", bearer(&all_08()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(endless);
    let response = hub.app.clone().call(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 408);
}

#[tokio::test(start_paused = true)]
async fn m07_074_and_m08_193_a_key_that_was_taken_away_opens_nothing() {
    let hub = TestHub::new();
    let tokens = [super::fixture::all_07(), all_08()];
    for token in &tokens {
        hub.publish_by(token, &[("topic", "a")]).await.expect(200);
    }
    let other = SECRET.replace("secret", "other one");
    let args =
        ["--publisher-key", &other, "--issuer", ISSUER, "--public-url", "https://hub.example"];
    let config = prism_hub::config::Config::from_args([&args[..], &["--anonymous"]].concat());
    hub.hub.live().replace(&config.unwrap()).unwrap();
    for token in &tokens {
        hub.publish_by(token, &[("topic", "a")]).await.expect(401);
        hub.get_by(token, EVENTS).await.expect(401);
    }
}
