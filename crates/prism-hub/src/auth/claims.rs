//! The claims of a token, in both dialects, read strictly.
//!
//! A claim of the wrong type makes the whole token invalid: treating it as absent could grant more
//! than the issuer meant. So does a claim that occurs twice.

use std::sync::Arc;

use prism_sse::Selector;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::dialect::Dialect;
use super::error::TokenError;
use super::grant_selector;
use super::strict_json::{JsonObject, not_null};
use super::verified_token::{SubscriptionPayload, VerifiedToken};
use crate::limits;

const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// A time in seconds since 1970. It may have a fraction (RFC 7519, section 2), as PHP's most used
/// library writes it. Rounding never extends the time in which a token is valid.
#[derive(Clone, Copy)]
struct NumericDate {
    whole: u64,
    has_fraction: bool,
}

/// The end of the year 9999. A time with a fraction must not be later, so that an `f64` holds its
/// whole seconds exactly.
const FRACTION_MAX: f64 = 253_402_300_799.0;

impl NumericDate {
    /// Rounds down, for `exp`.
    fn floor(self) -> u64 {
        self.whole
    }

    /// Rounds up, for `nbf`.
    fn ceil(self) -> u64 {
        self.whole.saturating_add(u64::from(self.has_fraction))
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        if let Some(whole) = number.as_u64() {
            return Ok(Self { whole, has_fraction: false });
        }
        match number.as_f64() {
            Some(time) if (0.0..=FRACTION_MAX).contains(&time) => {
                Ok(Self { whole: time as u64, has_fraction: time.fract() != 0.0 })
            }
            _ => Err(D::Error::custom("not a time")),
        }
    }
}

/// The claim of a draft-08 token that chooses the trusted keys.
#[derive(Deserialize)]
pub(super) struct IssuerClaim {
    pub(super) iss: String,
}

/// The claims of draft-07.
#[derive(Deserialize)]
pub(super) struct Draft07Claims {
    #[serde(default, deserialize_with = "not_null")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "not_null")]
    nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "not_null", rename = "iat")]
    _iat: Option<NumericDate>,
    #[serde(default, deserialize_with = "not_null")]
    mercure: Option<JsonObject<MercureClaim>>,
    /// The same claim under its namespaced name, which takes precedence.
    #[serde(default, deserialize_with = "not_null", rename = "https://mercure.rocks/")]
    namespaced: Option<JsonObject<MercureClaim>>,
}

/// The claim `mercure` of draft-07.
#[derive(Default, Deserialize)]
struct MercureClaim {
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
    payload: Option<Value>,
}

impl Draft07Claims {
    /// Whether the token has the claim `mercure`, and so is meant for a hub.
    pub(super) fn has_mercure_claim(&self) -> bool {
        self.mercure.is_some() || self.namespaced.is_some()
    }

    /// The token that these claims describe.
    pub(super) fn into_token(self) -> Result<VerifiedToken, TokenError> {
        let claim = self.namespaced.or(self.mercure).map(|it| it.0).unwrap_or_default();
        let grants = |texts: Option<Vec<String>>| {
            let texts = texts.unwrap_or_default();
            let too_long = texts.iter().any(|text| text.len() > limits::SELECTOR_BYTES_MAX);
            if texts.len() > limits::GRANTS_MAX || too_long {
                return Err(TokenError::Claims);
            }
            Ok(texts.iter().filter_map(|text| grant_selector::draft_07(text)).collect())
        };
        Ok(VerifiedToken {
            dialect: Dialect::Draft07,
            expires_at: self.exp.map(NumericDate::floor),
            not_before: self.nbf.map(NumericDate::ceil),
            publish: grants(claim.publish)?,
            subscribe: grants(claim.subscribe)?,
            payload: SubscriptionPayload::Shared(claim.payload.map(Arc::new)),
            key_set: None,
        })
    }
}

/// The claims of draft-08.
#[derive(Deserialize)]
pub(super) struct Draft08Claims {
    exp: NumericDate,
    #[serde(default, deserialize_with = "not_null")]
    nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "not_null", rename = "iat")]
    _iat: Option<NumericDate>,
    aud: AudienceClaim,
    #[serde(default, deserialize_with = "not_null")]
    authorization_details: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim {
    One(String),
    Several(Vec<String>),
}

