//! Draft-08: publishing.

use std::time::Duration;

use super::fixture::{MERCURE, TestHub, token_08_for, unrestricted_token_08};

const FORM: &str = "application/x-www-form-urlencoded";

/// Publishes a form with an unrestricted token.
async fn post(hub: &TestHub, body: &str, status: u16) -> String {
    hub.post(&unrestricted_token_08(), MERCURE, FORM, body).await.expect(status).text
}

#[tokio::test(start_paused = true)]
async fn m08_039_and_066_unknown_fields_of_a_form_are_ignored() {
    let hub = TestHub::new();
    post(&hub, "topic=a&data=x&unknown=y&Topic=b", 200).await;
    let kind = "application/x-www-form-urlencoded; charset=UTF-8";
    hub.post(&unrestricted_token_08(), MERCURE, kind, "topic=a").await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn m08_040_and_042_and_051_invalid_utf_8_is_refused() {
    let hub = TestHub::new();
    for body in ["topic=%FF", "topic=a&data=%FF", "topic=a&%FF=x", "topic=a&x=%C3%28"] {
        post(&hub, body, 400).await;
    }
    assert_eq!(hub.hub.events().stats().published, 0);
}

#[tokio::test(start_paused = true)]
async fn m08_041_and_043_and_049_and_050_invalid_topics_are_refused() {
    let hub = TestHub::new();
    for body in [
        "data=x",
        "topic=",
        "topic=a&topic=",
        "topic=*",
        "topic=a&topic=*",
        "topic=a%00",
        "topic=a%0Ab",
        "topic=a%7F",
        "topic=a&topic=%C2%85",
        "topic=%E2%80%8B",
        "topic=%EF%BB%BFa",
    ] {
        post(&hub, body, 400).await;
    }
    assert_eq!(hub.hub.events().stats().published, 0);
}

#[tokio::test(start_paused = true)]
async fn m08_044_alternate_topics_reach_their_subscribers() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("match", "b")]).await;
    post(&hub, "topic=a&topic=b&data=x", 200).await;
    subscriber.expect("message", "x").await;
}

#[tokio::test(start_paused = true)]
async fn m08_045_to_048_topics_below_the_path_of_the_hub_are_reserved() {
    let hub = TestHub::new();
    for topic in [
        MERCURE,
        "/.well-known/mercure/subscriptions/exact/a/b",
        "https://other.example/.well-known/mercure/x",
        "/.well-known/%256Dercure/x",
        "/.well-known/mercure/../mercure/x",
        "/a/../.well-known/mercure",
    ] {
        let topic = topic.replace("%25", "%");
        let form = [("topic", "a"), ("topic", topic.as_str())];
        hub.publish(&form).await.expect(400);
    }
    for topic in ["/.well-known/mercurex", "https://[/.well-known/mercure", "urn:a"] {
        hub.publish(&[("topic", topic)]).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn m08_052_and_053_data_sets_no_other_field() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    for (data, read) in [
        ("x\nevent: y", "x\nevent: y"),
        ("x\rid: y", "x\nid: y"),
        ("x\r\nretry: 1", "x\nretry: 1"),
        ("data: x", "data: x"),
        (" \u{feff}:x ", " \u{feff}:x "),
        ("x\n\ny", "x\n\ny"),
    ] {
        let id = hub.publish(&[("topic", "a"), ("data", data)]).await.expect(200).text;
        let event = subscriber.expect("message", read).await;
        assert_eq!(event.id, id);
    }
    assert!(
        subscriber.retry().unwrap() >= Duration::from_secs(3),
        "the first acknowledgement again"
    );
}

#[tokio::test(start_paused = true)]
async fn m08_054_and_055_the_field_private_counts_by_its_presence() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    for body in ["private=on", "private=0", "private=false", "private=", "private"] {
        post(&hub, &format!("topic=a&data=secret&{body}"), 200).await;
    }
    post(&hub, "topic=a&data=public", 200).await;
    subscriber.expect("message", "public").await;
}

#[tokio::test(start_paused = true)]
async fn m08_056_to_059_reserved_ids_are_refused() {
    let hub = TestHub::new();
    for id in ["%23", "%23a", "%231.2", "earliest", "a%00", "a%0Ab", "%E2%80%AE", "a%C2%85", "+a"] {
        post(&hub, &format!("topic=a&id={id}"), 400).await;
    }
    assert_eq!(post(&hub, "topic=a&id=urn:a", 200).await, "urn:a");
}

#[tokio::test(start_paused = true)]
async fn m08_060_and_067_and_068_the_response_is_200_with_the_id() {
    let hub = TestHub::new();
    let answer = hub.publish(&[("topic", "a")]).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert!(answer.text.starts_with('#'));
}

