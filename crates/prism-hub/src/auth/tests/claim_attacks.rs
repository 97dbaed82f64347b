//! T-JWT: signed tokens with hostile claims.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::fixture::{
    ISSUER, NOW, SECRET, TestAuthority, assert_refused, detail, details, draft_07_token,
    draft_07_token_text, draft_08_token, draft_08_token_text, mercure, sign, topic,
};
use crate::limits;

#[test]
fn t_jwt_times_of_the_wrong_type() {
    let fixture = TestAuthority::new(&[]);
    let later = NOW + 3600;
    for claim in ["exp", "nbf", "iat"] {
        for value in [
            format!("\"{later}\""),
            "-1".to_owned(),
            "1e308".to_owned(),
            "-0.5".to_owned(),
            "1e12".to_owned(),
            format!("{later}.5.5"),
            format!("[{later}]"),
            "{}".to_owned(),
            "null".to_owned(),
            "true".to_owned(),
            "99999999999999999999999".to_owned(),
            format!("{later},\"{claim}\":{later}"),
        ] {
            let claims = format!(r#"{{"{claim}":{value},"mercure":{{"publish":["*"]}}}}"#);
            assert_refused(&fixture, &draft_07_token_text(SECRET, &claims));
            let mut claims = details(json!([detail(json!([{"match": "*"}]))]));
            claims.as_object_mut().unwrap().remove(claim);
            let claims = claims.to_string();
            let claims = format!(r#"{{"{claim}":{value},{}"#, &claims[1..]);
            assert_refused(&fixture, &draft_08_token_text(&claims));
        }
    }
    let never = draft_07_token(&json!({"exp": u64::MAX, "mercure": {"subscribe": ["*"]}}));
    assert_eq!(fixture.subscriber(&never).unwrap().expires_at(), None, "clocks do not reach it");
}

#[test]
fn t_jwt_a_fraction_of_a_second_never_extends_a_token() {
    let fixture = TestAuthority::new(&[]);
    let with = |exp: &str, nbf: &str| {
        let claims = format!(r#"{{"exp":{exp},"nbf":{nbf},"mercure":{{"publish":["*"]}}}}"#);
        draft_07_token_text(SECRET, &claims)
    };
    // As PHP's most used library writes the times of tokens for hubs.
    let token = with(&format!("{NOW}.528781"), &format!("{}.01", NOW - 100));
    assert!(fixture.at(NOW - 1).publisher(&token).is_ok());
    assert_refused(fixture.at(NOW), &token);
    assert_refused(fixture.at(NOW - 100), &token);
    assert!(fixture.at(NOW - 99).publisher(&token).is_ok());
    assert!(fixture.at(NOW).publisher(&with("1.8e9", "0")).is_err());
    assert!(fixture.publisher(&with("1.9e9", "0.0")).is_ok());
}

#[test]
fn t_jwt_an_expired_token_and_one_that_is_not_valid_yet() {
    let fixture = TestAuthority::new(&[]);
    for make in [
        |exp: u64, nbf: u64| {
            draft_07_token(&json!({"exp": exp, "nbf": nbf, "mercure": {"publish": ["*"]}}))
        },
        |exp: u64, nbf: u64| {
            let mut claims = details(json!([]));
            claims["exp"] = exp.into();
            claims["nbf"] = nbf.into();
            draft_08_token(&claims)
        },
    ] {
        assert_refused(&fixture, &make(NOW, NOW - 1));
        assert_refused(&fixture, &make(NOW - 1, NOW - 2));
        assert_refused(&fixture, &make(0, 0));
        assert_refused(&fixture, &make(NOW + 10, NOW + 1));
        assert!(fixture.publisher(&make(NOW + 1, NOW)).is_ok());
    }
}

#[test]
fn t_jwt_another_audience_or_issuer() {
    let fixture = TestAuthority::new(&[]);
    let hub = "https://hub.example/.well-known/mercure";
    let with = |claim: &str, value: Value| {
        let mut claims = details(json!([detail(json!([{"match": "*"}]))]));
        claims[claim] = value;
        draft_08_token(&claims)
    };
    for aud in [
        json!(null),
        json!(""),
        json!([]),
        json!([[hub]]),
        json!({"aud": hub}),
        json!(1),
        json!("https://hub.example"),
        json!(format!("{hub}/")),
        json!(format!("{hub}x")),
        json!("HTTPS://HUB.EXAMPLE/.well-known/mercure"),
        json!(["https://other.example"]),
    ] {
        assert_refused(&fixture, &with("aud", aud));
    }
    for iss in [
        json!(null),
        json!(""),
        json!([ISSUER]),
        json!("https://issuer.example/"),
        json!("https://ISSUER.example"),
        json!("https://evil.example"),
    ] {
        assert_refused(&fixture, &with("iss", iss));
    }
    assert!(fixture.publisher(&with("aud", json!(["https://other.example", hub]))).is_ok());
}

#[test]
fn t_jwt_duplicate_members() {
    let fixture = TestAuthority::new(&[]);
    for claims in [
        r#"{"mercure":{"publish":[]},"mercure":{"publish":["*"]}}"#,
        r#"{"mercure":{"publish":[],"publish":["*"]}}"#,
    ] {
        assert_refused(&fixture, &draft_07_token_text(SECRET, claims));
    }
    let claims = details(json!([detail(json!([{"match": "*"}]))])).to_string();
    for (once, twice) in [
        (r#""iss":"#, r#""iss":"https://evil.example","iss":"#),
        (r#""aud":"#, r#""aud":"https://evil.example","aud":"#),
        (r#""actions":"#, r#""actions":[],"actions":"#),
        (r#""match":"#, r#""match":"a","match":"#),
        (r#""type":"#, r#""type":"a","type":"#),
        (r#""authorization_details":"#, r#""authorization_details":[],"authorization_details":"#),
    ] {
        let twice = claims.replacen(once, twice, 1);
        assert_ne!(twice, claims);
        assert_refused(&fixture, &draft_08_token_text(&twice));
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    for header in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"at+jwt"}"#,
    ] {
        assert_refused(&fixture, &sign(header, &claims, &key, Algorithm::HS256));
    }
}

#[test]
fn t_jwt_json_of_the_wrong_shape() {
    let fixture = TestAuthority::new(&[]);
    let deep = format!("{{\"mercure\":{}1{}}}", "{\"a\":".repeat(500), "}".repeat(500));
    let deep_payload = format!(
        "{{\"mercure\":{{\"publish\":[\"*\"],\"payload\":{}{}}}}}",
        "[".repeat(2000),
        "]".repeat(2000)
    );
    for claims in [
        "",
        "null",
        "1",
        "[]",
        "\"mercure\"",
        "{",
        "{}}",
        "[[\"*\"],[\"*\"]]",
        r#"{"mercure":[["*"],["*"],null]}"#,
        r#"{"mercure":"*"}"#,
        r#"{"mercure":null}"#,
        r#"{"mercure":{"publish":"*"}}"#,
        r#"{"mercure":{"publish":[1]}}"#,
        r#"{"mercure":{"publish":{"0":"*"}}}"#,
        r#"{"mercure":{"publish":[["*"]]}}"#,
        r#"{"https://mercure.rocks/":1,"mercure":{"publish":["*"]}}"#,
        &deep_payload,
    ] {
        assert_refused(&fixture, &draft_07_token_text(SECRET, claims));
    }
    let deep = fixture.publisher(&draft_07_token_text(SECRET, &deep));
    assert!(deep.is_err() || !deep.unwrap().may_publish(&[topic("a")]));
}

#[test]
fn t_jwt_more_grants_than_allowed() {
    let fixture = TestAuthority::new(&[]);
    let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let most = names(limits::GRANTS_MAX);
    let too_many = names(limits::GRANTS_MAX + 1);
    for key in ["publish", "subscribe"] {
        let with = |names: &[String]| draft_07_token(&json!({"mercure": {key: names}}));
        assert!(fixture.publisher(&with(&most)).is_ok());
        assert_refused(&fixture, &with(&too_many));
    }
    let matchers = |names: &[String]| {
        json!(names.iter().map(|name| json!({"match": name})).collect::<Vec<_>>())
    };
    let one = |names: &[String]| draft_08_token(&details(json!([detail(matchers(names))])));
    assert!(fixture.publisher(&one(&most)).is_ok());
    assert_refused(&fixture, &one(&too_many));
    let halves = json!([detail(matchers(&most)), detail(matchers(&most[..1]))]);
    assert_refused(&fixture, &draft_08_token(&details(halves)));
    let long = "x".repeat(limits::SELECTOR_BYTES_MAX + 1);
    assert_refused(&fixture, &draft_07_token(&mercure(&[&long])));
    assert_refused(&fixture, &draft_08_token(&details(json!([detail(json!([{"match": long}]))]))));
}