/// The `type` of an authorization detail (RFC 9396). Details of other types are for other programs.
#[derive(Deserialize)]
struct AuthorizationDetailType {
    #[serde(default, rename = "type")]
    name: Value,
}

/// An authorization detail of draft-08: it grants actions on topics.
#[derive(Deserialize)]
struct AuthorizationDetail {
    actions: Vec<String>,
    topics: Vec<JsonObject<AuthorizationTopicMatcher>>,
    #[serde(default, deserialize_with = "not_null")]
    payload: Option<JsonObject<serde_json::Map<String, Value>>>,
}

#[derive(Deserialize)]
struct AuthorizationTopicMatcher {
    #[serde(rename = "match")]
    text: String,
    #[serde(default, deserialize_with = "not_null")]
    match_type: Option<String>,
}

impl Draft08Claims {
    /// Whether one of the hub's names is among the audiences, byte for byte.
    pub(super) fn is_for(&self, hub_names: &[String]) -> bool {
        match &self.aud {
            AudienceClaim::One(name) => hub_names.contains(name),
            AudienceClaim::Several(names) => names.iter().any(|name| hub_names.contains(name)),
        }
    }

    /// The token that these claims describe. Relative URL Patterns are resolved against the hub's
    /// URL.
    pub(super) fn into_token(self, hub_url: &str) -> Result<VerifiedToken, TokenError> {
        let mut publish: Vec<Selector> = Vec::new();
        let mut subscribe: Vec<Selector> = Vec::new();
        let mut payloads = Vec::new();
        for raw in self.authorization_details.unwrap_or_default() {
            let Some(detail) = AuthorizationDetail::parse(&raw)? else { continue };
            let selectors = detail.selectors(hub_url)?;
            if detail.allows("publish") {
                publish.extend_from_slice(&selectors);
            }
            if detail.allows("subscribe") {
                let start = subscribe.len();
                subscribe.extend(selectors);
                let payload = detail.payload.map(|payload| Arc::new(Value::Object(payload.0)));
                payloads.push((start..subscribe.len(), payload));
            }
            if publish.len() > limits::GRANTS_MAX || subscribe.len() > limits::GRANTS_MAX {
                return Err(TokenError::Claims);
            }
        }
        Ok(VerifiedToken {
            dialect: Dialect::Draft08,
            expires_at: Some(self.exp.floor()),
            not_before: self.nbf.map(NumericDate::ceil),
            publish: publish.into(),
            subscribe: subscribe.into(),
            payload: SubscriptionPayload::ByDetail(payloads),
            key_set: None,
        })
    }
}

impl AuthorizationDetail {
    /// Reads a detail. Returns `None` for one of another type, which may have any shape.
    fn parse(raw: &RawValue) -> Result<Option<Self>, TokenError> {
        if !raw.get().starts_with('{') {
            return Ok(None);
        }
        let detail_type: AuthorizationDetailType =
            serde_json::from_str(raw.get()).map_err(|_| TokenError::Claims)?;
        if detail_type.name.as_str() != Some(DETAIL_TYPE) {
            return Ok(None);
        }
        let detail: Self = serde_json::from_str(raw.get()).map_err(|_| TokenError::Claims)?;
        let has_valid_size = (1..=limits::GRANTS_MAX).contains(&detail.topics.len());
        if detail.actions.is_empty() || !has_valid_size {
            return Err(TokenError::Claims);
        }
        Ok(Some(detail))
    }

    fn allows(&self, action: &str) -> bool {
        self.actions.iter().any(|it| it == action)
    }

    fn selectors(&self, hub_url: &str) -> Result<Vec<Selector>, TokenError> {
        let selector = |matcher: &JsonObject<AuthorizationTopicMatcher>| {
            let AuthorizationTopicMatcher { text, match_type } = &matcher.0;
            grant_selector::draft_08(text, match_type.as_deref(), hub_url)
        };
        self.topics.iter().map(selector).collect()
    }
}
