//! Tokens that servers verify: JSON Web Tokens as draft-07 of the Mercure protocol has them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Signs all tokens; every server is told.
pub(crate) const SECRET: &str = "the secret of a measurement, which protects nothing";

/// How long a token lasts, in seconds: longer than any measurement.
const LASTS: u64 = 24 * 3600;

/// Every topic.
const ALL: &str = "*";

/// What a token says.
#[derive(Debug, Deserialize, Serialize)]
struct Claims {
    mercure: Grants,
    exp: u64,
}

/// What may be done, by topic.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Grants {
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
}

/// The header of somebody who may publish to every topic.
pub(crate) fn of_publisher() -> Result<String> {
    header(Grants { publish: vec![ALL.to_owned()], ..Grants::default() })
}

/// The header of somebody who may read what is private in one topic.
pub(crate) fn of_reader(topic: &str) -> Result<String> {
    header(Grants { subscribe: vec![topic.to_owned()], ..Grants::default() })
}

fn header(mercure: Grants) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("it is before 1970")?;
    let claims = Claims { mercure, exp: now.as_secs() + LASTS };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?;
    Ok(format!("Authorization: Bearer {token}"))
}

/// Checks tokens, each time anew.
pub(crate) struct Verifier {
    key: DecodingKey,
    rules: Validation,
}

impl Verifier {
    pub(crate) fn new() -> Self {
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        Self { key, rules: Validation::new(Algorithm::HS256) }
    }

    /// Whether a token is valid, and allows to publish to a topic.
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
    fn a_token_allows_what_it_says() {
        let verifier = Verifier::new();
        let bare = |header: Result<String>| {
            header.unwrap().strip_prefix("Authorization: Bearer ").unwrap().to_owned()
        };
        let (publisher, reader) = (bare(of_publisher()), bare(of_reader("a")));
        assert!(verifier.may_publish(&publisher, "a"));
        assert!(!verifier.may_publish(&reader, "a"));
        let forged = publisher.replace('.', ".x");
        assert!(!verifier.may_publish(&forged, "a") && !verifier.may_publish("", "a"));
    }
}
