//! Isolation of tenants, and injection into streams and headers.

use http::{HeaderValue, Request};

use super::fixture::{
    EVENTS, MERCURE, TestHub, address, bearer, stream, token_08_for, unrestricted_token_08,
};

const HOSTILE: &[&str] = &[
    "_",
    "a_b",
    "a%2Fb",
    "a%2fb",
    "a//b",
    "a/../b",
    "\u{e9}",
    "e\u{301}",
    "A",
    "a",
    "a.",
    "a/",
    "https://a.example",
    "https://a.example/",
    "https://A.example/",
    "{x}",
    "a*",
];

#[tokio::test(start_paused = true)]
async fn t_auth_2_a_tenant_receives_no_private_event_of_another() {
    for (own, other) in HOSTILE.iter().flat_map(|own| HOSTILE.iter().map(move |it| (own, it))) {
        if own == other {
            continue;
        }
        let hub = TestHub::new();
        let token = token_08_for("subscribe", &[own]);
        let mut subscriber = hub.subscribe_with(&token, &[("match", "*")]).await;
        let secret = [("topic", *other), ("data", "secret"), ("private", ""), ("id", "their-id")];
        hub.publish(&secret).await.expect(200);
        hub.publish(&[("topic", *own), ("data", "own"), ("private", "")]).await.expect(200);
        subscriber.expect("message", "own").await;
        let replay = [("match", "*"), ("last_event_id", "their-id")];
        let mut subscriber = hub.subscribe_with(&token, &replay).await;
        assert_eq!(subscriber.headers()["mercure-last-event-id"], "earliest");
        assert!(subscriber.headers().values().all(|value| !value.as_bytes().starts_with(b"their")));
        subscriber.expect("message", "own").await;
    }
}

#[tokio::test(start_paused = true)]
async fn t_hdr_1_hostile_ids_cannot_inject_headers_or_events() {
    let hub = TestHub::new();
    for id in ["a\r\nx: y", "a\nb", "\0", "\u{7f}", "\u{200b}", "a\tb"] {
        let asked = address(EVENTS, &[("last_event_id", id), ("control", "off")]);
        let answer = hub.send(stream(&asked)).await.expect(200);
        assert_eq!(answer.header("last-event-id"), "earliest", "{id:?}");
        assert!(!answer.headers.contains_key("x"));
        hub.publish(&[("topic", "a"), ("id", id)]).await.expect(400);
        hub.publish(&[("topic", "a"), ("type", id)]).await.expect(400);
        hub.publish(&[("topic", id)]).await.expect(400);
    }
    // The header itself may contain any bytes.
    let mut request = stream(EVENTS);
    let bytes = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    request.headers_mut().insert("last-event-id", bytes);
    assert_eq!(hub.send(request).await.expect(200).header("last-event-id"), "earliest");
}

#[tokio::test(start_paused = true)]
async fn t_hdr_2_a_response_has_no_id_of_an_event_that_is_private() {
    let hub = TestHub::new();
    let secret = [("topic", "users/1"), ("private", ""), ("id", "payslip-1")];
    hub.publish(&secret).await.expect(200);
    hub.publish(&[("topic", "news"), ("data", "public"), ("id", "news-1")]).await.expect(200);
    for asked in ["payslip-1", "unknown", "earliest"] {
        let path = address(MERCURE, &[("match", "news"), ("last_event_id", asked)]);
        let answer = hub.send(stream(&path)).await.expect(200);
        assert_eq!(answer.header("mercure-last-event-id"), "earliest");
        assert_eq!(answer.header("last-event-id"), "earliest");
        let gap = answer.header("prism-gap");
        assert_eq!(gap, if asked == "earliest" { "" } else { "unknown" });
    }
    let owner = token_08_for("subscribe", &["users/1"]);
    let subscriber =
        hub.subscribe_with(&owner, &[("match", "*"), ("last_event_id", "payslip-1")]).await;
    assert_eq!(subscriber.headers()["mercure-last-event-id"], "payslip-1");
}