#[tokio::test(start_paused = true)]
async fn m08_061_and_062_and_063_reserved_event_types_are_refused() {
    let hub = TestHub::new();
    for kind in ["mercure", "a%00", "a%0Ab", "%E2%80%8B", "prism.gap", "prism."] {
        post(&hub, &format!("topic=a&type={kind}"), 400).await;
    }
    post(&hub, "topic=a&type=Mercure", 200).await;
}

#[tokio::test(start_paused = true)]
async fn m08_064_and_065_retry_must_be_digits() {
    let hub = TestHub::new();
    for retry in
        ["-1", "%2B1", "1.5", "1e3", "+10", "abc", "%D9%A3", "0x1", "99999999999", "2147483648"]
    {
        post(&hub, &format!("topic=a&retry={retry}"), 400).await;
    }
    post(&hub, "topic=a&retry=2147483647", 200).await;
}

#[tokio::test(start_paused = true)]
async fn m08_069_and_128_to_130_grants_together_must_cover_the_topics() {
    let hub = TestHub::new();
    let token = token_08_for("publish", &["a", "b"]);
    hub.publish_with(&token, &[("topic", "a"), ("topic", "b")]).await.expect(200);
    let refused = hub.publish_with(&token, &[("topic", "a"), ("topic", "c")]).await.expect(403);
    assert!(refused.header("www-authenticate").contains("error=\"insufficient_scope\""));
    hub.publish_with(&token_08_for("subscribe", &["*"]), &[("topic", "a")]).await.expect(403);
    assert_eq!(hub.hub.events().stats().published, 1);
}

#[tokio::test(start_paused = true)]
async fn m08_070_and_071_every_field_is_limited() {
    let hub = TestHub::with(&["--max-body", "64KiB"]);
    let long = |field: &str, len: usize| format!("topic=a&{field}={}", "x".repeat(len));
    for body in [long("data", 65 << 10), long("id", 256), long("type", 256), long("topic", 1025)] {
        post(&hub, &body, 413).await;
    }
    post(&hub, &"topic=a&".repeat(101), 413).await;
    post(&hub, &long("data", 60 << 10), 200).await;
}

#[tokio::test(start_paused = true)]
async fn m08_079_a_token_in_the_query_is_ignored() {
    let hub = TestHub::new();
    let token = unrestricted_token_08();
    for name in ["access_token", "authorization"] {
        let request = http::Request::post(format!("{MERCURE}?{name}={token}"));
        let request = request.header("content-type", FORM).body("topic=a".to_owned()).unwrap();
        let answer = hub.send(request).await.expect(401);
        assert!(!answer.header("www-authenticate").contains("error"), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn m08_087_to_096_each_authorization_error_has_its_challenge() {
    let hub = TestHub::new();
    let metadata = "resource_metadata=\"https://hub.example/.well-known/\
                    oauth-protected-resource/.well-known/mercure\"";
    let form = |value: Option<&str>| {
        let request = http::Request::post(MERCURE).header("content-type", FORM);
        let request = match value {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        request.body("topic=a".to_owned()).unwrap()
    };
    let none = hub.send(form(None)).await.expect(401);
    assert_eq!(none.header("www-authenticate"), format!("Bearer {metadata}"));
    let bad = hub.send(form(Some("Bearer a.b.c"))).await.expect(401);
    assert_eq!(
        bad.header("www-authenticate"),
        format!("Bearer error=\"invalid_token\", {metadata}")
    );
    let malformed = hub.send(form(Some("Bearer"))).await.expect(400);
    assert!(malformed.header("www-authenticate").contains("error=\"invalid_request\""));
    // An invalid token is refused even where anonymous subscribers are allowed.
    hub.get_with("a.b.c", &format!("{MERCURE}?match=a")).await.expect(401);
    // A malformed request gets no challenge.
    let answer = hub.publish(&[("data", "no topic")]).await.expect(400);
    assert_eq!(answer.header("www-authenticate"), "");
}

#[tokio::test(start_paused = true)]
async fn m08_198_an_idempotency_key_prevents_a_second_publish() {
    let hub = TestHub::new();
    let form = |data: &str| {
        let request = http::Request::post(MERCURE)
            .header("content-type", FORM)
            .header("authorization", super::fixture::bearer(&unrestricted_token_08()))
            .header("idempotency-key", "order-1");
        request.body(format!("topic=a&data={data}")).unwrap()
    };
    let first = hub.send(form("x")).await.expect(200).text;
    assert_eq!(hub.send(form("x")).await.expect(200).text, first);
    hub.send(form("y")).await.expect(409);
    assert_eq!(hub.hub.events().stats().published, 1);
}
