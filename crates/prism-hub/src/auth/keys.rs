//! Keys from text, files and variables, and what each may be used for.
//!
//! What a key is decides its algorithms, here and once: a secret is for HMAC, a public key for its
//! own kind of signature. Text that looks like a public key and cannot be read is refused; it never
//! becomes a secret, which everybody would know.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::keyring::Key;
use crate::config::{KeySetUrl, KeySource};
use crate::limits;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Secrets that are printed in documentation.
const KNOWN_SECRETS: &[&str] = &[
    "!ChangeThisMercureHubJWTSecretKey!",
    "!ChangeMe!",
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
];

/// A key that cannot be read, or must not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// Which one, by its setting or its file.
    name: String,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Algorithm(String),
    Empty,
    Fetch(String),
    File { path: PathBuf, error: String },
    Known,
    LooksLikeKey,
    NoUsableKey,
    NotASet,
    NotPem,
    Private,
    Public,
    RsaBits { bits: usize },
    Short { len: usize },
    TooMany { count: usize },
    Variable { name: String },
}

/// A key that signs.
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
}

/// The key that verifies what a source signs. Short and well-known secrets are for `dev`.
pub(super) fn read_verifying(
    name: &str,
    source: &KeySource,
    is_dev: bool,
) -> Result<Key, KeyError> {
    let fail = |reason| KeyError { name: name.to_owned(), reason };
    let bytes = read(source).map_err(fail)?;
    let (algorithms, key) = match Material::of(&bytes).map_err(fail)? {
        Material::Pem(pem) => verifying_pem(pem).map_err(fail)?,
        Material::Secret(secret) => {
            check_secret(secret, is_dev).map_err(fail)?;
            (HMAC.to_vec(), DecodingKey::from_secret(secret))
        }
    };
    Ok(Key::new(None, algorithms, key))
}

/// The keys of a set that verify signatures. Those of other kinds are passed over.
pub(super) fn read_set(path: &Path, is_dev: bool) -> Result<Vec<Key>, KeyError> {
    let fail = |reason| KeyError { name: format!("the key set {}", path.display()), reason };
    let bytes = read_file(path).map_err(fail)?;
    verifying_set(&bytes, |jwk| verifying_jwk(jwk, is_dev)).map_err(fail)
}

/// The keys of a set that came from an address, perhaps none. What cannot be used is passed over,
/// so that it keeps nobody from taking another key out. So are secrets: what the hub reads there
/// without a password, others can read too.
pub(super) fn read_fetched(url: &KeySetUrl, bytes: &[u8]) -> Result<Vec<Key>, KeyError> {
    let keys = set_of(bytes, |jwk| match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => Ok(None),
        _ => Ok(verifying_jwk(jwk, false).unwrap_or_else(|reason| {
            let error = KeyError { name: format!("a key of the set {url}"), reason };
            tracing::warn!("{error}; it is passed over");
            None
        })),
    });
    keys.map_err(|reason| KeyError { name: format!("the key set {url}"), reason })
}

fn verifying_set(
    bytes: &[u8],
    read: impl Fn(&Jwk) -> Result<Option<Key>, Reason>,
) -> Result<Vec<Key>, Reason> {
    let keys = set_of(bytes, read)?;
    if keys.is_empty() { Err(Reason::NoUsableKey) } else { Ok(keys) }
}

fn set_of(
    bytes: &[u8],
    read: impl Fn(&Jwk) -> Result<Option<Key>, Reason>,
) -> Result<Vec<Key>, Reason> {
    let set: Set = serde_json::from_slice(bytes).map_err(|_| Reason::NotASet)?;
    if set.keys.len() > limits::KEYS_MAX {
        return Err(Reason::TooMany { count: set.keys.len() });
    }
    let mut keys = Vec::new();
    for value in set.keys {
        // Kinds of keys that the crate does not know cannot be read.
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        keys.extend(read(&jwk)?);
    }
    Ok(keys)
}

impl KeyError {
    /// A set was fetched, and has no key that can be used.
    pub(super) fn without_keys(url: &KeySetUrl) -> Self {
        Self { name: format!("the key set {url}"), reason: Reason::NoUsableKey }
    }

    /// A set could not be had from its address.
    pub(crate) fn not_fetched(url: &KeySetUrl, what: impl fmt::Display) -> Self {
        let reason = Reason::Fetch(what.to_string());
        Self { name: format!("the key set {url}"), reason }
    }
}

