//! Draft-08: single cases about matchers, topics and ids.

use std::time::Duration;

use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::fixture::{
    MERCURE, TestHub, TestResponse, address, stream, token_08, token_08_for, unrestricted_token_08,
};

const FORM: &str = "application/x-www-form-urlencoded";
const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

/// A token of draft-08 for both actions on the topics of a pattern.
fn by_pattern(pattern: &str) -> String {
    token_08(&json!([{
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["publish", "subscribe"],
        "topics": [{"match": pattern, "match_type": "urlpattern"}],
    }]))
}

/// The response to a form that was published with an unrestricted token.
async fn post(hub: &TestHub, form: &str) -> TestResponse {
    hub.post(&unrestricted_token_08(), MERCURE, FORM, form).await
}

#[tokio::test(start_paused = true)]
async fn m08_006_the_matchers_of_body_and_query_are_combined() {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let path = address(MERCURE, &[("match", "in the query"), ("match_urlpattern", "/q/:id")]);
    let body = "match=in+the+body&match_urlpattern=%2Fb%2F%3Aid&match=in+the+query";
    let request = Request::builder().method("QUERY").uri(&path).header(CONTENT_TYPE, FORM);
    let request = request.header("accept", "text/event-stream").body(body.to_owned());
    let mut read = tower_service::Service::call(&mut hub.app.clone(), request.unwrap());
    let mut body = (&mut read).await.unwrap().into_body();
    let listed = hub
        .get_with(&unrestricted_token_08(), &format!("{MERCURE}/subscriptions"))
        .await
        .expect(200);
    let listed = listed.json();
    let listed = listed["subscriptions"].as_array().unwrap();
    let mut matchers: Vec<_> = listed.iter().map(|it| it["match"].as_str().unwrap()).collect();
    matchers.sort_unstable();
    assert_eq!(matchers, ["/b/:id", "/q/:id", "in the body", "in the query"]);
    let mut seen = String::new();
    for topic in ["in the query", "in the body", "/q/1", "/b/2", "elsewhere"] {
        hub.publish(&[("topic", topic), ("data", topic)]).await.expect(200);
    }
    while !seen.contains("/b/2") {
        let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        seen += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    let data: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data, ["in the query", "in the body", "/q/1", "/b/2"], "{seen}");
}

#[tokio::test(start_paused = true)]
async fn m08_026_both_match_types_work_in_requests_and_in_tokens() {
    let hub = TestHub::new();
    let (exact, pattern) = ("https://example.com/a", "https://example.com/:a");
    for token in [token_08_for("subscribe", &[exact]), by_pattern(pattern)] {
        for wanted in [("match", exact), ("match_exact", exact), ("match_urlpattern", pattern)] {
            let mut subscriber = hub.subscribe_with(&token, &[wanted]).await;
            let form = [("topic", exact), ("data", "secret"), ("private", "")];
            hub.publish(&form).await.expect(200);
            subscriber.expect("message", "secret").await;
        }
    }
    for token in [token_08_for("publish", &[exact]), by_pattern(pattern)] {
        hub.publish_with(&token, &[("topic", exact)]).await.expect(200);
        hub.publish_with(&token, &[("topic", "https://example.com/a/b")]).await.expect(403);
    }
}

#[tokio::test(start_paused = true)]
async fn m08_027_and_205_the_metadata_lists_the_match_types() {
    let document = TestHub::new().get(METADATA).await.expect(200).json();
    assert_eq!(document["mercure_matcher_types_supported"], json!(["exact", "urlpattern"]));
}

