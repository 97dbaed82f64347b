//! Requests and connections beyond the limits.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use hyper::body::Frame;
use prism_sse::Manager;
use tower_service::Service as _;

use super::fixture::{
    EVENTS, ISSUER, MERCURE, SECRET, TestHub, address, bearer, stream, token_08_for,
    unrestricted_token_08,
};

#[tokio::test(start_paused = true)]
async fn m08_019_connections_are_limited_and_event_streams_refused_softly() {
    let hub = TestHub::with(&["--max-connections", "2"]);
    let first = hub.connect(EVENTS, &[]).await;
    let _second = hub.connect(EVENTS, &[]).await;
    let soft = hub.send(stream(EVENTS)).await.expect(200);
    assert_eq!(soft.header("prism-refused"), "limit");
    let mut refused = hub.connect(EVENTS, &[]).await;
    assert!(refused.listen(Duration::from_secs(1)).await.is_empty() && !refused.is_open());
    let retry = refused.retry().unwrap();
    assert!((Duration::from_secs(3)..=Duration::from_millis(4500)).contains(&retry), "{retry:?}");
    let hard = hub.get(EVENTS).await.expect(503);
    assert!(hard.header("retry-after").parse::<u32>().unwrap() >= 3);
    drop(first);
    assert_eq!(hub.send(stream(EVENTS)).await.expect(200).header("prism-refused"), "");
}

#[tokio::test(start_paused = true)]
async fn with_refuse_status_event_streams_are_refused_with_a_status() {
    let hub = TestHub::with(&["--max-connections", "1", "--refuse", "status"]);
    let _first = hub.connect(EVENTS, &[]).await;
    assert_eq!(hub.send(stream(EVENTS)).await.expect(503).header("prism-refused"), "limit");
}

#[tokio::test(start_paused = true)]
async fn distinct_patterns_in_use_are_limited() {
    for (args, status) in [(&[][..], 200), (&["--refuse", "status"], 503)] {
        let hub = TestHub::with(args);
        let address = |numbers: std::ops::Range<usize>| {
            let patterns: Vec<_> =
                numbers.map(|n| ("match_urlpattern", format!("/a{n}/:x"))).collect();
            let pairs: Vec<_> = patterns.iter().map(|(name, text)| (*name, &**text)).collect();
            address(MERCURE, &pairs)
        };
        let max = prism_sse::limits::PATTERNS;
        let mut subscribers = Vec::new();
        for begin in (0..max).step_by(100) {
            subscribers.push(hub.connect(&address(begin..begin + 100), &[]).await);
        }
        let one_more = address(max..max + 1);
        let refused = hub.send(stream(&one_more)).await.expect(status);
        assert_eq!(refused.header("prism-refused"), "limit");
        let hard = hub.get(&one_more).await.expect(503);
        assert!(hard.text.contains("As many different patterns are in use"));
        let admin = TestHub { app: prism_hub::api::admin_router(&hub.hub), hub: hub.hub.clone() };
        let metrics = admin.get("/metrics").await.expect(200).text;
        assert!(metrics.contains("prism_refusals_total{reason=\"limit\"} 2"), "{metrics}");
        drop(subscribers);
        let taken = hub.send(stream(&one_more)).await.expect(200);
        assert_eq!(taken.header("prism-refused"), "");
    }
}

