//! JSON Web Tokens with the claims of draft-07 of the Mercure protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// The key of all tokens, which the servers are configured with.
pub(crate) const SECRET: &str = "the secret of a measurement, which protects nothing";

/// The lifetime of a token in seconds: longer than any measurement.
const LIFETIME: u64 = 24 * 3600;

/// The grant of every topic.
const ALL: &str = "*";

/// The claims of a token.
#[derive(Debug, Deserialize, Serialize)]
struct Claims {
    mercure: Grants,
    exp: u64,
}

/// The topics that a token grants.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Grants {
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
}

/// The `Authorization` header of a publisher to all topics.
pub(crate) fn publisher_header() -> Result<String> {
    header(Grants { publish: vec![ALL.to_owned()], ..Grants::default() })
}

/// The `Authorization` header of a subscriber that may read private events of one topic.
pub(crate) fn subscriber_header(topic: &str) -> Result<String> {
    header(Grants { subscribe: vec![topic.to_owned()], ..Grants::default() })
}

fn header(mercure: Grants) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("it is before 1970")?;
    let claims = Claims { mercure, exp: now.as_secs() + LIFETIME };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?;
    Ok(format!("Authorization: Bearer {token}"))
}

/// Verifies tokens, without a cache.
pub(crate) struct Verifier {
    key: DecodingKey,
    rules: Validation,
}

impl Verifier {
    pub(crate) fn new() -> Self {
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        Self { key, rules: Validation::new(Algorithm::HS256) }
    }

    /// Whether a token is valid and grants publishing to a topic.
    pub(crate) fn may_publish(&self, token: &str, topic: &str) -> bool {
        jsonwebtoken::decode::<Claims>(token, &self.key, &self.rules).is_ok_and(|token| {
            let mut granted = token.claims.mercure.publish.iter();
            granted.any(|grant| grant == ALL || grant == topic)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_grants_what_it_claims() {
        let verifier = Verifier::new();
        let bare = |header: Result<String>| {
            header.unwrap().strip_prefix("Authorization: Bearer ").unwrap().to_owned()
        };
        let (publisher, reader) = (bare(publisher_header()), bare(subscriber_header("a")));
        assert!(verifier.may_publish(&publisher, "a"));
        assert!(!verifier.may_publish(&reader, "a"));
        let forged = publisher.replace('.', ".x");
        assert!(!verifier.may_publish(&forged, "a") && !verifier.may_publish("", "a"));
    }
}
