//! T-JWT and T-LOG: attacks on the token cache, and secrets in `Debug`.

use serde_json::json;

use super::fixture::{
    NOW, OTHER_SECRET, SECRET, TestAuthority, assert_refused, draft_07_token, draft_07_token_by,
    mercure,
};
use crate::auth::role::Role;
use crate::auth::token_cache::TokenCache;

#[test]
fn t_jwt_a_cached_token_costs_no_signature_check() {
    let fixture = TestAuthority::new(&[]);
    let token =
        draft_07_token(&json!({"exp": NOW + 10, "mercure": {"publish": ["*"], "subscribe": []}}));
    for _ in 0..100 {
        fixture.publisher(&token).unwrap();
    }
    assert_eq!(fixture.authority.signatures_checked(), 1);
    fixture.subscriber(&token).unwrap();
    assert_eq!(fixture.authority.signatures_checked(), 2, "another domain of trust");
    fixture.at(NOW + 9).publisher(&token).unwrap();
    assert_refused(fixture.at(NOW + 10), &token);
    assert_eq!(fixture.authority.signatures_checked(), 2);
    fixture.at(NOW).publisher(&token).unwrap();
}

#[test]
fn t_jwt_a_token_cached_for_one_role_is_not_found_by_the_other() {
    let fixture = TestAuthority::of(&["--publisher-key", SECRET, "--subscriber-key", OTHER_SECRET]);
    let token = draft_07_token(&mercure(&["*"]));
    fixture.publisher(&token).unwrap();
    assert!(fixture.subscriber(&token).is_err());
    let token = draft_07_token_by(OTHER_SECRET, &mercure(&["*"]));
    fixture.subscriber(&token).unwrap();
    assert!(fixture.publisher(&token).is_err());
}

#[test]
fn t_jwt_a_removed_key_verifies_no_token() {
    let token = draft_07_token(&mercure(&["*"]));
    let before = TestAuthority::new(&[]);
    before.publisher(&token).unwrap();
    let after = TestAuthority::of(&[
        "--publisher-key",
        OTHER_SECRET,
        "--subscriber-key",
        OTHER_SECRET,
        "--public-url",
        "https://hub.example",
    ]);
    assert_refused(&after, &token);
}

#[test]
fn t_jwt_the_token_cache_is_bounded() {
    let fixture = TestAuthority::new(&[]);
    let rights =
        fixture.authority.verify(Role::Publisher, &draft_07_token(&mercure(&["*"]))).unwrap();
    let verified = TokenCache::with_limits(64, 64 * 2048);
    for n in 0..10_000 {
        verified.insert(Role::Publisher, &format!("token {n}"), &rights);
    }
    assert!(verified.bytes() <= 64 * 2048, "{} bytes", verified.bytes());
    assert!(verified.get(Role::Subscriber, "token 9999").is_none());
}

#[test]
fn t_log_2_debug_contains_no_secret() {
    let fixture = TestAuthority::new(&[]);
    let token = draft_07_token(&mercure(&["*"]));
    fixture.publisher(&token).unwrap();
    let shown = format!("{:?} {:?}", fixture.authority, fixture.publisher("a.b.c").unwrap_err());
    let config = crate::config::Config::from_args(["--publisher-key", SECRET, "--anonymous"]);
    let shown = format!("{shown} {:?}", config.unwrap());
    assert!(!shown.contains("secret, 32"), "{shown}");
    assert!(!shown.contains(&token), "{shown}");
}
