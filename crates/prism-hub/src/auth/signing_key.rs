//! The key that `prism-hub token` signs with.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey};

use super::key_error::{KeyError, KeyErrorReason};
use super::key_material::{self, KeyMaterial};
use super::key_type::KeyType;
use crate::config::KeySource;

/// A key that signs tokens, and its algorithm.
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
}

impl SigningKey {
    /// Reads a private key as PEM, or a secret. Without an algorithm it has the default of its
    /// type. The strength of a secret is not checked: that is up to the hub that accepts the token.
    pub(crate) fn read(source: &KeySource, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let fail = |reason| KeyError::new("key", reason);
        let bytes = key_material::read(source).map_err(fail)?;
        let (key_type, encoding) = match KeyMaterial::of(&bytes).map_err(fail)? {
            KeyMaterial::Pem(pem) => from_pem(pem).map_err(fail)?,
            KeyMaterial::Secret(secret) => (KeyType::Secret, EncodingKey::from_secret(secret)),
        };
        let algorithm = key_type
            .algorithm_or_default(algorithm)
            .map_err(|reason| KeyError::new("key-alg", reason))?;
        Ok(Self { algorithm, encoding })
    }
}

fn from_pem(pem: &[u8]) -> Result<(KeyType, EncodingKey), KeyErrorReason> {
    if !key_material::is_private_pem(pem) {
        return Err(KeyErrorReason::PublicKey);
    }
    if let Ok(key) = EncodingKey::from_ed_pem(pem) {
        return Ok((KeyType::Ed25519, key));
    }
    if let Ok(key) = EncodingKey::from_ec_pem(pem) {
        // The key does not tell its curve, but signs with the algorithm of its curve alone.
        let signs =
            |it: &KeyType| jsonwebtoken::crypto::sign(b"", &key, it.default_algorithm()).is_ok();
        let key_type = [KeyType::P256, KeyType::P384].into_iter().find(signs);
        return Ok((key_type.ok_or(KeyErrorReason::UnsupportedCurve)?, key));
    }
    let key = EncodingKey::from_rsa_pem(pem).map_err(|_| KeyErrorReason::NotPem)?;
    Ok((KeyType::Rsa, key))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
