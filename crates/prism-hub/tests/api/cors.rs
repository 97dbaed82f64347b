//! The CORS policy, cookies of pages, the resource metadata, and the host check.

use http::Request;

use super::fixture::{
    EVENTS, HUB, MERCURE, SECRET, TestHub, address, unrestricted_token_07, unrestricted_token_08,
};

const APP: &str = "https://app.example";

fn from(origin: &str, path: &str) -> Request<String> {
    Request::get(path).header("origin", origin).body(String::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn m08_187_to_191_cors_allows_listed_origins_alone() {
    let hub = TestHub::with(&["--cors-origin", APP, "--cors-origin", "https://b.example"]);
    let path = address(MERCURE, &[("match", "a")]);
    let answer = hub.send(from(APP, &path)).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), APP);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    assert_eq!(answer.header("vary"), "origin");
    for origin in
        ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example"]
    {
        let answer = hub.send(from(origin, &path)).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{origin}");
        assert_eq!(answer.header("vary"), "origin");
    }
    // Error responses have the CORS headers too.
    let answer = hub.send(from(APP, MERCURE)).await.expect(400);
    assert_eq!(answer.header("access-control-allow-origin"), APP);
    let any = TestHub::with(&["--cors-origin", "*"]);
    let answer = any.send(from(APP, &path)).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[tokio::test(start_paused = true)]
async fn m08_179_and_187_cors_allows_the_headers_that_pages_need() {
    let hub = TestHub::with(&["--cors-origin", APP]);
    let request = Request::options(EVENTS)
        .header("origin", APP)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization");
    let answer = hub.send(request.body(String::new()).unwrap()).await.expect(204);
    for header in ["authorization", "cache-control", "last-event-id", "idempotency-key"] {
        assert!(answer.header("access-control-allow-headers").contains(header), "{header}");
    }
    for header in ["link", "last-event-id", "mercure-last-event-id", "prism-gap", "prism-refused"] {
        assert!(answer.header("access-control-expose-headers").contains(header), "{header}");
    }
    assert!(answer.header("access-control-allow-methods").contains("POST"));
}

#[tokio::test(start_paused = true)]
async fn m07_076_to_078_and_m08_195_and_196_a_cookie_publishes_from_allowed_origins_alone() {
    let hub = TestHub::with(&["--publish-origin", APP]);
    let form = |headers: &[(&str, &str)]| {
        let mut request = Request::post(MERCURE)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", format!("__Secure-mercure_access_token={}", unrestricted_token_08()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body("topic=a".to_owned()).unwrap()
    };
    hub.send(form(&[("origin", APP)])).await.expect(200);
    hub.send(form(&[("origin", "https://hub.example")])).await.expect(200);
    hub.send(form(&[("referer", "https://app.example/page")])).await.expect(200);
    for headers in
        [&[][..], &[("origin", "https://evil.example")], &[("referer", "https://evil.example/")]]
    {
        let answer = hub.send(form(headers)).await.expect(400);
        assert!(answer.header("www-authenticate").contains("invalid_request"));
    }
    assert_eq!(hub.hub.events().stats().published, 3);
}

#[tokio::test(start_paused = true)]
async fn m08_027_and_085_and_154_and_199_to_206_the_hub_serves_its_resource_metadata() {
    let path = "/.well-known/oauth-protected-resource/.well-known/mercure";
    let answer = TestHub::new().get(path).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert_eq!(document["resource"], HUB);
    assert!(
        document.get("authorization_servers").is_none(),
        "without key sets at URLs there is no authorization server"
    );
    let kind = "https://mercure.rocks/authorization-detail";
    assert_eq!(document["authorization_details_types_supported"], serde_json::json!([kind]));
    assert_eq!(document["bearer_methods_supported"], serde_json::json!(["header"]));
    assert_eq!(document["mercure_cookie"], "__Secure-mercure_access_token");
    let types = serde_json::json!(["exact", "urlpattern"]);
    assert_eq!(document["mercure_matcher_types_supported"], types);
    assert!(document.get("mercure_subscriptions").is_none());
    let on = TestHub::with(&["--subscriptions", "on"]);
    assert_eq!(on.get(path).await.json()["mercure_subscriptions"], true);
}

#[tokio::test(start_paused = true)]
async fn a_401_names_the_resource_metadata_in_both_dialects_and_at_both_paths() {
    let key = ["--publisher-key", SECRET, "--subscriber-key", SECRET];
    let public = TestHub::of(&[&key[..], &["--public-url", "https://hub.example/live"]].concat());
    let local = TestHub::of(&key);
    let metadata = "resource_metadata=\"https://hub.example/.well-known/\
                    oauth-protected-resource/live/.well-known/mercure\"";
    let invalid =
        [unrestricted_token_07(), unrestricted_token_08()].map(|token| format!("Bearer {token}x"));
    let tokens = [None, Some(invalid[0].as_str()), Some(invalid[1].as_str())];
    for (path, method) in [MERCURE, EVENTS].into_iter().flat_map(|it| [(it, "GET"), (it, "POST")]) {
        for token in tokens {
            let request = || {
                let request = Request::builder().method(method).uri(format!("{path}?topic=a"));
                let request = match token {
                    Some(token) => request.header("authorization", token),
                    None => request,
                };
                request.body(String::new()).unwrap()
            };
            let error = token.map_or("", |_| "error=\"invalid_token\"");
            let refused = public.send(request()).await.expect(401);
            let separator = if error.is_empty() { "" } else { ", " };
            let challenge = format!("Bearer {error}{separator}{metadata}");
            assert_eq!(refused.header("www-authenticate"), challenge, "{method} {path}");
            // Without a public URL the hub does not know where clients reach its metadata.
            let refused = local.send(request()).await.expect(401);
            let challenge = format!("Bearer {error}");
            assert_eq!(refused.header("www-authenticate"), challenge.trim_end(), "{method} {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_dev_other_hosts_and_publishes_from_other_origins_are_refused() {
    let hub = TestHub::of(&["--dev"]);
    let named = |host: &str| Request::get(EVENTS).header("host", host).body(String::new()).unwrap();
    hub.send(named("localhost:8080")).await.expect(200);
    hub.send(named("rebound.example")).await.expect(421);
    let post = |origin: &str| {
        let request = Request::post(EVENTS).header("origin", origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body("topic=a".to_owned()).unwrap()
    };
    hub.send(post("http://localhost:8080")).await.expect(200);
    hub.send(post("https://evil.example")).await.expect(403);
    hub.send(post("null")).await.expect(403);
    assert!(SECRET.len() >= 32);
}
