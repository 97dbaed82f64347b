//! Draft-08: subscription events, and the subscription API.

use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::{MERCURE, Page, TestHub, address, new, new_for};

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
    new(&json!([detail(pattern(ALL)), detail(pattern(&format!("{API}*")))]))
}

pub(super) async fn hub() -> (TestHub, Page) {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let mut page = hub.read_by(&watcher(), &[("match_urlpattern", ALL)]).await;
    assert_eq!(next(&mut page).await["match"], ALL);
    (hub, page)
}

pub(super) async fn next(page: &mut Page) -> Value {
    let event = page.expect_named("mercure").await;
    assert!(event.id.starts_with('#'));
    serde_json::from_str(&event.data).unwrap()
}

#[tokio::test(start_paused = true)]
async fn m08_155_to_168_and_172_a_subscription_is_told_when_it_begins_and_when_it_ends() {
    let (hub, mut page) = hub().await;
    let wanted = [("match", "a%20b"), ("match_urlpattern", "https://example.com/:a")];
    let reader = hub.read(&wanted).await;
    let [first, second] = [next(&mut page).await, next(&mut page).await];
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
    assert_eq!(next(&mut page).await["active"], false);
    assert_eq!(next(&mut page).await["active"], false);
}

#[tokio::test(start_paused = true)]
async fn m08_158_and_159_and_160_and_162_nobody_chooses_its_name() {
    let (hub, mut page) = hub().await;
    let token = new_for("subscribe", &["a"]);
    let path = address(MERCURE, &[("match", "a"), ("subscriber", "me"), ("id", "me")]);
    let headers = [("authorization", format!("Bearer {token}")), ("subscriber", "me".to_owned())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let _readers = (hub.page(&path, &headers).await, hub.page(&path, &headers).await);
    let [first, second] = [next(&mut page).await, next(&mut page).await];
    assert_ne!(first["subscriber"], second["subscriber"], "one token, two connections");
    for document in [first, second] {
        assert!(!document["subscriber"].as_str().unwrap().contains("me"));
    }
}

#[tokio::test(start_paused = true)]
async fn m08_169_and_170_the_payload_of_the_first_grant_that_covers_it_is_shown() {
    let (hub, mut page) = hub().await;
    let detail = |text: &str, payload: &str| {
        json!({
            "type": "https://mercure.rocks/authorization-detail",
            "actions": ["subscribe"],
            "topics": [{"match": text}],
            "payload": {"name": payload},
        })
    };
    let token = new(&json!([detail("a", "of a"), detail("*", "of all")]));
    let _reader = hub.read_by(&token, &[("match", "a"), ("match", "b")]).await;
    assert_eq!(next(&mut page).await["payload"], json!({"name": "of a"}));
    assert_eq!(next(&mut page).await["payload"], json!({"name": "of all"}));
}

#[tokio::test(start_paused = true)]
async fn m08_171_only_who_may_read_them_is_told() {
    let (hub, _page) = hub().await;
    let mut nosy = hub.read(&[("match", "*")]).await;
    let _reader = hub.read(&[("match", "a")]).await;
    hub.publish(&[("topic", "a"), ("data", "public")]).await.expect(200);
    nosy.expect("message", "public").await;
}

#[tokio::test(start_paused = true)]
async fn m08_173_to_182_the_api_has_all_those_of_a_matcher_and_one() {
    let (hub, mut page) = hub().await;
    let _reader = hub.read(&[("match", "a b"), ("match_urlpattern", "/a/:b")]).await;
    let document = next(&mut page).await;
    let token = watcher();
    let all = hub.get_by(&token, API).await.expect(200);
    assert_eq!(all.header("content-type"), "application/json");
    let json = all.json();
    assert_eq!((&json["id"], &json["type"]), (&json!(API), &json!("subscriptions")));
    assert_eq!(json["subscriptions"].as_array().unwrap().len(), 3);
    let some = hub.get_by(&token, &format!("{API}/exact/a%20b")).await.expect(200).json();
    assert_eq!(some["subscriptions"], json!([document]));
    let one = hub.get_by(&token, document["id"].as_str().unwrap()).await.expect(200);
    assert_eq!(one.header("content-type"), "application/json");
    assert_eq!(one.json(), document, "nothing is added");
    hub.get_by(&token, &format!("{API}/exact/a%20b/nobody")).await.expect(404);
    for bad in ["regexp/a/b", "exact/%zz", "exact/%FF", "exact/a/b/c"] {
        hub.get_by(&token, &format!("{API}/{bad}")).await.expect(400);
    }
    let request = http::Request::post(API).body(String::new()).unwrap();
    assert_eq!(hub.send(request).await.expect(405).header("allow"), "GET, HEAD, OPTIONS");
}

#[tokio::test(start_paused = true)]
async fn m08_175_and_176_and_177_the_api_is_for_those_whose_token_has_it() {
    let (hub, _page) = hub().await;
    hub.get(API).await.expect(401);
    let refused = hub.get_by(&new_for("subscribe", &["a"]), API).await.expect(403);
    assert!(refused.header("www-authenticate").contains("error=\"insufficient_scope\""));
    hub.get_by(&new_for("publish", &["*"]), API).await.expect(403);
    let exact = new_for("subscribe", &[API]);
    hub.get_by(&exact, API).await.expect(200);
    hub.get_by(&exact, &format!("{API}?x=y")).await.expect(200);
    hub.get_by(&exact, &format!("{API}/exact/a")).await.expect(403);
    hub.get_by(&new_for("subscribe", &["*"]), &format!("{API}/exact/a")).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn m08_183_and_184_and_186_the_answers_say_where_they_stand() {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let token = watcher();
    let link = |last: &str| {
        format!(
            "<https://hub.example{MERCURE}>; rel=\"mercure\"; last-event-id=\"{last}\"; \
             type=\"mercure\"; content-type=\"application/json\""
        )
    };
    assert_eq!(hub.get_by(&token, API).await.expect(200).header("link"), link("earliest"));
    let last = hub.publish(&[("topic", "a")]).await.text;
    let answer = hub.get_by(&token, API).await.expect(200);
    assert_eq!(answer.header("link"), link(&last));
    assert_eq!(answer.header("etag"), format!("\"{last}\""));
    assert!(answer.header("cache-control").contains("must-revalidate"));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_announced() {
    let (hub, mut page) = hub().await;
    hub.get(&address(MERCURE, &[("match", "a"), ("topic", "b")])).await.expect(400);
    let long = format!("/{}", "é".repeat(400));
    hub.get(&address(MERCURE, &[("match", &long)])).await.expect(400);
    let _reader = hub.read(&[("match", "c")]).await;
    assert_eq!(next(&mut page).await["match"], "c");
}

#[tokio::test(start_paused = true)]
async fn m08_185_a_collection_that_is_cut_short_is_one() {
    let hub = TestHub::with(&["--subscriptions", "on"]);
    let mut pages = Vec::new();
    for page in 0..101 {
        let topics: Vec<String> = (0..100).map(|topic| format!("{page}/{topic}")).collect();
        let wanted: Vec<_> = topics.iter().map(|topic| ("match", topic.as_str())).collect();
        pages.push(hub.read(&wanted).await);
    }
    let collection = hub.get_by(&watcher(), API).await.expect(200).json();
    assert_eq!((&collection["id"], &collection["type"]), (&json!(API), &json!("subscriptions")));
    let all = collection["subscriptions"].as_array().unwrap();
    assert_eq!(all.len(), 10_000);
    assert!(all.iter().all(|one| one["active"] == true));
}

/// What a gauge says.
async fn gauge(hub: &TestHub, name: &str) -> f64 {
    let admin = TestHub { hub: hub.hub.clone(), app: prism_hub::api::admin_router(&hub.hub) };
    let text = admin.get("/metrics").await.expect(200).text;
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    value.unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn connections_that_come_and_go_by_the_thousands_leave_the_history_as_it_was() {
    let hub = TestHub::with(&["--subscriptions", "on", "--retention-count", "3"]);
    let grants = |topic: &str| new_for("subscribe", &[topic]);
    let mut quiet = hub.read_by(&grants("quiet"), &[("match", "quiet")]).await;
    hub.publish(&[("topic", "quiet"), ("data", "before"), ("private", "on")]).await.expect(200);
    quiet.expect("message", "before").await;
    quiet.hang_up();
    for data in ["one", "two", "three"] {
        hub.publish(&[("topic", "a"), ("data", data)]).await.expect(200);
    }
    for _ in 0..3000 {
        drop(hub.read(&[("match", "a")]).await);
    }
    let kept = [gauge(&hub, "prism_log_events").await, gauge(&hub, "prism_log_transient").await];
    assert_eq!(kept, [3.0, 6002.0], "each began and ended, the quiet one too");

    let earliest = [("match", "a"), ("last_event_id", "earliest")];
    let mut page = hub.read(&earliest).await;
    assert!(page.headers().get("prism-gap").is_none());
    for data in ["one", "two", "three"] {
        page.expect("message", data).await;
    }
    quiet.reconnect().await.unwrap();
    assert!(quiet.headers().get("prism-gap").is_none(), "nothing of its own was evicted");

    // Those two are not read, and so they end after a while.
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    let kept = [gauge(&hub, "prism_log_events").await, gauge(&hub, "prism_log_transient").await];
    assert_eq!(kept, [3.0, 0.0]);
    let mut page = hub.read(&earliest).await;
    assert!(page.headers().get("prism-gap").is_none());
    page.expect("message", "one").await;
    drop(page);

    // Who watches subscriptions and comes back too late is told of it.
    let mut late = hub.read_by(&watcher(), &[("match_urlpattern", ALL)]).await;
    assert_eq!(next(&mut late).await["match"], ALL);
    late.hang_up();
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    late.reconnect().await.unwrap();
    assert_eq!(late.headers()["prism-gap"], "expired");
}
