//! Draft-08: subscription events, and the subscription API.

use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::{MERCURE, TestHub, TestSubscriber, address, token_08, token_08_for};

pub(super) const ALL: &str = "/.well-known/mercure/subscriptions/:match_type/:match/:subscriber";
pub(super) const API: &str = "/.well-known/mercure/subscriptions";

pub(super) fn watcher() -> String {
    let detail = |topics: Value| {
        json!({
            "type": "https://mercure.rocks/authorization-detail",
            "actions": ["subscribe"],
            "topics": topics,
        })
    };
    let pattern = |text: &str| json!([{"match": text, "match_type": "urlpattern"}]);
    token_08(&json!([detail(pattern(ALL)), detail(pattern(&format!("{API}*")))]))
}

pub(super) async fn hub() -> (TestHub, TestSubscriber) {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let mut events = hub.subscribe_with(&watcher(), &[("match_urlpattern", ALL)]).await;
    assert_eq!(next(&mut events).await["match"], ALL);
    (hub, events)
}

pub(super) async fn next(events: &mut TestSubscriber) -> Value {
    let event = events.expect_named("mercure").await;
    assert!(event.id.starts_with('#'));
    serde_json::from_str(&event.data).unwrap()
}

#[tokio::test(start_paused = true)]
async fn m08_155_to_168_and_172_an_event_is_published_when_a_subscription_begins_and_ends() {
    let (hub, mut events) = hub().await;
    let wanted = [("match", "a%20b"), ("match_urlpattern", "https://example.com/:a")];
    let reader = hub.subscribe(&wanted).await;
    let [first, second] = [next(&mut events).await, next(&mut events).await];
    let subscriber = first["subscriber"].as_str().unwrap();
    let encoded = subscriber.replace(':', "%3A");
    assert!(subscriber.starts_with("urn:uuid:"));
    assert_eq!(
        first,
        json!({
            "id": format!("{API}/exact/a%2520b/{encoded}"),
            "type": "subscription",
            "match_type": "exact",
            "match": "a%20b",
            "subscriber": subscriber,
            "active": true,
        })
    );
    let id = format!("{API}/urlpattern/https%3A%2F%2Fexample.com%2F%3Aa/{encoded}");
    assert_eq!(second["id"], id.as_str());
    assert_eq!(
        (&second["match_type"], &second["subscriber"]),
        (&json!("urlpattern"), &json!(subscriber))
    );
    drop(reader);
    assert_eq!(next(&mut events).await["active"], false);
    assert_eq!(next(&mut events).await["active"], false);
}

