//! T-JWT: servers that misbehave, and tokens that ask for a fetch.

use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::{KeySetServer, ServerAnswer, TIMING, TestHub, token, token_of};
use crate::auth::tests::fixture::{ISSUER, KeyPair, SECRET, hmac_jwk, raw};
use crate::jwks::RefreshTiming;
use crate::limits;

fn set(keys: &[Value]) -> ServerAnswer {
    ServerAnswer::of("200 OK", "", &json!({ "keys": keys }).to_string())
}

/// A timing with a short timeout. An answer that never arrives exceeds any timeout.
const IMPATIENT: RefreshTiming =
    RefreshTiming { fetch_timeout: Duration::from_millis(50), ..TIMING };

/// Asserts that an answer is refused for this reason: a hub does not start with it, and a running
/// hub keeps the previous set.
async fn refused(answer: ServerAnswer, timing: RefreshTiming, reason: &str) {
    let pair = KeyPair::ed();
    let bad = KeySetServer::start(answer.clone()).await;
    let error = TestHub::new(&bad, timing).refresher.start().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("the key set {}: {reason}", bad.url)), "{error}");
    assert!(bad.asked() <= 1, "one try, which may be late before it is heard");

    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let mut fixture = TestHub::started(&endpoint).await;
    fixture.refresher.timing = timing;
    let token = token("a", &pair);
    fixture.publishes(&token).unwrap();
    let before = fixture.hub.rules().current();
    endpoint.now_gives(answer);
    let error = fixture.refresh().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("the key set {}: {reason}", endpoint.url)), "{error}");
    assert!(std::sync::Arc::ptr_eq(&before, &fixture.hub.rules().current()), "the same rules");
    fixture.publishes(&token).unwrap();
    fixture.reads(&token).unwrap();
}

#[tokio::test]
async fn t_jwt_a_server_that_answers_with_an_error() {
    for (status, reason) in [
        ("404 Not Found", "the answer is 404 Not Found; it must be 200"),
        ("500 Internal Server Error", "the answer is 500 Internal Server Error; it must be 200"),
        ("201 Created", "the answer is 201 Created; it must be 200"),
        ("304 Not Modified", "the answer is 304 Not Modified; it must be 200"),
    ] {
        let answer = ServerAnswer::of(status, "", "");
        refused(answer, TIMING, reason).await;
    }
    let half =
        ServerAnswer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":[".to_vec());
    refused(half, TIMING, "").await;
    let garbage = ServerAnswer::Bytes(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec());
    refused(garbage, TIMING, "").await;
}

#[tokio::test]
async fn t_jwt_a_server_that_redirects() {
    let elsewhere = KeySetServer::start(ServerAnswer::keys(&[("a", &KeyPair::ed())])).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let location = format!("location: {}\r\n", elsewhere.url);
        let reason =
            format!("the answer is {status}, and no redirect is followed; name where it is");
        refused(ServerAnswer::of(status, &location, ""), TIMING, &reason).await;
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn t_jwt_a_server_that_is_slow() {
    let reason = "it was not there within 50 ms";
    for sent in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":[",
        b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[",
    ] {
        refused(ServerAnswer::Silence(sent.to_vec()), IMPATIENT, reason).await;
    }
}

#[tokio::test]
async fn t_jwt_a_server_that_sends_too_much() {
    let reason = "the answer has more than 262144 bytes";
    let key = KeyPair::ed().jwk(&[]);
    let padded = |len: usize| {
        let text = json!({ "keys": [key] }).to_string();
        format!("{text}{}", " ".repeat(len - text.len()))
    };
    let max = usize::try_from(limits::KEY_FILE_BYTES_MAX).unwrap();
    refused(ServerAnswer::of("200 OK", "", &padded(max + 1)), TIMING, reason).await;
    let large = padded(10 * 1024 * 1024);
    refused(ServerAnswer::of("200 OK", "", &large), TIMING, reason).await;
    // Without a `Content-Length`, on a connection that stays open.
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{large}").into_bytes();
    refused(ServerAnswer::Silence(endless), TIMING, reason).await;
    let endpoint = KeySetServer::start(ServerAnswer::of("200 OK", "", &padded(max))).await;
    TestHub::started(&endpoint).await;
}

#[tokio::test]
async fn t_jwt_a_body_that_is_not_a_key_set() {
    for text in ["", "[]", "<html></html>", "{\"keys\":{}}", "{\"keys\":[]", "null"] {
        let answer = ServerAnswer::of("200 OK", "", text);
        refused(answer, TIMING, "it is no JSON object with `keys`").await;
    }
    let many = vec![KeyPair::ed().jwk(&[]); limits::KEYS_MAX + 1];
    refused(set(&many), TIMING, "it has 101 keys; at most 100 are allowed").await;
}

#[tokio::test]
async fn t_jwt_an_empty_set_fails_at_start_and_removes_all_keys_later() {
    for keys in [
        set(&[]),
        set(&[KeyPair::ed().jwk(&[("use", "enc")])]),
        // Secrets in a fetched set are skipped.
        set(&[hmac_jwk("a", SECRET)]),
    ] {
        let bad = KeySetServer::start(keys.clone()).await;
        let error = TestHub::new(&bad, TIMING).refresher.start().await.unwrap_err().to_string();
        assert!(error.ends_with("it has no key for signatures that is supported"), "{error}");
        let pair = KeyPair::ed();
        let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
        let mut fixture = TestHub::started(&endpoint).await;
        let token = token("a", &pair);
        fixture.publishes(&token).unwrap();
        endpoint.now_gives(keys);
        fixture.refresh().await.unwrap();
        assert_eq!(fixture.publishes(&token).unwrap_err().status(), 401);
    }
}

#[tokio::test]
async fn t_jwt_an_unusable_key_does_not_prevent_the_removal_of_another() {
    let (old, new) = (KeyPair::ed(), KeyPair::ed());
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("old", &old)])).await;
    let mut fixture = TestHub::started(&endpoint).await;
    let tokens = [token("old", &old), token("new", &new)];
    assert_eq!(fixture.statuses([&tokens[0], &tokens[1]]), [200, 401]);
    let weak =
        json!({"kty": "RSA", "kid": "weak", "alg": "RS256", "n": "wQ".repeat(64), "e": "AQAB"});
    endpoint.now_gives(set(&[new.jwk(&[("kid", "new")]), weak]));
    fixture.refresh().await.unwrap();
    assert_eq!(fixture.statuses([&tokens[0], &tokens[1]]), [401, 200]);
}

