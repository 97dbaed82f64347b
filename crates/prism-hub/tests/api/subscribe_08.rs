//! Draft-08: subscribing and resuming.

use std::time::Duration;

use http::Request;
use http::header::CONTENT_TYPE;

use super::fixture::{
    EVENTS, HUB, MERCURE, TestHub, address, stream, token_08_for, unrestricted_token_08,
};

const FORM: &str = "application/x-www-form-urlencoded";

fn query(path: &str, body: &str) -> Request<String> {
    let request = Request::builder().method("QUERY").uri(path).header(CONTENT_TYPE, FORM);
    request.header("accept", "text/event-stream").body(body.to_owned()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn m08_001_and_003_get_subscribes() {
    let hub = TestHub::new();
    let answer = hub.get(&address(MERCURE, &[("match", "a")])).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/event-stream");
}

#[tokio::test(start_paused = true)]
async fn m08_002_every_endpoint_is_below_the_path_of_the_public_url() {
    let args = ["--subscriptions", "on", "--public-url", "https://hub.example/live"];
    let hub = TestHub::of(&[&["--dev"][..], &args].concat());
    let mercure = "/live/.well-known/mercure";
    hub.get(&address(mercure, &[("match", "a")])).await.expect(200);
    let form = |topic: &str| {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("topic", topic)
            .finish();
        Request::post(mercure).header(CONTENT_TYPE, FORM).body(body).unwrap()
    };
    hub.send(form("a")).await.expect(200);
    hub.send(form("/live/.well-known/mercure/x")).await.expect(400);
    let path = "/.well-known/oauth-protected-resource/live/.well-known/mercure";
    let resource = &hub.get(path).await.expect(200).json()["resource"];
    assert_eq!(resource, "https://hub.example/live/.well-known/mercure");
    hub.get("/live/.well-known/mercure/subscriptions").await.expect(401);
}

#[tokio::test(start_paused = true)]
async fn m08_004_and_005_the_body_of_a_query_request_is_parsed_like_a_query_string() {
    let hub = TestHub::new();
    hub.send(query(MERCURE, "match=a&match_urlpattern=%2Fb%2F:id")).await.expect(200);
    for body in ["", "matchfoo=a", "match=%FF", "match=a%00b", "match_urlpattern=%28"] {
        hub.send(query(MERCURE, body)).await.expect(400);
    }
    let json = Request::builder().method("QUERY").uri(MERCURE);
    let json = json.header(CONTENT_TYPE, "application/json").body("{}".to_owned()).unwrap();
    hub.send(json).await.expect(415);
    let long = format!("match={}", "a".repeat(2 << 20));
    hub.send(query(MERCURE, &long)).await.expect(413);
}

#[tokio::test(start_paused = true)]
async fn m08_006_and_007_body_and_query_are_combined_and_the_query_wins() {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    hub.publish(&[("topic", "a"), ("id", "one")]).await.expect(200);
    hub.publish(&[("topic", "a"), ("id", "two")]).await.expect(200);
    let path = address(MERCURE, &[("match", "a"), ("last_event_id", "one")]);
    let answer = hub.send(query(&path, "match=b&last_event_id=two")).await.expect(200);
    assert_eq!(answer.header("mercure-last-event-id"), "one");
    let mut request = query(&path, "match=b&last_event_id=two");
    request.headers_mut().insert("last-event-id", "two".parse().unwrap());
    assert_eq!(hub.send(request).await.header("mercure-last-event-id"), "two");
}

#[tokio::test(start_paused = true)]
async fn m08_009_and_016_and_026_match_types_can_be_combined() {
    let hub = TestHub::new();
    hub.get(MERCURE).await.expect(400);
    let wanted = [("match", "a"), ("match_exact", "b"), ("match_urlpattern", "/c/:id")];
    let mut subscriber = hub.subscribe(&wanted).await;
    for topic in ["a", "b", "https://hub.example/c/1", "d", "/c/2", "a"] {
        hub.publish(&[("topic", topic), ("data", topic)]).await.expect(200);
    }
    for data in ["a", "b", "https://hub.example/c/1", "/c/2", "a"] {
        subscriber.expect("message", data).await;
    }
}

#[tokio::test(start_paused = true)]
async fn m08_010_and_012_unknown_parameters_that_begin_with_match_are_refused() {
    let hub = TestHub::new();
    for name in [
        "match_URLPattern",
        "match_Exact",
        "Match",
        "MATCH",
        "matches",
        "match_",
        "match_regexp",
        "matchfoo",
        "mAtCh_exact",
        "match[]",
        "match ",
    ] {
        for path in [MERCURE, EVENTS] {
            hub.get(&address(path, &[("match", "a"), (name, "b")])).await.expect(400);
        }
    }
    hub.get(&address(MERCURE, &[("match", "a"), ("mat", "b"), ("x-match", "c")])).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn m08_011_the_body_of_a_query_request_must_be_a_form() {
    let hub = TestHub::new();
    let mut subscriber =
        hub.connect(&format!("{MERCURE}?match=a+b&match=c%2Bd&unknown"), &[]).await;
    hub.publish(&[("topic", "a b"), ("data", "1")]).await.expect(200);
    hub.publish(&[("topic", "c+d"), ("data", "2")]).await.expect(200);
    subscriber.expect("message", "1").await;
    subscriber.expect("message", "2").await;
    hub.get(&format!("{MERCURE}?match")).await.expect(400);
    hub.get(&format!("{MERCURE}?match%5Ffoo=a&match=a")).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn m08_013_and_014_a_matcher_has_no_control_or_format_characters() {
    let hub = TestHub::new();
    for value in ["%FF", "%C3", "a%00", "%0A", "%7F", "%C2%85", "%E2%80%8B", "%E2%80%AE"] {
        for name in ["match", "match_exact", "match_urlpattern"] {
            hub.get(&format!("{MERCURE}?{name}=https://a.example/{value}")).await.expect(400);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m08_015_an_invalid_pattern_is_refused() {
    let hub = TestHub::new();
    for pattern in ["(", "/a/{", "/:a/:a", "https://[/", "/(\\d"] {
        hub.get(&address(MERCURE, &[("match_urlpattern", pattern)])).await.expect(400);
    }
}

#[tokio::test(start_paused = true)]
async fn m08_017_and_018_matchers_are_limited() {
    let hub = TestHub::new();
    let texts: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    let all: Vec<_> = texts.iter().map(|text| ("match", text.as_str())).collect();
    hub.get(&address(MERCURE, &all)).await.expect(400);
    hub.get(&address(MERCURE, &all[1..])).await.expect(200);
    let long = format!("/{}", "a".repeat(4096));
    hub.get(&address(MERCURE, &[("match", &long)])).await.expect(400);
    hub.get(&address(MERCURE, &[("match_urlpattern", &long)])).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn m08_020_and_077_private_updates_need_a_grant() {
    let hub = TestHub::new();
    let first = hub.publish(&[("topic", "a"), ("data", "0")]).await.text;
    let mut live = hub.subscribe(&[("match", "*")]).await;
    let mut other = hub.subscribe_with(&token_08_for("subscribe", &["b"]), &[("match", "*")]).await;
    let mut publisher =
        hub.subscribe_with(&token_08_for("publish", &["*"]), &[("match", "*")]).await;
    let mut granted =
        hub.subscribe_with(&token_08_for("subscribe", &["a"]), &[("match", "*")]).await;
    hub.publish(&[("topic", "a"), ("data", "secret"), ("private", "")]).await.expect(200);
    hub.publish(&[("topic", "a"), ("data", "1")]).await.expect(200);
    for subscriber in [&mut live, &mut other, &mut publisher] {
        subscriber.expect("message", "1").await;
    }
    granted.expect("message", "secret").await;
    let mut replayed = hub.subscribe(&[("match", "a"), ("last_event_id", &first)]).await;
    replayed.expect("message", "1").await;
}

#[tokio::test(start_paused = true)]
async fn m08_021_and_023_the_stream_is_not_cached() {
    let hub = TestHub::new();
    let subscriber = hub.subscribe(&[("match", "a")]).await;
    assert_eq!(subscriber.headers()["content-type"], "text/event-stream");
    assert_eq!(subscriber.headers()["x-accel-buffering"], "no");
    assert_eq!(subscriber.headers()["cache-control"], "no-cache, no-transform");
}

#[tokio::test(start_paused = true)]
async fn m08_022_a_quiet_stream_is_kept_alive_by_a_comment() {
    let hub = TestHub::with(&["--heartbeat", "15s"]);
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    subscriber.listen(Duration::from_secs(40)).await;
    let raw = String::from_utf8(subscriber.raw().to_vec()).unwrap();
    assert_eq!(raw.lines().filter(|line| *line == ":").count(), 2, "{raw}");
}

#[tokio::test(start_paused = true)]
async fn m08_024_and_025_fields_are_delivered_unchanged() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    let form = [("topic", "a"), ("data", "x\ny"), ("type", "t"), ("id", "urn:1"), ("retry", "7")];
    hub.publish(&form).await.expect(200);
    assert_eq!(subscriber.expect("t", "x\ny").await.id, "urn:1");
    assert_eq!(subscriber.retry(), Some(Duration::from_millis(7)));
}

#[tokio::test(start_paused = true)]
async fn m08_028_a_star_matches_all_topics_in_each_parameter() {
    let hub = TestHub::new();
    for name in ["match", "match_exact", "match_urlpattern"] {
        let mut subscriber = hub.subscribe(&[(name, "*")]).await;
        hub.publish(&[("topic", "no url at all"), ("data", name)]).await.expect(200);
        subscriber.expect("message", name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn m08_029_and_030_and_031_an_exact_matcher_is_compared_byte_for_byte() {
    let hub = TestHub::new();
    let matchers = ["/books/1", "caf\u{e9}", "https://example.com/~a", "https://EXAMPLE.com/b"];
    let wanted: Vec<_> = matchers.iter().map(|text| ("match", *text)).collect();
    let mut subscriber = hub.subscribe(&wanted).await;
    for topic in [
        "https://hub.example/books/1",
        "cafe\u{301}",
        "https://example.com/%7Ea",
        "https://example.com/b",
        "CAF\u{c9}",
        "/books/1",
    ] {
        hub.publish(&[("topic", topic), ("data", topic)]).await.expect(200);
    }
    subscriber.expect("message", "/books/1").await;
}

#[tokio::test(start_paused = true)]
async fn m08_032_and_033_and_034_and_035_a_pattern_is_matched_against_urls() {
    let hub = TestHub::new();
    let mut subscriber =
        hub.subscribe(&[("match_urlpattern", "https://example.com/books/:id")]).await;
    let mut relative = hub.subscribe(&[("match_urlpattern", "/books/:id")]).await;
    for topic in [
        "https://example.com/books/1",
        "https://EXAMPLE.com/books/2",
        "https://example.com/Books/3",
        "https://example.com/books/4/5",
        "https://[/books/6",
        "https://hub.example/books/7",
        "/books/8",
    ] {
        hub.publish(&[("topic", topic), ("data", topic)]).await.expect(200);
    }
    subscriber.expect("message", "https://example.com/books/1").await;
    subscriber.expect("message", "https://EXAMPLE.com/books/2").await;
    relative.expect("message", "https://hub.example/books/7").await;
    relative.expect("message", "/books/8").await;
    assert!(subscriber.listen(Duration::from_secs(1)).await.is_empty());
}

#[tokio::test]
async fn m08_036_and_037_and_038_a_crafted_pattern_cannot_cause_long_matching() {
    let hub = TestHub::new();
    let pattern = "/(a+)+(a+)+b";
    let evil = address(MERCURE, &[("match_urlpattern", pattern)]);
    let answer = hub.get(&evil).await;
    assert!(answer.status == 200 || answer.status == 400, "{answer:?}");
    let _subscriber = (answer.status == 200).then_some(hub.connect(&evil, &[]));
    let mut healthy = hub.subscribe(&[("match", "after")]).await;
    let began = std::time::Instant::now();
    let topic = format!("/{}", "a".repeat(900));
    hub.publish(&[("topic", &topic)]).await.expect(200);
    hub.publish(&[("topic", "after"), ("data", "1")]).await.expect(200);
    healthy.expect("message", "1").await;
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn m08_133_and_134_a_stream_ends_when_its_token_expires() {
    let hub = TestHub::with(&["--max-age", "60s"]);
    let mut subscriber = hub.subscribe_with(&unrestricted_token_08(), &[("match", "a")]).await;
    assert!(subscriber.listen(Duration::from_secs(50)).await.is_empty() && subscriber.is_open());
    subscriber.listen(Duration::from_secs(15)).await;
    assert!(!subscriber.is_open());
}

#[tokio::test(start_paused = true)]
async fn m08_141_and_142_every_event_has_an_id_that_is_a_uri_reference() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    let id = hub.publish(&[("topic", "a")]).await.text;
    assert_eq!(subscriber.expect("message", "").await.id, id);
    assert!(id.starts_with('#'));
}

#[tokio::test(start_paused = true)]
async fn m08_143_and_144_and_145_the_parameter_resumes_and_the_header_wins() {
    let hub = TestHub::new();
    for id in ["one", "two", "three"] {
        hub.publish(&[("topic", "a"), ("id", id), ("data", id)]).await.expect(200);
    }
    let mut subscriber = hub.subscribe(&[("match", "a"), ("last_event_id", "one")]).await;
    subscriber.expect("message", "two").await;
    subscriber.expect("message", "three").await;
    let path = address(MERCURE, &[("match", "a"), ("last_event_id", "one")]);
    let mut subscriber = hub.connect(&path, &[("last-event-id", "two")]).await;
    subscriber.expect("message", "three").await;
}

#[tokio::test(start_paused = true)]
async fn m08_146_and_147_replay_is_authorized_by_the_current_token() {
    let hub = TestHub::new();
    let granted = token_08_for("subscribe", &["a"]);
    let first = hub.publish(&[("topic", "a")]).await.text;
    hub.publish(&[("topic", "a"), ("data", "secret"), ("private", "")]).await.expect(200);
    hub.publish(&[("topic", "a"), ("data", "public")]).await.expect(200);
    let wanted = [("match", "a"), ("last_event_id", first.as_str())];
    let mut subscriber = hub.subscribe_with(&granted, &wanted).await;
    subscriber.expect("message", "secret").await;
    subscriber.expect("message", "public").await;
    let mut subscriber = hub.subscribe_with(&token_08_for("subscribe", &["b"]), &wanted).await;
    subscriber.expect("message", "public").await;
}

#[tokio::test(start_paused = true)]
async fn m08_148_and_149_a_repeated_id_resumes_after_its_first_event() {
    let hub = TestHub::new();
    for (id, data) in [("x", "1"), ("y", "2"), ("x", "3"), ("z", "4")] {
        hub.publish(&[("topic", "a"), ("id", id), ("data", data)]).await.expect(200);
    }
    let mut subscriber = hub.subscribe(&[("match", "a"), ("last_event_id", "x")]).await;
    for data in ["2", "3", "4"] {
        subscriber.expect("message", data).await;
    }
}

#[tokio::test(start_paused = true)]
async fn m08_150_and_151_and_152_the_response_has_the_last_event_id() {
    let hub = TestHub::new();
    let last_event_id = async |id: &str| {
        let path = address(MERCURE, &[("match", "a"), ("last_event_id", id)]);
        let answer = hub.send(stream(&path)).await.expect(200);
        answer.header("mercure-last-event-id").to_owned()
    };
    assert_eq!(last_event_id("x").await, "earliest");
    hub.publish(&[("topic", "a"), ("id", "x")]).await.expect(200);
    let ours = hub.publish(&[("topic", "b")]).await.text;
    assert_eq!(last_event_id("x").await, "x");
    assert_eq!(last_event_id(&ours).await, ours);
    for unknown in ["", "earliest", "y", "#0.0"] {
        assert_eq!(last_event_id(unknown).await, "earliest", "{unknown:?}");
    }
    let mut request = stream(&address(MERCURE, &[("match", "a")]));
    request.headers_mut().insert("last-event-id", "".parse().unwrap());
    assert_eq!(hub.send(request).await.header("mercure-last-event-id"), "earliest");
}

#[tokio::test(start_paused = true)]
async fn a_request_has_one_dialect() {
    let hub = TestHub::new();
    hub.get(&address(MERCURE, &[("match", "a"), ("topic", "b")])).await.expect(400);
    hub.get(&address(EVENTS, &[("match", "a"), ("topic", "b")])).await.expect(400);
    let new_only = TestHub::with(&["--compat-draft-07", "off"]);
    new_only.get(&address(MERCURE, &[("topic", "a")])).await.expect(400);
    assert!(HUB.ends_with(MERCURE));
}
