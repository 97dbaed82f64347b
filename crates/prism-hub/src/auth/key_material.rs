//! The bytes of a key: where they are read from, and whether they are PEM or a secret.
//!
//! Bytes that look like a public key but are not PEM are refused. They never become an HMAC secret,
//! because everybody knows a public key.

use std::io::Read as _;
use std::path::Path;

use super::key_error::KeyErrorReason;
use crate::config::KeySource;
use crate::limits;

/// What the bytes of a key are.
pub(super) enum KeyMaterial<'a> {
    Pem(&'a [u8]),
    Secret(&'a [u8]),
}

impl<'a> KeyMaterial<'a> {
    /// Classifies the bytes of a key.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, KeyErrorReason> {
        // The line feed at the end of a text file is not part of the secret.
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.is_empty() {
            return Err(KeyErrorReason::Empty);
        }
        if contains(bytes, b"-----BEGIN") {
            return Ok(Self::Pem(bytes));
        }
        if looks_like_jwk(bytes) || looks_like_der(bytes) {
            return Err(KeyErrorReason::LooksLikePublicKey);
        }
        Ok(Self::Secret(secret))
    }
}

/// Reads the bytes of a key.
pub(super) fn read(source: &KeySource) -> Result<Vec<u8>, KeyErrorReason> {
    match source {
        KeySource::Text(text) => Ok(text.clone().into_bytes()),
        KeySource::File(path) => read_file(path),
        KeySource::Env(name) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| KeyErrorReason::Variable { name: name.clone() }),
    }
}

/// Reads a file with keys, up to the allowed size.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, KeyErrorReason> {
    let fail = |error: String| KeyErrorReason::File { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut bytes = Vec::new();
    let max = limits::KEY_FILE_BYTES_MAX;
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > max {
        return Err(fail(format!("it has more than {max} bytes")));
    }
    Ok(bytes)
}

/// Whether PEM contains a private key.
pub(super) fn is_private_pem(pem: &[u8]) -> bool {
    contains(pem, b"PRIVATE KEY-----")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether bytes look like a JWK or a JWK Set.
fn looks_like_jwk(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    text.starts_with(b"{") && (contains(text, b"\"kty\"") || contains(text, b"\"keys\""))
}

/// Whether bytes look like DER: an ASN.1 sequence whose length fits. Of 10^9 random secrets of 32
/// bytes, about 15,000 do by chance, and are refused.
pub(super) fn looks_like_der(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, len @ 0..=0x7F, rest @ ..] => usize::from(*len) == rest.len(),
        [0x30, 0x81, len, rest @ ..] => usize::from(*len) == rest.len(),
        [0x30, 0x82, high, low, rest @ ..] => {
            usize::from(u16::from_be_bytes([*high, *low])) == rest.len()
        }
        _ => false,
    }
}
