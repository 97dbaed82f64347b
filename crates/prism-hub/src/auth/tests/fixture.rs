//! Keys, tokens and requests for the tests of this module.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::request::Parts;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::auth::{AuthError, Authority, Clock, Publisher, Subscriber};
use crate::config::Config;
use crate::problem::Problem;

pub(crate) const SECRET: &str = "publisher's secret, 32 bytes long or more";
pub(crate) const OTHER_SECRET: &str = "subscriber's secret, 32 bytes long or so";
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const HUB: &str = "https://hub.example/.well-known/mercure";

/// The time at which tests begin.
pub(crate) const NOW: u64 = 1_800_000_000;

/// An [`Authority`] and its clock.
pub(crate) struct TestAuthority {
    pub(crate) authority: Authority,
    pub(crate) now: Arc<AtomicU64>,
}

impl TestAuthority {
    /// Trusts tokens of both dialects that are signed with `SECRET`, for both roles.
    pub(crate) fn new(more: &[&str]) -> Self {
        let usual = [
            "--publisher-key",
            SECRET,
            "--subscriber-key",
            SECRET,
            "--issuer",
            ISSUER,
            "--public-url",
            "https://hub.example",
        ];
        Self::of(&[&usual, more].concat())
    }

    pub(crate) fn of(args: &[&str]) -> Self {
        Self::try_of(args).unwrap()
    }

    pub(crate) fn try_of(args: &[&str]) -> Result<Self, String> {
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = Arc::clone(&now);
        let config = Config::from_args(args).map_err(|error| error.to_string())?;
        let clock = Clock::from_fn(move || clock.load(Ordering::Relaxed));
        let authority = Authority::new(&config, clock).map_err(|error| error.to_string())?;
        Ok(Self { authority, now })
    }

    pub(crate) fn at(&self, now: u64) -> &Self {
        self.now.store(now, Ordering::Relaxed);
        self
    }

    pub(crate) fn publisher(&self, token: &str) -> Result<Publisher, AuthError> {
        self.authority.publisher(&post(&[("authorization", &format!("Bearer {token}"))]))
    }

    pub(crate) fn subscriber(&self, token: &str) -> Result<Subscriber, AuthError> {
        self.authority.subscriber(&get("/events", &[("authorization", &format!("Bearer {token}"))]))
    }
}

/// Asserts that a token is refused in both roles, with the answer to every invalid token.
#[track_caller]
pub(crate) fn assert_refused(fixture: &TestAuthority, token: &str) {
    let expected = "401 Bearer error=\"invalid_token\", resource_metadata=\"https://hub.example\
                    /.well-known/oauth-protected-resource/.well-known/mercure\" \
                    {\"title\":\"Unauthorized\",\"status\":401,\
                    \"detail\":\"The token is not valid.\"}";
    let shown = &token[..token.len().min(100)];
    assert_eq!(answer(fixture.publisher(token).unwrap_err()), expected, "publishing with {shown}");
    assert_eq!(answer(fixture.subscriber(token).unwrap_err()), expected, "reading with {shown}");
}

/// Status, challenge and body of the answer to a refused request.
fn answer(error: AuthError) -> String {
    let (status, challenge) = (error.status().as_u16(), error.challenge());
    format!("{status} {} {}", challenge.to_str().unwrap(), Problem::from(error).to_json())
}

pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Parts {
    request("GET", path, headers)
}

pub(crate) fn post(headers: &[(&str, &str)]) -> Parts {
    request("POST", "/events", headers)
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// A token with any header, any claims and any signature.
pub(crate) fn raw(header: &str, claims: &str, signature: &str) -> String {
    let (header, claims) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{header}.{claims}.{signature}")
}

/// A token with a valid signature of this key, whatever its header says.
pub(crate) fn sign(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let unsigned = raw(header, claims, "");
    let message = unsigned.trim_end_matches('.');
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// A token of draft-07 with these claims.
pub(crate) fn draft_07_token(claims: &Value) -> String {
    draft_07_token_by(SECRET, claims)
}

pub(crate) fn draft_07_token_by(secret: &str, claims: &Value) -> String {
    draft_07_token_text(secret, &claims.to_string())
}

pub(crate) fn draft_07_token_text(secret: &str, claims: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    sign(r#"{"alg":"HS256","typ":"JWT"}"#, claims, &key, Algorithm::HS256)
}

/// A token of draft-08 with these claims.
pub(crate) fn draft_08_token(claims: &Value) -> String {
    draft_08_token_text(&claims.to_string())
}

pub(crate) fn draft_08_token_text(claims: &str) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, claims, &key, Algorithm::HS256)
}

/// The required claims of draft-08, and these authorization details.
pub(crate) fn details(details: Value) -> Value {
    json!({"iss": ISSUER, "aud": HUB, "exp": NOW + 3600, "authorization_details": details})
}

/// An authorization detail for both actions.
pub(crate) fn detail(topics: Value) -> Value {
    json!({
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["publish", "subscribe"],
        "topics": topics,
    })
}

/// Claims of draft-07 that grant both actions on these selectors.
pub(crate) fn mercure(selectors: &[&str]) -> Value {
    json!({"mercure": {"publish": selectors, "subscribe": selectors}})
}

pub(crate) fn topic(text: &str) -> prism_sse::Topic {
    prism_sse::Topic::try_from(text).unwrap()
}

/// A private and a public key.
pub(crate) struct KeyPair {
    pub(crate) algorithm: Algorithm,
    pub(crate) signing: EncodingKey,
    pub(crate) public_der: Vec<u8>,
    pub(crate) private_pem: String,
}

impl KeyPair {
    pub(crate) fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der)
    }

    pub(crate) fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        Self::new(Algorithm::RS256, public.as_ref(), private.as_ref())
    }

    pub(crate) fn ec(algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P256_SHA256_FIXED_SIGNING,
        };
        let pair = EcdsaKeyPair::generate(kind).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        Self::new(algorithm, public.as_ref(), private.as_ref())
    }

    pub(crate) fn ed() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        Self::new(Algorithm::EdDSA, public.as_ref(), private.as_ref())
    }

    /// The public key as a JWK, with further members.
    pub(crate) fn jwk(&self, more: &[(&str, &str)]) -> Value {
        let jwk = Jwk::from_encoding_key(&self.signing, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        for (name, value) in more {
            jwk[*name] = (*value).into();
        }
        jwk
    }

    fn new(algorithm: Algorithm, public_der: &[u8], private_der: &[u8]) -> Self {
        let private_pem = pem("PRIVATE KEY", private_der);
        let bytes = private_pem.as_bytes();
        let signing = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(bytes),
            Algorithm::RS256 => EncodingKey::from_rsa_pem(bytes),
            _ => EncodingKey::from_ec_pem(bytes),
        };
        let (signing, public_der) = (signing.unwrap(), public_der.to_vec());
        Self { algorithm, signing, public_der, private_pem }
    }

    /// A token of draft-07 that this key signed.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = format!(r#"{{"alg":"{:?}","typ":"JWT"}}"#, self.algorithm);
        sign(&header, &claims.to_string(), &self.signing, self.algorithm)
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A JSON Web Key for HMAC.
pub(crate) fn hmac_jwk(id: &str, secret: &str) -> Value {
    json!({"kty": "oct", "kid": id, "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret)})
}

/// A file that is removed on drop.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(content: impl AsRef<[u8]>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("prism-hub-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    /// The file as the value of a key setting.
    pub(crate) fn source(&self) -> String {
        format!("file:{}", self.0.display())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}
