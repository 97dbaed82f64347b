//! T-JWT: attacks on tokens, each refused like every other.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::fixture::{
    Fixture, ISSUER, NOW, OTHER_SECRET, Pair, SECRET, TempFile, detail, details, mercure, new,
    new_text, octets, old, old_by, old_text, raw, sign, topic,
};
use super::verified::Verified;
use super::{AuthError, Role};
use crate::limits;
use crate::problem::Problem;

/// Asserts that a token is refused in both roles, with the one answer for all defects.
#[track_caller]
fn refused(fixture: &Fixture, token: &str) {
    let expected = "401 Bearer error=\"invalid_token\", resource_metadata=\"https://hub.example\
                    /.well-known/oauth-protected-resource/.well-known/mercure\" \
                    {\"title\":\"Unauthorized\",\"status\":401,\
                    \"detail\":\"The token is not valid.\"}";
    let shown = &token[..token.len().min(100)];
    assert_eq!(answer(fixture.publisher(token).unwrap_err()), expected, "publishing with {shown}");
    assert_eq!(answer(fixture.subscriber(token).unwrap_err()), expected, "reading with {shown}");
}

/// All of what somebody sees who is refused.
fn answer(error: AuthError) -> String {
    let (status, challenge) = (error.status().as_u16(), error.challenge());
    format!("{status} {} {}", challenge.to_str().unwrap(), Problem::from(error).to_json())
}

