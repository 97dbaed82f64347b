//! T-AUTH: requests for more than a token grants.

use std::sync::Arc;

use prism_sse::{Selector, Topic};
use serde_json::json;

use super::fixture::{
    NOW, OTHER_SECRET, SECRET, TestAuthority, detail, details, draft_07_token, draft_07_token_by,
    draft_08_token, get, mercure, post, topic,
};
use crate::auth::role::Role;
use crate::auth::token_cache::TokenCache;

#[test]
fn t_auth_1_a_cached_token_grants_what_a_fresh_verification_does() {
    // Tokens full of separators, and more of them than the cache holds.
    let parts = ["a", "_", "*", "/", "%2F", "a_a", "", "{x}", "a\u{0}", "é", "e\u{301}", ".."];
    let verified = TokenCache::with_limits(8, 8 * 2048);
    let fixture = TestAuthority::new(&[]);
    let tokens: Vec<String> = parts
        .iter()
        .flat_map(|a| {
            parts.iter().map(move |b| draft_07_token(&mercure(&[a, b, &format!("{a}_{b}")])))
        })
        .collect();
    let topics: Vec<Topic> = parts.iter().filter_map(|it| Topic::try_from(*it).ok()).collect();
    let mut seed = 1_usize;
    for _ in 0..3000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let token = &tokens[(seed >> 33) % tokens.len()];
        let fresh = fixture.authority.publisher_tokens.verify(token, NOW).unwrap();
        let known = verified.get(Role::Publisher, token).unwrap_or_else(|| {
            let rights = Arc::new(fixture.authority.publisher_tokens.verify(token, NOW).unwrap());
            verified.insert(Role::Publisher, token, &rights);
            rights
        });
        for topic in &topics {
            let allows = |grants: &[Selector]| grants.iter().any(|grant| grant.matches(topic));
            assert_eq!(allows(&known.publish), allows(&fresh.publish));
        }
    }
}

#[test]
fn t_auth_2_a_tenant_reads_nothing_of_another_with_a_similar_name() {
    let fixture = TestAuthority::new(&[]);
    let names = [
        "a/b", "a_b", "a%2Fb", "a%2fb", "a//b", "a/./b", "a/../b", "A/B", "a/b/", "a/b.", "é",
        "e\u{301}", "a/b?", "a/b#", "a", "b", "/a/b",
    ];
    for own in names {
        let claims = details(json!([detail(json!([{"match": own}]))]));
        for token in [draft_07_token(&mercure(&[own])), draft_08_token(&claims)] {
            let reader = fixture.subscriber(&token).unwrap();
            let publisher = fixture.publisher(&token).unwrap();
            for other in names {
                assert_eq!(reader.may_read(&topic(other)), own == other, "{own} reads {other}");
                assert_eq!(publisher.may_publish(&[topic(other)]), own == other);
            }
        }
    }
}

#[test]
fn t_auth_3_denied_unless_granted() {
    let fixture = TestAuthority::of(&["--publisher-key", SECRET, "--subscriber-key", OTHER_SECRET]);
    let rights = |secret: &str, key: &str| {
        draft_07_token_by(secret, &json!({"exp": NOW + 10, "mercure": {key: ["mine"]}}))
    };
    let expired = |secret: &str| {
        draft_07_token_by(secret, &json!({"exp": NOW, "mercure": {"publish": ["*"]}}))
    };
    let publish = |token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|it| ("authorization", it.as_str())).collect();
        match fixture.authority.publisher(&post(&headers)) {
            Ok(publisher) if publisher.may_publish(&[topic("mine")]) => 200,
            Ok(publisher) => publisher.forbidden().status().as_u16(),
            Err(error) => error.status().as_u16(),
        }
    };
    let read_private = |token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|it| ("authorization", it.as_str())).collect();
        match fixture.authority.subscriber(&get("/events", &headers)) {
            Ok(subscriber) if subscriber.may_read(&topic("mine")) => 200,
            Ok(subscriber) => subscriber.forbidden().status().as_u16(),
            Err(error) => error.status().as_u16(),
        }
    };
    let stranger = "stranger's secret, 32 bytes long or more";
    for (who, token, may_publish, may_read) in [
        ("nobody", None, 401, 401),
        ("a stranger", Some(rights(stranger, "publish")), 401, 401),
        ("who is late to publish", Some(expired(SECRET)), 401, 401),
        ("who is late to read", Some(expired(OTHER_SECRET)), 401, 401),
        ("a publisher", Some(rights(SECRET, "publish")), 200, 401),
        ("a reader", Some(rights(OTHER_SECRET, "subscribe")), 401, 200),
        ("a publisher of nothing", Some(rights(SECRET, "subscribe")), 403, 401),
        ("a reader of nothing", Some(rights(OTHER_SECRET, "publish")), 401, 403),
    ] {
        assert_eq!(publish(token.as_deref()), may_publish, "{who} publishes");
        assert_eq!(read_private(token.as_deref()), may_read, "{who} reads");
    }
}
