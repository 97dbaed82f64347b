//! Draft-08: each case about CORS and cookies, and each member of the resource metadata.

use http::Request;
use serde_json::{Value, json};

use super::fixture::{
    HUB, ISSUER, MERCURE, SECRET, TestHub, TestResponse, address, unrestricted_token_08,
};

const APP: &str = "https://app.example";
const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

/// The response to a publish with the cookie, from a page of this origin.
async fn by_cookie(hub: &TestHub, origin: &str) -> TestResponse {
    let request = Request::get(address(MERCURE, &[("match", "a")]))
        .header("origin", origin)
        .header("cookie", format!("__Secure-mercure_access_token={}", unrestricted_token_08()));
    hub.send(request.body(String::new()).unwrap()).await.expect(200)
}

async fn metadata(more: &[&str]) -> Value {
    let answer = TestHub::with(more).get(METADATA).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

#[tokio::test(start_paused = true)]
async fn m08_188_a_wildcard_origin_allows_no_credentials() {
    let any = TestHub::with(&["--cors-origin", "*"]);
    let answer = by_cookie(&any, APP).await;
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        "",
        "no credentials with the wildcard"
    );
    let listed = TestHub::with(&["--cors-origin", APP]);
    for origin in [APP, "https://evil.example", "null", "*"] {
        let answer = by_cookie(&listed, origin).await;
        assert_ne!(answer.header("access-control-allow-origin"), "*", "{origin}");
    }
    let both = ["--dev", "--cors-origin", "*", "--cors-origin", APP];
    let error = prism_hub::config::Config::from_args(both).unwrap_err().to_string();
    assert!(error.contains("`*` stands alone"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn m08_189_an_unlisted_origin_gets_no_cors_headers() {
    let hub = TestHub::with(&["--cors-origin", APP]);
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "https://evil-app.example",
        "https://evilapp.example",
        "https://app.example:444",
        "http://app.example",
        "https://app.example@evil.example",
        "https://app.example/",
        "https://app.example https://evil.example",
        "https://xn--app-example-9y0",
        "null",
        "*",
        "",
        "file://",
    ] {
        let answer = by_cookie(&hub, origin).await;
        for header in ["access-control-allow-origin", "access-control-allow-credentials"] {
            assert_eq!(answer.header(header), "", "{origin}");
        }
        assert_eq!(answer.header("vary"), "origin", "caches must distinguish origins");
    }
}

#[tokio::test(start_paused = true)]
async fn m08_190_a_listed_origin_is_allowed() {
    let other = "http://localhost:3000";
    let hub = TestHub::with(&["--cors-origin", APP, "--cors-origin", other]);
    for origin in [APP, other] {
        let answer = by_cookie(&hub, origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(answer.header("vary"), "origin");
    }
    let none = by_cookie(&TestHub::new(), APP).await;
    assert_eq!(none.header("access-control-allow-origin"), "", "no origin is listed by default");
}

#[tokio::test(start_paused = true)]
async fn m08_200_the_resource_is_the_audience_of_tokens() {
    assert_eq!(metadata(&[]).await["resource"], HUB);
    assert_eq!(metadata(&["--audience", "urn:hub:7"]).await["resource"], "urn:hub:7");
}

#[tokio::test(start_paused = true)]
async fn m08_201_authorization_servers_are_listed_if_there_are_any() {
    let own = metadata(&[]).await;
    assert!(
        own.get("authorization_servers").is_none(),
        "without key sets at URLs there is no authorization server"
    );
    let key = jsonwebtoken::jwk::Jwk::from_encoding_key(
        &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()),
        jsonwebtoken::Algorithm::HS256,
    );
    let path = std::env::temp_dir().join(format!("prism-hub-m08-201-{}", std::process::id()));
    std::fs::write(&path, json!({"keys": [key.unwrap()]}).to_string()).unwrap();
    let set = format!("{ISSUER}=file:{}", path.display());
    let document = metadata(&["--jwks", &set]).await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(document["authorization_servers"], json!([ISSUER]));
}

#[tokio::test(start_paused = true)]
async fn m08_202_the_type_of_authorization_details_is_listed() {
    let types = &metadata(&[]).await["authorization_details_types_supported"];
    assert_eq!(*types, json!(["https://mercure.rocks/authorization-detail"]));
}

#[tokio::test(start_paused = true)]
async fn m08_203_the_bearer_method_is_the_header() {
    assert_eq!(metadata(&[]).await["bearer_methods_supported"], json!(["header"]));
}

#[tokio::test(start_paused = true)]
async fn m08_085_and_204_the_metadata_has_the_name_of_the_cookie() {
    let hub = TestHub::new();
    let document = hub.get(METADATA).await.expect(200).json();
    let name = document["mercure_cookie"].as_str().unwrap();
    let token = unrestricted_token_08();
    let mut page = hub
        .connect(&address(MERCURE, &[("match", "a")]), &[("cookie", &format!("{name}={token}"))])
        .await;
    hub.publish(&[("topic", "a"), ("data", "secret"), ("private", "")]).await.expect(200);
    page.expect("message", "secret").await;
}

/// The response to a request with the cookie and these headers.
async fn with_cookie(
    hub: &TestHub,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
) -> TestResponse {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "text/event-stream")
        .header("cookie", format!("__Secure-mercure_access_token={}", unrestricted_token_08()));
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let body = if method == "POST" { "topic=a" } else { "match=a" };
    hub.send(request.body(body.to_owned()).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn m08_083_a_cookie_authorizes_every_safe_method_from_every_origin() {
    let hub = TestHub::with(&["--cors-origin", APP]);
    for more in [&[][..], &[("origin", APP)], &[("origin", "https://evil.example")]] {
        for (method, path) in [("GET", "/.well-known/mercure?match=a"), ("QUERY", MERCURE)] {
            let answer = with_cookie(&hub, method, path, more).await.expect(200);
            assert_eq!(answer.header("content-type"), "text/event-stream", "{method} {more:?}");
            // CORS decides separately which page may read the response.
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed == APP, more == [("origin", APP)], "{method} {more:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m08_196_a_cookie_publishes_from_no_disguised_origin() {
    let hub = TestHub::with(&["--publish-origin", APP, "--cors-origin", "https://read.example"]);
    for (name, value) in [
        ("origin", "null"),
        ("origin", "https://hub.example.evil.example"),
        ("origin", "https://evil.example/https://hub.example"),
        ("origin", "https://hub.example@evil.example"),
        ("origin", "https://hub.example:444"),
        ("origin", "http://hub.example"),
        ("origin", "https://hub.example, https://hub.example"),
        ("origin", "https://hub.example https://evil.example"),
        ("origin", "*"),
        ("origin", ""),
        ("origin", "https://read.example"),
        ("referer", "https://hub.example@evil.example/"),
        ("referer", "https://evil.example/?https://hub.example/"),
        ("referer", "https://evil.example\\@hub.example/"),
        ("referer", "//hub.example/"),
        ("referer", "about:blank"),
    ] {
        let answer = with_cookie(&hub, "POST", MERCURE, &[(name, value)]).await.expect(400);
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_request\""), "{name}: {value}");
    }
    // If there is an `Origin`, the `Referer` is not used.
    let both = [("origin", "https://evil.example"), ("referer", "https://hub.example/")];
    with_cookie(&hub, "POST", MERCURE, &both).await.expect(400);
    let twice = [("origin", APP), ("origin", APP)];
    with_cookie(&hub, "POST", MERCURE, &twice).await.expect(400);
    assert_eq!(hub.hub.events().stats().published, 0);
    with_cookie(&hub, "POST", MERCURE, &[("origin", APP)]).await.expect(200);
}
