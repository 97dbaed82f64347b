//! T-JWT and T-AUTH over the API: attacks are refused, and all refusals look the same.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::fixture::{
    EVENTS, HUB, ISSUER, MERCURE, SECRET, TestHub, TestResponse, address, bearer, token_07,
    token_08_for, unrestricted_token_07, unrestricted_token_08,
};

const FORM: &str = "application/x-www-form-urlencoded";
const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";
const FAR: u64 = 4_102_444_800;

/// A token with any header and claims, signed with this secret.
fn forged(header: &str, claims: &str, secret: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

/// Claims of draft-08 that allow everything, with one of them changed.
fn claims(member: &str, value: Value) -> String {
    let grant = json!({
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["publish", "subscribe"],
        "topics": [{"match": "*"}],
    });
    let mut claims =
        json!({"iss": ISSUER, "aud": HUB, "exp": FAR, "authorization_details": [grant]});
    if !member.is_empty() {
        claims[member] = value;
    }
    claims.to_string()
}

/// Tokens of both dialects that must be refused as invalid.
fn attacks(address: &str) -> Vec<String> {
    let url = format!("http://{address}/keys");
    let everything = r#"{"mercure":{"publish":["*"],"subscribe":["*"]}}"#;
    let mut tokens = Vec::new();
    for typ in ["JWT", "at+jwt"] {
        let claims = if typ == "JWT" { everything.to_owned() } else { claims("", json!(0)) };
        for members in [
            r#""alg":"none""#.to_owned(),
            r#""alg":"nOnE""#.to_owned(),
            r#""alg":"""#.to_owned(),
            r#""alg":"RS256""#.to_owned(),
            r#""alg":"HS512""#.to_owned(),
            r#""alg":"HS256","alg":"HS256""#.to_owned(),
            r#""alg":"HS256","kid":1"#.to_owned(),
            r#""alg":"HS256","crit":["exp"]"#.to_owned(),
            r#""alg":"HS256","zip":"DEF""#.to_owned(),
            format!(r#""alg":"HS256","jku":"{url}""#),
            format!(r#""alg":"HS256","x5u":"{url}""#),
            format!(r#""alg":"HS256","jwk":{{"kty":"oct","k":"AAAA","url":"{url}"}}"#),
        ] {
            tokens.push(forged(&format!(r#"{{"typ":"{typ}",{members}}}"#), &claims, SECRET));
        }
        let good = format!(r#"{{"typ":"{typ}","alg":"HS256"}}"#);
        tokens.push(forged(&good, &claims, "a stranger's secret, 32 bytes long or more"));
        let named = format!(r#"{{"typ":"{typ}","alg":"HS256","kid":"{url}"}}"#);
        tokens.push(forged(&named, &claims, "a stranger's secret, 32 bytes long or more"));
        let path = format!(r#"{{"typ":"{typ}","alg":"HS256","kid":"../../../../dev/null"}}"#);
        tokens.push(forged(&path, &claims, "\u{0}"));
        for claims in [
            format!(r#"{{"exp":1,{}"#, &everything[1..]),
            format!(r#"{{"exp":"{FAR}",{}"#, &everything[1..]),
            format!(r#"{{"nbf":{FAR},{}"#, &everything[1..]),
            format!(r#"{{"exp":{FAR},"exp":{FAR},{}"#, &everything[1..]),
            format!("{}1{}", "[".repeat(3000), "]".repeat(3000)),
            "null".to_owned(),
            String::new(),
        ] {
            tokens.push(forged(&good, &claims, SECRET));
        }
        let unsigned = tokens[tokens.len() - 7].rsplit_once('.').unwrap().0.to_owned();
        tokens.push(format!("{unsigned}."));
        tokens.push("x".repeat(9000));
    }
    let good = r#"{"typ":"at+jwt","alg":"HS256"}"#;
    let many: Vec<_> = (0..101).map(|n| json!({"match": n.to_string()})).collect();
    let kind = "https://mercure.rocks/authorization-detail";
    let grant = |topics: Value| json!([{"type": kind, "actions": ["publish"], "topics": topics}]);
    for (member, value) in [
        ("iss", json!(url)),
        ("iss", json!("https://issuer.example/")),
        ("aud", json!("https://other.example")),
        ("aud", json!(format!("{HUB}/"))),
        ("exp", json!(1)),
        ("exp", json!(null)),
        ("nbf", json!(FAR)),
        ("authorization_details", grant(json!(many))),
        ("authorization_details", grant(json!([{"match": "(", "match_type": "urlpattern"}]))),
        ("authorization_details", grant(json!(["*"]))),
    ] {
        tokens.push(forged(good, &claims(member, value), SECRET));
    }
    tokens
}

/// A hub without anonymous subscribers.
fn closed(more: &[&str]) -> TestHub {
    let usual = ["--publisher-key", SECRET, "--subscriber-key", SECRET, "--issuer", ISSUER];
    let named = ["--public-url", "https://hub.example", "--subscriptions", "on"];
    TestHub::of(&[&usual[..], &named, more].concat())
}

fn request(method: &str, path: &str, token: Option<&str>) -> Request<String> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", FORM);
    if let Some(token) = token {
        request = request.header("authorization", bearer(token));
    }
    let body = match method {
        "POST" => "topic=a",
        "QUERY" => "match=a",
        _ => "",
    };
    request.body(body.to_owned()).unwrap()
}

/// Everything in a refusal that a client sees.
fn seen(answer: &TestResponse) -> String {
    format!("{} {:?} {}", answer.status, answer.headers, answer.text)
}

#[tokio::test(start_paused = true)]
async fn t_jwt_every_attack_gets_the_same_refusal_at_every_endpoint() {
    for hub in [closed(&[]), closed(&["--anonymous"])] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let attacks = attacks(&listener.local_addr().unwrap().to_string());
        let api = format!("{MERCURE}/subscriptions");
        let stream = address(MERCURE, &[("match", "a")]);
        for (method, path) in [
            ("GET", stream.as_str()),
            ("GET", EVENTS),
            ("QUERY", MERCURE),
            ("POST", MERCURE),
            ("POST", EVENTS),
            ("GET", &api),
        ] {
            let mut expected = None;
            for (at, token) in attacks.iter().enumerate() {
                let answer = hub.send(request(method, path, Some(token))).await.expect(401);
                let challenge = answer.header("www-authenticate");
                let of_hub = "resource_metadata=\"https://hub.example";
                let start = format!("Bearer error=\"invalid_token\", {of_hub}{METADATA}\"");
                assert_eq!(challenge, start);
                let seen = seen(&answer);
                let expected = expected.get_or_insert_with(|| seen.clone());
                assert_eq!(seen, *expected, "attack {at} at {method} {path}");
            }
        }
        assert_eq!(hub.hub.events().stats().published, 0);
        assert_eq!(hub.hub.events().stats().connected, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn t_jwt_every_attack_gets_the_same_refusal_in_query_and_cookie() {
    let hub = closed(&["--anonymous"]);
    let mut expected = None;
    for (at, token) in attacks("127.0.0.1:1").iter().enumerate() {
        let cookies = ["__Secure-mercure_access_token", "mercureAuthorization"];
        let mut requests: Vec<_> = cookies
            .map(|name| {
                let request = Request::get(EVENTS).header("cookie", format!("{name}={token}"));
                request.body(String::new()).unwrap()
            })
            .into();
        let header = token.split('.').next().and_then(|it| URL_SAFE_NO_PAD.decode(it).ok());
        let header = String::from_utf8(header.unwrap_or_default()).unwrap_or_default();
        // A token of draft-08 in the query is ignored.
        if !header.contains("at+jwt") {
            let path = address(EVENTS, &[("authorization", token)]);
            requests.push(Request::get(path).body(String::new()).unwrap());
        }
        for request in requests {
            let seen = seen(&hub.send(request).await.expect(401));
            assert_eq!(seen, *expected.get_or_insert(seen.clone()), "attack {at}");
        }
    }
    assert_eq!(hub.hub.events().stats().connected, 0);
}

#[tokio::test]
async fn t_jwt_unverified_tokens_cause_no_outgoing_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let hub = closed(&["--anonymous"]);
    for token in attacks(&listener.local_addr().unwrap().to_string()) {
        hub.send(request("POST", MERCURE, Some(&token))).await.expect(401);
        hub.send(request("GET", EVENTS, Some(&token))).await.expect(401);
    }
    // Valid tokens cause none either.
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let header = format!(r#"{{"typ":"at+jwt","alg":"HS256","kid":"{url}"}}"#);
    let named = forged(&header, &claims("sub", json!(url)), SECRET);
    hub.send(request("POST", MERCURE, Some(&named))).await.expect(200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn m08_197_key_sets_are_fetched_from_configured_urls_alone() {
    let config = |set: &str| {
        let args = ["--jwks", set, "--issuer", ISSUER, "--audience", HUB];
        prism_hub::config::Config::from_args(args).map_err(|error| error.to_string())
    };
    for place in ["https://issuer.example/keys", "https://10.0.0.1/keys", "http://127.0.0.1/keys"] {
        for set in [place.to_owned(), format!("{ISSUER}={place}")] {
            let config = config(&set).unwrap();
            let urls: Vec<_> = config.auth.key_set_urls().into_iter().collect();
            assert_eq!(urls.iter().map(|url| url.as_str()).collect::<Vec<_>>(), [place]);
        }
    }
    // Key sets are fetched over TLS, or over plain HTTP from loopback addresses alone.
    for place in ["http://169.254.169.254/", "http://10.0.0.1/", "http://issuer.example/keys"] {
        for set in [place.to_owned(), format!("{ISSUER}={place}")] {
            let error = config(&set).unwrap_err();
            assert!(error.contains("it must be https, or at a loopback address"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t_auth_3_every_endpoint_denies_every_token_without_the_grant() {
    let expired = json!({"exp": 1, "mercure": {"publish": ["*"], "subscribe": ["*"]}});
    let api = format!("{MERCURE}/subscriptions");
    let stream = address(MERCURE, &[("match", "a")]);
    let doors = [
        ("publish", "POST", MERCURE),
        ("publish", "POST", EVENTS),
        ("subscribe", "GET", stream.as_str()),
        ("subscribe", "GET", EVENTS),
        ("subscribe", "QUERY", MERCURE),
        ("subscribe", "QUERY", EVENTS),
        ("presence", "GET", &api),
        ("presence", "GET", "/.well-known/mercure/subscriptions/exact/a"),
        ("presence", "GET", "/.well-known/mercure/subscriptions/a/b"),
        ("everybody", "GET", METADATA),
        ("everybody", "GET", "/healthz"),
        ("everybody", "GET", "/readyz"),
        ("nobody", "GET", "/metrics"),
        ("nobody", "GET", "/"),
        ("nobody", "PUT", MERCURE),
        ("nobody", "DELETE", &api),
        ("nobody", "POST", METADATA),
    ];
    let people = [
        ("no token", None, [401, 401, 401]),
        ("an expired token", Some(token_07(&expired)), [401, 401, 401]),
        ("a token of nobody", Some("a.b.c".to_owned()), [401, 401, 401]),
        ("another tenant", Some(token_08_for("publish", &["b"])), [403, 200, 403]),
        ("a publisher", Some(token_08_for("publish", &["*"])), [200, 200, 403]),
        ("a reader", Some(token_08_for("subscribe", &["*"])), [403, 200, 200]),
        ("who may do everything", Some(unrestricted_token_08()), [200, 200, 200]),
        ("who may do everything, once", Some(unrestricted_token_07()), [200, 200, 200]),
    ];
    for (who, token, [publish, subscribe, presence]) in &people {
        let hub = closed(&[]);
        for (right, method, path) in doors {
            let answer = hub.send(request(method, path, token.as_deref())).await;
            let status = answer.status.as_u16();
            let context = format!("{who} at {method} {path}: {answer:?}");
            match right {
                "publish" => assert_eq!(status, *publish, "{context}"),
                "subscribe" => assert_eq!(status, *subscribe, "{context}"),
                // This subscription does not exist, which only a token with the grant can learn.
                "presence" if path.ends_with("/a/b") && *presence == 200 => {
                    assert_eq!(status, 404, "{context}");
                }
                "presence" => assert_eq!(status, *presence, "{context}"),
                "everybody" => assert_eq!(status, 200, "{context}"),
                _ => assert!(status == 404 || status == 405, "{context}"),
            }
            let head = Request::builder().method(Method::HEAD).uri(path);
            if method == "GET" && status >= 400 {
                let head = hub.send(head.body(String::new()).unwrap()).await;
                assert!(head.status.as_u16() >= 400, "{context}");
            }
        }
    }
}

/// Fails if a route was added; add it to the matrix above as well.
#[test]
fn t_auth_3_the_matrix_covers_every_route() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.extend((0..text.matches(".route(").count()).map(|_| name.clone()));
        }
    }
    found.sort();
    let known = [
        "demo.rs",          // the page of `demo`,
        "demo.rs",          // its style sheet,
        "demo.rs",          // and its script
        "events.rs",        // the native endpoint
        "events.rs",        // the endpoint of the Mercure protocol
        "health.rs",        // /healthz
        "health.rs",        // /readyz
        "metadata.rs",      // the resource metadata
        "metrics.rs",       // /metrics, on the admin address
        "subscriptions.rs", // the subscription API: all subscriptions
        "subscriptions.rs", // and selected ones
    ];
    assert_eq!(found, known, "a new route needs a row in the matrix of t_auth_3");
}

#[tokio::test(start_paused = true)]
async fn t_auth_2_subscription_events_metrics_and_errors_reveal_nothing_of_another_tenant() {
    let hub = closed(&["--anonymous"]);
    let theirs = "https://tenant-a.example/invoices";
    let _reader =
        hub.subscribe_with(&token_08_for("subscribe", &[theirs]), &[("match", theirs)]).await;
    let form = [("topic", theirs), ("private", ""), ("id", "invoice-7"), ("data", "secret")];
    hub.publish(&form).await.expect(200);
    let nosy = token_08_for("subscribe", &["https://tenant-b.example/invoices"]);
    let api = format!("{MERCURE}/subscriptions");
    let escaped = "https%3A%2F%2Ftenant-a.example%2Finvoices";
    let mut output = String::new();
    for path in [
        api.clone(),
        format!("{api}/exact/{escaped}"),
        format!("{api}/{escaped}"),
        address(MERCURE, &[("match", "*"), ("last_event_id", "invoice-7")]),
        address(EVENTS, &[("last_event_id", "earliest")]),
        address(EVENTS, &[("replay", "latest")]),
    ] {
        let answer = hub.get_with(&nosy, &path).await;
        // A response repeats nothing but the path of its request, and that only with the grant.
        output += &seen(&answer);
    }
    let refused = hub.publish_with(&token_08_for("publish", &["b"]), &[("topic", theirs)]).await;
    output += &seen(&refused.expect(403));
    let mut subscriber =
        hub.subscribe_with(&nosy, &[("match", "*"), ("last_event_id", "earliest")]).await;
    assert!(subscriber.listen(Duration::from_secs(60)).await.is_empty());
    output += std::str::from_utf8(subscriber.raw()).unwrap();
    let admin = TestHub { app: prism_hub::api::admin_router(&hub.hub), hub: hub.hub.clone() };
    output += &admin.get("/metrics").await.expect(200).text;
    for word in ["tenant-a", "invoice", "secret"] {
        assert!(!output.contains(word), "{word} in {output}");
    }
}
