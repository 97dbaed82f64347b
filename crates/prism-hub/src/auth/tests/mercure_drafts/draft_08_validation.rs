//! Draft-08: which tokens are valid.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

fn with_typ(typ: &str) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = details(json!([detail(json!([{"match": "*"}]))])).to_string();
    sign(&format!(r#"{{"alg":"HS256"{typ}}}"#), &claims, &key, Algorithm::HS256)
}

#[test]
fn m08_074_an_access_token_is_a_compact_jws() {
    assert!(hub().publisher(&grants(json!([{"match": "*"}]))).is_ok());
    assert!(is_invalid(hub().publisher(r#"{"signatures":[]}"#)));
}

#[test]
fn m08_098_typ_must_be_that_of_an_access_token() {
    let strict = TestAuthority::new(&["--compat-draft-07", "off"]);
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(strict.publisher(&with_typ(&format!(r#","typ":"{typ}""#))).is_ok(), "{typ}");
    }
    for typ in ["", r#","typ":"JWT""#, r#","typ":"at+jwt ""#, r#","typ":"jwt+at""#] {
        assert!(is_invalid(strict.publisher(&with_typ(typ))), "{typ}");
        let publisher = hub().publisher(&with_typ(typ)).unwrap();
        assert!(!publisher.may_publish(&[topic("a")]), "it is one of draft-07, without grants");
    }
}

#[test]
fn m08_100_algorithms_that_are_not_accepted_are_refused() {
    let pair = KeyPair::ec(Algorithm::ES256);
    assert!(is_invalid(hub().publisher(&pair.token(&mercure(&["*"])))));
}

#[test]
fn m08_101_none_is_never_accepted() {
    let header = r#"{"alg":"none","typ":"at+jwt"}"#;
    let claims = details(json!([])).to_string();
    assert!(is_invalid(hub().publisher(&crate::auth::tests::fixture::raw(header, &claims, ""))));
}

#[test]
fn m08_103_the_algorithm_fits_the_type_of_the_key() {
    let pair = KeyPair::rsa();
    let pem = pair.public_pem();
    let hub = TestAuthority::of(&["--publisher-key", &pem, "--anonymous"]);
    assert!(hub.publisher(&pair.token(&mercure(&["*"]))).is_ok());
    assert!(hub.publisher(&draft_07_token_by(&pem, &mercure(&["*"]))).is_err());
}

#[test]
fn m08_104_the_usual_algorithms_are_supported() {
    for pair in [KeyPair::ed(), KeyPair::ec(Algorithm::ES256), KeyPair::rsa()] {
        let pem = pair.public_pem();
        let hub = TestAuthority::of(&[
            "--publisher-key",
            &pem,
            "--anonymous",
            "--issuer",
            ISSUER,
            "--audience",
            HUB,
        ]);
        let header = format!(r#"{{"alg":"{:?}","typ":"at+jwt"}}"#, pair.algorithm);
        let claims = details(json!([detail(json!([{"match": "*"}]))])).to_string();
        let token = sign(&header, &claims, &pair.signing, pair.algorithm);
        assert!(hub.publisher(&token).is_ok(), "{:?}", pair.algorithm);
    }
}

#[test]
fn m08_107_a_key_in_the_token_is_not_used() {
    let stranger = EncodingKey::from_secret(b"a stranger's secret");
    let header =
        json!({"alg": "HS256", "typ": "at+jwt", "jwk": hmac_jwk("", "a stranger's secret")});
    let claims = details(json!([])).to_string();
    let token = sign(&header.to_string(), &claims, &stranger, Algorithm::HS256);
    assert!(is_invalid(hub().publisher(&token)));
}

#[test]
fn m08_108_every_trusted_key_belongs_to_one_issuer() {
    let set = TempFile::new(json!({"keys": [hmac_jwk("1", SECRET)]}).to_string()).source();
    let two = ["--issuer", ISSUER, "--issuer", "https://b.example", "--audience", HUB];
    let error = TestAuthority::try_of(&[&two[..], &["--jwks", &set]].concat()).err().unwrap();
    assert!(error.contains("of several issuers, say whose it is"), "{error}");
}

#[test]
fn m08_109_only_keys_of_the_token_s_issuer_are_tried() {
    let a = TempFile::new(json!({"keys": [hmac_jwk("1", SECRET)]}).to_string());
    let b = TempFile::new(json!({"keys": [hmac_jwk("2", OTHER_SECRET)]}).to_string());
    let hub = TestAuthority::of(&[
        "--issuer",
        ISSUER,
        "--issuer",
        "https://b.example",
        "--audience",
        HUB,
        "--jwks",
        &format!("{ISSUER}={}", a.source()),
        "--jwks",
        &format!("https://b.example={}", b.source()),
    ]);
    assert!(hub.publisher(&changed("iss", json!(ISSUER))).is_ok());
    assert!(is_invalid(hub.publisher(&changed("iss", json!("https://b.example")))));
}

#[test]
fn m08_110_a_token_is_expired_at_its_exp() {
    let hub = hub();
    let token = changed("exp", json!(NOW + 5));
    assert!(hub.publisher(&token).is_ok());
    assert!(is_invalid(hub.at(NOW + 5).publisher(&token)), "also when it is known");
    assert!(is_invalid(TestAuthority::new(&[]).at(NOW + 6).publisher(&token)));
}

#[test]
fn m08_111_exp_is_required() {
    assert!(is_invalid(hub().publisher(&without("exp"))));
}

#[test]
fn m08_112_a_token_is_invalid_before_its_nbf() {
    let token = changed("nbf", json!(NOW + 5));
    assert!(is_invalid(hub().publisher(&token)));
    assert!(hub().at(NOW + 5).publisher(&token).is_ok());
}

#[test]
fn m08_113_a_hub_with_an_issuer_needs_an_audience() {
    let error =
        TestAuthority::try_of(&["--publisher-key", SECRET, "--anonymous", "--issuer", ISSUER]);
    assert!(error.err().unwrap().contains("give `audience` or `public-url`"));
}

#[test]
fn m08_114_the_default_audience_is_the_hub_url() {
    assert!(hub().publisher(&changed("aud", json!(HUB))).is_ok());
    let named = TestAuthority::new(&["--audience", "urn:hub:7"]);
    assert!(named.publisher(&changed("aud", json!("urn:hub:7"))).is_ok());
    assert!(is_invalid(named.publisher(&changed("aud", json!(HUB)))));
}

#[test]
fn m08_115_aud_is_or_contains_the_hub() {
    assert!(hub().publisher(&changed("aud", json!([HUB]))).is_ok());
    assert!(hub().publisher(&changed("aud", json!(["https://a.example", HUB]))).is_ok());
    for aud in [json!("https://a.example"), json!([]), json!(format!("{HUB}/x"))] {
        assert!(is_invalid(hub().publisher(&changed("aud", aud))));
    }
    assert!(is_invalid(hub().publisher(&without("aud"))));
}

#[test]
fn m08_116_iss_equals_a_trusted_issuer() {
    for iss in ["https://issuer.example/", "https://Issuer.example", "issuer.example"] {
        assert!(is_invalid(hub().publisher(&changed("iss", json!(iss)))));
    }
    assert!(is_invalid(hub().publisher(&without("iss"))));
    let nobody = TestAuthority::of(&["--publisher-key", SECRET, "--anonymous"]);
    assert!(nobody.publisher(&grants(json!([{"match": "*"}]))).is_err());
}

#[test]
fn m08_117_unused_claims_may_be_missing() {
    assert!(hub().publisher(&draft_08_token(&details(json!([])))).is_ok());
}

#[test]
fn m08_118_a_failed_check_is_an_invalid_token() {
    assert!(is_invalid(hub().publisher(&changed("aud", json!("a")))));
}

#[test]
fn m08_133_a_stream_ends_with_its_token() {
    let end = UNIX_EPOCH + Duration::from_secs(NOW + 7);
    let reader = hub().subscriber(&changed("exp", json!(NOW + 7))).unwrap();
    assert_eq!(reader.expires_at(), Some(end));
}

#[test]
fn m08_193_a_removed_key_verifies_no_token() {
    let token = grants(json!([{"match": "*"}]));
    assert!(hub().publisher(&token).is_ok());
    let other = TestAuthority::of(&[
        "--publisher-key",
        OTHER_SECRET,
        "--anonymous",
        "--issuer",
        ISSUER,
        "--audience",
        HUB,
    ]);
    assert!(other.publisher(&token).is_err());
}

/// A signed token of draft-08 that grants everything, with these header parameters.
fn everything(header: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let claims = details(json!([detail(json!([{"match": "*"}]))])).to_string();
    sign(&format!(r#"{{"typ":"at+jwt",{header}}}"#), &claims, key, algorithm)
}

/// A hub that trusts this key alone.
fn opened_by(key: &str) -> TestAuthority {
    let usual = ["--publisher-key", key, "--anonymous", "--issuer", ISSUER, "--audience", HUB];
    TestAuthority::of(&usual)
}

#[test]
fn m08_097_a_token_that_breaks_one_rule_is_refused() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let good = everything(r#""alg":"HS256""#, &key, Algorithm::HS256);
    assert!(hub().publisher(&good).is_ok());
    let stranger = EncodingKey::from_secret(OTHER_SECRET.as_bytes());
    for bad in [
        with_typ(r#","typ":"dpop+jwt""#),
        everything(r#""alg":"HS256""#, &stranger, Algorithm::HS256),
        everything(r#""alg":"HS384""#, &key, Algorithm::HS256),
        everything(r#""alg":"HS256","crit":["a"],"a":1"#, &key, Algorithm::HS256),
        changed("iss", json!([ISSUER])),
        changed("aud", json!({"a": HUB})),
        changed("exp", json!(NOW)),
        changed("nbf", json!(NOW + 1)),
        changed("iat", json!("now")),
        without("iss"),
        without("aud"),
        without("exp"),
    ] {
        for result in [
            hub().publisher(&bad).map(|publisher| publisher.may_publish(&[topic("a")])),
            hub().subscriber(&bad).map(|reader| reader.may_read(&topic("a"))),
        ] {
            match result {
                // A token whose `typ` is not that of an access token is read as draft-07.
                Ok(is_allowed) => assert!(!is_allowed, "{bad}"),
                Err(error) => assert_eq!(told(&error), (401, "invalid_token".to_owned())),
            }
        }
    }
}

#[test]
fn m08_099_each_key_is_used_with_one_algorithm() {
    use Algorithm::{
        ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512,
    };
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let [rsa, ec, large_ec, ed] =
        [KeyPair::rsa(), KeyPair::ec(ES256), KeyPair::ec(ES384), KeyPair::ed()];
    let rsa_algorithms = [RS256, RS384, RS512, PS256, PS384, PS512];
    // The first algorithm is the one of the key; it could sign with the others.
    let keys = [
        (SECRET.to_owned(), &secret, &[HS256, HS384, HS512][..]),
        (rsa.public_pem(), &rsa.signing, &rsa_algorithms),
        (ec.public_pem(), &ec.signing, &[ES256]),
        (large_ec.public_pem(), &large_ec.signing, &[ES384]),
        (ed.public_pem(), &ed.signing, &[EdDSA]),
    ];
    for (at, (text, ..)) in keys.iter().enumerate() {
        let hub = opened_by(text);
        for (other_at, (_, signing, algorithms)) in keys.iter().enumerate() {
            for (rank, algorithm) in algorithms.iter().enumerate() {
                let token = everything(&format!(r#""alg":"{algorithm:?}""#), signing, *algorithm);
                let result = hub.publisher(&token);
                if at == other_at && rank == 0 {
                    assert!(result.is_ok(), "{algorithm:?}");
                } else {
                    assert!(is_invalid(result), "{algorithm:?}");
                }
            }
        }
    }
}

#[test]
fn m08_102_a_token_does_not_choose_its_algorithm() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    // The JWK's `alg` is HS256.
    let file = TempFile::new(json!({"keys": [hmac_jwk("1", SECRET)]}).to_string());
    let hub = TestAuthority::of(&["--jwks", &file.source(), "--issuer", ISSUER, "--audience", HUB]);
    let with = |named: Algorithm, used: Algorithm| {
        everything(&format!(r#""alg":"{named:?}""#), &key, used)
    };
    assert!(hub.publisher(&with(Algorithm::HS256, Algorithm::HS256)).is_ok());
    assert!(is_invalid(hub.publisher(&with(Algorithm::HS512, Algorithm::HS512))));
    assert!(is_invalid(hub.publisher(&with(Algorithm::HS256, Algorithm::HS512))));
    assert!(is_invalid(hub.publisher(&with(Algorithm::HS512, Algorithm::HS256))));
}

/// An RSA public key of 1,024 bits. Its private key was thrown away.
const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDeMQd8ZBgQkczwb4f8YMKN77Is
9VeJzs/Pp//71GYAxc9F6X4MlyMn8jEMwBMLMHJR55xG3A7Pk4HxQJbMBprLbXsD
yUIBhT0/P1XA14xN3KhEcfYc84p/fHxOvSMnfUTzGQEAEjRk2PjjvBIYsNgfQ8N0
R3ptY4oiPA7jFiGHbQIDAQAB
-----END PUBLIC KEY-----
";

#[test]
fn m08_105_weak_keys_and_algorithms_are_refused() {
    let refused = |args: &[&str], what: &str| {
        let error =
            TestAuthority::try_of(args).err().unwrap_or_else(|| panic!("{args:?} is accepted"));
        assert!(error.contains(what), "{error}");
    };
    refused(
        &["--publisher-key", SHORT_RSA, "--anonymous"],
        "the RSA key has 1024 bits; it must have 2048 to 8192",
    );
    refused(&["--publisher-key", &SECRET[..31], "--anonymous"], "at least 32 are needed");
    let modulus = URL_SAFE_NO_PAD.encode([0xde; 128]);
    let short = json!({"keys": [{"kty": "RSA", "n": modulus, "e": "AQAB"}]});
    let set = TempFile::new(short.to_string());
    refused(
        &["--jwks", &set.source(), "--anonymous"],
        "the RSA key has 1024 bits; it must have 2048 to 8192",
    );
    // Names of algorithms that are weak or not supported.
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    for name in ["RS1", "HS1", "MD5", "ES256K", "RSA1_5", "HS256/64", "none"] {
        let token = everything(&format!(r#""alg":"{name}""#), &key, Algorithm::HS256);
        assert!(is_invalid(hub().publisher(&token)), "{name}");
    }
}

#[test]
fn m08_106_only_configured_keys_verify() {
    let stranger = EncodingKey::from_secret(b"a stranger's secret, which is long enough");
    let file = TempFile::new(json!({"keys": [hmac_jwk("1", SECRET)]}).to_string());
    let hub = TestAuthority::of(&["--jwks", &file.source(), "--issuer", ISSUER, "--audience", HUB]);
    for header in [r#""alg":"HS256""#, r#""alg":"HS256","kid":"1""#, r#""alg":"HS256","kid":"2""#] {
        let token = everything(header, &stranger, Algorithm::HS256);
        assert!(is_invalid(hub.publisher(&token)), "{header}");
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let named = |id: &str| {
        hub.publisher(&everything(
            &format!(r#""alg":"HS256","kid":"{id}""#),
            &key,
            Algorithm::HS256,
        ))
    };
    assert!(named("1").is_ok() && is_invalid(named("2")));
    // The file is not needed after the hub has read it.
    drop(file);
    assert!(named("1").is_ok());
}