#[tokio::test(start_paused = true)]
async fn m08_158_and_159_and_160_and_162_no_subscriber_chooses_its_id() {
    let (hub, mut events) = hub().await;
    let token = token_08_for("subscribe", &["a"]);
    let path = address(MERCURE, &[("match", "a"), ("subscriber", "me"), ("id", "me")]);
    let headers = [("authorization", format!("Bearer {token}")), ("subscriber", "me".to_owned())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let _readers = (hub.connect(&path, &headers).await, hub.connect(&path, &headers).await);
    let [first, second] = [next(&mut events).await, next(&mut events).await];
    assert_ne!(first["subscriber"], second["subscriber"], "each connection has its own id");
    for document in [first, second] {
        assert!(!document["subscriber"].as_str().unwrap().contains("me"));
    }
}

#[tokio::test(start_paused = true)]
async fn m08_169_and_170_the_document_has_the_payload_of_the_first_matching_grant() {
    let (hub, mut events) = hub().await;
    let detail = |text: &str, payload: &str| {
        json!({
            "type": "https://mercure.rocks/authorization-detail",
            "actions": ["subscribe"],
            "topics": [{"match": text}],
            "payload": {"name": payload},
        })
    };
    let token = token_08(&json!([detail("a", "of a"), detail("*", "of all")]));
    let _reader = hub.subscribe_with(&token, &[("match", "a"), ("match", "b")]).await;
    assert_eq!(next(&mut events).await["payload"], json!({"name": "of a"}));
    assert_eq!(next(&mut events).await["payload"], json!({"name": "of all"}));
}

#[tokio::test(start_paused = true)]
async fn m08_171_subscription_events_are_private() {
    let (hub, _events) = hub().await;
    let mut nosy = hub.subscribe(&[("match", "*")]).await;
    let _reader = hub.subscribe(&[("match", "a")]).await;
    hub.publish(&[("topic", "a"), ("data", "public")]).await.expect(200);
    nosy.expect("message", "public").await;
}

#[tokio::test(start_paused = true)]
async fn m08_173_to_182_the_api_lists_all_those_of_a_matcher_and_one() {
    let (hub, mut events) = hub().await;
    let _reader = hub.subscribe(&[("match", "a b"), ("match_urlpattern", "/a/:b")]).await;
    let document = next(&mut events).await;
    let token = watcher();
    let all = hub.get_with(&token, API).await.expect(200);
    assert_eq!(all.header("content-type"), "application/json");
    let json = all.json();
    assert_eq!((&json["id"], &json["type"]), (&json!(API), &json!("subscriptions")));
    assert_eq!(json["subscriptions"].as_array().unwrap().len(), 3);
    let some = hub.get_with(&token, &format!("{API}/exact/a%20b")).await.expect(200).json();
    assert_eq!(some["subscriptions"], json!([document]));
    let one = hub.get_with(&token, document["id"].as_str().unwrap()).await.expect(200);
    assert_eq!(one.header("content-type"), "application/json");
    assert_eq!(one.json(), document, "the API and the event have the same document");
    hub.get_with(&token, &format!("{API}/exact/a%20b/nobody")).await.expect(404);
    for bad in ["regexp/a/b", "exact/%zz", "exact/%FF", "exact/a/b/c"] {
        hub.get_with(&token, &format!("{API}/{bad}")).await.expect(400);
    }
    let request = http::Request::post(API).body(String::new()).unwrap();
    assert_eq!(hub.send(request).await.expect(405).header("allow"), "GET, HEAD, OPTIONS");
}

#[tokio::test(start_paused = true)]
async fn m08_175_and_176_and_177_the_api_needs_a_grant() {
    let (hub, _events) = hub().await;
    hub.get(API).await.expect(401);
    let refused = hub.get_with(&token_08_for("subscribe", &["a"]), API).await.expect(403);
    assert!(refused.header("www-authenticate").contains("error=\"insufficient_scope\""));
    hub.get_with(&token_08_for("publish", &["*"]), API).await.expect(403);
    let exact = token_08_for("subscribe", &[API]);
    hub.get_with(&exact, API).await.expect(200);
    hub.get_with(&exact, &format!("{API}?x=y")).await.expect(200);
    hub.get_with(&exact, &format!("{API}/exact/a")).await.expect(403);
    hub.get_with(&token_08_for("subscribe", &["*"]), &format!("{API}/exact/a")).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn m08_183_and_184_and_186_the_responses_have_the_last_event_id() {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let token = watcher();
    let link = |last: &str| {
        format!(
            "<https://hub.example{MERCURE}>; rel=\"mercure\"; last-event-id=\"{last}\"; \
             type=\"mercure\"; content-type=\"application/json\""
        )
    };
    assert_eq!(hub.get_with(&token, API).await.expect(200).header("link"), link("earliest"));
    let last = hub.publish(&[("topic", "a")]).await.text;
    let answer = hub.get_with(&token, API).await.expect(200);
    assert_eq!(answer.header("link"), link(&last));
    assert_eq!(answer.header("etag"), format!("\"{last}\""));
    assert!(answer.header("cache-control").contains("must-revalidate"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_publishes_no_event() {
    let (hub, mut events) = hub().await;
    hub.get(&address(MERCURE, &[("match", "a"), ("topic", "b")])).await.expect(400);
    let long = format!("/{}", "é".repeat(400));
    hub.get(&address(MERCURE, &[("match", &long)])).await.expect(400);
    let _reader = hub.subscribe(&[("match", "c")]).await;
    assert_eq!(next(&mut events).await["match"], "c");
}

#[tokio::test(start_paused = true)]
async fn m08_185_a_truncated_collection_is_valid() {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let mut subscribers = Vec::new();
    for subscriber in 0..101 {
        let topics: Vec<String> = (0..100).map(|topic| format!("{subscriber}/{topic}")).collect();
        let wanted: Vec<_> = topics.iter().map(|topic| ("match", topic.as_str())).collect();
        subscribers.push(hub.subscribe(&wanted).await);
    }
    let collection = hub.get_with(&watcher(), API).await.expect(200).json();
    assert_eq!((&collection["id"], &collection["type"]), (&json!(API), &json!("subscriptions")));
    let all = collection["subscriptions"].as_array().unwrap();
    assert_eq!(all.len(), 10_000);
    assert!(all.iter().all(|one| one["active"] == true));
}

/// The value of a gauge.
async fn gauge(hub: &TestHub, name: &str) -> f64 {
    let admin = TestHub { hub: hub.hub.clone(), app: prism_hub::api::admin_router(&hub.hub) };
    let text = admin.get("/metrics").await.expect(200).text;
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    value.unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn subscription_events_evict_nothing_from_the_history() {
    let hub = TestHub::with(&["--subscriptions", "on", "--retention-count", "3"]);
    let grants = |topic: &str| token_08_for("subscribe", &[topic]);
    let mut quiet = hub.subscribe_with(&grants("quiet"), &[("match", "quiet")]).await;
    hub.publish(&[("topic", "quiet"), ("data", "before"), ("private", "on")]).await.expect(200);
    quiet.expect("message", "before").await;
    quiet.hang_up();
    for data in ["one", "two", "three"] {
        hub.publish(&[("topic", "a"), ("data", data)]).await.expect(200);
    }
    for _ in 0..3000 {
        drop(hub.subscribe(&[("match", "a")]).await);
    }
    let kept = [gauge(&hub, "prism_log_events").await, gauge(&hub, "prism_log_transient").await];
    assert_eq!(kept, [3.0, 6002.0], "an event for the begin and the end of each");

    let earliest = [("match", "a"), ("last_event_id", "earliest")];
    let mut events = hub.subscribe(&earliest).await;
    assert!(events.headers().get("prism-gap").is_none());
    for data in ["one", "two", "three"] {
        events.expect("message", data).await;
    }
    quiet.reconnect().await.unwrap();
    assert!(quiet.headers().get("prism-gap").is_none(), "no event of its topic was evicted");

    // These two streams are not read, and are closed after a while.
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    let kept = [gauge(&hub, "prism_log_events").await, gauge(&hub, "prism_log_transient").await];
    assert_eq!(kept, [3.0, 0.0]);
    let mut events = hub.subscribe(&earliest).await;
    assert!(events.headers().get("prism-gap").is_none());
    events.expect("message", "one").await;
    drop(events);

    // A subscriber of subscription events that resumes too late gets a gap.
    let mut late = hub.subscribe_with(&watcher(), &[("match_urlpattern", ALL)]).await;
    assert_eq!(next(&mut late).await["match"], ALL);
    late.hang_up();
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    late.reconnect().await.unwrap();
    assert_eq!(late.headers()["prism-gap"], "expired");
}
