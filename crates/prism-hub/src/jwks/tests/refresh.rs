//! Fetches over time: at start, at rotations and reloads, and until a set is stale.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, Response};
use jsonwebtoken::Algorithm;
use tokio::sync::Notify;
use tower_service::Service as _;

use super::fixture::{
    KeySetServer, OTHER_ISSUER, PATIENCE, ServerAnswer, TIMING, TestHub, of_two, status, token,
    token_of,
};
use crate::auth::TokenError;
use crate::auth::tests::fixture::{ISSUER, KeyPair, NOW, SECRET, post};
use crate::config::{Config, ConfigSource};
use crate::jwks::{RefreshTiming, with_jitter};
use crate::limits;
use crate::problem::Problem;

#[tokio::test]
async fn keys_are_fetched_before_the_hub_starts() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let mut fixture = TestHub::new(&endpoint, TIMING);
    let token = token("a", &pair);
    assert_eq!(endpoint.asked(), 0, "nothing is fetched when a configuration is read");
    assert_eq!(
        fixture.publishes(&token).unwrap_err().token_error(),
        Some(TokenError::KeysUnavailable)
    );
    fixture.refresher.start().await.unwrap();
    assert_eq!(endpoint.asked(), 1);
    fixture.publishes(&token).unwrap();
    fixture.reads(&token).unwrap();
}

#[tokio::test]
async fn the_start_waits_for_a_late_set() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::of("503 Service Unavailable", "", "")).await;
    let timing = RefreshTiming { startup_timeout: PATIENCE, ..TIMING };
    let mut fixture = TestHub::new(&endpoint, timing);
    let begin = fixture.refresher.start();
    let recover = async {
        while endpoint.asked() < 3 {
            tokio::task::yield_now().await;
        }
        endpoint.now_gives(ServerAnswer::keys(&[("a", &pair)]));
    };
    let (begun, ()) = tokio::join!(begin, recover);
    begun.unwrap();
    fixture.publishes(&token("a", &pair)).unwrap();
}

#[tokio::test]
async fn a_hub_without_its_keys_does_not_start() {
    // The port is bound and not listened on, so that every connection is refused.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/keys", socket.local_addr().unwrap());
    let mut fixture = TestHub::of(&["--jwks", &url], TIMING);
    let error = fixture.refresher.start().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("the key set {url}: ")), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn t_jwt_keys_rotate_with_overlap_and_a_removed_key_verifies_no_token() {
    let (old, new) = (KeyPair::ed(), KeyPair::ec(Algorithm::ES256));
    let by = [token("old", &old), token("new", &new)];
    let by = [by[0].as_str(), by[1].as_str()];
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("old", &old)])).await;
    let mut fixture = TestHub::started(&endpoint).await;
    assert_eq!(fixture.statuses(by), [200, 401]);

    endpoint.now_gives(ServerAnswer::keys(&[("old", &old), ("new", &new)]));
    assert_eq!(fixture.statuses(by), [200, 401], "nothing changes before it is fetched");
    fixture.refresh().await.unwrap();
    assert_eq!(fixture.statuses(by), [200, 200]);

    endpoint.now_gives(ServerAnswer::keys(&[("new", &new)]));
    fixture.refresh().await.unwrap();
    assert_eq!(fixture.statuses(by), [401, 200], "what it verified is forgotten with it");

    endpoint.now_gives(ServerAnswer::keys(&[("old", &new)]));
    fixture.refresh().await.unwrap();
    assert_eq!(fixture.statuses(by), [401, 401], "an id is not the key");
}

#[tokio::test]
async fn an_unchanged_set_keeps_the_token_cache() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let mut fixture = TestHub::started(&endpoint).await;
    let token = token("a", &pair);
    let checked = |fixture: &TestHub| {
        fixture.publishes(&token).unwrap();
        fixture.hub.rules().current().authority.signatures_checked()
    };
    assert_eq!(checked(&fixture), 1);
    for _ in 0..3 {
        fixture.refresh().await.unwrap();
        assert_eq!(checked(&fixture), 1);
    }
    endpoint.now_gives(ServerAnswer::keys(&[("a", &pair), ("b", &KeyPair::ed())]));
    fixture.refresh().await.unwrap();
    assert_eq!(checked(&fixture), 2);
}

