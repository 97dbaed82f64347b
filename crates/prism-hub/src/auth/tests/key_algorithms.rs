//! Each key is used with one algorithm: its own, that of a setting, or the default of its type.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::fixture::{
    HUB, ISSUER, KeyPair, SECRET, TempFile, TestAuthority, assert_refused, detail, details,
    mercure, sign,
};
use crate::auth::TokenError;

const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Tokens of both drafts that grant everything, signed with this algorithm.
fn tokens(key: &EncodingKey, algorithm: Algorithm) -> [String; 2] {
    let draft_07 = format!(r#"{{"alg":"{algorithm:?}"}}"#);
    let draft_08 = format!(r#"{{"alg":"{algorithm:?}","typ":"at+jwt"}}"#);
    let claims = details(json!([detail(json!([{"match": "*"}]))])).to_string();
    [
        sign(&draft_07, &mercure(&["*"]).to_string(), key, algorithm),
        sign(&draft_08, &claims, key, algorithm),
    ]
}

const HUB_ARGS: [&str; 4] = ["--public-url", "https://hub.example", "--issuer", ISSUER];

/// A hub with this key for both roles, and perhaps a setting for its algorithm.
fn with_key(key: &str, algorithm: Option<Algorithm>) -> Result<TestAuthority, String> {
    let algorithm = algorithm.map(|it| format!("{it:?}"));
    let mut args = vec!["--publisher-key", key, "--subscriber-key", key];
    if let Some(algorithm) = &algorithm {
        args.extend(["--publisher-key-alg", algorithm, "--subscriber-key-alg", algorithm]);
    }
    TestAuthority::try_of(&[&args[..], &HUB_ARGS].concat())
}

/// Asserts that a hub accepts tokens that are signed with `allowed`, and refuses the others.
#[track_caller]
fn assert_allows_only(
    hub: &TestAuthority,
    key: &EncodingKey,
    allowed: Algorithm,
    all: &[Algorithm],
) {
    for found in all {
        for token in tokens(key, *found) {
            if *found == allowed {
                assert!(hub.publisher(&token).is_ok(), "{found:?}");
                assert!(hub.subscriber(&token).is_ok(), "{found:?}");
                continue;
            }
            assert_refused(hub, &token);
            let error = hub.publisher(&token).unwrap_err().token_error().unwrap();
            assert_eq!(error, TokenError::Algorithm { found: *found, allowed });
            let sentence =
                format!("the token is signed with {found:?}; its key allows {allowed:?}");
            assert_eq!(error.to_string(), sentence);
        }
    }
}

#[test]
fn a_secret_is_used_with_hs256_unless_a_setting_names_another_algorithm() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    assert_allows_only(&with_key(SECRET, None).unwrap(), &key, Algorithm::HS256, &HMAC);
    for algorithm in HMAC {
        let hub = with_key(SECRET, Some(algorithm)).unwrap();
        assert_allows_only(&hub, &key, algorithm, &HMAC);
    }
}

#[test]
fn an_rsa_key_is_used_with_rs256_unless_a_setting_names_another_algorithm() {
    let pair = KeyPair::rsa();
    let pem = pair.public_pem();
    assert_allows_only(&with_key(&pem, None).unwrap(), &pair.signing, Algorithm::RS256, &RSA);
    for algorithm in RSA {
        let hub = with_key(&pem, Some(algorithm)).unwrap();
        assert_allows_only(&hub, &pair.signing, algorithm, &RSA);
    }
}

#[test]
fn the_keys_of_the_two_roles_have_their_own_algorithms() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let args = ["--publisher-key", SECRET, "--subscriber-key", SECRET];
    let args = [&args[..], &["--publisher-key-alg", "HS512"]].concat();
    let hub = TestAuthority::of(&args);
    let [with_256, _] = tokens(&key, Algorithm::HS256);
    let [with_512, _] = tokens(&key, Algorithm::HS512);
    assert!(hub.publisher(&with_512).is_ok() && hub.publisher(&with_256).is_err());
    assert!(hub.subscriber(&with_256).is_ok() && hub.subscriber(&with_512).is_err());
}

