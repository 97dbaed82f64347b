//! What is accepted as a key, and how keys of a set are chosen.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::fixture::{
    KeyPair, SECRET, TempFile, TestAuthority, draft_07_token, hmac_jwk, mercure, sign,
};
use crate::auth::key_material::looks_like_der;
use crate::auth::signing_key::SigningKey;
use crate::config::KeySource;
use crate::limits;

fn pairs() -> [KeyPair; 4] {
    [KeyPair::rsa(), KeyPair::ec(Algorithm::ES256), KeyPair::ec(Algorithm::ES384), KeyPair::ed()]
}

fn with_set(keys: &[Value]) -> Result<TestAuthority, String> {
    let set = TempFile::new(json!({ "keys": keys }).to_string());
    TestAuthority::try_of(&["--jwks", &set.source()])
}

#[test]
fn a_public_key_verifies_what_its_private_key_signs() {
    for pair in pairs() {
        let private = TempFile::new(&pair.private_pem);
        let source = KeySource::parse(&private.source()).unwrap();
        let key = SigningKey::read(&source, None).unwrap();
        assert_eq!(key.algorithm, pair.algorithm);
        let header = format!(r#"{{"alg":"{:?}"}}"#, key.algorithm);
        let claims = mercure(&["*"]).to_string();
        let token = sign(&header, &claims, &key.encoding, key.algorithm);
        let public = TempFile::new(pair.public_pem());
        let fixture = TestAuthority::of(&["--publisher-key", &public.source(), "--anonymous"]);
        assert!(fixture.publisher(&token).is_ok(), "{:?}", pair.algorithm);

        let public = KeySource::parse(&public.source()).unwrap();
        let error = SigningKey::read(&public, None).unwrap_err();
        assert_eq!(error.to_string(), "key: this is a public key; the private one signs");
    }
}

#[test]
fn a_trailing_line_feed_is_not_part_of_a_secret() {
    for end in ["", "\n", "\r\n"] {
        let file = TempFile::new(format!("{SECRET}{end}"));
        let fixture = TestAuthority::of(&["--publisher-key", &file.source(), "--anonymous"]);
        assert!(fixture.publisher(&draft_07_token(&mercure(&["*"]))).is_ok(), "{end:?}");
    }
}

#[test]
fn a_secret_may_be_any_bytes() {
    let bytes: Vec<u8> = (100..=255).collect();
    let file = TempFile::new(&bytes);
    let fixture = TestAuthority::of(&["--publisher-key", &file.source(), "--anonymous"]);
    let key = EncodingKey::from_secret(&bytes);
    let claims = mercure(&["*"]).to_string();
    let token = sign(r#"{"alg":"HS256"}"#, &claims, &key, Algorithm::HS256);
    assert!(fixture.publisher(&token).is_ok());
}

#[test]
fn a_set_has_keys_of_all_types() {
    let pairs = pairs();
    let keys: Vec<Value> = pairs.iter().map(|pair| pair.jwk(&[])).collect();
    let fixture = with_set(&keys).unwrap();
    for pair in &pairs {
        assert!(fixture.publisher(&pair.token(&mercure(&["*"]))).is_ok());
        assert!(fixture.subscriber(&pair.token(&mercure(&["*"]))).is_ok());
    }
    assert!(fixture.publisher(&KeyPair::ed().token(&mercure(&["*"]))).is_err());
}

#[test]
fn a_key_id_chooses_among_the_keys_of_a_set() {
    let keys = [hmac_jwk("1", SECRET), hmac_jwk("2", "another secret of 32 bytes or more")];
    let fixture = with_set(&keys).unwrap();
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let with = |header: &str| {
        let token = sign(header, &mercure(&["*"]).to_string(), &key, Algorithm::HS256);
        fixture.publisher(&token)
    };
    assert!(with(r#"{"alg":"HS256","kid":"1"}"#).is_ok());
    assert!(with(r#"{"alg":"HS256","kid":"2"}"#).is_err());
    assert!(with(r#"{"alg":"HS256","kid":"3"}"#).is_err());
    assert!(with(r#"{"alg":"HS256"}"#).is_ok(), "each that fits is tried");
}

#[test]
fn a_key_that_names_its_algorithm_is_for_no_other() {
    let pair = KeyPair::rsa();
    let fixture = with_set(&[pair.jwk(&[("alg", "PS256")])]).unwrap();
    assert!(fixture.publisher(&pair.token(&mercure(&["*"]))).is_err());
    assert!(with_set(&[pair.jwk(&[("alg", "RS256")])]).is_ok());
    assert!(with_set(&[pair.jwk(&[("alg", "HS256")])]).is_err(), "never of another kind");
}

#[test]
fn keys_for_other_uses_are_skipped() {
    let good = KeyPair::ed().jwk(&[]);
    let point = URL_SAFE_NO_PAD.encode([1; 32]);
    for other in [
        KeyPair::rsa().jwk(&[("use", "enc")]),
        json!({"kty": "EC", "crv": "secp256k1", "x": point, "y": point}),
        json!({"kty": "OKP", "crv": "X25519", "x": point}),
        json!({"kty": "XYZ"}),
        json!({}),
        json!("text"),
    ] {
        assert!(with_set(&[other.clone(), good.clone()]).is_ok(), "{other}");
        let error = with_set(&[other]).err().unwrap();
        assert!(error.ends_with("it has no key for signatures that is supported"), "{error}");
    }
}

#[test]
fn text_that_is_not_a_key_set_is_refused() {
    for (text, message) in [
        ("", "it is no JSON object with `keys`"),
        ("[]", "it is no JSON object with `keys`"),
        ("{\"keys\":{}}", "it is no JSON object with `keys`"),
        ("{\"keys\":[]}", "it has no key for signatures that is supported"),
    ] {
        let set = TempFile::new(text);
        let error = TestAuthority::try_of(&["--jwks", &set.source()]).err().unwrap();
        assert!(error.ends_with(message), "{error}");
    }
    let many = vec![hmac_jwk("1", SECRET); limits::KEYS_MAX + 1];
    let error = with_set(&many).err().unwrap();
    assert!(error.ends_with("it has 101 keys; at most 100 are allowed"), "{error}");
    let large = TempFile::new(" ".repeat(limits::KEY_FILE_BYTES_MAX as usize + 1));
    let error = TestAuthority::try_of(&["--jwks", &large.source()]).err().unwrap();
    assert!(error.ends_with("it has more than 262144 bytes"), "{error}");
}

#[test]
fn secrets_that_look_like_der_are_refused() {
    for der in [&b"\x30\x03abc"[..], b"\x30\x81\x03abc", b"\x30\x82\x00\x03abc"] {
        assert!(looks_like_der(der));
    }
    for other in [&b"0123"[..], b"\x30\x04abc", b"\x31\x03abc", b"\x30", b""] {
        assert!(!looks_like_der(other));
    }
}