#[tokio::test]
async fn t_jwt_a_set_is_used_for_a_day_after_its_last_fetch() {
    let (pair, other) = (KeyPair::ed(), KeyPair::ed());
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let second = KeySetServer::start(ServerAnswer::keys(&[("a", &other)])).await;
    let places = [format!("{ISSUER}={}", endpoint.url), format!("{OTHER_ISSUER}={}", second.url)];
    let mut fixture = TestHub::of(&of_two(&places[0], &places[1]), TIMING);
    fixture.refresher.start().await.unwrap();
    let (first, by_other) = (token_of(ISSUER, &pair), token_of(OTHER_ISSUER, &other));
    let tokens = [first.as_str(), by_other.as_str()];
    assert_eq!(fixture.statuses(tokens), [200, 200]);

    endpoint.goes_down();
    let stale = NOW + limits::JWKS_STALE.as_secs();
    fixture.now.store(stale - 1, Ordering::Relaxed);
    // One of the two fetches fails; their order is not defined.
    let results = [fixture.refresh().await, fixture.refresher.next_result().await.1];
    assert_eq!(results.iter().filter(|it| it.is_err()).count(), 1, "{results:?}");
    assert_eq!(fixture.statuses(tokens), [200, 200]);

    fixture.now.store(stale, Ordering::Relaxed);
    let unknown = token_of(ISSUER, &other);
    assert_eq!(fixture.statuses([tokens[0], &unknown, tokens[1]]), [503, 503, 200]);

    let refused = ask(&fixture, tokens[0], "text/event-stream").await;
    assert_eq!(refused.status(), 200, "a browser comes back");
    assert_eq!(refused.headers()["prism-refused"], "keys");
    let refused = ask(&fixture, tokens[0], "*/*").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(!refused.headers().contains_key("www-authenticate"), "no other token is wanted");
    assert_eq!(ask(&fixture, "a.b.c", "text/event-stream").await.status(), 401);
    let refused = Problem::from(fixture.publishes(tokens[0]).unwrap_err());
    assert!(refused.to_json().starts_with("{\"type\":\"keys\""), "{refused:?}");
    let refused = refused.into_response();
    assert_eq!(refused.headers()["retry-after"], "60");
    assert!(!refused.headers().contains_key("www-authenticate"));
}

