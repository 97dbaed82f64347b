//! The two drafts of the Mercure protocol, from a subscriber's view.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

/// The key of Mercure's public conformance suite. It is public, so the hub refuses it outside
/// `--dev`.
pub(crate) const KEY_OF_THE_SUITE: &str = "!ChangeThisMercureHubJWTSecretKey!";
pub(crate) const KEY: &str = "a secret of this test, at least 32 bytes";
pub(crate) const ISSUER: &str = "https://localhost";
pub(crate) const AUDIENCE: &str = "https://localhost/.well-known/mercure";

/// One draft, with the names of its parameters and headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) name: &'static str,
    /// The parameter for a topic or `*`.
    pub(crate) exact: &'static str,
    /// The parameter for a pattern.
    pub(crate) pattern: &'static str,
    pub(crate) last_event_id: &'static str,
    pub(crate) answered_id: &'static str,
}

pub(crate) const DRAFT_07: Dialect = Dialect {
    name: "07",
    exact: "topic",
    pattern: "topic",
    last_event_id: "lastEventID",
    answered_id: "last-event-id",
};

pub(crate) const DRAFT_08: Dialect = Dialect {
    name: "08",
    exact: "match",
    pattern: "match_urlpattern",
    last_event_id: "last_event_id",
    answered_id: "mercure-last-event-id",
};

pub(crate) const DIALECTS: [Dialect; 2] = [DRAFT_07, DRAFT_08];

impl Dialect {
    pub(crate) fn is_old(&self) -> bool {
        self.name == DRAFT_07.name
    }

    /// The cookie that carries a token.
    pub(crate) fn cookie(&self) -> &'static str {
        if self.is_old() { "mercureAuthorization" } else { "__Secure-mercure_access_token" }
    }

    /// A pattern that matches the topics of books.
    pub(crate) fn books(&self) -> &'static str {
        if self.is_old() {
            "https://example.com/books/{id}"
        } else {
            "https://example.com/books/:id"
        }
    }

    /// The token with which the public suite publishes and subscribes. It is unrestricted.
    pub(crate) fn token_of_the_suite(&self, key: &str) -> String {
        let mut header = Header::default();
        let claims = if self.is_old() {
            json!({"mercure": {"publish": ["*"], "subscribe": ["*"]}})
        } else {
            header.typ = Some("at+jwt".to_owned());
            json!({
                "iss": ISSUER,
                "aud": AUDIENCE,
                "exp": 4_102_444_800_u64,
                "authorization_details": [{
                    "type": "https://mercure.rocks/authorization-detail",
                    "actions": ["publish", "subscribe"],
                    "topics": [{"match": "*"}],
                }],
            })
        };
        let key = EncodingKey::from_secret(key.as_bytes());
        encode(&header, &claims, &key).expect("claims can be signed")
    }
}
