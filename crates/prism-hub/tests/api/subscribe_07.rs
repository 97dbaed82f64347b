//! Draft-07: subscribing and resuming.

use std::time::Duration;

use http::Request;

use super::fixture::{
    MERCURE, TestHub, address, stream, token_07, token_07_for, unrestricted_token_07,
};

const BOOKS: &str = "https://example.com/books/{id}";

#[tokio::test(start_paused = true)]
async fn m07_001_the_hub_has_one_path() {
    let hub = TestHub::new();
    hub.get(&address(MERCURE, &[("topic", "a")])).await.expect(200);
    hub.publish_with(&unrestricted_token_07(), &[("topic", "a")]).await.expect(200);
    hub.get("/.well-known/mercure/").await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn m07_002_a_star_selects_all_topics() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "*")]).await;
    hub.publish(&[("topic", "a"), ("data", "1")]).await.expect(200);
    hub.publish(&[("topic", "https://example.com/b"), ("data", "2")]).await.expect(200);
    subscriber.expect("message", "1").await;
    subscriber.expect("message", "2").await;
}

#[tokio::test(start_paused = true)]
async fn m07_003_and_004_and_005_a_selector_is_a_topic_or_a_uri_template() {
    let hub = TestHub::new();
    let mut template = hub.subscribe(&[("topic", BOOKS)]).await;
    let mut broken = hub.subscribe(&[("topic", "a{b")]).await;
    for (topic, data) in [
        ("https://example.com/books/1/2", "no expansion"),
        ("https://example.com/books/1", "an expansion"),
        (BOOKS, "the text"),
        ("a{b", "no template"),
        ("ab", "neither"),
    ] {
        hub.publish(&[("topic", topic), ("data", data)]).await.expect(200);
    }
    template.expect("message", "an expansion").await;
    template.expect("message", "the text").await;
    broken.expect("message", "no template").await;
    assert!(template.listen(Duration::from_secs(1)).await.is_empty());
    assert!(broken.listen(Duration::from_secs(1)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn m07_006_get_subscribes() {
    let hub = TestHub::new();
    let path = address(MERCURE, &[("topic", "a")]);
    for method in ["PUT", "DELETE", "PATCH", "TRACE"] {
        let request = Request::builder().method(method).uri(&path).body(String::new()).unwrap();
        let answer = hub.send(request).await.expect(405);
        assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, POST, QUERY");
    }
    // HEAD has the headers of GET, and opens no connection.
    let head = Request::head(&path).body(String::new()).unwrap();
    let answer = hub.send(head).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(hub.hub.events().stats().connected, 0);
}

#[tokio::test(start_paused = true)]
async fn m07_008_and_009_each_topic_parameter_is_a_selector_of_the_stream() {
    let hub = TestHub::new();
    hub.get(MERCURE).await.expect(400);
    let query = format!("{MERCURE}?topic=a%20b&topic=c%2Bd&topic=e+f&x=y");
    let mut subscriber = hub.connect(&query, &[]).await;
    for topic in ["a b", "c+d", "e f", "a"] {
        hub.publish(&[("topic", topic), ("data", topic)]).await.expect(200);
    }
    for data in ["a b", "c+d", "e f"] {
        subscriber.expect("message", data).await;
    }
    assert!(subscriber.listen(Duration::from_secs(1)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn m07_010_private_updates_need_a_grant() {
    let hub = TestHub::new();
    let first = hub.publish(&[("topic", "a"), ("data", "0")]).await.text;
    let mut live = hub.subscribe(&[("topic", "a")]).await;
    let mut other = hub.subscribe_with(&token_07_for(&[], &["b"]), &[("topic", "*")]).await;
    hub.publish(&[("topic", "a"), ("data", "secret"), ("private", "on")]).await.expect(200);
    hub.publish(&[("topic", "a"), ("data", "1")]).await.expect(200);
    live.expect("message", "1").await;
    other.expect("message", "1").await;
    let mut replayed = hub.subscribe(&[("topic", "a"), ("lastEventID", &first)]).await;
    replayed.expect("message", "1").await;
}

#[tokio::test(start_paused = true)]
async fn m07_011_the_response_is_an_event_stream_that_begins_at_once() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    assert_eq!(subscriber.headers()["content-type"], "text/event-stream");
    assert_eq!(subscriber.headers()["x-accel-buffering"], "no");
    assert!(
        subscriber.listen(Duration::from_secs(1)).await.is_empty(),
        "no event of the hub's own"
    );
    let raw = String::from_utf8(subscriber.raw().to_vec()).unwrap();
    assert!(raw.starts_with("retry: ") && raw.ends_with('\n') && raw.lines().count() == 1, "{raw}");
}

#[tokio::test(start_paused = true)]
async fn m07_012_the_data_is_what_was_posted() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    for (posted, read) in [
        ("one", "one"),
        ("a\nb\r\nc\rd", "a\nb\nc\nd"),
        ("  spaces \n\n  and an empty line", "  spaces \n\n  and an empty line"),
        ("", ""),
        ("\n", "\n"),
        ("é €", "é €"),
    ] {
        hub.publish(&[("topic", "a"), ("data", posted)]).await.expect(200);
        subscriber.expect("message", read).await;
    }
    hub.publish(&[("topic", "a")]).await.expect(200);
    subscriber.expect("message", "").await;
}

#[tokio::test(start_paused = true)]
async fn m07_013_type_id_and_retry_are_delivered() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    let form =
        [("topic", "a"), ("data", "x"), ("type", "price"), ("id", "urn:1"), ("retry", "12345")];
    assert_eq!(hub.publish_with(&unrestricted_token_07(), &form).await.expect(200).text, "urn:1");
    let event = subscriber.expect("price", "x").await;
    assert_eq!(event.id, "urn:1");
    assert_eq!(subscriber.retry(), Some(Duration::from_millis(12_345)));
}

#[tokio::test(start_paused = true)]
async fn m07_032_the_response_to_a_token_in_the_query_is_private_to_caches() {
    let hub = TestHub::new();
    let token = unrestricted_token_07();
    let answer = hub.get(&address(MERCURE, &[("topic", "a"), ("authorization", &token)])).await;
    assert!(answer.expect(200).header("cache-control").contains("private"));
    let path = address(MERCURE, &[("authorization", &token)]);
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    let answer = hub.send(request.body("topic=a".to_owned()).unwrap()).await;
    assert!(answer.expect(200).header("cache-control").contains("private"));
}

#[tokio::test(start_paused = true)]
async fn m07_038_and_042_and_043_a_grant_of_one_topic_authorizes_a_private_update() {
    let hub = TestHub::new();
    let token = token_07_for(&[], &["https://example.com/users/{id}"]);
    let mut subscriber = hub.subscribe_with(&token, &[("topic", "https://example.com/{x}")]).await;
    let both = [
        ("topic", "https://example.com/a"),
        ("topic", "https://example.com/users/1"),
        ("private", ""),
        ("data", "by the alternate"),
    ];
    hub.publish(&both[..1]).await.expect(200);
    hub.publish(&[both[0], both[2], ("data", "secret")]).await.expect(200);
    hub.publish(&both).await.expect(200);
    subscriber.expect("message", "").await;
    subscriber.expect("message", "by the alternate").await;
}

#[tokio::test]
async fn m07_040_the_stream_ends_when_the_token_expires() {
    let hub = TestHub::new();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let exp = since.as_secs() + 2;
    let claims = serde_json::json!({"exp": exp, "mercure": {"subscribe": ["*"]}});
    let mut subscriber = hub.subscribe_with(&token_07(&claims), &[("topic", "a")]).await;
    subscriber.expect_end().await;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let late = since.saturating_sub(Duration::from_secs(exp));
    assert!(since >= Duration::from_secs(exp), "not before");
    assert!(late < Duration::from_millis(900), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn m07_045_and_046_every_event_has_an_id_that_is_a_uri_reference() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("topic", "a")]).await;
    let id = hub.publish(&[("topic", "a"), ("data", "x")]).await.text;
    assert!(id.starts_with('#') && !id.contains(char::is_whitespace), "{id}");
    assert_eq!(subscriber.expect("message", "x").await.id, id);
}

#[tokio::test(start_paused = true)]
async fn m07_047_and_049_the_parameter_resumes_like_the_header() {
    let hub = TestHub::new();
    let mut ids = Vec::new();
    for data in ["1", "2", "3"] {
        ids.push(hub.publish(&[("topic", "a"), ("data", data)]).await.text);
    }
    let path = address(MERCURE, &[("topic", "a")]);
    let by_header = hub.connect(&path, &[("last-event-id", &ids[0])]).await;
    let by_parameter = hub.subscribe(&[("topic", "a"), ("lastEventID", &ids[0])]).await;
    let by_old_parameter = hub.subscribe(&[("topic", "a"), ("Last-Event-ID", &ids[0])]).await;
    hub.publish(&[("topic", "a"), ("data", "live")]).await.expect(200);
    for mut subscriber in [by_header, by_parameter, by_old_parameter] {
        for data in ["2", "3", "live"] {
            subscriber.expect("message", data).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m07_048_the_header_wins_over_the_parameter() {
    let hub = TestHub::new();
    hub.publish(&[("topic", "a"), ("data", "1"), ("id", "one")]).await.expect(200);
    hub.publish(&[("topic", "a"), ("data", "2"), ("id", "two")]).await.expect(200);
    hub.publish(&[("topic", "a"), ("data", "3"), ("id", "three")]).await.expect(200);
    let path = address(MERCURE, &[("topic", "a"), ("lastEventID", "one")]);
    let mut subscriber = hub.connect(&path, &[("last-event-id", "two")]).await;
    assert_eq!(subscriber.headers()["last-event-id"], "two");
    subscriber.expect("message", "3").await;
}

#[tokio::test(start_paused = true)]
async fn m07_050_and_051_and_052_the_response_has_the_last_event_id() {
    let hub = TestHub::new();
    let last_event_id = |query: Vec<(&'static str, String)>| {
        let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = address(MERCURE, &query);
        let request = stream(&path);
        let hub = &hub;
        async move { hub.send(request).await.expect(200).header("last-event-id").to_owned() }
    };
    let query = |id: &str| vec![("topic", "a".to_owned()), ("lastEventID", id.to_owned())];
    assert_eq!(last_event_id(query("x")).await, "earliest", "an empty history");
    let ours = hub.publish(&[("topic", "a")]).await.text;
    hub.publish(&[("topic", "b"), ("id", "theirs é")]).await.expect(200);
    assert_eq!(last_event_id(query(&ours)).await, ours);
    let path = address(MERCURE, &[("topic", "a"), ("lastEventID", "theirs é")]);
    let answer = hub.send(stream(&path)).await;
    assert_eq!(answer.headers["last-event-id"].as_bytes(), "theirs é".as_bytes());
    for unknown in ["earliest", "unknown", "#1.1", "", "a\nb", "#"] {
        assert_eq!(last_event_id(query(unknown)).await, "earliest", "{unknown:?}");
    }
    let answer = hub.get(&address(MERCURE, &[("topic", "a")])).await;
    assert_eq!(answer.header("last-event-id"), "", "the request had no last event id");
}
