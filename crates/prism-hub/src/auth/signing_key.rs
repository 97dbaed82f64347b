//! The key that `prism-hub token` signs with.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey};

use super::key_error::{KeyError, KeyErrorReason};
use super::key_material::{self, KeyMaterial};
use crate::config::KeySource;

/// A key that signs tokens, and its algorithm.
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
}

impl SigningKey {
    /// Reads a private key as PEM, or a secret. The strength of a secret is not checked: that is up
    /// to the hub that accepts the token.
    pub(crate) fn read(source: &KeySource) -> Result<Self, KeyError> {
        let fail = |reason| KeyError::new("key", reason);
        let bytes = key_material::read(source).map_err(fail)?;
        let (algorithm, encoding) = match KeyMaterial::of(&bytes).map_err(fail)? {
            KeyMaterial::Pem(pem) => from_pem(pem).map_err(fail)?,
            KeyMaterial::Secret(secret) => (Algorithm::HS256, EncodingKey::from_secret(secret)),
        };
        Ok(Self { algorithm, encoding })
    }
}

fn from_pem(pem: &[u8]) -> Result<(Algorithm, EncodingKey), KeyErrorReason> {
    if !key_material::is_private_pem(pem) {
        return Err(KeyErrorReason::PublicKey);
    }
    if let Ok(key) = EncodingKey::from_ed_pem(pem) {
        return Ok((Algorithm::EdDSA, key));
    }
    if let Ok(key) = EncodingKey::from_ec_pem(pem) {
        // The key does not tell its curve, but signs with the algorithm of its curve alone.
        let signs = |it: &Algorithm| jsonwebtoken::crypto::sign(b"", &key, *it).is_ok();
        let algorithm = [Algorithm::ES256, Algorithm::ES384].into_iter().find(signs);
        return Ok((algorithm.ok_or(KeyErrorReason::UnsupportedCurve)?, key));
    }
    let key = EncodingKey::from_rsa_pem(pem).map_err(|_| KeyErrorReason::NotPem)?;
    Ok((Algorithm::RS256, key))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