#[tokio::test(start_paused = true)]
async fn t_sse_2_posted_text_cannot_inject_events_or_fields() {
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    for text in
        ["\n", "\r", "\r\n", "\u{feff}", "\u{2028}", ":", " ", "data:", "\n\nevent: x\ndata: y\n\n"]
    {
        let read = text.replace("\r\n", "\n").replace('\r', "\n");
        let json = serde_json::json!({"topic": "a", "data": text}).to_string();
        let form = [("topic", "a"), ("data", text)];
        hub.publish(&form).await.expect(200);
        hub.post(&unrestricted_token_08(), EVENTS, "application/json", &json).await.expect(200);
        hub.post(&unrestricted_token_08(), EVENTS, "application/x-ndjson", &json).await.expect(200);
        let cloud = serde_json::json!({
            "specversion": "1.0", "id": "1", "source": "a", "type": "message", "data": text,
        });
        let kind = "application/cloudevents+json";
        hub.post(&unrestricted_token_08(), EVENTS, kind, &cloud.to_string()).await.expect(200);
        for _ in 0..4 {
            subscriber.expect("message", &read).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t_sse_3_reserved_event_names_are_refused() {
    let hub = TestHub::new();
    for (field, value) in [
        ("type", "mercure"),
        ("type", "prism.open"),
        ("type", "prism.gap"),
        ("id", "#1.1"),
        ("id", "earliest"),
        ("topic", "/.well-known/mercure/subscriptions/a/b"),
        ("topic", "/.well-known/%6dercure"),
        ("topic", "/.well-known/x/../mercure"),
        ("topic", "/.well-known/Mercure"),
        ("topic", "*"),
    ] {
        let form = [("topic", "a"), (field, value)];
        hub.publish(&form).await.expect(400);
        let json = match field {
            "type" => serde_json::json!({"topic": "a", "event": value}),
            "id" => serde_json::json!({"topic": "a", "id": value}),
            _ => serde_json::json!({"topic": value}),
        };
        hub.post(&unrestricted_token_08(), EVENTS, "application/json", &json.to_string())
            .await
            .expect(400);
    }
    assert_eq!(hub.hub.events().stats().published, 0);
}

#[tokio::test(start_paused = true)]
async fn t_auth_3_every_endpoint_refuses_requests_without_the_right() {
    let hub = TestHub::of(&[
        "--publisher-key",
        super::fixture::SECRET,
        "--subscriber-key",
        super::fixture::SECRET,
        "--issuer",
        super::fixture::ISSUER,
        "--public-url",
        "https://hub.example",
        "--subscriptions",
        "on",
    ]);
    let reads = [
        address(MERCURE, &[("match", "a")]),
        EVENTS.to_owned(),
        format!("{MERCURE}/subscriptions"),
        format!("{MERCURE}/subscriptions/exact/a"),
    ];
    for path in &reads {
        hub.get(path).await.expect(401);
        hub.get_with("a.b.c", path).await.expect(401);
        let head = Request::head(path).body(String::new()).unwrap();
        assert_eq!(hub.send(head).await.status, 401);
    }
    let publish_only = token_08_for("publish", &["*"]);
    hub.get_with(&publish_only, &reads[0]).await.expect(200);
    hub.get_with(&publish_only, &reads[2]).await.expect(403);
    hub.publish_with(&token_08_for("subscribe", &["*"]), &[("topic", "a")]).await.expect(403);
}

/// What a response says: its headers, and the first events of its stream, with `id` replaced and
/// without what is random.
async fn told(hub: &TestHub, mut request: Request<String>, id: &str) -> Vec<String> {
    request.headers_mut().insert("accept", HeaderValue::from_static("text/event-stream"));
    let response = tower_service::Service::call(&mut hub.app.clone(), request).await.unwrap();
    let mut told = vec![response.status().to_string()];
    for (name, value) in response.headers() {
        told.push(format!("{name}: {}", value.to_str().unwrap().replace(id, "ID")));
    }
    let mut body = response.into_body();
    let mut text = String::new();
    // The last event that was published is public, and every stream gets it.
    while !text.contains("data: last\n") {
        let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    let is_random = |line: &&str| line.starts_with("retry: ") || line.contains("\"connection\"");
    told.extend(text.replace(id, "ID").lines().filter(|it| !is_random(it)).map(str::to_owned));
    told
}

/// Every way in which a request names its last event id.
fn requests(id: &str, token: &str) -> Vec<Request<String>> {
    let mut requests = Vec::new();
    for path in [EVENTS, MERCURE] {
        for control in ["on", "off"] {
            let query = |more: &[(&str, &str)]| {
                address(path, &[&[("match", "*"), ("control", control)], more].concat())
            };
            let header = Request::get(query(&[])).header("last-event-id", id);
            requests.push(header.body(String::new()).unwrap());
            for name in ["last_event_id", "lastEventID", "Last-Event-ID"] {
                requests.push(Request::get(query(&[(name, id)])).body(String::new()).unwrap());
                let body = Request::builder().method("QUERY").uri(query(&[]));
                let body = body.header("content-type", "application/x-www-form-urlencoded");
                requests.push(body.body(format!("{name}={id}")).unwrap());
            }
        }
    }
    for request in requests.iter_mut().filter(|_| !token.is_empty()) {
        request.headers_mut().insert("authorization", bearer(token).parse().unwrap());
    }
    requests
}

#[tokio::test(start_paused = true)]
async fn nothing_tells_a_private_id_from_one_that_nobody_used() {
    let hub = TestHub::with(&["--retention-count", "5", "--subscriptions", "on"]);
    let private = async |id: &str| {
        let form = [("topic", "users/7"), ("private", ""), ("id", id), ("data", "secret")];
        hub.publish(&form).await.expect(200);
    };
    let public = async |data: &str| {
        hub.publish(&[("topic", "news"), ("data", data)]).await.expect(200);
    };
    private("evicted-1").await;
    for n in 0..5 {
        public(&n.to_string()).await;
    }
    private("retained1").await;
    public("last").await;
    let [owner, other] = ["users/7", "users/8"].map(|topic| token_08_for("subscribe", &[topic]));
    for token in ["", &other] {
        for (n, unused) in requests("nobodys-1", token).into_iter().enumerate() {
            let expected = told(&hub, unused, "nobodys-1").await;
            assert!(expected.contains(&"prism-gap: unknown".to_owned()), "{expected:?}");
            for id in ["evicted-1", "retained1"] {
                let request = requests(id, token).swap_remove(n);
                assert_eq!(told(&hub, request, id).await, expected, "{id} in request {n}");
            }
        }
    }
    for request in requests("evicted-1", &owner) {
        let told = told(&hub, request, "evicted-1").await;
        assert!(told.contains(&"prism-gap: expired".to_owned()), "{told:?}");
    }
    for request in requests("retained1", &owner) {
        let told = told(&hub, request, "retained1").await;
        assert!(told.contains(&"last-event-id: ID".to_owned()), "{told:?}");
    }
    // The subscription API and refusals name no publisher's id.
    let all = unrestricted_token_08();
    for path in [format!("{MERCURE}/subscriptions"), "/healthz".to_owned()] {
        let answer = hub.get_with(&all, &path).await;
        let headers = format!("{:?}", answer.headers);
        for id in ["evicted-1", "retained1"] {
            assert!(!answer.text.contains(id) && !headers.contains(id), "{path}");
        }
    }
}