/// The answer to a subscribe request with a token.
async fn ask(fixture: &TestHub, token: &str, accept: &str) -> Response<Body> {
    let request = Request::get("/events").header(ACCEPT, accept);
    let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    crate::api::public_router(&fixture.hub)
        .call(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stale_set_is_used_again_after_a_fetch() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let mut fixture = TestHub::started(&endpoint).await;
    let token = token("a", &pair);
    fixture.publishes(&token).unwrap();
    fixture.now.fetch_add(limits::JWKS_STALE.as_secs(), Ordering::Relaxed);
    assert_eq!(fixture.statuses([&token]), [503], "also a token that was verified before");
    fixture.refresh().await.unwrap();
    fixture.publishes(&token).unwrap();
}

#[tokio::test]
async fn a_key_of_a_stale_set_is_used_if_another_set_has_it() {
    let pair = KeyPair::ed();
    let mirrors = [
        KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await,
        KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await,
    ];
    let args = ["--jwks", &mirrors[0].url, "--jwks", &mirrors[1].url];
    let mut fixture = TestHub::of(&args, TIMING);
    fixture.refresher.start().await.unwrap();
    let [known, new] = ["1", "2"].map(|id| {
        let header = format!(r#"{{"alg":"EdDSA","kid":"a","jti":"{id}"}}"#);
        let claims = crate::auth::tests::fixture::mercure(&["*"]).to_string();
        crate::auth::tests::fixture::sign(&header, &claims, &pair.signing, pair.algorithm)
    });
    assert_eq!(fixture.statuses([&known]), [200]);
    fixture.now.fetch_add(limits::JWKS_STALE.as_secs(), Ordering::Relaxed);
    assert_eq!(fixture.statuses([&known, &new]), [503, 503]);
    for gives in 0..2 {
        fixture.now.fetch_add(limits::JWKS_STALE.as_secs(), Ordering::Relaxed);
        for (at, mirror) in mirrors.iter().enumerate() {
            let keys = ServerAnswer::keys(&[("a", &pair)]);
            let nothing = ServerAnswer::of("500 Internal Server Error", "", "");
            mirror.now_gives(if at == gives { keys } else { nothing });
        }
        let results = [fixture.refresh().await, fixture.refresher.next_result().await.1];
        assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 1, "{results:?}");
        assert_eq!(fixture.statuses([&known, &new]), [200, 200], "from the {gives}th");
    }
}

#[tokio::test]
async fn t_jwt_every_answer_is_right_while_keys_change() {
    let pairs = [KeyPair::ed(), KeyPair::ed(), KeyPair::ed()];
    let sets = [1, 2].map(|at| ServerAnswer::keys(&[("0", &pairs[0]), ("x", &pairs[at])]));
    let endpoint = KeySetServer::start(sets[0].clone()).await;
    let mut fixture = TestHub::started(&endpoint).await;
    let by = |id, at: usize| {
        let value = format!("Bearer {}", token(id, &pairs[at]));
        post(&[("authorization", &value)])
    };
    let (always, never) = (by("0", 0), by("0", 1));
    let sometimes = [by("x", 1), by("x", 2)];
    let hub = fixture.hub.clone();
    let is_over = Arc::new(AtomicBool::new(false));
    let verifiers = [(); 2].map(|()| {
        let (hub, is_over) = (hub.clone(), Arc::clone(&is_over));
        let (always, never, sometimes) = (always.clone(), never.clone(), sometimes.clone());
        std::thread::spawn(move || {
            let mut seen = [0_u32; 2];
            loop {
                let rules = hub.rules().current();
                let allows = |request| rules.authority.publisher(request).is_ok();
                assert!(allows(&always), "its key is there all the time");
                assert!(!allows(&never));
                let which = sometimes.each_ref().map(allows);
                assert_ne!(which[0], which[1], "one set or the other");
                seen[usize::from(which[1])] += 1;
                if is_over.load(Ordering::Relaxed) {
                    return seen;
                }
            }
        })
    });
    for at in 0..200 {
        endpoint.now_gives(sets[(at + 1) % 2].clone());
        fixture.refresh().await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    for verifier in verifiers {
        let seen = verifier.join().unwrap();
        assert!(seen[0] + seen[1] > 0, "{seen:?}");
    }
}

#[tokio::test]
async fn sets_are_fetched_periodically() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let timing = RefreshTiming { interval: Duration::from_millis(1), ..TIMING };
    let mut fixture = TestHub::new(&endpoint, timing);
    fixture.refresher.start().await.unwrap();
    let enough = async {
        while endpoint.asked() < 5 {
            tokio::task::yield_now().await;
        }
    };
    let reload = ConfigSource::new(|| unreachable!("nobody asks for it"));
    let asked = Notify::new();
    tokio::select! {
        never = fixture.refresher.run(&reload, &asked) => match never {},
        () = enough => {}
    }
    fixture.publishes(&token("a", &pair)).unwrap();
}

#[tokio::test]
async fn a_reload_fetches_known_and_new_sets() {
    let (old, new, other) = (KeyPair::ed(), KeyPair::ed(), KeyPair::ed());
    let first = KeySetServer::start(ServerAnswer::keys(&[("a", &old)])).await;
    let second = KeySetServer::start(ServerAnswer::keys(&[("b", &other)])).await;
    let mut fixture = TestHub::started(&first).await;
    let by = [token("a", &old), token("a", &new), token("b", &other)];
    let by = by.each_ref().map(String::as_str);

    first.now_gives(ServerAnswer::keys(&[("a", &new)]));
    let args = ["--jwks", &first.url, "--jwks", &second.url].map(str::to_owned);
    let reload = ConfigSource::new(move || Config::from_args(&args));
    let asked = Notify::new();
    asked.notify_one();
    let hub = fixture.hub.clone();
    let both = async {
        // Until the new set of the first server is in effect.
        while status(&hub, by[1]) != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        never = fixture.refresher.run(&reload, &asked) => match never {},
        () = both => {}
    }
    assert_eq!(second.asked(), 1);
    assert_eq!(fixture.statuses(by), [401, 200, 200]);
}

#[tokio::test]
async fn a_reload_whose_new_set_cannot_be_fetched_changes_nothing() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let bad = KeySetServer::start(ServerAnswer::of("404 Not Found", "", "")).await;
    let mut fixture = TestHub::started(&endpoint).await;
    let token = token("a", &pair);
    let args = ["--jwks", &bad.url, "--max-connections", "7"].map(str::to_owned);
    let reload = ConfigSource::new(move || Config::from_args(&args));
    let before = fixture.hub.rules().current();
    let error = fixture.refresher.reload(&reload).await.unwrap_err().to_string();
    let what = "the answer is 404 Not Found; it must be 200";
    assert_eq!(error, format!("the key set {}: {what}", bad.url));
    assert!(Arc::ptr_eq(&before, &fixture.hub.rules().current()));
    fixture.publishes(&token).unwrap();
    fixture.refresh().await.unwrap();
    assert_eq!((endpoint.asked(), bad.asked()), (2, 1), "what is not in force is not fetched");
}