fn hs256(secret: &[u8], header: &str, claims: &Value) -> String {
    let unsigned = raw(header, &claims.to_string(), "");
    let message = unsigned.trim_end_matches('.');
    // Not by way of the crate that verifies, which may refuse such a key.
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn with_pair(pair: &Pair) -> Fixture {
    let pem = pair.public_pem();
    Fixture::of(&[
        "--publisher-key",
        &pem,
        "--subscriber-key",
        &pem,
        "--issuer",
        ISSUER,
        "--public-url",
        "https://hub.example",
    ])
}

#[test]
fn t_jwt_algorithm_none_in_any_case() {
    let fixture = Fixture::new(&[]);
    for algorithm in ["none", "NONE", "nOnE", "None", "", "null", "HS256 ", "hs256"] {
        for typ in ["JWT", "at+jwt"] {
            let header = format!(r#"{{"alg":"{algorithm}","typ":"{typ}"}}"#);
            let claims = mercure(&["*"]);
            refused(&fixture, &raw(&header, &claims.to_string(), ""));
            refused(&fixture, &raw(&header, &details(json!([])).to_string(), ""));
            refused(&fixture, &hs256(SECRET.as_bytes(), &header, &claims));
        }
    }
    refused(&fixture, &raw(r#"{"typ":"JWT"}"#, "{}", ""));
    refused(&fixture, &raw(r#"{"alg":null}"#, "{}", ""));
    refused(&fixture, &raw(r#"{"alg":["HS256"]}"#, "{}", ""));
}

#[test]
fn t_jwt_a_public_key_is_no_secret() {
    for pair in [Pair::rsa(), Pair::ec(Algorithm::ES256), Pair::ed()] {
        let fixture = with_pair(&pair);
        let pem = pair.public_pem();
        let secrets = [
            pem.clone(),
            pem.trim_end().to_owned(),
            format!(" {pem}"),
            format!("\u{feff}{pem}"),
            format!("# a comment\n{pem}"),
        ];
        for header in [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"alg":"HS256","typ":"at+jwt"}"#] {
            for secret in &secrets {
                refused(&fixture, &hs256(secret.as_bytes(), header, &mercure(&["*"])));
            }
            refused(&fixture, &hs256(&pair.public_der, header, &mercure(&["*"])));
            let jwk = br#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
            refused(&fixture, &hs256(jwk, header, &mercure(&["*"])));
        }
        assert!(fixture.publisher(&pair.token(&mercure(&["*"]))).is_ok(), "its own signature");
    }
}

#[test]
fn t_jwt_what_looks_like_a_public_key_never_becomes_a_secret() {
    let pair = Pair::rsa();
    let refuse = |key: &str, part: &str| {
        let error = Fixture::try_of(&["--publisher-key", key, "--anonymous"]).err().unwrap();
        assert!(error.contains(part), "{error}");
        assert!(error.starts_with("publisher-key: "), "{error}");
    };
    let broken = pair.public_pem().replace("MII", "");
    refuse(&broken, "the PEM has no RSA");
    refuse(&format!("# a comment\n{broken}"), "the PEM has no RSA");
    refuse(r#"{"kty":"RSA","n":"...", "e":"AQAB"}"#, "looks like a public key");
    refuse(&TempFile::new(&pair.public_der).source(), "looks like a public key");
    refuse(&pair.private_pem, "this is a private key");
    let prefixed = format!("# a comment\n  {}", pair.public_pem());
    let fixture = Fixture::try_of(&["--publisher-key", &prefixed, "--anonymous"]);
    if let Ok(fixture) = fixture {
        let token = hs256(prefixed.as_bytes(), r#"{"alg":"HS256"}"#, &mercure(&["*"]));
        assert!(fixture.publisher(&token).is_err());
    }
}

#[test]
fn t_jwt_weak_secrets_are_refused_at_the_start() {
    let short = "x".repeat(limits::SECRET_BYTES_MIN - 1);
    for (key, part) in [
        ("x", "the secret has 1 bytes; at least 32 are needed, except with `dev`"),
        (&short, "the secret has 31 bytes"),
        ("\n", "the key is empty"),
        ("!ChangeThisMercureHubJWTSecretKey!", "is printed in documentation"),
    ] {
        let error = Fixture::try_of(&["--publisher-key", key, "--anonymous"]).err().unwrap();
        assert!(error.contains(part), "{error}");
    }
    let empty = TempFile::new("").source();
    assert!(Fixture::try_of(&["--publisher-key", &empty, "--anonymous"]).is_err());
    assert!(Fixture::try_of(&["--publisher-key", &empty, "--dev"]).is_err(), "even then");
    assert!(Fixture::try_of(&["--publisher-key", "x", "--dev"]).is_ok());
    let set = TempFile::new(json!({"keys": [octets("1", "short")]}).to_string());
    let error = Fixture::try_of(&["--jwks", &set.source(), "--anonymous"]).err().unwrap();
    assert!(error.contains("the secret has 5 bytes"), "{error}");
}

#[test]
fn t_jwt_an_algorithm_belongs_to_the_kind_of_the_key() {
    let kinds = [Pair::rsa(), Pair::ec(Algorithm::ES256), Pair::ec(Algorithm::ES384), Pair::ed()];
    for (at, trusted) in kinds.iter().enumerate() {
        let fixture = with_pair(trusted);
        assert!(fixture.publisher(&trusted.token(&mercure(&["*"]))).is_ok());
        for (other_at, other) in kinds.iter().enumerate() {
            if at == other_at {
                continue;
            }
            refused(&fixture, &other.token(&mercure(&["*"])));
            // The header says one thing, the signature is another.
            let header = format!(r#"{{"alg":"{:?}","typ":"JWT"}}"#, trusted.algorithm);
            let claims = mercure(&["*"]).to_string();
            refused(&fixture, &sign(&header, &claims, &other.signing, other.algorithm));
        }
    }
    let fixture = Fixture::new(&[]);
    for pair in &kinds {
        refused(&fixture, &pair.token(&mercure(&["*"])));
    }
}

#[test]
fn t_jwt_hostile_key_ids() {
    let keys = TempFile::new(json!({"keys": [octets("1", SECRET)]}).to_string());
    let fixture = Fixture::of(&[
        "--jwks",
        &keys.source(),
        "--issuer",
        ISSUER,
        "--public-url",
        "https://hub.example",
    ]);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = details(json!([detail(json!([{"match": "*"}]))])).to_string();
    let with = |kid: &str| {
        let header = format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":{kid}}}"#);
        sign(&header, &claims, &key, Algorithm::HS256)
    };
    assert!(fixture.publisher(&with(r#""1""#)).is_ok());
    let huge = format!("\"{}\"", "1".repeat(1024 * 1024));
    for kid in [
        r#""../../../../dev/null""#,
        r#""/etc/passwd""#,
        r#""http://127.0.0.1/keys""#,
        r#""1' OR '1'='1""#,
        r#""1\u0000""#,
        r#""""#,
        "1",
        "null",
        "[\"1\"]",
        "{}",
        &huge,
        r#""1","kid":"1""#,
        r#""2","kid":"1""#,
    ] {
        refused(&fixture, &with(kid));
    }
}

#[test]
fn t_jwt_keys_that_a_token_brings_along() {
    let fixture = Fixture::new(&[]);
    let mine = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = mercure(&["*"]).to_string();
    for member in [
        r#""jwk":{"kty":"oct","k":"AAAA"}"#,
        r#""jwk":null"#,
        r#""jku":"https://a.example/k""#,
        r#""x5u":"https://a.example/k""#,
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""b64":false,"crit":["b64"]"#,
        r#""b64":true"#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
    ] {
        let header = format!(r#"{{"alg":"HS256","typ":"JWT",{member}}}"#);
        refused(&fixture, &sign(&header, &claims, &mine, Algorithm::HS256));
    }
}

#[test]
fn t_jwt_times_of_the_wrong_type() {
    let fixture = Fixture::new(&[]);
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
            refused(&fixture, &old_text(SECRET, &claims));
            let mut claims = details(json!([detail(json!([{"match": "*"}]))]));
            claims.as_object_mut().unwrap().remove(claim);
            let claims = claims.to_string();
            let claims = format!(r#"{{"{claim}":{value},{}"#, &claims[1..]);
            refused(&fixture, &new_text(&claims));
        }
    }
    let never = old(&json!({"exp": u64::MAX, "mercure": {"subscribe": ["*"]}}));
    assert_eq!(fixture.subscriber(&never).unwrap().expires_at(), None, "clocks do not reach it");
}

#[test]
fn t_jwt_a_fraction_of_a_second_is_never_counted_in_favour_of_a_token() {
    let fixture = Fixture::new(&[]);
    let with = |exp: &str, nbf: &str| {
        let claims = format!(r#"{{"exp":{exp},"nbf":{nbf},"mercure":{{"publish":["*"]}}}}"#);
        old_text(SECRET, &claims)
    };
    // As PHP's most used library writes the times of tokens for hubs.
    let token = with(&format!("{NOW}.528781"), &format!("{}.01", NOW - 100));
    assert!(fixture.at(NOW - 1).publisher(&token).is_ok());
    refused(fixture.at(NOW), &token);
    refused(fixture.at(NOW - 100), &token);
    assert!(fixture.at(NOW - 99).publisher(&token).is_ok());
    assert!(fixture.at(NOW).publisher(&with("1.8e9", "0")).is_err());
    assert!(fixture.publisher(&with("1.9e9", "0.0")).is_ok());
}

#[test]
fn t_jwt_a_token_that_is_over_or_has_not_begun() {
    let fixture = Fixture::new(&[]);
    for make in [
        |exp: u64, nbf: u64| old(&json!({"exp": exp, "nbf": nbf, "mercure": {"publish": ["*"]}})),
        |exp: u64, nbf: u64| {
            let mut claims = details(json!([]));
            claims["exp"] = exp.into();
            claims["nbf"] = nbf.into();
            new(&claims)
        },
    ] {
        refused(&fixture, &make(NOW, NOW - 1));
        refused(&fixture, &make(NOW - 1, NOW - 2));
        refused(&fixture, &make(0, 0));
        refused(&fixture, &make(NOW + 10, NOW + 1));
        assert!(fixture.publisher(&make(NOW + 1, NOW)).is_ok());
    }
}

#[test]
fn t_jwt_another_audience_or_issuer() {
    let fixture = Fixture::new(&[]);
    let hub = "https://hub.example/.well-known/mercure";
    let with = |claim: &str, value: Value| {
        let mut claims = details(json!([detail(json!([{"match": "*"}]))]));
        claims[claim] = value;
        new(&claims)
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
        refused(&fixture, &with("aud", aud));
    }
    for iss in [
        json!(null),
        json!(""),
        json!([ISSUER]),
        json!("https://issuer.example/"),
        json!("https://ISSUER.example"),
        json!("https://evil.example"),
    ] {
        refused(&fixture, &with("iss", iss));
    }
    assert!(fixture.publisher(&with("aud", json!(["https://other.example", hub]))).is_ok());
}

#[test]
fn t_jwt_one_key_id_of_two_issuers() {
    const B: &str = "https://b.example";
    let a_keys = TempFile::new(json!({"keys": [octets("1", SECRET)]}).to_string());
    let b_keys = TempFile::new(json!({"keys": [octets("1", OTHER_SECRET)]}).to_string());
    let make = || {
        Fixture::of(&[
            "--jwks",
            &format!("{ISSUER}={}", a_keys.source()),
            "--jwks",
            &format!("{B}={}", b_keys.source()),
            "--issuer",
            ISSUER,
            "--issuer",
            B,
            "--public-url",
            "https://hub.example",
        ])
    };
    let token = |issuer: &str, secret: &str| {
        let mut claims = details(json!([detail(json!([{"match": "*"}]))]));
        claims["iss"] = issuer.into();
        let header = r#"{"alg":"HS256","typ":"at+jwt","kid":"1"}"#;
        hs256(secret.as_bytes(), header, &claims)
    };
    let (right_a, right_b) = (token(ISSUER, SECRET), token(B, OTHER_SECRET));
    let (wrong_a, wrong_b) = (token(ISSUER, OTHER_SECRET), token(B, SECRET));
    let cold = make();
    refused(&cold, &wrong_a);
    refused(&cold, &wrong_b);
    for order in [[&right_a, &right_b], [&right_b, &right_a]] {
        let warm = make();
        for token in order {
            assert!(warm.publisher(token).is_ok());
        }
        refused(&warm, &wrong_a);
        refused(&warm, &wrong_b);
    }
}

#[test]
fn t_jwt_an_issuer_s_other_tokens_are_none_of_draft_07() {
    let keys = TempFile::new(json!({"keys": [octets("1", SECRET)]}).to_string());
    let fixture = Fixture::of(&[
        "--jwks",
        &keys.source(),
        "--issuer",
        ISSUER,
        "--public-url",
        "https://hub.example",
    ]);
    refused(&fixture, &old(&mercure(&["*"])));
    let only = Fixture::of(&["--jwks", &keys.source()]);
    assert!(only.publisher(&old(&mercure(&["*"]))).is_ok(), "a set of nobody in particular");
}

#[test]
fn t_jwt_members_that_stand_there_twice() {
    let fixture = Fixture::new(&[]);
    for claims in [
        r#"{"mercure":{"publish":[]},"mercure":{"publish":["*"]}}"#,
        r#"{"mercure":{"publish":[],"publish":["*"]}}"#,
    ] {
        refused(&fixture, &old_text(SECRET, claims));
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
        refused(&fixture, &new_text(&twice));
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    for header in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"at+jwt"}"#,
    ] {
        refused(&fixture, &sign(header, &claims, &key, Algorithm::HS256));
    }
}

#[test]
fn t_jwt_json_of_the_wrong_shape() {
    let fixture = Fixture::new(&[]);
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
        refused(&fixture, &old_text(SECRET, claims));
    }
    let deep = fixture.publisher(&old_text(SECRET, &deep));
    assert!(deep.is_err() || !deep.unwrap().may_publish(&[topic("a")]));
}

#[test]
fn t_jwt_a_token_of_the_wrong_form() {
    let fixture = Fixture::new(&[]);
    let good = old(&mercure(&["*"]));
    assert!(fixture.publisher(&good).is_ok());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = head.split_once('.').unwrap();
    for token in [
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        header,
        head,
        &format!("{head}."),
        &format!(".{claims}.{signature}"),
        &format!("{header}..{signature}"),
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}.{good}"),
        &format!("{good}="),
        &format!("{good}A"),
        &format!("{header}=.{claims}.{signature}"),
        &format!("{header}.{claims}.{signature}.{signature}.{signature}"),
        &good[..good.len() - 1],
        &good.replace('.', "%2E"),
    ] {
        refused(&fixture, token);
    }
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        refused(&fixture, &String::from_utf8(bytes).unwrap());
    }
}

#[test]
fn t_jwt_a_compressed_jwe() {
    let fixture = Fixture::new(&[]);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#);
    refused(&fixture, &format!("{header}..AAAA.AAAA.AAAA"));
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","enc":"A256GCM","zip":"DEF"}"#);
    refused(&fixture, &format!("{header}.AAAA.AAAA"));
}

#[test]
fn t_jwt_a_token_that_is_too_long() {
    let fixture = Fixture::new(&[]);
    let with = |len: usize| {
        let token =
            |pad: usize| old(&json!({"pad": "x".repeat(pad), "mercure": {"publish": ["*"]}}));
        let spare = len - token(0).len();
        token(spare * 3 / 4)
    };
    let longest = with(limits::TOKEN_BYTES_MAX);
    assert!(
        longest.len() <= limits::TOKEN_BYTES_MAX && longest.len() > limits::TOKEN_BYTES_MAX - 4
    );
    assert!(fixture.publisher(&longest).is_ok());
    refused(&fixture, &with(limits::TOKEN_BYTES_MAX + 8));
    refused(&fixture, &"a".repeat(1024 * 1024));
}

#[test]
fn t_jwt_more_grants_than_allowed() {
    let fixture = Fixture::new(&[]);
    let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let most = names(limits::GRANTS_MAX);
    let too_many = names(limits::GRANTS_MAX + 1);
    for key in ["publish", "subscribe"] {
        let with = |names: &[String]| old(&json!({"mercure": {key: names}}));
        assert!(fixture.publisher(&with(&most)).is_ok());
        refused(&fixture, &with(&too_many));
    }
    let matchers = |names: &[String]| {
        json!(names.iter().map(|name| json!({"match": name})).collect::<Vec<_>>())
    };
    let one = |names: &[String]| new(&details(json!([detail(matchers(names))])));
    assert!(fixture.publisher(&one(&most)).is_ok());
    refused(&fixture, &one(&too_many));
    let halves = json!([detail(matchers(&most)), detail(matchers(&most[..1]))]);
    refused(&fixture, &new(&details(halves)));
    let long = "x".repeat(limits::SELECTOR_BYTES_MAX + 1);
    refused(&fixture, &old(&mercure(&[&long])));
    refused(&fixture, &new(&details(json!([detail(json!([{"match": long}]))]))));
}

#[test]
fn t_jwt_a_token_seen_before_costs_no_signature_check() {
    let fixture = Fixture::new(&[]);
    let token = old(&json!({"exp": NOW + 10, "mercure": {"publish": ["*"], "subscribe": []}}));
    for _ in 0..100 {
        fixture.publisher(&token).unwrap();
    }
    assert_eq!(fixture.authority.signatures_checked(), 1);
    fixture.subscriber(&token).unwrap();
    assert_eq!(fixture.authority.signatures_checked(), 2, "another domain of trust");
    fixture.at(NOW + 9).publisher(&token).unwrap();
    refused(fixture.at(NOW + 10), &token);
    assert_eq!(fixture.authority.signatures_checked(), 2);
    fixture.at(NOW).publisher(&token).unwrap();
}

#[test]
fn t_jwt_what_one_key_vouched_for_says_nothing_to_the_other() {
    let fixture = Fixture::of(&["--publisher-key", SECRET, "--subscriber-key", OTHER_SECRET]);
    let token = old(&mercure(&["*"]));
    fixture.publisher(&token).unwrap();
    assert!(fixture.subscriber(&token).is_err());
    let token = old_by(OTHER_SECRET, &mercure(&["*"]));
    fixture.subscriber(&token).unwrap();
    assert!(fixture.publisher(&token).is_err());
}

#[test]
fn t_jwt_a_key_that_was_taken_away_is_forgotten_with_what_it_verified() {
    let token = old(&mercure(&["*"]));
    let before = Fixture::new(&[]);
    before.publisher(&token).unwrap();
    let after = Fixture::of(&[
        "--publisher-key",
        OTHER_SECRET,
        "--subscriber-key",
        OTHER_SECRET,
        "--public-url",
        "https://hub.example",
    ]);
    refused(&after, &token);
}

#[test]
fn t_jwt_the_memory_of_tokens_is_bounded() {
    let fixture = Fixture::new(&[]);
    let rights = fixture.authority.verify(Role::Publisher, &old(&mercure(&["*"]))).unwrap();
    let verified = Verified::with_limits(64, 64 * 2048);
    for n in 0..10_000 {
        verified.insert(Role::Publisher, &format!("token {n}"), &rights);
    }
    assert!(verified.bytes() <= 64 * 2048, "{} bytes", verified.bytes());
    assert!(verified.get(Role::Subscriber, "token 9999").is_none());
}

#[test]
fn t_log_2_nothing_secret_shows_in_debug() {
    let fixture = Fixture::new(&[]);
    let token = old(&mercure(&["*"]));
    fixture.publisher(&token).unwrap();
    let shown = format!("{:?} {:?}", fixture.authority, fixture.publisher("a.b.c").unwrap_err());
    let config = crate::config::Config::from_args(["--publisher-key", SECRET, "--anonymous"]);
    let shown = format!("{shown} {:?}", config.unwrap());
    assert!(!shown.contains("secret, 32"), "{shown}");
    assert!(!shown.contains(&token), "{shown}");
}