#[tokio::test(start_paused = true)]
async fn patterns_that_each_new_topic_is_matched_with_have_a_budget_of_work() {
    let hub = TestHub::new();
    let mut subscribers = Vec::new();
    let mut refused = 0;
    for begin in (0..10_000).step_by(100) {
        // Nothing in their text tells which topics they match.
        let patterns: Vec<_> =
            (begin..begin + 100).map(|n| ("match_urlpattern", format!("/:a{n}/x"))).collect();
        let pairs: Vec<_> = patterns.iter().map(|(name, text)| (*name, &**text)).collect();
        let response = hub.send(stream(&address(MERCURE, &pairs))).await.expect(200);
        if response.header("prism-refused") == "limit" {
            refused += 1;
        } else {
            subscribers.push(hub.connect(&address(MERCURE, &pairs), &[]).await);
        }
    }
    assert!(refused > 50 && !subscribers.is_empty(), "{refused} refused");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_shuts_down_refuses_requests() {
    let hub = TestHub::new();
    hub.hub.set_ready(false);
    assert_eq!(hub.send(stream(EVENTS)).await.expect(200).header("prism-refused"), "drain");
    hub.get(EVENTS).await.expect(503);
    hub.publish(&[("topic", "a")]).await.expect(503);
    hub.get("/readyz").await.expect(503);
    hub.get("/healthz").await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let hub = TestHub::with(&["--max-body", "1KiB"]);
    let long = format!("topic=a&data={}", "x".repeat(1024));
    let kind = "application/x-www-form-urlencoded";
    hub.post(&unrestricted_token_08(), MERCURE, kind, &long).await.expect(413);
    let announced = http::Request::post(MERCURE)
        .header("authorization", bearer(&unrestricted_token_08()))
        .header("content-type", kind)
        .header("content-length", "99999999999999999999");
    let answer = hub.send(announced.body("topic=a".to_owned()).unwrap()).await;
    assert!(answer.status == 200 || answer.status == 413);
}

/// A body that begins with these bytes and does not end.
struct EndlessBody(Option<Bytes>);

impl hyper::body::Body for EndlessBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let begin = self.0.take().map(|begin| Ok(Frame::data(begin)));
        begin.map_or(Poll::Pending, |begin| Poll::Ready(Some(begin)))
    }
}

