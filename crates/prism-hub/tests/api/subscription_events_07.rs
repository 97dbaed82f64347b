//! Draft-07: subscription events, and the subscription API.

use serde_json::{Value, json};

use super::fixture::{MERCURE, TestHub, TestSubscriber, token_07};

pub(super) const ALL: &str = "/.well-known/mercure/subscriptions{/topic}{/subscriber}";
pub(super) const API: &str = "/.well-known/mercure/subscriptions";
pub(super) const SELECTOR: &str = "https://example.com/{selector}";
pub(super) const ENCODED: &str = "https%3A%2F%2Fexample.com%2F%7Bselector%7D";

pub(super) fn watcher() -> String {
    token_07(&json!({"mercure": {"subscribe": [ALL, API]}}))
}

pub(super) async fn hub() -> (TestHub, TestSubscriber) {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let mut events = hub.subscribe_with(&watcher(), &[("topic", ALL)]).await;
    let own = next(&mut events).await;
    assert_eq!(own["topic"], ALL);
    (hub, events)
}

pub(super) async fn next(events: &mut TestSubscriber) -> Value {
    let event = events.event().await.unwrap();
    assert_eq!(event.name, "message");
    assert!(event.id.starts_with('#'));
    serde_json::from_str(&event.data).unwrap()
}

#[tokio::test(start_paused = true)]
async fn m07_053_to_059_an_event_is_published_when_a_subscription_begins_and_ends() {
    let (hub, mut events) = hub().await;
    let reader = hub.subscribe(&[("topic", SELECTOR), ("topic", "b")]).await;
    let [first, second] = [next(&mut events).await, next(&mut events).await];
    let subscriber = first["subscriber"].as_str().unwrap();
    assert!(subscriber.starts_with("urn:uuid:"));
    assert_eq!(second["subscriber"], subscriber, "all have the same subscriber");
    let encoded = subscriber.replace(':', "%3A");
    assert_eq!(
        first,
        json!({
            "@context": "https://mercure.rocks/",
            "id": format!("{API}/{ENCODED}/{encoded}"),
            "type": "Subscription",
            "topic": SELECTOR,
            "subscriber": subscriber,
            "active": true,
        })
    );
    assert_eq!(second["topic"], "b");
    drop(reader);
    let [first, second] = [next(&mut events).await, next(&mut events).await];
    assert_eq!((&first["active"], &second["active"]), (&json!(false), &json!(false)));
    // The topic of the event is the path of the document.
    let exact = token_07(&json!({"mercure": {"subscribe": [first["id"]]}}));
    let id = first["id"].as_str().unwrap();
    let mut one = hub.subscribe_with(&exact, &[("topic", id), ("lastEventID", "earliest")]).await;
    assert_eq!(next(&mut one).await["id"], first["id"]);
}

#[tokio::test(start_paused = true)]
async fn m07_044_and_060_the_document_has_the_payload_of_the_token() {
    let (hub, mut events) = hub().await;
    let claims = json!({"mercure": {"subscribe": [], "payload": {"name": ["é", 1]}}});
    let _reader = hub.subscribe_with(&token_07(&claims), &[("topic", "a")]).await;
    assert_eq!(next(&mut events).await["payload"], json!({"name": ["é", 1]}));
}

#[tokio::test(start_paused = true)]
async fn m07_061_subscription_events_are_private() {
    let (hub, _events) = hub().await;
    let mut nosy = hub.subscribe(&[("topic", "*")]).await;
    let _reader = hub.subscribe(&[("topic", "a")]).await;
    hub.publish(&[("topic", "a"), ("data", "public")]).await.expect(200);
    nosy.expect("message", "public").await;
}

#[tokio::test(start_paused = true)]
async fn m07_062_to_069_the_api_lists_all_those_of_a_topic_and_one() {
    let (hub, mut events) = hub().await;
    let _reader = hub.subscribe(&[("topic", SELECTOR), ("topic", "b")]).await;
    let document = next(&mut events).await;
    let token = watcher();
    let all = hub.get_with(&token, API).await.expect(200);
    assert_eq!(all.header("content-type"), "application/ld+json");
    let json = all.json();
    assert_eq!(json["@context"], "https://mercure.rocks/");
    assert_eq!((&json["id"], &json["type"]), (&json!(API), &json!("Subscriptions")));
    assert_eq!(json["subscriptions"].as_array().unwrap().len(), 3);

    let of_topic = format!("{API}/{ENCODED}");
    let some = hub.get_with(&token, &of_topic).await.expect(200).json();
    assert_eq!(some["id"], of_topic.as_str());
    assert_eq!(some["subscriptions"].as_array().unwrap().len(), 1);
    assert_eq!(some["subscriptions"][0]["topic"], SELECTOR);

    let one = hub.get_with(&token, document["id"].as_str().unwrap()).await.expect(200);
    assert_eq!(one.header("content-type"), "application/ld+json");
    let mut one = one.json();
    one.as_object_mut().unwrap().remove("lastEventID");
    assert_eq!(one, document);
    hub.get_with(&token, &format!("{API}/b/nobody")).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn m07_064_and_065_the_api_needs_a_grant() {
    let (hub, _events) = hub().await;
    hub.get(API).await.expect(401);
    hub.get_with("rubbish", API).await.expect(401);
    let other = token_07(&json!({"mercure": {"subscribe": ["a"], "publish": ["*"]}}));
    hub.get_with(&other, API).await.expect(403);
    let exact = token_07(&json!({"mercure": {"subscribe": [API]}}));
    hub.get_with(&exact, API).await.expect(200);
    hub.get_with(&exact, &format!("{API}/a")).await.expect(403);
    let off = TestHub::new();
    off.get_with(&watcher(), API).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn m07_070_and_071_and_072_the_documents_have_the_last_event_id() {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let token = watcher();
    let empty = hub.get_with(&token, API).await.expect(200);
    assert_eq!(empty.json()["lastEventID"], "earliest");
    let last = hub.publish(&[("topic", "a")]).await.text;
    let answer = hub.get_with(&token, API).await.expect(200);
    assert_eq!(answer.json()["lastEventID"], last.as_str());
    assert_eq!(answer.header("etag"), format!("\"{last}\""));
    assert!(answer.header("cache-control").contains("must-revalidate"));
    assert_eq!(answer.header("link"), format!("<https://hub.example{MERCURE}>; rel=\"mercure\""));
    let request = http::Request::get(API)
        .header("authorization", super::fixture::bearer(&token))
        .header("if-none-match", format!("\"{last}\""))
        .body(String::new());
    assert_eq!(hub.send(request.unwrap()).await.status, 304);
}
