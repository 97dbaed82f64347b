//! T-JWT: rotated keys and expiring tokens. T-AUTH-4: the worst-case cost of matching.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prism_hub::auth::Clock;
use prism_hub::config::Config;
use prism_hub::hub::Hub;
use serde_json::{Value, json};

use super::fixture::{HUB, ISSUER, MERCURE, SECRET, TestHub, address, token_07};

const FIRST: &str = "the first secret, 32 bytes long or more";
const SECOND: &str = "the second secret, 32 bytes long or more";
const STRANGER: &str = "a stranger's secret, 32 bytes long or more";

/// A file with a set of secrets, deleted when this is dropped.
struct KeySet(std::path::PathBuf);

impl KeySet {
    fn new(secrets: &[&str]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("prism-hub-life-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let key = |secret: &&str| {
            let key = EncodingKey::from_secret(secret.as_bytes());
            serde_json::to_value(
                jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::HS256).unwrap(),
            )
        };
        let keys: Vec<Value> = secrets.iter().map(key).map(Result::unwrap).collect();
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
        Self(path)
    }

    fn config(&self) -> Config {
        let set = format!("file:{}", self.0.display());
        let args = ["--jwks", &set, "--public-url", "https://hub.example"];
        Config::from_args(args.iter().chain(&["--engine", "memory"])).unwrap()
    }
}

