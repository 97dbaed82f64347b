//! Draft-08: the documents of subscriptions, in events and in the API.

use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::{TestHub, TestSubscriber, address, token_08_for, unrestricted_token_08};
use super::subscription_events_08::{API, hub, next, watcher};

const PATTERN: &str = "https://example.com/:a";
const ESCAPED: &str = "https%3A%2F%2Fexample.com%2F%3Aa";

/// A hub with one subscriber of an exact matcher and a pattern, and the documents of both.
async fn with_reader() -> (TestHub, TestSubscriber, TestSubscriber, [Value; 2]) {
    let (hub, mut events) = hub().await;
    let reader = hub.subscribe(&[("match", "a b"), ("match_urlpattern", PATTERN)]).await;
    let documents = [next(&mut events).await, next(&mut events).await];
    (hub, events, reader, documents)
}

fn text<'a>(document: &'a Value, member: &str) -> &'a str {
    document[member].as_str().unwrap()
}

/// The subscriber of a document, percent-encoded.
fn name(document: &Value) -> String {
    text(document, "subscriber").replace(':', "%3A")
}

/// The paths of all subscriptions, of those of one matcher, and of one.
fn addresses(documents: &[Value; 2]) -> [String; 3] {
    let of_matcher = format!("{API}/urlpattern/{ESCAPED}");
    [API.to_owned(), of_matcher, text(&documents[1], "id").to_owned()]
}