#[tokio::test(start_paused = true)]
async fn m08_046_a_topic_is_resolved_against_the_hub_url_before_it_is_checked() {
    let hub = TestHub::new();
    for topic in [
        "mercure",
        "mercure/x",
        "./mercure",
        "../.well-known/mercure",
        "//other.example/.well-known/mercure",
        "?a",
        "#a",
        "\\.well-known\\mercure\\x",
        "https:/.well-known/mercure",
    ] {
        let answer = hub.publish(&[("topic", topic)]).await.expect(400);
        assert!(answer.json()["detail"].as_str().unwrap().contains("reserved"), "{topic}");
    }
    for topic in ["mercurial", "x/mercure", "//other.example/mercure"] {
        hub.publish(&[("topic", topic)]).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn m08_047_neither_dots_nor_escapes_hide_a_reserved_topic() {
    let hub = TestHub::new();
    for topic in [
        "/.well-known/%6Dercure/x",
        "/%2Ewell-known/mercure",
        "/.well%2Dknown/mercure",
        "/.well-known/mercure/../mercure/x",
        "/a/../.well-known/mercure",
        "/a/%2e%2E/.well-known/mercure",
        "/a/.%2e/.well-known/./mercure",
        "/a%2F..%2F.well-known/mercure",
        "/.well-known%2Fmercure%2Fx",
        "https://other.example/a/b/../../.well-known/mercure/x",
    ] {
        let answer = hub.publish(&[("topic", topic), ("topic", "a")]).await.expect(400);
        assert!(answer.json()["detail"].as_str().unwrap().contains("reserved"), "{topic}");
    }
    assert_eq!(hub.hub.events().stats().published, 0);
    // Paths that `..` leads out of the hub's path are not reserved.
    hub.publish(&[("topic", "/.well-known/mercure/../a")]).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn m08_057_earliest_is_refused_as_an_id() {
    let hub = TestHub::new();
    post(&hub, "topic=a&id=earliest").await.expect(400);
    post(&hub, "topic=a&id=%65arliest").await.expect(400);
    assert_eq!(post(&hub, "topic=a&id=Earliest").await.expect(200).text, "Earliest");
    assert_eq!(hub.hub.events().stats().published, 1);
}

#[tokio::test(start_paused = true)]
async fn m08_058_an_id_has_no_control_or_format_characters() {
    let hub = TestHub::new();
    for hidden in [
        "%00",
        "%09",
        "%0A",
        "%0D",
        "%1F",
        "%7F",
        "%C2%80",
        "%C2%85",
        "%C2%9F",
        "%C2%AD",
        "%E2%80%8B",
        "%E2%80%AE",
        "%E2%81%A6",
        "%EF%BB%BF",
        "%F3%A0%81%81",
    ] {
        for id in [format!("a{hidden}b"), format!("{hidden}a"), format!("a{hidden}")] {
            post(&hub, &format!("topic=a&id={id}")).await.expect(400);
        }
    }
    assert_eq!(hub.hub.events().stats().published, 0);
}

#[tokio::test(start_paused = true)]
async fn m08_065_an_empty_retry_is_ignored_and_other_text_is_refused() {
    let hub = TestHub::new();
    for retry in ["%2010", "10%20", "1%2C000", "%00", "1_000", "-0", "%EF%BC%91", "1%0A", "0x10"] {
        post(&hub, &format!("topic=a&retry={retry}")).await.expect(400);
    }
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    post(&hub, "topic=a&data=x&retry=&id=&type=").await.expect(200);
    let event = subscriber.expect("message", "x").await;
    assert!(event.id.starts_with('#'));
    let raw = String::from_utf8(subscriber.raw().to_vec()).unwrap();
    assert_eq!(raw.matches("retry:").count(), 1, "only that of the hub: {raw}");
    post(&hub, "topic=a&retry=0").await.expect(200);
    post(&hub, "topic=a&retry=007").await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn m08_094_a_malformed_request_is_a_bad_request_with_any_token() {
    let hub = TestHub::new();
    let nobody = token_08_for("publish", &["something else"]);
    for form in ["", "data=x", "topic=a&retry=x", "topic=%FF", "topic=*", "topic=a&id=%23"] {
        for token in [&unrestricted_token_08(), &nobody] {
            let answer = hub.post(token, MERCURE, FORM, form).await.expect(400);
            assert_eq!(answer.header("www-authenticate"), "", "{form}");
        }
    }
    for query in ["", "?matches=a", "?match=%FF", "?match_urlpattern=%28"] {
        hub.get(&format!("{MERCURE}{query}")).await.expect(400);
    }
    assert_eq!(hub.hub.events().stats().published, 0);
}

#[tokio::test(start_paused = true)]
async fn m08_153_publishers_ids_reveal_no_unreadable_events() {
    let hub = TestHub::new();
    let random = || uuid::Uuid::new_v4().urn().to_string();
    let (first, hidden, last) = (random(), random(), random());
    let publish = async |id: &str, private: bool| {
        let form = [("topic", "a"), ("id", id), ("private", "")];
        hub.publish(&form[..if private { 3 } else { 2 }]).await.expect(200)
    };
    publish(&first, false).await;
    publish(&hidden, true).await;
    publish(&last, false).await;
    // A subscriber without a grant sees neither the second event nor a gap in numbers.
    let wanted = [("match", "a"), ("last_event_id", first.as_str())];
    let mut subscriber = hub.subscribe(&wanted).await;
    assert_eq!(subscriber.expect("message", "").await.id, last);
    assert!(subscriber.listen(Duration::from_secs(1)).await.is_empty());
    let raw = String::from_utf8(subscriber.raw().to_vec()).unwrap();
    let headers = format!("{:?}", subscriber.headers());
    for text in [&raw, &headers] {
        assert!(!text.contains('#') && !text.contains(&hidden), "{text}");
    }
    let ids: Vec<_> = raw.lines().filter(|line| line.starts_with("id:")).collect();
    assert_eq!(ids, [format!("id: {last}")]);
    let asked = address(MERCURE, &[("match", "a"), ("last_event_id", hidden.as_str())]);
    let answer = hub.send(stream(&asked)).await.expect(200);
    assert_eq!(answer.header("mercure-last-event-id"), "earliest", "as if the event did not exist");
}