#[tokio::test]
async fn a_set_that_is_no_longer_configured_is_dropped() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let mut fixture = TestHub::started(&endpoint).await;
    let secret = ["--publisher-key", SECRET, "--anonymous"];
    let reload = ConfigSource::new(move || Config::from_args(secret));
    fixture.refresher.reload(&reload).await.unwrap();
    assert_eq!(fixture.statuses([&token("a", &pair)]), [401]);
    assert!(fixture.refresher.next_fetch.is_empty());
}

#[tokio::test]
async fn reloads_respect_the_minimum_interval_between_fetches() {
    let pair = KeyPair::ed();
    let endpoint = KeySetServer::start(ServerAnswer::keys(&[("a", &pair)])).await;
    let min = PATIENCE * 60;
    let mut fixture = TestHub::new(&endpoint, RefreshTiming { min_interval: min, ..TIMING });
    fixture.refresher.start().await.unwrap();
    let begun = *fixture.refresher.last_start.values().next().unwrap();
    let args = ["--jwks", &endpoint.url].map(str::to_owned);
    let reload = ConfigSource::new(move || Config::from_args(&args));
    for _ in 0..100 {
        fixture.refresher.reload(&reload).await.unwrap();
        fixture.refresher.start_due_fetches();
        assert!(fixture.refresher.next_fetch.values().all(|due| *due == begun + min));
    }
    assert!(fixture.refresher.in_flight.is_empty());
    assert_eq!(endpoint.asked(), 1);
}

#[test]
fn there_is_one_fetch_of_a_set_at_a_time() {
    assert!(limits::JWKS_FETCH <= limits::JWKS_INTERVAL_MIN);
    assert!(limits::JWKS_INTERVAL_MIN * 2 < limits::JWKS_INTERVAL);
    for _ in 0..1000 {
        let time = with_jitter(limits::JWKS_INTERVAL);
        assert!(time <= limits::JWKS_INTERVAL && time >= limits::JWKS_INTERVAL * 4 / 5);
    }
}
