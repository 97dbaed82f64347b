//! Reads JWK Sets (RFC 7517).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use serde::Deserialize;
use serde_json::Value;

use super::key_error::{KeyError, KeyErrorReason};
use super::key_material;
use super::key_strength;
use super::key_type::KeyType;
use super::verification_key::VerificationKey;
use crate::config::KeySetUrl;
use crate::limits;

#[derive(Deserialize)]
struct JwkSetDocument {
    keys: Vec<Value>,
}

/// Reads the verification keys of a key set in a file. Keys for other uses and of unsupported types
/// are skipped; a weak key is an error.
pub(super) fn read_file(path: &Path, is_dev: bool) -> Result<Vec<VerificationKey>, KeyError> {
    let fail = |reason| KeyError::new(format!("the key set {}", path.display()), reason);
    let bytes = key_material::read_file(path).map_err(fail)?;
    let keys = parse(&bytes, |jwk| verification_key(jwk, is_dev)).map_err(fail)?;
    if keys.is_empty() { Err(fail(KeyErrorReason::NoUsableKey)) } else { Ok(keys) }
}

/// Reads the verification keys of a key set from a URL, of which there may be none. A key that
/// cannot be used is skipped, so that it does not prevent the removal of another one. Secrets are
/// skipped too: what the hub can fetch without a password, others can.
pub(super) fn read_fetched(
    url: &KeySetUrl,
    bytes: &[u8],
) -> Result<Vec<VerificationKey>, KeyError> {
    let keys = parse(bytes, |jwk| match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => Ok(None),
        _ => Ok(verification_key(jwk, false).unwrap_or_else(|reason| {
            let error = KeyError::new(format!("a key of the set {url}"), reason);
            tracing::warn!("{error}; it is skipped");
            None
        })),
    });
    keys.map_err(|reason| KeyError::new(format!("the key set {url}"), reason))
}

fn parse(
    bytes: &[u8],
    verification_key: impl Fn(&Jwk) -> Result<Option<VerificationKey>, KeyErrorReason>,
) -> Result<Vec<VerificationKey>, KeyErrorReason> {
    let set: JwkSetDocument =
        serde_json::from_slice(bytes).map_err(|_| KeyErrorReason::NotAJwkSet)?;
    if set.keys.len() > limits::KEYS_MAX {
        return Err(KeyErrorReason::TooManyKeys { count: set.keys.len() });
    }
    let mut keys = Vec::new();
    for value in set.keys {
        // A key of a type that `jsonwebtoken` does not know cannot be read.
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        keys.extend(verification_key(&jwk)?);
    }
    Ok(keys)
}

/// The verification key of a JWK. `None` if it is not for signatures, or of an unsupported type.
fn verification_key(jwk: &Jwk, is_dev: bool) -> Result<Option<VerificationKey>, KeyErrorReason> {
    let parameters = &jwk.common;
    let is_for_signatures =
        matches!(parameters.public_key_use, None | Some(PublicKeyUse::Signature));
    let verifies = parameters.key_operations.as_ref().is_none_or(|operations| {
        operations.contains(&KeyOperations::Verify) || operations.contains(&KeyOperations::Sign)
    });
    if !is_for_signatures || !verifies {
        return Ok(None);
    }
    let key_type = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P256 => KeyType::P256,
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P384 => KeyType::P384,
        AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519 => {
            KeyType::Ed25519
        }
        AlgorithmParameters::RSA(_) => KeyType::Rsa,
        AlgorithmParameters::OctetKey(_) => KeyType::Secret,
        _ => return Ok(None),
    };
    let mut algorithm = None;
    if let Some(alg) = parameters.key_algorithm {
        let allowed = key_type.algorithms();
        algorithm = allowed.iter().copied().find(|it| KeyAlgorithm::from(*it) == alg);
        // The `alg` of another use, such as encryption, or of another type.
        if algorithm.is_none() {
            return Ok(None);
        }
    }
    let Ok(key) = DecodingKey::from_jwk(jwk) else { return Ok(None) };
    match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => {
            let secret = key.try_get_as_bytes().unwrap_or_default();
            key_strength::check_secret(secret, is_dev)?;
        }
        AlgorithmParameters::RSA(it) => {
            let modulus = URL_SAFE_NO_PAD.decode(&it.n).unwrap_or_default();
            key_strength::check_rsa_modulus(&modulus)?;
        }
        _ => {}
    }
    let id = parameters.key_id.clone();
    Ok(Some(VerificationKey::from_jwk(id, key_type, algorithm, key)))
}
