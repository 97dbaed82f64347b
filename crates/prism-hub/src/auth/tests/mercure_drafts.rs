//! What the two drafts of the Mercure protocol require of tokens: one test for each case, named
//! after it. What they require of answers and streams is in `tests/api`.

mod draft_07;
mod draft_08_grants;
mod draft_08_presentation;
mod draft_08_validation;

use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::fixture::{
    HUB, ISSUER, KeyPair, NOW, OTHER_SECRET, SECRET, TempFile, TestAuthority, detail, details,
    draft_07_token, draft_07_token_by, draft_08_token, get, hmac_jwk, mercure, post, request, sign,
    topic,
};
use crate::auth::{AuthError, Dialect, Publisher, Subscriber, TokenLocation};
use crate::config::COOKIE_08;

/// The cookie of draft-07, unless another name is set.
const COOKIE_07: &str = "mercureAuthorization";

const BOOKS: &str = "https://example.com/books/{id}";
const BOOK_1: &str = "https://example.com/books/1";

fn hub() -> TestAuthority {
    TestAuthority::new(&[])
}

/// Authenticates a publish request with these headers.
fn publishes(fixture: &TestAuthority, headers: &[(&str, &str)]) -> Result<Publisher, AuthError> {
    fixture.authority.publisher(&post(headers))
}

/// Authenticates a subscribe request with this URL and these headers.
fn reads(
    fixture: &TestAuthority,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Subscriber, AuthError> {
    fixture.authority.subscriber(&get(path, headers))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn cookie(name: &str, token: &str) -> String {
    format!("theme=dark; {name}={token}; lang=de")
}

/// The status and the `error` of the challenge.
fn told(error: &AuthError) -> (u16, String) {
    let challenge = error.challenge().to_str().unwrap().to_owned();
    let name = challenge.split("error=\"").nth(1).and_then(|it| it.split('"').next());
    (error.status().as_u16(), name.unwrap_or_default().to_owned())
}

fn is_invalid<T: std::fmt::Debug>(result: Result<T, AuthError>) -> bool {
    told(&result.unwrap_err()) == (401, "invalid_token".to_owned())
}

/// A token of draft-08 with one detail for both actions.
fn grants(topics: Value) -> String {
    draft_08_token(&details(json!([detail(topics)])))
}

/// A token of draft-08 with one claim changed.
fn changed(claim: &str, value: Value) -> String {
    let mut claims = details(json!([detail(json!([{"match": "*"}]))]));
    claims[claim] = value;
    draft_08_token(&claims)
}

/// A token of draft-08 whose only detail has a member changed.
fn changed_detail(member: &str, value: Value) -> String {
    let mut detail = detail(json!([{"match": "*"}]));
    detail[member] = value;
    draft_08_token(&details(json!([detail])))
}

/// A token of draft-08 without one of its claims.
fn without(claim: &str) -> String {
    let mut claims = details(json!([]));
    claims.as_object_mut().unwrap().remove(claim);
    draft_08_token(&claims)
}

fn covers(selector: &str, name: &str) -> bool {
    hub().subscriber(&draft_07_token(&mercure(&[selector]))).unwrap().may_read(&topic(name))
}