impl SigningKey {
    /// The key of a source that signs. Any secret will do: the hub decides what it accepts.
    pub(crate) fn read(source: &KeySource) -> Result<Self, KeyError> {
        let fail = |reason| KeyError { name: "key".to_owned(), reason };
        let bytes = read(source).map_err(fail)?;
        let (algorithm, encoding) = match Material::of(&bytes).map_err(fail)? {
            Material::Pem(pem) => signing_pem(pem).map_err(fail)?,
            Material::Secret(secret) => (Algorithm::HS256, EncodingKey::from_secret(secret)),
        };
        Ok(Self { algorithm, encoding })
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// What the bytes of a key are.
enum Material<'a> {
    Pem(&'a [u8]),
    Secret(&'a [u8]),
}

impl<'a> Material<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Reason> {
        // Text files end in a line feed that is no part of the secret.
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.is_empty() {
            return Err(Reason::Empty);
        }
        if contains(bytes, b"-----BEGIN") {
            return Ok(Self::Pem(bytes));
        }
        if looks_like_jwk(bytes) || looks_like_der(bytes) {
            return Err(Reason::LooksLikeKey);
        }
        Ok(Self::Secret(secret))
    }
}

fn check_secret(secret: &[u8], is_dev: bool) -> Result<(), Reason> {
    if is_dev {
        return Ok(());
    }
    if secret.len() < limits::SECRET_BYTES_MIN {
        return Err(Reason::Short { len: secret.len() });
    }
    if KNOWN_SECRETS.iter().any(|known| known.as_bytes() == secret) {
        return Err(Reason::Known);
    }
    Ok(())
}

fn verifying_pem(pem: &[u8]) -> Result<(Vec<Algorithm>, DecodingKey), Reason> {
    // A hub that cannot sign cannot be robbed of the key that does.
    if contains(pem, b"PRIVATE KEY-----") {
        return Err(Reason::Private);
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Ok((vec![Algorithm::EdDSA], key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        let algorithm = ec_algorithm(&key)?;
        return Ok((vec![algorithm], key));
    }
    let key = DecodingKey::from_rsa_pem(pem).map_err(|_| Reason::NotPem)?;
    check_modulus(key.try_get_as_bytes().ok().and_then(modulus).ok_or(Reason::NotPem)?)?;
    Ok((RSA.to_vec(), key))
}

/// Other keys of RSA would verify nothing, which is better told when the hub starts.
fn check_modulus(modulus: &[u8]) -> Result<(), Reason> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros).map_or(8, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() - zeros) * 8 - first % 8;
    if limits::RSA_BITS.contains(&bits) { Ok(()) } else { Err(Reason::RsaBits { bits }) }
}

/// The modulus in a public key of RSA: the first number of a sequence (RFC 8017, appendix A.1.1).
fn modulus(der: &[u8]) -> Option<&[u8]> {
    asn1(asn1(der, 0x30)?, 0x02)
}

/// What a value of ASN.1 has in it that these bytes begin with, if it is of this kind.
fn asn1(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (len, rest) = match bytes {
        [first, ..] if *first != tag => return None,
        [_, len @ 0..=0x7F, rest @ ..] => (usize::from(*len), rest),
        [_, 0x81, len, rest @ ..] => (usize::from(*len), rest),
        [_, 0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.get(..len)
}

/// The curve shows in the length of the point, which PEM gives uncompressed.
fn ec_algorithm(key: &DecodingKey) -> Result<Algorithm, Reason> {
    match key.try_get_as_bytes().map(<[u8]>::len) {
        Ok(65) => Ok(Algorithm::ES256),
        Ok(97) => Ok(Algorithm::ES384),
        _ => Err(Reason::Algorithm("this elliptic curve".to_owned())),
    }
}

fn signing_pem(pem: &[u8]) -> Result<(Algorithm, EncodingKey), Reason> {
    if !contains(pem, b"PRIVATE KEY-----") {
        return Err(Reason::Public);
    }
    if let Ok(key) = EncodingKey::from_ed_pem(pem) {
        return Ok((Algorithm::EdDSA, key));
    }
    if let Ok(key) = EncodingKey::from_ec_pem(pem) {
        // Which curve it is shows when it signs.
        let fits = |it: &Algorithm| jsonwebtoken::crypto::sign(b"", &key, *it).is_ok();
        let algorithm = [Algorithm::ES256, Algorithm::ES384].into_iter().find(fits);
        let algorithm = algorithm.ok_or(Reason::Algorithm("this elliptic curve".to_owned()))?;
        return Ok((algorithm, key));
    }
    EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key)).map_err(|_| Reason::NotPem)
}

/// The key, unless it is for something else than signatures, or of a kind that is not known.
fn verifying_jwk(jwk: &Jwk, is_dev: bool) -> Result<Option<Key>, Reason> {
    let own = &jwk.common;
    let is_for_signatures = matches!(own.public_key_use, None | Some(PublicKeyUse::Signature));
    let verifies = own.key_operations.as_ref().is_none_or(|operations| {
        operations.contains(&KeyOperations::Verify) || operations.contains(&KeyOperations::Sign)
    });
    if !is_for_signatures || !verifies {
        return Ok(None);
    }
    let possible = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P256 => {
            &[Algorithm::ES256][..]
        }
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P384 => {
            &[Algorithm::ES384]
        }
        AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        AlgorithmParameters::RSA(_) => RSA,
        AlgorithmParameters::OctetKey(_) => HMAC,
        _ => return Ok(None),
    };
    // A key that names its algorithm is for this one alone; for none, if it is not one of its kind.
    let algorithms: Vec<Algorithm> = match own.key_algorithm {
        None => possible.to_vec(),
        Some(named) => {
            let is_named = |it: &&Algorithm| format!("{it:?}") == format!("{named:?}");
            possible.iter().filter(is_named).copied().collect()
        }
    };
    let Ok(key) = DecodingKey::from_jwk(jwk) else { return Ok(None) };
    if algorithms.is_empty() {
        return Ok(None);
    }
    match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => {
            check_secret(key.try_get_as_bytes().unwrap_or_default(), is_dev)?;
        }
        AlgorithmParameters::RSA(it) => {
            check_modulus(&URL_SAFE_NO_PAD.decode(&it.n).unwrap_or_default())?;
        }
        _ => {}
    }
    Ok(Some(Key::new(own.key_id.clone(), algorithms, key)))
}

