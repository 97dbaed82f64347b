//! Verifies a token: from its text to what it grants.
//!
//! The header of a token is read twice: by [`TokenHeader`], strictly, to choose the rules and the
//! keys; and by `jsonwebtoken`, which checks the signature and must find the algorithm of the key.

use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::DeserializeOwned;

use super::claims::{Draft07Claims, Draft08Claims, IssuerClaim};
use super::error::TokenError;
use super::key_set::KeySet;
use super::keyring::{CandidateKey, Keyring, TrustedKeys};
use super::strict_json::JsonObject;
use super::token_header::TokenHeader;
use super::verified_token::VerifiedToken;
use crate::config::{AuthConfig, KeySetUrl};
use crate::limits;

/// Verifies the tokens of one role.
#[derive(Debug)]
pub(super) struct TokenVerifier {
    keyring: Keyring,
    accepts_draft_07: bool,
    audiences: Arc<[String]>,
    hub_url: Arc<str>,
    #[cfg(test)]
    signatures_checked: Arc<std::sync::atomic::AtomicUsize>,
}

impl TokenVerifier {
    pub(super) fn new(keyring: Keyring, config: &AuthConfig, hub_url: &str) -> Self {
        Self {
            keyring,
            accepts_draft_07: config.compat_draft_07,
            audiences: config.audiences.clone().into(),
            hub_url: hub_url.into(),
            #[cfg(test)]
            signatures_checked: Default::default(),
        }
    }

    /// A copy in which the key set that was fetched from this URL is replaced.
    pub(super) fn with_key_set(&self, url: &KeySetUrl, set: &Arc<KeySet>) -> Self {
        Self {
            keyring: self.keyring.with_key_set(url, set),
            accepts_draft_07: self.accepts_draft_07,
            audiences: Arc::clone(&self.audiences),
            hub_url: Arc::clone(&self.hub_url),
            #[cfg(test)]
            signatures_checked: Arc::clone(&self.signatures_checked),
        }
    }

    /// Verifies signature, issuer and audience, with the keys that are valid at this second. Expiry
    /// is not checked here, because a cached token needs that check too.
    pub(super) fn verify(&self, token: &str, now: u64) -> Result<VerifiedToken, TokenError> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(TokenError::Length);
        }
        let header = TokenHeader::parse(token)?;
        let algorithm: Algorithm = header.alg.parse().map_err(|_| TokenError::UnknownAlgorithm)?;
        if header.is_draft_08() {
            self.verify_draft_08(token, &header, algorithm, now)
        } else if self.accepts_draft_07 {
            let keys = self.keyring.for_draft_07();
            let (claims, key_set) =
                self.verify_signature::<Draft07Claims>(token, &header, algorithm, keys, now)?;
            // An identity provider signs tokens for other programs with the same keys. One without
            // the claim `mercure` is not meant for a hub.
            if key_set.is_some() && !claims.has_mercure_claim() {
                return Err(TokenError::Audience);
            }
            Ok(VerifiedToken { key_set, ..claims.into_token()? })
        } else {
            Err(TokenError::Dialect)
        }
    }

    /// The issuer is read before the signature is verified, and only chooses which keys are tried.
    /// The signature then covers the same bytes.
    fn verify_draft_08(
        &self,
        token: &str,
        header: &TokenHeader,
        algorithm: Algorithm,
        now: u64,
    ) -> Result<VerifiedToken, TokenError> {
        let issuer: JsonObject<IssuerClaim> =
            insecure_decode_claims(token).map_err(|_| TokenError::Format)?;
        let keys = self.keyring.for_issuer(&issuer.0.iss).ok_or(TokenError::Issuer)?;
        let (claims, key_set) =
            self.verify_signature::<Draft08Claims>(token, header, algorithm, keys, now)?;
        if !claims.is_for(&self.audiences) {
            return Err(TokenError::Audience);
        }
        Ok(VerifiedToken { key_set, ..claims.into_token(&self.hub_url)? })
    }

    /// Tries each key that the token may be signed with. Returns the claims, and the key set of the
    /// key that verified them if it was fetched.
    fn verify_signature<T: DeserializeOwned>(
        &self,
        token: &str,
        header: &TokenHeader,
        algorithm: Algorithm,
        keys: &TrustedKeys,
        now: u64,
    ) -> Result<(T, Option<Arc<KeySet>>), TokenError> {
        let mut error = TokenError::Key;
        for key in keys.candidates(header.kid.as_deref(), now) {
            if key.algorithm != algorithm {
                if error == TokenError::Key {
                    error = TokenError::Algorithm { found: algorithm, allowed: key.algorithm };
                }
                continue;
            }
            match self.decode::<T>(token, &key) {
                Err(TokenError::Signature) => error = TokenError::Signature,
                result => return result.map(|claims| (claims, key.key_set.cloned())),
            }
        }
        // The key may be in a set that is not available now, so that the token may be valid.
        Err(if keys.lack_a_set(now) { TokenError::KeysUnavailable } else { error })
    }

    fn decode<T: DeserializeOwned>(
        &self,
        token: &str,
        key: &CandidateKey<'_>,
    ) -> Result<T, TokenError> {
        #[cfg(test)]
        self.signatures_checked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // `jsonwebtoken` checks the signature alone. It would check time by the system clock, and
        // ignore claims of the wrong type.
        let mut validation = Validation::new(key.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<JsonObject<T>>(token, key.decoding, &validation);
        decoded.map(|data| data.claims.0).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::Json(_) => TokenError::Claims,
            _ => TokenError::Signature,
        })
    }

    #[cfg(test)]
    pub(super) fn signatures_checked(&self) -> usize {
        self.signatures_checked.load(std::sync::atomic::Ordering::Relaxed)
    }
}
