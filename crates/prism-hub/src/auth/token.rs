//! From the text of a token to what it allows.
//!
//! The token's header is read twice: here, strictly, to choose the rules and the keys; and by the
//! crate that checks the signature, which must find the algorithm among those of the key.

use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::claims::{Draft07, Draft08, Issuer, Object, Present};
use super::error::Defect;
use super::key_set::KeySet;
use super::keyring::{Key, Keyring, Keys};
use super::rights::Rights;
use crate::config::{KeySetUrl, Trust};
use crate::limits;

/// A draft of the Mercure protocol, by whose rules a token was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// As deployed up to 0.24.
    Draft07,
    /// Of 1.0.
    Draft08,
}

/// Verifies the tokens that are shown for one purpose.
#[derive(Debug)]
pub(super) struct Verifier {
    keys: Keyring,
    knows_draft_07: bool,
    audiences: Arc<[String]>,
    hub_url: Arc<str>,
    #[cfg(test)]
    signatures_checked: Arc<std::sync::atomic::AtomicUsize>,
}

/// What is read of a token's header. A member that stands there twice is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "super::claims::present")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "super::claims::present")]
    kid: Option<String>,
    /// Members that would bring a key along, or change what the rest means. Nothing that must be
    /// understood is understood here.
    #[serde(default)]
    crit: Present,
    #[serde(default)]
    jwk: Present,
    #[serde(default)]
    jku: Present,
    #[serde(default)]
    x5u: Present,
    #[serde(default)]
    enc: Present,
    #[serde(default)]
    zip: Present,
    #[serde(default)]
    b64: Present,
}

impl Verifier {
    pub(super) fn new(keys: Keyring, trust: &Trust, hub_url: &str) -> Self {
        Self {
            keys,
            knows_draft_07: trust.compat_draft_07,
            audiences: trust.audiences.clone().into(),
            hub_url: hub_url.into(),
            #[cfg(test)]
            signatures_checked: Default::default(),
        }
    }

    /// The same, with another set of keys from an address.
    pub(super) fn with_key_set(&self, url: &KeySetUrl, set: &Arc<KeySet>) -> Self {
        Self {
            keys: self.keys.with_key_set(url, set),
            knows_draft_07: self.knows_draft_07,
            audiences: Arc::clone(&self.audiences),
            hub_url: Arc::clone(&self.hub_url),
            #[cfg(test)]
            signatures_checked: Arc::clone(&self.signatures_checked),
        }
    }

    /// What a token allows, whenever that is. The keys are those that count at this second.
    pub(super) fn verify(&self, token: &str, now: u64) -> Result<Rights, Defect> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Defect::Length);
        }
        let header = Header::of(token)?;
        let algorithm: Algorithm = header.alg.parse().map_err(|_| Defect::Algorithm)?;
        if header.is_draft_08() {
            self.verify_draft_08(token, &header, algorithm, now)
        } else if self.knows_draft_07 {
            let keys = self.keys.of_draft_07();
            let (claims, key_set) = self.check::<Draft07>(token, &header, algorithm, keys, now)?;
            // Whoever is asked for keys may sign for other programs too, with the same ones.
            if key_set.is_some() && !claims.names_a_hub() {
                return Err(Defect::Audience);
            }
            Ok(Rights { key_set, ..claims.into_rights()? })
        } else {
            Err(Defect::Dialect)
        }
    }

    /// The issuer is read before anything is verified, and only chooses whose keys are tried: the
    /// same bytes are read again when one of them has vouched for them.
    fn verify_draft_08(
        &self,
        token: &str,
        header: &Header,
        algorithm: Algorithm,
        now: u64,
    ) -> Result<Rights, Defect> {
        let issuer: Object<Issuer> = insecure_decode_claims(token).map_err(|_| Defect::Form)?;
        let keys = self.keys.of_issuer(&issuer.0.iss).ok_or(Defect::Issuer)?;
        let (claims, key_set) = self.check::<Draft08>(token, header, algorithm, keys, now)?;
        if !claims.is_for(&self.audiences) {
            return Err(Defect::Audience);
        }
        Ok(Rights { key_set, ..claims.into_rights(&self.hub_url)? })
    }

    /// The claims, if one of the keys that fit made the signature, and the set it was fetched in.
    fn check<T: DeserializeOwned>(
        &self,
        token: &str,
        header: &Header,
        algorithm: Algorithm,
        keys: &Keys,
        now: u64,
    ) -> Result<(T, Option<Arc<KeySet>>), Defect> {
        let fits = |(key, _): &(&Key, _)| key.fits(header.kid.as_deref());
        let mut defect = Defect::Key;
        for (key, set) in keys.at(now).filter(fits) {
            if !key.algorithms().contains(&algorithm) {
                defect = Defect::Algorithm;
                continue;
            }
            match self.decode::<T>(token, key, algorithm) {
                Err(Defect::Signature) => defect = Defect::Signature,
                result => return result.map(|claims| (claims, set.cloned())),
            }
        }
        // A key that is not known now may have made the signature.
        Err(if keys.lack_a_set(now) { Defect::KeysUnknown } else { defect })
    }

    fn decode<T: DeserializeOwned>(
        &self,
        token: &str,
        key: &Key,
        algorithm: Algorithm,
    ) -> Result<T, Defect> {
        #[cfg(test)]
        self.signatures_checked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Time, audience and issuer are judged here and not by the crate: it asks the system's
        // clock, and passes over claims of the wrong type.
        let mut rules = Validation::new(algorithm);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Object<T>>(token, key.decoding(), &rules);
        decoded.map(|data| data.claims.0).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::Json(_) => Defect::Claims,
            _ => Defect::Signature,
        })
    }

    #[cfg(test)]
    pub(super) fn signatures_checked(&self) -> usize {
        self.signatures_checked.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Header {
    fn of(token: &str) -> Result<Self, Defect> {
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Defect::Form);
        };
        let json = decode_base64(header).ok_or(Defect::Form)?;
        let header: Object<Self> = serde_json::from_slice(&json).map_err(|_| Defect::Form)?;
        let header = header.0;
        let foreign = [
            &header.crit,
            &header.jwk,
            &header.jku,
            &header.x5u,
            &header.enc,
            &header.zip,
            &header.b64,
        ];
        if foreign.iter().any(|member| member.0) {
            return Err(Defect::Form);
        }
        Ok(header)
    }

    fn is_draft_08(&self) -> bool {
        let typ = self.typ.as_deref().unwrap_or_default();
        typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
    }
}

/// Whether a token says that it is one of draft-08.
pub(super) fn is_draft_08(token: &str) -> bool {
    token.len() <= limits::TOKEN_BYTES_MAX
        && Header::of(token).is_ok_and(|header| header.is_draft_08())
}

/// Base64 for URLs without padding (RFC 7515, section 2), or nothing.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}
