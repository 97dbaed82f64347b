//! Features that the Mercure protocol does not have.

use http::Request;
use serde_json::json;

use super::fixture::{
    EVENTS, MERCURE, TestHub, address, bearer, token_08_for, unrestricted_token_08,
};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

async fn post(hub: &TestHub, kind: &str, body: &str) -> super::fixture::TestResponse {
    hub.post(&unrestricted_token_08(), EVENTS, kind, body).await
}

#[tokio::test(start_paused = true)]
async fn a_native_subscription_without_topics_receives_all_public_events() {
    let hub = TestHub::new();
    let mut subscriber = hub.connect(EVENTS, &[]).await;
    subscriber.expect_named("prism.open").await;
    hub.publish(&[("topic", "a"), ("data", "1")]).await.expect(200);
    hub.publish(&[("topic", "b"), ("data", "2"), ("private", "")]).await.expect(200);
    hub.publish(&[("topic", "c"), ("data", "3")]).await.expect(200);
    subscriber.expect("message", "1").await;
    subscriber.expect("message", "3").await;
}

#[tokio::test(start_paused = true)]
async fn control_events_are_on_at_the_native_endpoint_and_by_request() {
    let hub = TestHub::new();
    for (path, query, talks) in [
        (EVENTS, vec![], true),
        (EVENTS, vec![("control", "off")], false),
        (MERCURE, vec![("topic", "a")], false),
        (MERCURE, vec![("match", "a"), ("control", "on")], true),
    ] {
        let mut subscriber = hub.connect(&address(path, &query), &[]).await;
        hub.publish(&[("topic", "a"), ("data", "x")]).await.expect(200);
        if talks {
            subscriber.expect_named("prism.open").await;
        }
        subscriber.expect("message", "x").await;
    }
    hub.get(&address(EVENTS, &[("control", "maybe")])).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_chooses_where_to_start() {
    let hub = TestHub::new();
    for (topic, data) in [("a", "a1"), ("b", "b1"), ("a", "a2")] {
        hub.publish(&[("topic", topic), ("data", data)]).await.expect(200);
    }
    let begin = |replay: &str| address(EVENTS, &[("replay", replay), ("control", "off")]);
    let mut oldest = hub.connect(&begin("oldest"), &[]).await;
    let mut latest = hub.connect(&begin("latest"), &[]).await;
    for data in ["a1", "b1", "a2"] {
        oldest.expect("message", data).await;
    }
    latest.expect("message", "b1").await;
    latest.expect("message", "a2").await;
    hub.get(&begin("newest")).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn a_json_publish_is_answered_with_its_position() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    let body = r#"{"topic":"a","data":{"b": [1.0, null]},"event":"price","id":"urn:1","retry":5}"#;
    let answer = post(&hub, "application/json; charset=utf-8", body).await.expect(200);
    assert_eq!(answer.header("content-type"), JSON);
    let json = answer.json();
    assert_eq!((&json["id"], &json["receivers"]), (&json!("urn:1"), &json!(1)));
    assert_eq!(json["durability"], "memory");
    let position = json["position"].as_str().unwrap();
    assert!(position.starts_with('#'));
    assert_eq!(subscriber.expect("price", r#"{"b":[1.0,null]}"#).await.id, "urn:1");
    let answer = post(&hub, JSON, r#"{"topic":["a","b"],"data":"text\n2"}"#).await.expect(200);
    assert_eq!(subscriber.expect("message", "text\n2").await.id, answer.json()["id"]);
    assert_eq!(answer.json()["id"], answer.json()["position"]);
    for body in ["", "[]", r#"{"topic":null}"#, r#"{"topic":"a","nonsense":1}"#, r#"{"topic":"*"}"#]
    {
        post(&hub, JSON, body).await.expect(400);
    }
    for kind in ["application/json; charset=latin1", "text/event-stream", "application/xml"] {
        post(&hub, kind, r#"{"topic":"a"}"#).await.expect(415);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_every_subscriber_and_needs_a_grant_of_everything() {
    let hub = TestHub::new();
    let mut events =
        hub.connect(&address(EVENTS, &[("topic", "x"), ("control", "off")]), &[]).await;
    let mut star = hub.subscribe(&[("match", "*")]).await;
    let mut one = hub.subscribe(&[("match", "x")]).await;
    let body = r#"{"data":"all"}"#;
    post(&hub, JSON, body).await.expect(200);
    hub.post(&token_08_for("publish", &["x"]), EVENTS, JSON, body).await.expect(403);
    hub.post(&unrestricted_token_08(), MERCURE, JSON, body).await.expect(400);
    hub.publish(&[("topic", "x"), ("data", "to x")]).await.expect(200);
    for subscriber in [&mut events, &mut star] {
        subscriber.expect("message", "all").await;
        subscriber.expect("message", "to x").await;
    }
    one.expect("message", "to x").await;
}

#[tokio::test(start_paused = true)]
async fn json_lines_are_published_independently_and_answered_in_order() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    let body = "{\"topic\":\"a\",\"data\":\"1\",\"id\":\"one\"}\n\nrubbish\r\n\
                {\"topic\":\"b\"}\n{\"topic\":\"a\",\"data\":\"2\",\"key\":\"k\"}";
    let token = token_08_for("publish", &["a"]);
    let answer = hub.post(&token, EVENTS, LINES, body).await.expect(200);
    assert_eq!(answer.header("content-type"), LINES);
    let lines: Vec<serde_json::Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["id"], "one");
    assert_eq!((&lines[1]["status"], &lines[1]["title"]), (&json!(400), &json!("Bad Request")));
    assert_eq!(lines[2]["status"], 403);
    assert!(lines[3]["id"].as_str().unwrap().starts_with('#'));
    subscriber.expect("message", "1").await;
    subscriber.expect("message", "2").await;
    let thousand = "{\"topic\":\"b\"}\n".repeat(1000);
    assert_eq!(post(&hub, LINES, &thousand).await.expect(200).text.lines().count(), 1000);
    post(&hub, LINES, &format!("{thousand}{{\"topic\":\"b\"}}")).await.expect(413);
}

#[tokio::test(start_paused = true)]
async fn a_cloud_event_is_published_to_the_topic_of_its_subject() {
    let hub = TestHub::new();
    let kind = "application/cloudevents+json";
    let mut subscriber = hub.subscribe(&[("match", "order-1"), ("match", "/shop")]).await;
    let body = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.paid",
                   "subject":"order-1","datacontenttype":"application/json","data":{"n": 1}}"#;
    let answer = post(&hub, kind, body).await.expect(200);
    assert_eq!(answer.json()["id"], "7");
    assert_eq!(subscriber.expect("order.paid", r#"{"n":1}"#).await.id, "7");
    let body = r#"{"specversion":"1.0","id":"8","source":"/shop","type":"shop.open"}"#;
    post(&hub, kind, body).await.expect(200);
    subscriber.expect("shop.open", "").await;
    for bad in [
        r#"{"specversion":"0.3","id":"7","source":"/shop","type":"t"}"#,
        r#"{"specversion":"1.0","source":"/shop","type":"t"}"#,
        r#"{"specversion":"1.0","id":"7","source":"/shop","type":"t","data_base64":"eA=="}"#,
    ] {
        post(&hub, kind, bad).await.expect(400);
    }
    post(&hub, "application/cloudevents-batch+json", "[]").await.expect(415);
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_is_one_publish_and_scoped_to_its_publisher() {
    let hub = TestHub::new();
    let keyed = |token: &str, key: &str, body: &str| {
        let request = Request::post(EVENTS)
            .header("content-type", JSON)
            .header("authorization", bearer(token))
            .header("idempotency-key", key);
        hub.send(request.body(body.to_owned()).unwrap())
    };
    let all = unrestricted_token_08();
    let first = keyed(&all, "k", r#"{"topic":"a","data":1}"#).await.expect(200).json();
    assert_eq!(keyed(&all, "k", r#"{"topic":"a","data": 1}"#).await.expect(200).json(), first);
    let body = r#"{"topic":"a","data":1,"key":"k"}"#;
    assert_eq!(post(&hub, JSON, body).await.expect(200).json(), first);
    keyed(&all, "k", r#"{"topic":"a","data":2}"#).await.expect(409);
    keyed(&all, "k", r#"{"topic":"a","key":"other"}"#).await.expect(400);
    keyed(&all, "", r#"{"topic":"a"}"#).await.expect(400);
    let other = token_08_for("publish", &["a"]);
    keyed(&other, "k", r#"{"topic":"a","data":2}"#).await.expect(200);
    assert_eq!(hub.hub.events().stats().published, 2);
    let off = TestHub::with(&["--idempotency-window", "off"]);
    off.post(&all, EVENTS, JSON, r#"{"topic":"a","key":"k"}"#).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn metrics_keep_the_names_of_mercure() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    hub.publish(&[("topic", "a"), ("data", "x")]).await.expect(200);
    subscriber.expect("message", "x").await;
    // Control events are off at this endpoint, so that the stream is a `retry:` line and the event.
    let (_, event) = std::str::from_utf8(subscriber.raw()).unwrap().split_once('\n').unwrap();
    let delivered = event.len();
    subscriber.reconnect().await.unwrap();
    let admin = TestHub { app: prism_hub::api::admin_router(&hub.hub), hub: hub.hub.clone() };
    let text = admin.get("/metrics").await.expect(200).text;
    for line in [
        "mercure_subscribers_connected 1.0",
        "mercure_subscribers_total 2",
        "mercure_updates_total 1",
        "prism_deliveries_total 1",
        &format!("prism_delivered_bytes_total {delivered}"),
        "prism_replays_total 1",
        "prism_closes_total{reason=\"disconnected\"} 1",
        "prism_published_bytes_total 1",
        "prism_http_requests_total{method=\"POST\",status=\"200\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
    assert!(hub.get("/metrics").await.status == 404, "not on the public address");
}

#[tokio::test(start_paused = true)]
async fn the_demo_page_loads_nothing_from_other_origins() {
    use prism_hub::{auth::Clock, config::Config, hub::Hub};
    let hub =
        Hub::new(Config::from_args(["--dev", "--engine", "memory"]).unwrap(), Clock::system())
            .unwrap();
    hub.set_ready(true);
    let demo = TestHub { app: prism_hub::serve::demo_router(&hub), hub };
    for (path, kind) in
        [("/", "text/html"), ("/demo.css", "text/css"), ("/demo.js", "text/javascript")]
    {
        let answer = demo.get(path).await.expect(200);
        assert!(answer.header("content-type").starts_with(kind), "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'self'"));
        assert!(!answer.text.contains("https://") && !answer.text.contains("http://"), "{path}");
    }
    TestHub::new().get("/").await.expect(404);
}
