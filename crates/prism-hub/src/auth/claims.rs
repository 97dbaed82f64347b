//! The claims of a token, in both dialects, read strictly.
//!
//! A claim of the wrong type makes the whole token invalid: what cannot be read is not treated as
//! if it were not there. So does a claim that stands there twice.

use std::sync::Arc;

use prism_sse::Selector;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::Defect;
use super::grants;
use super::rights::{Payload, Rights};
use super::token::Dialect;
use crate::limits;

const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// A JSON object. A structure alone would also be read from an array, in the order of its fields.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::custom("not an object"));
        }
        serde_json::from_str(raw.get()).map(Self).map_err(D::Error::custom)
    }
}

/// Whether a member is there, whatever its value is.
#[derive(Default)]
pub(super) struct Present(pub(super) bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// A member that may be missing, but is not `null` where it stands.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A time in seconds since 1970. It may have a fraction (RFC 7519, section 2), which the most used
/// issuer of draft-07 tokens writes; no more of a token's life is counted than it surely has.
#[derive(Clone, Copy)]
struct NumericDate {
    whole: u64,
    has_fraction: bool,
}

/// The end of the year 9999. A time with a fraction is not later, so that it is exact enough.
const FRACTION_MAX: f64 = 253_402_300_799.0;

impl NumericDate {
    /// The second from which something is over that ends then.
    fn end(self) -> u64 {
        self.whole
    }

    /// The second from which something counts that begins then.
    fn beginning(self) -> u64 {
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

/// As much of a draft-08 token as chooses the keys.
#[derive(Deserialize)]
pub(super) struct Issuer {
    pub(super) iss: String,
}

/// The claims of draft-07.
#[derive(Deserialize)]
pub(super) struct Draft07 {
    #[serde(default, deserialize_with = "present")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present", rename = "iat")]
    _iat: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    mercure: Option<Object<Selectors>>,
    /// The same under a name that is nobody else's, which is preferred.
    #[serde(default, deserialize_with = "present", rename = "https://mercure.rocks/")]
    namespaced: Option<Object<Selectors>>,
}

#[derive(Default, Deserialize)]
struct Selectors {
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
    payload: Option<Value>,
}

impl Draft07 {
    /// Whether the token speaks of a hub at all.
    pub(super) fn names_a_hub(&self) -> bool {
        self.mercure.is_some() || self.namespaced.is_some()
    }

    /// What these claims allow.
    pub(super) fn into_rights(self) -> Result<Rights, Defect> {
        let selectors = self.namespaced.or(self.mercure).map(|it| it.0).unwrap_or_default();
        let grants = |texts: Option<Vec<String>>| {
            let texts = texts.unwrap_or_default();
            let too_long = texts.iter().any(|text| text.len() > limits::SELECTOR_BYTES_MAX);
            if texts.len() > limits::GRANTS_MAX || too_long {
                return Err(Defect::Claims);
            }
            Ok(texts.iter().filter_map(|text| grants::draft_07(text)).collect())
        };
        Ok(Rights {
            dialect: Dialect::Draft07,
            expires: self.exp.map(NumericDate::end),
            begins: self.nbf.map(NumericDate::beginning),
            publish: grants(selectors.publish)?,
            subscribe: grants(selectors.subscribe)?,
            payload: Payload::OfAll(selectors.payload.map(Arc::new)),
            key_set: None,
        })
    }
}

/// The claims of draft-08.
#[derive(Deserialize)]
pub(super) struct Draft08 {
    exp: NumericDate,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present", rename = "iat")]
    _iat: Option<NumericDate>,
    aud: Audience,
    #[serde(default, deserialize_with = "present")]
    authorization_details: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The type of an authorization detail, by which it is one of ours or somebody else's.
#[derive(Deserialize)]
struct DetailType {
    #[serde(default, rename = "type")]
    name: Value,
}

#[derive(Deserialize)]
struct Detail {
    actions: Vec<String>,
    topics: Vec<Object<Matcher>>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<Object<serde_json::Map<String, Value>>>,
}

#[derive(Deserialize)]
struct Matcher {
    #[serde(rename = "match")]
    text: String,
    #[serde(default, deserialize_with = "present")]
    match_type: Option<String>,
}

impl Draft08 {
    /// Whether one of these names is among the audiences, byte for byte.
    pub(super) fn is_for(&self, names: &[String]) -> bool {
        match &self.aud {
            Audience::One(name) => names.contains(name),
            Audience::Several(all) => all.iter().any(|name| names.contains(name)),
        }
    }

    /// What these claims allow; relative patterns are resolved against the hub's URL.
    pub(super) fn into_rights(self, hub_url: &str) -> Result<Rights, Defect> {
        let mut publish: Vec<Selector> = Vec::new();
        let mut subscribe: Vec<Selector> = Vec::new();
        let mut payloads = Vec::new();
        for raw in self.authorization_details.unwrap_or_default() {
            let Some(detail) = Detail::read(&raw)? else { continue };
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
                return Err(Defect::Claims);
            }
        }
        Ok(Rights {
            dialect: Dialect::Draft08,
            expires: Some(self.exp.end()),
            begins: self.nbf.map(NumericDate::beginning),
            publish: publish.into(),
            subscribe: subscribe.into(),
            payload: Payload::OfFirst(payloads),
            key_set: None,
        })
    }
}

impl Detail {
    /// The detail, unless it is somebody else's, which may have any shape.
    fn read(raw: &RawValue) -> Result<Option<Self>, Defect> {
        if !raw.get().starts_with('{') {
            return Ok(None);
        }
        let kind: DetailType = serde_json::from_str(raw.get()).map_err(|_| Defect::Claims)?;
        if kind.name.as_str() != Some(DETAIL_TYPE) {
            return Ok(None);
        }
        let detail: Self = serde_json::from_str(raw.get()).map_err(|_| Defect::Claims)?;
        let is_sized = (1..=limits::GRANTS_MAX).contains(&detail.topics.len());
        if detail.actions.is_empty() || !is_sized {
            return Err(Defect::Claims);
        }
        Ok(Some(detail))
    }

    fn allows(&self, action: &str) -> bool {
        self.actions.iter().any(|it| it == action)
    }

    fn selectors(&self, hub_url: &str) -> Result<Vec<Selector>, Defect> {
        let selector = |matcher: &Object<Matcher>| {
            let Matcher { text, match_type } = &matcher.0;
            grants::draft_08(text, match_type.as_deref(), hub_url)
        };
        self.topics.iter().map(selector).collect()
    }
}