fn read(source: &KeySource) -> Result<Vec<u8>, Reason> {
    match source {
        KeySource::Text(text) => Ok(text.clone().into_bytes()),
        KeySource::File(path) => read_file(path),
        KeySource::Env(name) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| Reason::Variable { name: name.clone() }),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Reason> {
    let fail = |error: String| Reason::File { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut bytes = Vec::new();
    let max = limits::KEY_FILE_BYTES_MAX;
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > max {
        return Err(fail(format!("it has more than {max} bytes")));
    }
    Ok(bytes)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A key or a set of keys as JSON.
fn looks_like_jwk(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    text.starts_with(b"{") && (contains(text, b"\"kty\"") || contains(text, b"\"keys\""))
}

/// A sequence of ASN.1 that is as long as it says. Of a thousand million random secrets of 32
/// bytes, about fifteen thousand begin so by chance, and are refused.
fn looks_like_der(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, len @ 0..=0x7F, rest @ ..] => usize::from(*len) == rest.len(),
        [0x30, 0x81, len, rest @ ..] => usize::from(*len) == rest.len(),
        [0x30, 0x82, high, low, rest @ ..] => {
            usize::from(u16::from_be_bytes([*high, *low])) == rest.len()
        }
        _ => false,
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.reason {
            Reason::Algorithm(what) => write!(f, "{what} is not supported"),
            Reason::Empty => f.write_str("the key is empty"),
            Reason::Fetch(what) => f.write_str(what),
            Reason::File { path, error } => write!(f, "{}: {error}", path.display()),
            Reason::Known => f.write_str("this secret is printed in documentation; make your own"),
            Reason::LooksLikeKey => f.write_str(
                "this looks like a public key in DER or JSON, not like a secret; give PEM, or a \
                 key set",
            ),
            Reason::NoUsableKey => f.write_str("it has no key for signatures that is supported"),
            Reason::NotASet => f.write_str("it is no JSON object with `keys`"),
            Reason::NotPem => f.write_str("the PEM has no RSA, P-256, P-384 or Ed25519 key"),
            Reason::Private => {
                f.write_str("this is a private key; the hub needs the public one alone")
            }
            Reason::Public => f.write_str("this is a public key; the private one signs"),
            Reason::RsaBits { bits } => write!(
                f,
                "the RSA key has {bits} bits; it must have {} to {}",
                limits::RSA_BITS.start(),
                limits::RSA_BITS.end()
            ),
            Reason::Short { len } => write!(
                f,
                "the secret has {len} bytes; at least {} are needed, except with `dev`",
                limits::SECRET_BYTES_MIN
            ),
            Reason::TooMany { count } => {
                write!(f, "it has {count} keys; at most {} are allowed", limits::KEYS_MAX)
            }
            Reason::Variable { name } => write!(f, "the variable {name} is not set, or not UTF-8"),
        }
    }
}

impl std::error::Error for KeyError {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
