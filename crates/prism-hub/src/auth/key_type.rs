//! The types of keys, and the signature algorithms of each.

use jsonwebtoken::Algorithm;

use super::key_error::KeyErrorReason;

/// The type of a key. It decides with which algorithms the key may be used. Each key is used with
/// one of them only (RFC 8725, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    /// A secret for HMAC.
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyType {
    /// The algorithms that a key of this type may have.
    pub(super) fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Secret => &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
            Self::Rsa => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            Self::P256 => &[Algorithm::ES256],
            Self::P384 => &[Algorithm::ES384],
            Self::Ed25519 => &[Algorithm::EdDSA],
        }
    }

    /// The algorithm of a key of this type unless another one is set.
    pub(super) fn default_algorithm(self) -> Algorithm {
        match self {
            Self::Secret => Algorithm::HS256,
            Self::Rsa => Algorithm::RS256,
            Self::P256 => Algorithm::ES256,
            Self::P384 => Algorithm::ES384,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }

    /// The algorithm that a setting gives to a key of this type, or the default without one.
    pub(super) fn algorithm_or_default(
        self,
        setting: Option<Algorithm>,
    ) -> Result<Algorithm, KeyErrorReason> {
        match setting {
            None => Ok(self.default_algorithm()),
            Some(algorithm) if self.algorithms().contains(&algorithm) => Ok(algorithm),
            Some(found) => Err(KeyErrorReason::Algorithm {
                found,
                key_type: self.name(),
                allowed: self.algorithms(),
            }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secret => "a secret",
            Self::Rsa => "an RSA key",
            Self::P256 => "a P-256 key",
            Self::P384 => "a P-384 key",
            Self::Ed25519 => "an Ed25519 key",
        }
    }
}