#[tokio::test(start_paused = true)]
async fn m08_002_document_paths_begin_with_the_path_of_the_hub() {
    let args = ["--dev", "--subscriptions", "on", "--public-url", "https://hub.example/live"];
    let keys = ["--publisher-key", super::fixture::SECRET, "--subscriber-key"];
    let keys = [&keys[..], &[super::fixture::SECRET]].concat();
    let hub = TestHub::of(&[&args[..], &keys].concat());
    let mercure = "/live/.well-known/mercure";
    let token = super::fixture::token_07_for(&[], &["*"]);
    let bearer = super::fixture::bearer(&token);
    let path = address(mercure, &[("match", "a")]);
    let mut events =
        hub.connect(&address(mercure, &[("match", "*")]), &[("authorization", &bearer)]).await;
    assert!(text(&next(&mut events).await, "id").starts_with(&format!("{mercure}/subscriptions/")));
    let _reader = hub.connect(&path, &[]).await;
    let document = next(&mut events).await;
    let id = text(&document, "id");
    assert_eq!(id, format!("{mercure}/subscriptions/exact/a/{}", name(&document)));
    assert_eq!(hub.get_with(&token, id).await.expect(200).json(), document);
    let all = hub.get_with(&token, &format!("{mercure}/subscriptions?x=y")).await.expect(200);
    let link = format!("<https://hub.example{mercure}>; rel=\"mercure\"");
    assert!(all.header("link").starts_with(&link), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn m08_156_the_topic_of_a_subscription_event_contains_match_type_matcher_and_subscriber() {
    let (hub, _events, _reader, documents) = with_reader().await;
    let topic = format!("{API}/urlpattern/{ESCAPED}/{}", name(&documents[1]));
    // A grant of this topic alone authorizes this event alone.
    let token = token_08_for("subscribe", &[&topic]);
    let mut only =
        hub.subscribe_with(&token, &[("match", "*"), ("last_event_id", "earliest")]).await;
    assert_eq!(next(&mut only).await, documents[1]);
    assert!(only.listen(Duration::from_secs(1)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn m08_157_and_168_the_match_type_has_its_canonical_name() {
    let (hub, mut events) = hub().await;
    for (parameter, kind) in
        [("match", "exact"), ("match_exact", "exact"), ("match_urlpattern", "urlpattern")]
    {
        let reader = hub.subscribe(&[(parameter, "/a")]).await;
        let document = next(&mut events).await;
        assert_eq!(document["match_type"], kind);
        assert!(text(&document, "id").starts_with(&format!("{API}/{kind}/%2Fa/")));
        drop(reader);
        assert_eq!(next(&mut events).await["match_type"], kind);
    }
}

#[tokio::test(start_paused = true)]
async fn m08_163_and_164_a_matcher_is_percent_encoded_once_and_as_a_whole() {
    let (hub, mut events) = hub().await;
    for (matcher, escaped) in [
        ("https://example.com/:a", "https%3A%2F%2Fexample.com%2F%3Aa"),
        ("a%20b", "a%2520b"),
        ("%3A", "%253A"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
        ("*", "%2A"),
        ("-._~", "-._~"),
        ("/a?b=c&d#e", "%2Fa%3Fb%3Dc%26d%23e"),
    ] {
        let reader = hub.subscribe(&[("match", matcher)]).await;
        let document = next(&mut events).await;
        let id = text(&document, "id");
        assert_eq!(id, format!("{API}/exact/{escaped}/{}", name(&document)));
        assert_eq!(document["match"], matcher);
        assert_eq!(hub.get_with(&watcher(), id).await.expect(200).json(), document);
        drop(reader);
        next(&mut events).await;
    }
}

#[tokio::test(start_paused = true)]
async fn m08_159_and_165_a_subscriber_id_is_a_random_iri() {
    let (_hub, _events, _reader, documents) = with_reader().await;
    let name = text(&documents[0], "subscriber");
    assert!(name.starts_with("urn:uuid:"), "{name}");
    assert_eq!(uuid::Uuid::parse_str(name).unwrap().get_version_num(), 4);
}

#[tokio::test(start_paused = true)]
async fn m08_161_the_subject_of_the_token_is_not_in_the_subscriber_id() {
    let (hub, mut events) = hub().await;
    // The subscriber id is the connection's; a `sub`, of one issuer or of two, has no influence.
    let mut names = Vec::new();
    for _ in 0..3 {
        let token =
            super::fixture::token_07(&json!({"sub": "user-1", "mercure": {"subscribe": []}}));
        let _reader = hub.subscribe_with(&token, &[("match", "a")]).await;
        let document = next(&mut events).await;
        assert!(!document.to_string().contains("user-1"), "{document}");
        names.push(text(&document, "subscriber").to_owned());
        drop(_reader);
        next(&mut events).await;
    }
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn m08_166_and_167_a_document_has_all_members() {
    let (_hub, mut events, reader, documents) = with_reader().await;
    drop(reader);
    let ended = [next(&mut events).await, next(&mut events).await];
    let matchers = [("exact", "a b", "a%20b"), ("urlpattern", PATTERN, ESCAPED)];
    for (documents, active) in [(documents, true), (ended, false)] {
        for (document, (kind, matcher, escaped)) in documents.iter().zip(matchers) {
            let expected = json!({
                "id": format!("{API}/{kind}/{escaped}/{}", name(document)),
                "type": "subscription",
                "match_type": kind,
                "match": matcher,
                "subscriber": document["subscriber"],
                "active": active,
            });
            assert_eq!(*document, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m08_174_there_is_a_path_for_all_for_a_matcher_and_for_one() {
    let (hub, _events, _reader, documents) = with_reader().await;
    let [all, of_matcher, one] = addresses(&documents);
    let count = async |path: &str| {
        let answer = hub.get_with(&watcher(), path).await.expect(200);
        answer.json()["subscriptions"].as_array().map(Vec::len)
    };
    assert_eq!(count(&all).await, Some(3), "with that of the test's own subscriber");
    assert_eq!(count(&of_matcher).await, Some(1));
    assert_eq!(count(&one).await, None, "a single document");
    assert_eq!(count(&format!("{API}/exact/{ESCAPED}")).await, Some(0), "of another match type");
    for malformed in ["regexp/a", "Exact/a", "exact/%", "exact/%4", "exact/%GG", "exact/%C3"] {
        hub.get_with(&watcher(), &format!("{API}/{malformed}/x")).await.expect(400);
    }
}

#[tokio::test(start_paused = true)]
async fn m08_178_and_183_and_184_each_response_is_json_with_the_last_event_id() {
    let (hub, mut events, _reader, documents) = with_reader().await;
    let says = async |last: &str| {
        for path in addresses(&documents) {
            let answer = hub.get_with(&watcher(), &path).await.expect(200);
            assert_eq!(answer.header("content-type"), "application/json", "{path}");
            let link = format!(
                "<https://hub.example/.well-known/mercure>; rel=\"mercure\"; \
                 last-event-id=\"{last}\"; type=\"mercure\"; content-type=\"application/json\""
            );
            assert_eq!(answer.header("link"), link, "{path}");
        }
    };
    says(&hub.publish(&[("topic", "c")]).await.text).await;
    // Subscription events move the last event id too.
    let _other = hub.subscribe(&[("match", "d")]).await;
    says(&events.event().await.unwrap().id).await;
}

#[tokio::test(start_paused = true)]
async fn m08_180_one_subscription_is_the_document_of_its_event() {
    let (hub, _events, _reader, documents) = with_reader().await;
    for document in documents {
        let answer = hub.get_with(&watcher(), text(&document, "id")).await.expect(200);
        assert_eq!(answer.json(), document, "the API and the event have the same document");
    }
}

#[tokio::test(start_paused = true)]
async fn m08_181_an_unknown_subscription_is_not_found() {
    let (hub, mut events, reader, documents) = with_reader().await;
    let path = text(&documents[0], "id");
    hub.get_with(&watcher(), path).await.expect(200);
    let stranger = "urn%3Auuid%3A00000000-0000-4000-8000-000000000000";
    hub.get_with(&watcher(), &format!("{API}/exact/a%20b/{stranger}")).await.expect(404);
    let name = name(&documents[0]);
    hub.get_with(&watcher(), &format!("{API}/urlpattern/a%20b/{name}")).await.expect(404);
    drop(reader);
    next(&mut events).await;
    hub.get_with(&watcher(), path).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn m07_070_and_m08_183_the_last_event_id_is_a_position_and_no_publisher_s_id() {
    let (hub, _events, _reader, _) = with_reader().await;
    let secret = [("topic", "payroll"), ("id", "payslip-of-anna"), ("private", "")];
    hub.publish(&secret).await.expect(200);
    let old = super::fixture::token_07_for(&[], &["*"]);
    let answer = hub.get_with(&old, API).await.expect(200);
    let last = text(&answer.json(), "lastEventID").to_owned();
    assert!(last.starts_with('#'), "{last}");
    let response = hub.get_with(&watcher(), API).await.expect(200);
    assert!(response.header("link").contains(&format!("last-event-id=\"{last}\"")), "{response:?}");
    assert_eq!(response.header("etag"), format!("\"{last}\""));
    assert!(!format!("{response:?}").contains("payslip"));
    // A subscriber that has the documents resumes from this position.
    hub.publish(&[("topic", "payroll"), ("data", "next")]).await.expect(200);
    let wanted = [("match", "payroll"), ("last_event_id", last.as_str())];
    let mut events = hub.subscribe_with(&unrestricted_token_08(), &wanted).await;
    assert_eq!(events.headers()["mercure-last-event-id"], last.as_str());
    events.expect("message", "next").await;
}
