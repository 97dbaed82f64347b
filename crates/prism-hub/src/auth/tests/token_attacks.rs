//! T-JWT: forged and malformed tokens. All get the same answer.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::fixture::{
    ISSUER, KeyPair, OTHER_SECRET, SECRET, TempFile, TestAuthority, assert_refused, detail,
    details, draft_07_token, hmac_jwk, mercure, raw, sign,
};
use crate::limits;

fn hs256(secret: &[u8], header: &str, claims: &Value) -> String {
    let unsigned = raw(header, &claims.to_string(), "");
    let message = unsigned.trim_end_matches('.');
    // `jsonwebtoken` may refuse to sign with such a key.
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn with_pair(pair: &KeyPair) -> TestAuthority {
    let pem = pair.public_pem();
    TestAuthority::of(&[
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
    let fixture = TestAuthority::new(&[]);
    for algorithm in ["none", "NONE", "nOnE", "None", "", "null", "HS256 ", "hs256"] {
        for typ in ["JWT", "at+jwt"] {
            let header = format!(r#"{{"alg":"{algorithm}","typ":"{typ}"}}"#);
            let claims = mercure(&["*"]);
            assert_refused(&fixture, &raw(&header, &claims.to_string(), ""));
            assert_refused(&fixture, &raw(&header, &details(json!([])).to_string(), ""));
            assert_refused(&fixture, &hs256(SECRET.as_bytes(), &header, &claims));
        }
    }
    assert_refused(&fixture, &raw(r#"{"typ":"JWT"}"#, "{}", ""));
    assert_refused(&fixture, &raw(r#"{"alg":null}"#, "{}", ""));
    assert_refused(&fixture, &raw(r#"{"alg":["HS256"]}"#, "{}", ""));
}

#[test]
fn t_jwt_a_public_key_is_no_secret() {
    for pair in [KeyPair::rsa(), KeyPair::ec(Algorithm::ES256), KeyPair::ed()] {
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
                assert_refused(&fixture, &hs256(secret.as_bytes(), header, &mercure(&["*"])));
            }
            assert_refused(&fixture, &hs256(&pair.public_der, header, &mercure(&["*"])));
            let jwk = br#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
            assert_refused(&fixture, &hs256(jwk, header, &mercure(&["*"])));
        }
        assert!(fixture.publisher(&pair.token(&mercure(&["*"]))).is_ok(), "its own signature");
    }
}

#[test]
fn t_jwt_what_looks_like_a_public_key_never_becomes_a_secret() {
    let pair = KeyPair::rsa();
    let refuse = |key: &str, part: &str| {
        let error = TestAuthority::try_of(&["--publisher-key", key, "--anonymous"]).err().unwrap();
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
    let fixture = TestAuthority::try_of(&["--publisher-key", &prefixed, "--anonymous"]);
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
        let error = TestAuthority::try_of(&["--publisher-key", key, "--anonymous"]).err().unwrap();
        assert!(error.contains(part), "{error}");
    }
    let empty = TempFile::new("").source();
    assert!(TestAuthority::try_of(&["--publisher-key", &empty, "--anonymous"]).is_err());
    assert!(TestAuthority::try_of(&["--publisher-key", &empty, "--dev"]).is_err(), "even then");
    assert!(TestAuthority::try_of(&["--publisher-key", "x", "--dev"]).is_ok());
    let set = TempFile::new(json!({"keys": [hmac_jwk("1", "short")]}).to_string());
    let error = TestAuthority::try_of(&["--jwks", &set.source(), "--anonymous"]).err().unwrap();
    assert!(error.contains("the secret has 5 bytes"), "{error}");
}

#[test]
fn t_jwt_an_algorithm_of_another_type_of_key() {
    let kinds = [
        KeyPair::rsa(),
        KeyPair::ec(Algorithm::ES256),
        KeyPair::ec(Algorithm::ES384),
        KeyPair::ed(),
    ];
    for (at, trusted) in kinds.iter().enumerate() {
        let fixture = with_pair(trusted);
        assert!(fixture.publisher(&trusted.token(&mercure(&["*"]))).is_ok());
        for (other_at, other) in kinds.iter().enumerate() {
            if at == other_at {
                continue;
            }
            assert_refused(&fixture, &other.token(&mercure(&["*"])));
            // The header names another algorithm than that of the signature.
            let header = format!(r#"{{"alg":"{:?}","typ":"JWT"}}"#, trusted.algorithm);
            let claims = mercure(&["*"]).to_string();
            assert_refused(&fixture, &sign(&header, &claims, &other.signing, other.algorithm));
        }
    }
    let fixture = TestAuthority::new(&[]);
    for pair in &kinds {
        assert_refused(&fixture, &pair.token(&mercure(&["*"])));
    }
}

#[test]
fn t_jwt_hostile_key_ids() {
    let keys = TempFile::new(json!({"keys": [hmac_jwk("1", SECRET)]}).to_string());
    let fixture = TestAuthority::of(&[
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
        assert_refused(&fixture, &with(kid));
    }
}

#[test]
fn t_jwt_a_key_in_the_header_of_a_token() {
    let fixture = TestAuthority::new(&[]);
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
        assert_refused(&fixture, &sign(&header, &claims, &mine, Algorithm::HS256));
    }
}

#[test]
fn t_jwt_one_key_id_of_two_issuers() {
    const B: &str = "https://b.example";
    let a_keys = TempFile::new(json!({"keys": [hmac_jwk("1", SECRET)]}).to_string());
    let b_keys = TempFile::new(json!({"keys": [hmac_jwk("1", OTHER_SECRET)]}).to_string());
    let make = || {
        TestAuthority::of(&[
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
    assert_refused(&cold, &wrong_a);
    assert_refused(&cold, &wrong_b);
    for order in [[&right_a, &right_b], [&right_b, &right_a]] {
        let warm = make();
        for token in order {
            assert!(warm.publisher(token).is_ok());
        }
        assert_refused(&warm, &wrong_a);
        assert_refused(&warm, &wrong_b);
    }
}

#[test]
fn t_jwt_a_key_set_of_an_issuer_verifies_no_draft_07_token() {
    let keys = TempFile::new(json!({"keys": [hmac_jwk("1", SECRET)]}).to_string());
    let fixture = TestAuthority::of(&[
        "--jwks",
        &keys.source(),
        "--issuer",
        ISSUER,
        "--public-url",
        "https://hub.example",
    ]);
    assert_refused(&fixture, &draft_07_token(&mercure(&["*"])));
    let only = TestAuthority::of(&["--jwks", &keys.source()]);
    assert!(
        only.publisher(&draft_07_token(&mercure(&["*"]))).is_ok(),
        "a set of nobody in particular"
    );
}

#[test]
fn t_jwt_a_token_of_the_wrong_form() {
    let fixture = TestAuthority::new(&[]);
    let good = draft_07_token(&mercure(&["*"]));
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
        assert_refused(&fixture, token);
    }
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert_refused(&fixture, &String::from_utf8(bytes).unwrap());
    }
}

#[test]
fn t_jwt_a_compressed_jwe() {
    let fixture = TestAuthority::new(&[]);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#);
    assert_refused(&fixture, &format!("{header}..AAAA.AAAA.AAAA"));
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","enc":"A256GCM","zip":"DEF"}"#);
    assert_refused(&fixture, &format!("{header}.AAAA.AAAA"));
}

#[test]
fn t_jwt_a_token_that_is_too_long() {
    let fixture = TestAuthority::new(&[]);
    let with = |len: usize| {
        let token = |pad: usize| {
            draft_07_token(&json!({"pad": "x".repeat(pad), "mercure": {"publish": ["*"]}}))
        };
        let spare = len - token(0).len();
        token(spare * 3 / 4)
    };
    let longest = with(limits::TOKEN_BYTES_MAX);
    assert!(
        longest.len() <= limits::TOKEN_BYTES_MAX && longest.len() > limits::TOKEN_BYTES_MAX - 4
    );
    assert!(fixture.publisher(&longest).is_ok());
    assert_refused(&fixture, &with(limits::TOKEN_BYTES_MAX + 8));
    assert_refused(&fixture, &"a".repeat(1024 * 1024));
}
