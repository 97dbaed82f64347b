//! Keys that verify tokens, and how they are read from settings.

use std::fmt;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use super::key_error::{KeyError, KeyErrorReason};
use super::key_material::{self, KeyMaterial};
use super::key_strength;
use crate::config::KeySource;

/// A key that verifies signatures, with the algorithms it is used with.
#[derive(Clone)]
pub(super) struct VerificationKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl VerificationKey {
    pub(super) fn new(
        id: Option<String>,
        algorithms: Vec<Algorithm>,
        decoding: DecodingKey,
    ) -> Self {
        Self { id, algorithms, decoding }
    }

    /// Reads the key of a setting, such as `publisher-key`: a public key as PEM, or a secret. Weak
    /// secrets are accepted in development mode alone.
    pub(super) fn read(setting: &str, source: &KeySource, is_dev: bool) -> Result<Self, KeyError> {
        let fail = |reason| KeyError::new(setting, reason);
        let bytes = key_material::read(source).map_err(fail)?;
        let (algorithms, key) = match KeyMaterial::of(&bytes).map_err(fail)? {
            KeyMaterial::Pem(pem) => from_pem(pem).map_err(fail)?,
            KeyMaterial::Secret(secret) => {
                key_strength::check_secret(secret, is_dev).map_err(fail)?;
                let algorithms = AlgorithmFamily::Hmac.algorithms().to_vec();
                (algorithms, DecodingKey::from_secret(secret))
            }
        };
        Ok(Self::new(None, algorithms, key))
    }

    /// Whether a token with this key id may be signed with this key. A key or a token without an id
    /// matches any.
    pub(super) fn matches_id(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        }
    }

    pub(super) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

fn from_pem(pem: &[u8]) -> Result<(Vec<Algorithm>, DecodingKey), KeyErrorReason> {
    // A private key cannot be stolen from a hub that does not have it.
    if key_material::is_private_pem(pem) {
        return Err(KeyErrorReason::PrivateKey);
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Ok((vec![Algorithm::EdDSA], key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        let algorithm = ec_algorithm(&key)?;
        return Ok((vec![algorithm], key));
    }
    let key = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyErrorReason::NotPem)?;
    key_strength::check_rsa_public_key(&key)?;
    Ok((AlgorithmFamily::Rsa.algorithms().to_vec(), key))
}

/// Tells the curve by the length of the point, which PEM holds uncompressed.
fn ec_algorithm(key: &DecodingKey) -> Result<Algorithm, KeyErrorReason> {
    match key.try_get_as_bytes().map(<[u8]>::len) {
        Ok(65) => Ok(Algorithm::ES256),
        Ok(97) => Ok(Algorithm::ES384),
        _ => Err(KeyErrorReason::UnsupportedCurve),
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}
