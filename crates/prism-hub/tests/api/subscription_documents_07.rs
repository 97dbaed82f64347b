//! Draft-07: the documents of subscriptions, in events and in the API.

use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::{TestHub, TestSubscriber, token_07_for};
use super::subscription_events_07::{API, ENCODED, SELECTOR, hub, next, watcher};

/// A hub with one subscriber of two topics, and the documents of its subscriptions.
async fn with_reader() -> (TestHub, TestSubscriber, TestSubscriber, [Value; 2]) {
    let (hub, mut events) = hub().await;
    let reader = hub.subscribe(&[("topic", SELECTOR), ("topic", "b")]).await;
    let documents = [next(&mut events).await, next(&mut events).await];
    (hub, events, reader, documents)
}

fn text<'a>(document: &'a Value, member: &str) -> &'a str {
    document[member].as_str().unwrap()
}

/// The paths of all subscriptions, of those to one topic, and of one.
fn addresses(documents: &[Value; 2]) -> [String; 3] {
    [API.to_owned(), format!("{API}/{ENCODED}"), text(&documents[0], "id").to_owned()]
}

#[tokio::test(start_paused = true)]
async fn m07_054_the_topic_of_a_subscription_event_contains_selector_and_subscriber() {
    let (hub, _events, _reader, documents) = with_reader().await;
    let name = text(&documents[0], "subscriber").replace(':', "%3A");
    let topic = format!("{API}/b/{name}");
    // A grant of this topic alone authorizes this event alone.
    let token = token_07_for(&[], &[&topic]);
    let mut only = hub.subscribe_with(&token, &[("topic", "*"), ("lastEventID", "earliest")]).await;
    assert_eq!(next(&mut only).await, documents[1]);
    assert!(only.listen(Duration::from_secs(1)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn m07_055_reserved_characters_are_percent_encoded_in_the_topic() {
    let (hub, mut events) = hub().await;
    for (selector, escaped) in [
        (SELECTOR, ENCODED),
        ("a b", "a%20b"),
        ("a%20b", "a%2520b"),
        ("é", "%C3%A9"),
        ("/a?b=c&d#e", "%2Fa%3Fb%3Dc%26d%23e"),
        ("*", "%2A"),
        ("-._~", "-._~"),
        ("a+b,c;d!e'f(g)", "a%2Bb%2Cc%3Bd%21e%27f%28g%29"),
    ] {
        let reader = hub.subscribe(&[("topic", selector)]).await;
        let document = next(&mut events).await;
        let name = text(&document, "subscriber").replace(':', "%3A");
        assert_eq!(text(&document, "id"), format!("{API}/{escaped}/{name}"));
        assert_eq!(text(&document, "topic"), selector, "only the id is encoded");
        let answer = hub.get_with(&watcher(), text(&document, "id")).await.expect(200);
        assert_eq!(text(&answer.json(), "topic"), selector, "its path finds it");
        drop(reader);
        assert_eq!(next(&mut events).await["id"], document["id"]);
    }
}

#[tokio::test(start_paused = true)]
async fn m07_056_all_subscriptions_of_a_connection_have_one_subscriber_id() {
    let (hub, mut events, _reader, documents) = with_reader().await;
    assert_eq!(documents[0]["subscriber"], documents[1]["subscriber"]);
    let _other = hub.subscribe(&[("topic", "b")]).await;
    assert_ne!(next(&mut events).await["subscriber"], documents[1]["subscriber"]);
}

#[tokio::test(start_paused = true)]
async fn m07_057_a_subscriber_id_is_a_uuid_urn() {
    let (_hub, _events, _reader, documents) = with_reader().await;
    let name = text(&documents[0], "subscriber");
    assert!(name.starts_with("urn:uuid:"), "{name}");
    assert_eq!(uuid::Uuid::parse_str(name).unwrap().get_version_num(), 4, "it is random");
}

#[tokio::test(start_paused = true)]
async fn m07_058_a_document_has_all_members() {
    let (_hub, mut events, reader, documents) = with_reader().await;
    drop(reader);
    let ended = [next(&mut events).await, next(&mut events).await];
    for (documents, active) in [(documents, true), (ended, false)] {
        for (document, topic) in documents.iter().zip([SELECTOR, "b"]) {
            let expected = json!({
                "@context": "https://mercure.rocks/",
                "id": document["id"],
                "type": "Subscription",
                "topic": topic,
                "subscriber": document["subscriber"],
                "active": active,
            });
            assert_eq!(*document, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m07_063_there_is_a_path_for_all_for_a_topic_and_for_one() {
    let (hub, _events, _reader, documents) = with_reader().await;
    let [all, of_topic, one] = addresses(&documents);
    let count = async |path: &str| {
        let answer = hub.get_with(&watcher(), path).await.expect(200);
        answer.json()["subscriptions"].as_array().map(Vec::len)
    };
    assert_eq!(count(&all).await, Some(3), "with that of the test's own subscriber");
    assert_eq!(count(&of_topic).await, Some(1));
    assert_eq!(count(&one).await, None, "a single document");
    assert_eq!(count(&format!("{API}/nobody%20reads%20this")).await, Some(0));
}

#[tokio::test(start_paused = true)]
async fn m07_066_every_response_is_json_ld() {
    let (hub, _events, _reader, documents) = with_reader().await;
    for path in addresses(&documents) {
        let answer = hub.get_with(&watcher(), &path).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/ld+json", "{path}");
        assert_eq!(answer.json()["@context"], "https://mercure.rocks/", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn m07_067_one_subscription_is_the_document_of_its_event() {
    let (hub, _events, _reader, documents) = with_reader().await;
    for document in documents {
        let answer = hub.get_with(&watcher(), text(&document, "id")).await.expect(200);
        let mut answer = answer.json();
        assert_eq!(answer["active"], true);
        assert!(answer.as_object_mut().unwrap().remove("lastEventID").is_some());
        assert_eq!(answer, document);
    }
}

#[tokio::test(start_paused = true)]
async fn m07_068_an_unknown_subscription_is_not_found() {
    let (hub, mut events, reader, documents) = with_reader().await;
    let path = text(&documents[0], "id");
    hub.get_with(&watcher(), path).await.expect(200);
    let stranger = "urn%3Auuid%3A00000000-0000-4000-8000-000000000000";
    hub.get_with(&watcher(), &format!("{API}/b/{stranger}")).await.expect(404);
    // The subscriber exists, and has no subscription to this topic.
    let name = text(&documents[0], "subscriber").replace(':', "%3A");
    hub.get_with(&watcher(), &format!("{API}/c/{name}")).await.expect(404);
    drop(reader);
    next(&mut events).await;
    hub.get_with(&watcher(), path).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn m07_070_each_response_has_the_last_event_id() {
    let (hub, mut events, _reader, documents) = with_reader().await;
    let says = async |last: &str| {
        for path in addresses(&documents) {
            let answer = hub.get_with(&watcher(), &path).await.expect(200);
            assert_eq!(answer.json()["lastEventID"], last, "{path}");
        }
    };
    let last = hub.publish(&[("topic", "c")]).await.text;
    says(&last).await;
    // Subscription events move the last event id too.
    let _other = hub.subscribe(&[("topic", "d")]).await;
    let last = events.event().await.unwrap().id;
    says(&last).await;
}
