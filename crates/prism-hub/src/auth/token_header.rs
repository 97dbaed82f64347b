//! The header of a token (a JOSE header, RFC 7515, section 4), read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::error::TokenError;
use super::strict_json::{IsPresent, JsonObject, not_null};
use crate::limits;

/// The header parameters that the hub reads. A parameter that occurs twice is an error.
#[derive(Deserialize)]
pub(super) struct TokenHeader {
    pub(super) alg: String,
    #[serde(default, deserialize_with = "not_null")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) kid: Option<String>,
    // A token with one of the following is refused: it brings a key of its own, or changes how the
    // rest is read. The hub supports no critical extension, so that `crit` is refused too.
    #[serde(default)]
    crit: IsPresent,
    #[serde(default)]
    jwk: IsPresent,
    #[serde(default)]
    jku: IsPresent,
    #[serde(default)]
    x5u: IsPresent,
    #[serde(default)]
    enc: IsPresent,
    #[serde(default)]
    zip: IsPresent,
    #[serde(default)]
    b64: IsPresent,
}

impl TokenHeader {
    /// Reads the header of a compact JWS. Nothing is verified.
    pub(super) fn parse(token: &str) -> Result<Self, TokenError> {
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Format);
        };
        // Base64url without padding (RFC 7515, section 2).
        let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Format)?;
        let header: JsonObject<Self> =
            serde_json::from_slice(&json).map_err(|_| TokenError::Format)?;
        let header = header.0;
        let refused = [
            &header.crit,
            &header.jwk,
            &header.jku,
            &header.x5u,
            &header.enc,
            &header.zip,
            &header.b64,
        ];
        if refused.iter().any(|parameter| parameter.0) {
            return Err(TokenError::Format);
        }
        Ok(header)
    }

    /// Whether the type is that of an access token (RFC 9068), which draft-08 demands.
    pub(super) fn is_draft_08(&self) -> bool {
        let typ = self.typ.as_deref().unwrap_or_default();
        typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
    }
}

/// Whether the header of a token says that it is one of draft-08.
pub(super) fn is_draft_08(token: &str) -> bool {
    token.len() <= limits::TOKEN_BYTES_MAX
        && TokenHeader::parse(token).is_ok_and(|header| header.is_draft_08())
}