#[test]
fn an_algorithm_of_another_type_of_key_is_refused() {
    let refused = |key: &str, algorithm: Algorithm, what: &str| {
        let error = with_key(key, Some(algorithm)).err().unwrap();
        assert_eq!(error, format!("publisher-key-alg: `{algorithm:?}` is no algorithm of {what}"));
    };
    let hmac = "a secret; allowed: HS256, HS384, HS512";
    let rsa = "an RSA key; allowed: RS256, RS384, RS512, PS256, PS384, PS512";
    refused(SECRET, Algorithm::RS256, hmac);
    refused(SECRET, Algorithm::EdDSA, hmac);
    refused(&KeyPair::rsa().public_pem(), Algorithm::HS256, rsa);
    refused(&KeyPair::rsa().public_pem(), Algorithm::ES256, rsa);
    let p256 = KeyPair::ec(Algorithm::ES256).public_pem();
    refused(&p256, Algorithm::ES384, "a P-256 key; allowed: ES256");
    let p384 = KeyPair::ec(Algorithm::ES384).public_pem();
    refused(&p384, Algorithm::ES256, "a P-384 key; allowed: ES384");
    let ed25519 = KeyPair::ed().public_pem();
    refused(&ed25519, Algorithm::ES256, "an Ed25519 key; allowed: EdDSA");
    assert!(with_key(&p256, Some(Algorithm::ES256)).is_ok());
    assert!(with_key(&ed25519, Some(Algorithm::EdDSA)).is_ok());
}

fn jwk_set(keys: &[Value]) -> TempFile {
    TempFile::new(json!({ "keys": keys }).to_string())
}

/// A JWK for HMAC with this secret, and perhaps with `alg`.
fn secret_jwk(algorithm: Option<Algorithm>) -> Value {
    let mut jwk = super::fixture::hmac_jwk("1", SECRET);
    jwk.as_object_mut().unwrap().remove("alg");
    if let Some(algorithm) = algorithm {
        jwk["alg"] = format!("{algorithm:?}").into();
    }
    jwk
}

/// A hub with one key set of the issuer. Draft-07 tokens have no key there.
fn with_set(set: &TempFile, more: &[&str]) -> Result<TestAuthority, String> {
    let location = set.source();
    TestAuthority::try_of(&[&["--jwks", location.as_str()], &HUB_ARGS[..], more].concat())
}

/// Asserts that a hub accepts draft-08 tokens that are signed with `allowed`, and refuses others.
#[track_caller]
fn assert_set_allows_only(
    hub: &TestAuthority,
    key: &EncodingKey,
    allowed: Algorithm,
    all: &[Algorithm],
) {
    for found in all {
        let [_, token] = tokens(key, *found);
        assert_eq!(hub.publisher(&token).is_ok(), *found == allowed, "{found:?}");
        assert_eq!(hub.subscriber(&token).is_ok(), *found == allowed, "{found:?}");
    }
}

#[test]
fn a_jwk_is_used_with_its_own_algorithm_whatever_the_setting_is() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let pair = KeyPair::rsa();
    for more in [&[][..], &["--jwks-alg", "HS384", "--jwks-alg", "RS384"]] {
        for algorithm in HMAC {
            let hub = with_set(&jwk_set(&[secret_jwk(Some(algorithm))]), more).unwrap();
            assert_set_allows_only(&hub, &key, algorithm, &HMAC);
        }
        for algorithm in RSA {
            let jwk = pair.jwk(&[("alg", &format!("{algorithm:?}"))]);
            let hub = with_set(&jwk_set(&[jwk]), more).unwrap();
            assert_set_allows_only(&hub, &pair.signing, algorithm, &RSA);
        }
    }
}

#[test]
fn a_jwk_without_an_algorithm_is_used_with_the_default_of_its_type() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let hub = with_set(&jwk_set(&[secret_jwk(None)]), &[]).unwrap();
    assert_set_allows_only(&hub, &key, Algorithm::HS256, &HMAC);
    let rsa = KeyPair::rsa();
    let hub = with_set(&jwk_set(&[rsa.jwk(&[])]), &[]).unwrap();
    assert_set_allows_only(&hub, &rsa.signing, Algorithm::RS256, &RSA);
    for pair in [KeyPair::ec(Algorithm::ES256), KeyPair::ec(Algorithm::ES384), KeyPair::ed()] {
        let hub = with_set(&jwk_set(&[pair.jwk(&[])]), &[]).unwrap();
        assert_set_allows_only(&hub, &pair.signing, pair.algorithm, &[pair.algorithm]);
    }
}

