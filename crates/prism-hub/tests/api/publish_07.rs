//! Draft-07: publishing.

use super::fixture::{EVENTS, MERCURE, TestHub, token_07, token_07_for, unrestricted_token_07};
use serde_json::json;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(start_paused = true)]
async fn m07_014_and_016_an_update_is_delivered_once_to_subscribers_of_any_of_its_topics() {
    let hub = TestHub::new();
    let mut both = hub.subscribe(&[("topic", "a"), ("topic", "b")]).await;
    let mut alternate = hub.subscribe(&[("topic", "b")]).await;
    hub.publish_with(&unrestricted_token_07(), &[("topic", "a"), ("topic", "b"), ("data", "1")])
        .await
        .expect(200);
    hub.publish_with(&unrestricted_token_07(), &[("topic", "b"), ("data", "2")]).await.expect(200);
    for subscriber in [&mut both, &mut alternate] {
        subscriber.expect("message", "1").await;
        subscriber.expect("message", "2").await;
    }
}

#[tokio::test(start_paused = true)]
async fn m07_015_a_form_needs_a_topic() {
    let hub = TestHub::new();
    hub.publish_with(&unrestricted_token_07(), &[("topic", "a"), ("unknown", "x")])
        .await
        .expect(200);
    hub.publish_with(&unrestricted_token_07(), &[("data", "x")]).await.expect(400);
    hub.post(&unrestricted_token_07(), MERCURE, "multipart/form-data; boundary=x", "x")
        .await
        .expect(415);
    hub.post(&unrestricted_token_07(), MERCURE, "text/plain", "topic=a").await.expect(415);
    // The deployed hub answers 403 to a reserved topic.
    let own = [("topic", "https://other.example/.well-known/mercure/x")];
    hub.publish_with(&unrestricted_token_07(), &own).await.expect(403);
    let topics: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    let topics: Vec<_> = topics.iter().map(|topic| ("topic", topic.as_str())).collect();
    hub.publish_with(&unrestricted_token_07(), &topics).await.expect(413);
    hub.publish_with(&unrestricted_token_07(), &topics[1..]).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn m07_017_the_field_private_counts_by_its_presence() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    for value in ["on", "0", "false", ""] {
        let form = [("topic", "a"), ("data", "secret"), ("private", value)];
        hub.publish_with(&unrestricted_token_07(), &form).await.expect(200);
    }
    hub.post(&unrestricted_token_07(), MERCURE, FORM, "topic=a&private&data=secret")
        .await
        .expect(200);
    hub.publish_with(&unrestricted_token_07(), &[("topic", "a"), ("data", "public")])
        .await
        .expect(200);
    subscriber.expect("message", "public").await;
}

#[tokio::test(start_paused = true)]
async fn m07_018_a_position_cannot_be_published_as_an_id() {
    let hub = TestHub::new();
    for id in ["#", "#1.1", "#x", "a\nb", "a\rb", "a\0b"] {
        hub.publish_with(&unrestricted_token_07(), &[("topic", "a"), ("id", id)]).await.expect(400);
    }
    let odd = "id-[\"a b\",{}]";
    let answer = hub.publish_with(&unrestricted_token_07(), &[("topic", "a"), ("id", odd)]).await;
    assert_eq!(answer.expect(200).text, odd);
    assert_eq!(hub.hub.events().stats().published, 1);
}

#[tokio::test(start_paused = true)]
async fn m07_018_values_that_draft_08_refuses_are_refused() {
    let hub = TestHub::new();
    for form in [
        "topic=a&id=earliest",
        "topic=a&id=a%E2%80%AEb",
        "topic=a%E2%80%8B",
        "topic=*",
        "topic=a&type=mercure",
        "topic=a&type=prism.gap",
        "topic=a&type=a%C2%85",
        "topic=a&data=x&data=y",
        "topic=a&id=x&id=x",
        "topic=a&type=x&type=y",
        "topic=a&retry=1&retry=1",
        "topic=a&retry=-1",
        "topic=a&data=%FF",
    ] {
        hub.post(&unrestricted_token_07(), MERCURE, FORM, form).await.expect(400);
    }
    assert_eq!(hub.hub.events().stats().published, 0);
}

#[tokio::test(start_paused = true)]
async fn m07_019_and_020_and_021_the_response_is_the_id() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    let answer = hub.publish_with(&unrestricted_token_07(), &[("topic", "a")]).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert!(answer.text.starts_with('#') && !answer.text.ends_with('\n'));
    assert_eq!(subscriber.expect("message", "").await.id, answer.text);
}

#[tokio::test(start_paused = true)]
async fn m07_022_and_037_an_unauthorized_update_is_not_dispatched() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe_with(&unrestricted_token_07(), &[("topic", "*")]).await;
    for (token, status) in [
        (token_07_for(&[], &["*"]), 403),
        (token_07(&json!({"mercure": {"subscribe": ["*"]}})), 403),
        (token_07(&json!({})), 403),
        (token_07_for(&["b"], &[]), 403),
        ("rubbish".to_owned(), 401),
    ] {
        let answer = hub.publish_with(&token, &[("topic", "a"), ("data", "x")]).await;
        let answer = answer.expect(status);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
    }
    let none = http::Request::post(MERCURE).header("content-type", FORM);
    hub.send(none.body("topic=a".to_owned()).unwrap()).await.expect(401);
    // The grants must cover every topic, also of public updates.
    let some = token_07_for(&["a"], &[]);
    hub.publish_with(&some, &[("topic", "a"), ("topic", "b"), ("data", "x")]).await.expect(403);
    hub.publish_with(&some, &[("topic", "a"), ("data", "allowed")]).await.expect(200);
    subscriber.expect("message", "allowed").await;
}

#[tokio::test(start_paused = true)]
async fn m07_035_a_template_in_the_token_allows_its_expansions() {
    let hub = TestHub::new();
    let token = token_07_for(&["https://example.com/{x}"], &[]);
    hub.publish_with(&token, &[("topic", "https://example.com/a")]).await.expect(200);
    hub.publish_with(&token, &[("topic", "https://example.com/a/b")]).await.expect(403);
}

#[tokio::test(start_paused = true)]
async fn m07_073_and_075_responses_contain_no_key_and_no_token() {
    let hub = TestHub::new();
    let token = token_07_for(&["b"], &[]);
    let refused = hub.publish_with(&token, &[("topic", "a")]).await.expect(403);
    let bad = hub.publish_with(&format!("{token}x"), &[("topic", "a")]).await.expect(401);
    for answer in [refused, bad] {
        let all = format!("{answer:?}");
        assert!(!all.contains(&token) && !all.contains(super::fixture::SECRET), "{all}");
    }
    hub.post(&token, EVENTS, FORM, "topic=b").await.expect(200);
}