#[tokio::test]
async fn t_jwt_a_token_of_the_same_provider_for_another_program() {
    let pair = KeyPair::ed();
    let fixture =
        TestHub::started(&KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await).await;
    let claims = json!({"iss": "https://idp.example", "aud": "other", "sub": "somebody"});
    let other = pair.token(&claims);
    assert_eq!(fixture.reads(&other).unwrap_err().status(), 401);
    assert_eq!(fixture.publishes(&other).unwrap_err().status(), 401);
}

#[tokio::test]
async fn t_jwt_a_secret_in_a_fetched_set_verifies_no_token() {
    let pair = KeyPair::ed();
    let keys = set(&[hmac_jwk("a", SECRET), pair.jwk(&[("kid", "b")])]);
    let fixture = TestHub::started(&KeySetServer::start(keys).await).await;
    let claims = crate::auth::tests::fixture::mercure(&["*"]);
    let by_secret = crate::auth::tests::fixture::draft_07_token_by(SECRET, &claims);
    assert_eq!(fixture.statuses([&by_secret, &token("b", &pair)]), [401, 200]);
}

#[tokio::test]
async fn t_jwt_an_unverified_token_causes_no_fetch() {
    let (pair, other) = (KeyPair::ed(), KeyPair::ed());
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let elsewhere = KeySetServer::start(ServerAnswer::keys(&[("b", &other)])).await;
    let url = &elsewhere.url;
    let args = ["--public-url", "https://hub.example", "--issuer", ISSUER];
    let mut fixture = TestHub::of(&[&args[..], &["--jwks", &endpoint.url]].concat(), TIMING);
    fixture.refresher.start().await.unwrap();
    assert_eq!(fixture.statuses([&token_of(ISSUER, &pair)]), [200]);
    let claims = json!({"iss": url, "aud": "https://hub.example", "exp": 4_102_444_800_u64});
    for n in 0..200 {
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{n}","jku":"{url}"}}"#);
        let tokens = [
            token(&n.to_string(), &other),
            token_of(ISSUER, &other),
            token_of(url, &other),
            raw(&header, &claims.to_string(), "AAAA"),
        ];
        for token in &tokens {
            assert_eq!(fixture.publishes(token).unwrap_err().status(), 401);
            assert_eq!(fixture.reads(token).unwrap_err().status(), 401);
        }
    }
    // The tokens have changed nothing in the schedule, which causes all fetches.
    assert!(fixture.refresher.in_flight.is_empty());
    assert_eq!(fixture.refresher.next_fetch.len(), 1);
    fixture.refresher.start_due_fetches();
    assert!(fixture.refresher.in_flight.is_empty());
    assert_eq!((endpoint.asked(), elsewhere.asked()), (1, 0));
}

#[tokio::test]
async fn failures_and_the_age_of_a_set_are_metrics() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let mut fixture = TestHub::started(&endpoint).await;
    endpoint.goes_down();
    for _ in 0..3 {
        fixture.now.fetch_add(100, std::sync::atomic::Ordering::Relaxed);
        fixture.refresh().await.unwrap_err();
    }
    let metrics = fixture.metrics().await;
    assert!(metrics.contains("prism_jwks_failures_total 3\n"), "{metrics}");
    assert!(metrics.contains("prism_jwks_age_seconds 300\n"), "{metrics}");
}
