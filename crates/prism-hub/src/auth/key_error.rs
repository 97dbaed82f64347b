//! Why a key or a key set cannot be used.

use std::fmt;
use std::path::PathBuf;

use jsonwebtoken::Algorithm;

use crate::config::KeySetUrl;
use crate::limits;

/// A key or a key set that cannot be read, or must not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// The setting, the file or the URL of the key.
    name: String,
    reason: KeyErrorReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyErrorReason {
    Algorithm { found: Algorithm, key_type: &'static str, allowed: &'static [Algorithm] },
    Empty,
    Fetch(String),
    File { path: PathBuf, error: String },
    LooksLikePublicKey,
    NoUsableKey,
    NotAJwkSet,
    NotPem,
    PrivateKey,
    PublicKey,
    PublishedSecret,
    RsaModulus { bits: usize },
    ShortSecret { len: usize },
    TooManyKeys { count: usize },
    UnsupportedCurve,
    Variable { name: String },
}

impl KeyError {
    pub(super) fn new(name: impl Into<String>, reason: KeyErrorReason) -> Self {
        Self { name: name.into(), reason }
    }

    /// A key set from a URL contains no key that can be used.
    pub(super) fn no_usable_key(url: &KeySetUrl) -> Self {
        Self::new(format!("the key set {url}"), KeyErrorReason::NoUsableKey)
    }

    /// A key set could not be fetched.
    pub(crate) fn not_fetched(url: &KeySetUrl, error: impl fmt::Display) -> Self {
        Self::new(format!("the key set {url}"), KeyErrorReason::Fetch(error.to_string()))
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl fmt::Display for KeyErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm { found, key_type, allowed } => {
                write!(f, "`{found:?}` is no algorithm of {key_type}; allowed: ")?;
                let names: Vec<String> = allowed.iter().map(|it| format!("{it:?}")).collect();
                f.write_str(&names.join(", "))
            }
            Self::Empty => f.write_str("the key is empty"),
            Self::Fetch(error) => f.write_str(error),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::LooksLikePublicKey => f.write_str(
                "this looks like a public key in DER or JSON, not like a secret; give PEM, or a \
                 key set",
            ),
            Self::NoUsableKey => f.write_str("it has no key for signatures that is supported"),
            Self::NotAJwkSet => f.write_str("it is no JSON object with `keys`"),
            Self::NotPem => f.write_str("the PEM has no RSA, P-256, P-384 or Ed25519 key"),
            Self::PrivateKey => {
                f.write_str("this is a private key; the hub needs the public one alone")
            }
            Self::PublicKey => f.write_str("this is a public key; the private one signs"),
            Self::PublishedSecret => {
                f.write_str("this secret is printed in documentation; make your own")
            }
            Self::RsaModulus { bits } => write!(
                f,
                "the RSA key has {bits} bits; it must have {} to {}",
                limits::RSA_BITS.start(),
                limits::RSA_BITS.end()
            ),
            Self::ShortSecret { len } => write!(
                f,
                "the secret has {len} bytes; at least {} are needed, except with `dev`",
                limits::SECRET_BYTES_MIN
            ),
            Self::TooManyKeys { count } => {
                write!(f, "it has {count} keys; at most {} are allowed", limits::KEYS_MAX)
            }
            Self::UnsupportedCurve => f.write_str("this elliptic curve is not supported"),
            Self::Variable { name } => write!(f, "the variable {name} is not set, or not UTF-8"),
        }
    }
}

impl std::error::Error for KeyError {}