fn endless_query(begin: Bytes) -> http::Request<Body> {
    let request = http::Request::builder().method("QUERY").uri(MERCURE);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(Body::new(EndlessBody(Some(begin)))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_query_is_read_only_with_a_permit() {
    let hub = TestHub::with(&["--max-connections", "1"]);
    let _first = hub.connect(EVENTS, &[]).await;
    let answer = hub.app.clone().call(endless_query(Bytes::from_static(b"match=a"))).await.unwrap();
    assert_eq!(answer.status(), 503, "it is refused before its body has arrived");
    assert_eq!(answer.headers()["prism-refused"], "limit");
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_query_has_a_bound_of_its_own() {
    let hub = TestHub::new();
    let body = |len: usize| format!("match=a&x={}", "x".repeat(len));
    for (len, status) in [(60_000, 200), (65_536, 413)] {
        let request = http::Request::builder().method("QUERY").uri(MERCURE);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        hub.send(request.body(body(len)).unwrap()).await.expect(status);
    }
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_query_bodies_are_bounded_in_all() {
    const LEN: usize = 64_000;
    let hub = TestHub::new();
    let begin = Bytes::from(vec![b'x'; LEN]);
    let fits = prism_hub::limits::QUERY_BYTES_HELD / LEN;
    let mut reading = Vec::new();
    for _ in 0..fits {
        reading.push(tokio::spawn(hub.app.clone().call(endless_query(begin.clone()))));
    }
    // The time stands still while this task is ready.
    for _ in 0..fits {
        tokio::task::yield_now().await;
    }
    assert!(reading.iter().all(|it| !it.is_finished()), "{fits} bodies are read at a time");
    let answer = hub.app.clone().call(endless_query(begin.clone())).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["prism-refused"]),
        (503.try_into().unwrap(), &"limit".parse().unwrap())
    );
    hub.publish(&[("topic", "a")]).await.expect(200);
    let _others = hub.connect(EVENTS, &[]).await;
    for task in reading {
        assert_eq!(task.await.unwrap().unwrap().status(), 408);
    }
    let answer = hub.app.clone().call(endless_query(begin)).await.unwrap();
    assert_eq!(answer.status(), 408, "what was held is free again");
}

/// A request from this peer.
fn from(peer: &str, forwarded_for: &str) -> http::Request<String> {
    let mut request = stream(EVENTS);
    let peer: std::net::SocketAddr = (peer.parse::<std::net::IpAddr>().unwrap(), 4711).into();
    request.extensions_mut().insert(ConnectInfo(peer));
    if !forwarded_for.is_empty() {
        request.headers_mut().insert("x-forwarded-for", forwarded_for.parse().unwrap());
    }
    request
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_by_the_address_of_the_client_and_not_of_its_proxy() {
    let args = ["--max-connections-per-ip", "1", "--trusted-proxy", "203.0.113.0/24"];
    let hub = TestHub::with(&args);
    let mut open = Vec::new();
    for (peer, forwarded_for, refused) in [
        ("192.0.2.1", "", ""),
        ("192.0.2.1", "", "limit"),
        // Who is no trusted proxy is not believed.
        ("192.0.2.1", "198.51.100.1", "limit"),
        // Proxies that nobody named, on this machine and in its network.
        ("127.0.0.1", "", ""),
        ("127.0.0.1", "", ""),
        ("10.0.0.1", "192.0.2.1", ""),
        ("10.0.0.1", "192.0.2.1", ""),
        ("203.0.113.7", "192.0.2.1", "limit"),
        ("203.0.113.7", "192.0.2.2", ""),
        ("203.0.113.8", "1.1.1.1, 192.0.2.2", "limit"),
    ] {
        let response = hub.app.clone().call(from(peer, forwarded_for)).await.unwrap();
        let told = response.headers().get("prism-refused");
        let told = told.map_or("", |reason| reason.to_str().unwrap());
        assert_eq!(told, refused, "{peer} {forwarded_for}");
        open.push(response);
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_floods_takes_no_idempotency_keys_from_others() {
    let hub = TestHub::with(&["--idempotency-bytes", "16KiB"]);
    let publish = async |token: &str, key: usize| {
        let request = http::Request::post(MERCURE)
            .header("authorization", bearer(token))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("idempotency-key", key.to_string());
        hub.send(request.body("topic=a".to_owned()).unwrap()).await
    };
    let (flooding, other) = (token_08_for("publish", &["*"]), token_08_for("publish", &["a"]));
    let mut accepted = 0;
    while publish(&flooding, accepted).await.status == 200 {
        accepted += 1;
    }
    let refused = publish(&flooding, accepted).await.expect(503);
    assert_eq!(refused.json()["type"], "overloaded");
    for key in 0..5 {
        publish(&other, key).await.expect(200);
    }
    publish(&flooding, 0).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_accept_event_streams_is_refused() {
    let hub = TestHub::new();
    let request = http::Request::get(EVENTS).header("accept", "application/json");
    hub.send(request.body(String::new()).unwrap()).await.expect(406);
    let query = address(MERCURE, &[("match", "a")]);
    let request = http::Request::get(query).header("accept", "text/*");
    hub.send(request.body(String::new()).unwrap()).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_takes_too_long_is_refused() {
    let hub = TestHub::new();
    // A connection's stream is used as a request body that never ends.
    let endless = Body::new(Manager::new().add_connection());
    let request = http::Request::post(MERCURE)
        .header("authorization", bearer(&unrestricted_token_08()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(endless);
    let response = hub.app.clone().call(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 408);
}

#[tokio::test(start_paused = true)]
async fn m07_074_and_m08_193_tokens_of_a_removed_key_are_refused() {
    let hub = TestHub::new();
    let tokens = [super::fixture::unrestricted_token_07(), unrestricted_token_08()];
    for token in &tokens {
        hub.publish_with(token, &[("topic", "a")]).await.expect(200);
    }
    let other = SECRET.replace("secret", "other one");
    let args =
        ["--publisher-key", &other, "--issuer", ISSUER, "--public-url", "https://hub.example"];
    let config = prism_hub::config::Config::from_args([&args[..], &["--anonymous"]].concat());
    hub.hub.rules().replace(&config.unwrap()).unwrap();
    for token in &tokens {
        hub.publish_with(token, &[("topic", "a")]).await.expect(401);
        hub.get_with(token, EVENTS).await.expect(401);
    }
}