#[test]
fn jwks_alg_is_for_the_keys_of_its_type_that_name_no_algorithm() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let (rsa, ed25519) = (KeyPair::rsa(), KeyPair::ed());
    let set = jwk_set(&[secret_jwk(None), rsa.jwk(&[("kid", "2")]), ed25519.jwk(&[])]);
    let hub = with_set(&set, &["--jwks-alg", "PS512"]).unwrap();
    assert_set_allows_only(&hub, &rsa.signing, Algorithm::PS512, &RSA);
    assert_set_allows_only(&hub, &key, Algorithm::HS256, &HMAC);
    assert_set_allows_only(&hub, &ed25519.signing, Algorithm::EdDSA, &[Algorithm::EdDSA]);
    let both = ["--jwks-alg", "HS512", "--jwks-alg", &format!("{ISSUER}=RS384")];
    let hub = with_set(&set, &both).unwrap();
    assert_set_allows_only(&hub, &rsa.signing, Algorithm::RS384, &RSA);
    assert_set_allows_only(&hub, &key, Algorithm::HS512, &HMAC);
}

#[test]
fn jwks_alg_is_for_one_issuer() {
    const OTHER: &str = "https://b.example";
    let pair = KeyPair::rsa();
    let set = jwk_set(&[pair.jwk(&[])]);
    let locations = [ISSUER, OTHER].map(|issuer| format!("{issuer}={}", set.source()));
    let hub = TestAuthority::of(&[
        "--issuer",
        ISSUER,
        "--issuer",
        OTHER,
        "--audience",
        HUB,
        "--jwks",
        &locations[0],
        "--jwks",
        &locations[1],
        "--jwks-alg",
        &format!("{OTHER}=RS512"),
    ]);
    let token = |issuer: &str, algorithm: Algorithm| {
        let mut claims = details(json!([detail(json!([{"match": "*"}]))]));
        claims["iss"] = issuer.into();
        let header = format!(r#"{{"alg":"{algorithm:?}","typ":"at+jwt"}}"#);
        sign(&header, &claims.to_string(), &pair.signing, algorithm)
    };
    for (issuer, algorithm, is_allowed) in [
        (ISSUER, Algorithm::RS256, true),
        (ISSUER, Algorithm::RS512, false),
        (OTHER, Algorithm::RS256, false),
        (OTHER, Algorithm::RS512, true),
    ] {
        let result = hub.publisher(&token(issuer, algorithm));
        assert_eq!(result.is_ok(), is_allowed, "{algorithm:?} of {issuer}");
    }
}

#[test]
fn jwks_alg_is_for_draft_07_tokens_where_the_set_belongs_to_no_issuer() {
    let pair = KeyPair::rsa();
    let set = jwk_set(&[pair.jwk(&[])]);
    let hub = TestAuthority::of(&["--jwks", &set.source(), "--jwks-alg", "PS256"]);
    let [with_rs256, _] = tokens(&pair.signing, Algorithm::RS256);
    let [with_ps256, _] = tokens(&pair.signing, Algorithm::PS256);
    assert!(hub.publisher(&with_ps256).is_ok() && hub.publisher(&with_rs256).is_err());
}

#[test]
fn a_secret_is_used_with_several_algorithms_if_a_set_has_it_once_for_each() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let keys = [Algorithm::HS256, Algorithm::HS512].map(|it| secret_jwk(Some(it)));
    let hub = with_set(&jwk_set(&keys), &[]).unwrap();
    for (algorithm, is_allowed) in HMAC.into_iter().zip([true, false, true]) {
        let [_, token] = tokens(&key, algorithm);
        assert_eq!(hub.publisher(&token).is_ok(), is_allowed, "{algorithm:?}");
    }
}

#[test]
fn of_several_keys_each_is_tried_with_its_own_algorithm() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let pair = KeyPair::rsa();
    let set = jwk_set(&[secret_jwk(Some(Algorithm::HS512)), pair.jwk(&[("alg", "PS256")])]);
    let hub = with_set(&set, &[]).unwrap();
    assert_set_allows_only(&hub, &key, Algorithm::HS512, &HMAC);
    assert_set_allows_only(&hub, &pair.signing, Algorithm::PS256, &RSA);
}
