//! Keys that verify tokens, and how they are read from settings.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::key_error::{KeyError, KeyErrorReason};
use super::key_material::{self, KeyMaterial};
use super::key_strength;
use super::key_type::KeyType;
use crate::config::KeySource;

/// A key that verifies signatures, with one algorithm only (RFC 8725, section 3.1).
#[derive(Clone)]
pub(super) struct VerificationKey {
    id: Option<String>,
    key_type: KeyType,
    /// `None` for a JWK without `alg`.
    algorithm: Option<Algorithm>,
    decoding: DecodingKey,
}

impl VerificationKey {
    /// The key of a JWK, with its `kid` and `alg`. The algorithm must be one of the key's type.
    pub(super) fn from_jwk(
        id: Option<String>,
        key_type: KeyType,
        algorithm: Option<Algorithm>,
        decoding: DecodingKey,
    ) -> Self {
        Self { id, key_type, algorithm, decoding }
    }

    /// Reads the key of a setting, such as `publisher-key`: a public key as PEM, or a secret. Its
    /// algorithm is that of the setting `publisher-key-alg`, or the default of its type. Weak
    /// secrets are accepted in development mode alone.
    pub(super) fn read(
        setting: &str,
        source: &KeySource,
        algorithm: Option<Algorithm>,
        is_dev: bool,
    ) -> Result<Self, KeyError> {
        let fail = |reason| KeyError::new(setting, reason);
        let bytes = key_material::read(source).map_err(fail)?;
        let (key_type, decoding) = match KeyMaterial::of(&bytes).map_err(fail)? {
            KeyMaterial::Pem(pem) => from_pem(pem).map_err(fail)?,
            KeyMaterial::Secret(secret) => {
                key_strength::check_secret(secret, is_dev).map_err(fail)?;
                (KeyType::Secret, DecodingKey::from_secret(secret))
            }
        };
        let algorithm = key_type
            .algorithm_or_default(algorithm)
            .map_err(|reason| KeyError::new(format!("{setting}-alg"), reason))?;
        Ok(Self { id: None, key_type, algorithm: Some(algorithm), decoding })
    }

    /// Whether a token with this key id may be signed with this key. A key or a token without an id
    /// matches any.
    pub(super) fn matches_id(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        }
    }

    /// The one algorithm of this key. For a JWK without `alg` it is the first of `jwks_algorithms`
    /// that its type may have, or else the default of its type.
    pub(super) fn algorithm(&self, jwks_algorithms: &[Algorithm]) -> Algorithm {
        let is_allowed = |it: &&Algorithm| self.key_type.algorithms().contains(*it);
        let setting = || jwks_algorithms.iter().find(is_allowed).copied();
        self.algorithm.or_else(setting).unwrap_or(self.key_type.default_algorithm())
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

fn from_pem(pem: &[u8]) -> Result<(KeyType, DecodingKey), KeyErrorReason> {
    // A private key cannot be stolen from a hub that does not have it.
    if key_material::is_private_pem(pem) {
        return Err(KeyErrorReason::PrivateKey);
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Ok((KeyType::Ed25519, key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        return Ok((ec_key_type(&key)?, key));
    }
    let key = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyErrorReason::NotPem)?;
    key_strength::check_rsa_public_key(&key)?;
    Ok((KeyType::Rsa, key))
}

/// Tells the curve by the length of the point, which PEM holds uncompressed.
fn ec_key_type(key: &DecodingKey) -> Result<KeyType, KeyErrorReason> {
    match key.try_get_as_bytes().map(<[u8]>::len) {
        Ok(65) => Ok(KeyType::P256),
        Ok(97) => Ok(KeyType::P384),
        _ => Err(KeyErrorReason::UnsupportedCurve),
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("key_type", &self.key_type)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