impl Drop for KeySet {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn signed(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

fn everything(secret: &str, number: usize) -> String {
    signed(secret, &json!({"jti": number, "mercure": {"publish": ["*"], "subscribe": ["*"]}}))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn request(token: &str) -> http::request::Parts {
    let request = http::Request::post("/events").header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap().into_parts().0
}

#[tokio::test(start_paused = true)]
async fn t_jwt_rotated_keys_are_valid_together_in_the_overlap() {
    let hub = Hub::new(KeySet::new(&[FIRST]).config(), Clock::system()).unwrap();
    hub.set_ready(true);
    let hub = TestHub { app: prism_hub::api::public_router(&hub), hub };
    let (first, second) = (everything(FIRST, 1), everything(SECOND, 2));
    let statuses = async || {
        let publish = async |token: &str| hub.publish_with(token, &[("topic", "a")]).await.status;
        [publish(&first).await.as_u16(), publish(&second).await.as_u16()]
    };
    assert_eq!(statuses().await, [200, 401]);
    for (secrets, expected) in
        [(&[FIRST, SECOND][..], [200, 200]), (&[SECOND], [401, 200]), (&[FIRST], [200, 401])]
    {
        hub.hub.rules().replace(&KeySet::new(secrets).config()).unwrap();
        assert_eq!(statuses().await, expected, "{secrets:?}");
        assert_eq!(statuses().await, expected, "also from the cache");
    }
}

#[tokio::test(start_paused = true)]
async fn m07_074_and_m08_193_a_stream_outlives_its_key_and_cannot_be_reopened() {
    let hub = Hub::new(KeySet::new(&[FIRST]).config(), Clock::system()).unwrap();
    hub.set_ready(true);
    let hub = TestHub { app: prism_hub::api::public_router(&hub), hub };
    let (first, second) = (everything(FIRST, 1), everything(SECOND, 2));
    let mut subscriber = hub.subscribe_with(&first, &[("topic", "a")]).await;
    hub.hub.rules().replace(&KeySet::new(&[SECOND]).config()).unwrap();
    let form = [("topic", "a"), ("data", "secret"), ("private", "")];
    hub.publish_with(&second, &form).await.expect(200);
    subscriber.expect("message", "secret").await;
    hub.get_with(&first, &address(MERCURE, &[("topic", "a")])).await.expect(401);
    // The default of `max-age` is one hour.
    subscriber.listen(Duration::from_secs(3700)).await;
    assert!(!subscriber.is_open());
}

#[test]
fn t_jwt_no_response_is_wrong_while_keys_change() {
    let one = KeySet::new(&[FIRST]);
    let both = KeySet::new(&[SECOND, FIRST]);
    let hub = Hub::new(one.config(), Clock::system()).unwrap();
    let (one, both) = (one.config(), both.config());
    let end = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let (hub, end) = (hub.clone(), Arc::clone(&end));
            std::thread::spawn(move || {
                let mut count = 0;
                while !end.load(Ordering::Relaxed) {
                    // Some are verified for the first time, some are in the cache.
                    let number = thread * 1000 + count % 500;
                    let authority = &hub.rules().current().authority;
                    let always = request(&everything(FIRST, number));
                    assert!(authority.publisher(&always).is_ok());
                    assert!(authority.subscriber(&always).is_ok());
                    let never = request(&everything(STRANGER, number));
                    assert!(authority.publisher(&never).is_err());
                    // The same rules give the same result both times.
                    let rules = hub.rules().current();
                    let sometimes = request(&everything(SECOND, number));
                    let answer = rules.authority.publisher(&sometimes).is_ok();
                    assert_eq!(rules.authority.publisher(&sometimes).is_ok(), answer);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let began = Instant::now();
    let mut reloads = 0;
    while began.elapsed() < Duration::from_millis(700) {
        hub.rules().replace(if reloads % 2 == 0 { &both } else { &one }).unwrap();
        reloads += 1;
    }
    end.store(true, Ordering::Relaxed);
    let verified: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(reloads > 10 && verified > 10, "{reloads} reloads, {verified} rounds");
}

#[tokio::test]
async fn t_jwt_a_token_that_expires_soon_opens_one_short_stream() {
    let hub = TestHub::new();
    let exp = now() + 2;
    let claims = json!({"iss": ISSUER, "aud": HUB, "exp": exp, "authorization_details": []});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let header = Header { typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::HS256) };
    let new = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let old = token_07(&json!({"exp": exp, "mercure": {"subscribe": ["*"]}}));
    let streams = async |token: &str, name: &str| {
        let path = address(MERCURE, &[(name, "a")]);
        let mut streams = 0;
        // A client that reconnects at once, again and again.
        while hub.get_with(token, &path).await.status == 200 {
            streams += 1;
            hub.subscribe_with(token, &[(name, "a")]).await.expect_end().await;
        }
        hub.get_with(token, &path).await.expect(401);
        assert!(now() >= exp, "the stream ended too early");
        streams
    };
    assert_eq!(tokio::join!(streams(&new, "match"), streams(&old, "topic")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn t_jwt_validity_follows_a_clock_that_jumps() {
    let time = Arc::new(AtomicU64::new(now()));
    let clock = Arc::clone(&time);
    let keys = ["--publisher-key", FIRST, "--subscriber-key", FIRST];
    let args = [&keys[..], &["--engine", "memory"]].concat();
    let config = Config::from_args(args).unwrap();
    let hub = Hub::new(config, Clock::from_fn(move || clock.load(Ordering::Relaxed))).unwrap();
    hub.set_ready(true);
    let hub = TestHub { app: prism_hub::api::public_router(&hub), hub };
    let begin = now();
    let claims = json!({"nbf": begin, "exp": begin + 60, "mercure": {"publish": ["*"]}});
    let token = signed(FIRST, &claims);
    let year = 365 * 86400;
    for (jump, status) in [
        (begin, 200),
        (begin + 3600, 401),
        (begin + 59, 200),
        (begin - 3600, 401),
        (begin, 200),
        (begin + year, 401),
        (begin - year, 401),
        (0, 401),
        (u64::MAX, 401),
        (begin + 30, 200),
    ] {
        time.store(jump, Ordering::Relaxed);
        hub.publish_with(&token, &[("topic", "a")]).await.expect(status);
    }
}

#[tokio::test(start_paused = true)]
async fn t_auth_4_the_cost_of_a_publish_grows_with_distinct_patterns_and_not_with_subscribers() {
    let patterns: Vec<String> = (0..100).map(|n| format!("/a/:x/b/:y/c{n}/*")).collect();
    let wanted: Vec<_> = patterns.iter().map(|it| ("match_urlpattern", it.as_str())).collect();
    let topics: Vec<String> = (0..100).map(|n| format!("/a/{n}/b/{n}/d/{n}")).collect();
    let form: Vec<_> = topics.iter().map(|it| ("topic", it.as_str())).collect();
    let hub = TestHub::new();
    let mut subscribers = Vec::new();
    let mut publish = async |readers: usize| {
        while subscribers.len() < readers {
            subscribers.push(hub.subscribe(&wanted).await);
        }
        hub.publish(&form).await.expect(200);
        let began = Instant::now();
        for _ in 0..3 {
            hub.publish(&form).await.expect(200);
        }
        began.elapsed() / 3
    };
    let (few, many) = (publish(2).await, publish(40).await);
    // The factor leaves room for noise: the wrong order of growth would give twenty.
    assert!(many < few * 10 + Duration::from_millis(20), "{few:?}, then {many:?}");
    let mut healthy = hub.subscribe(&[("match", "after")]).await;
    hub.publish(&[("topic", "after"), ("data", "1")]).await.expect(200);
    healthy.expect("message", "1").await;
}
