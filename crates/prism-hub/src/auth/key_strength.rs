//! The minimum strength of keys, checked when the hub starts.

use jsonwebtoken::DecodingKey;

use super::key_error::KeyErrorReason;
use crate::limits;

/// Secrets from the documentation of Mercure and of JWT tools, which everybody knows.
const PUBLISHED_SECRETS: &[&str] = &[
    "!ChangeThisMercureHubJWTSecretKey!",
    "!ChangeMe!",
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
];

/// Refuses a short or published secret, except in development mode.
pub(super) fn check_secret(secret: &[u8], is_dev: bool) -> Result<(), KeyErrorReason> {
    if is_dev {
        return Ok(());
    }
    if secret.len() < limits::SECRET_BYTES_MIN {
        return Err(KeyErrorReason::ShortSecret { len: secret.len() });
    }
    if PUBLISHED_SECRETS.iter().any(|published| published.as_bytes() == secret) {
        return Err(KeyErrorReason::PublishedSecret);
    }
    Ok(())
}

/// Refuses an RSA key whose modulus is shorter or longer than allowed.
pub(super) fn check_rsa_public_key(key: &DecodingKey) -> Result<(), KeyErrorReason> {
    let der = key.try_get_as_bytes().ok();
    check_rsa_modulus(der.and_then(rsa_modulus).ok_or(KeyErrorReason::NotPem)?)
}

/// Refuses an RSA modulus that is shorter or longer than allowed. No signature verifies with such a
/// key, which is better reported when the hub starts.
pub(super) fn check_rsa_modulus(modulus: &[u8]) -> Result<(), KeyErrorReason> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros).map_or(8, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() - zeros) * 8 - first % 8;
    if limits::RSA_BITS.contains(&bits) { Ok(()) } else { Err(KeyErrorReason::RsaModulus { bits }) }
}

/// The modulus in a DER-encoded RSA public key: the first integer of a sequence (RFC 8017, appendix
/// A.1.1).
fn rsa_modulus(der: &[u8]) -> Option<&[u8]> {
    der_content(der_content(der, 0x30)?, 0x02)
}

/// The content of the DER value at the beginning of these bytes, if it has this tag.
fn der_content(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (len, rest) = match bytes {
        [first, ..] if *first != tag => return None,
        [_, len @ 0..=0x7F, rest @ ..] => (usize::from(*len), rest),
        [_, 0x81, len, rest @ ..] => (usize::from(*len), rest),
        [_, 0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.get(..len)
}
