//! Who sent a request, and what they may do.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prism_sse::{Selector, Topic};
use serde_json::Value;

use super::dialect::Dialect;
use super::error::AuthError;
use super::verified_token::{SubscriptionPayload, VerifiedToken};

/// The sender of a publish request, and the topics they may publish to.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// `None` in development mode, where everybody may publish to every topic.
    token: Option<Arc<VerifiedToken>>,
    metadata_url: Option<Arc<str>>,
}

/// The sender of a subscribe request, and the private events they may read.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// `None` for an anonymous subscriber.
    token: Option<Arc<VerifiedToken>>,
    token_location: Option<TokenLocation>,
    metadata_url: Option<Arc<str>>,
}

/// The part of a request that carries the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenLocation {
    /// The header `Authorization`.
    Header,
    /// A cookie.
    Cookie,
    /// The query parameter `authorization`. Shared caches must not store the answer, so that its
    /// `Cache-Control` is `private`.
    Query,
}

impl Publisher {
    pub(super) fn new(token: Arc<VerifiedToken>, metadata_url: Option<Arc<str>>) -> Self {
        Self { token: Some(token), metadata_url }
    }

    pub(super) fn unrestricted() -> Self {
        Self { token: None, metadata_url: None }
    }

    /// Whether the publisher may publish an event with these topics, public or private. Each topic
    /// must be granted. An event without topics goes to every subscriber, and so needs the grant
    /// `*`.
    pub fn may_publish(&self, topics: &[Topic]) -> bool {
        let Some(token) = &self.token else { return true };
        let is_granted =
            |topic: &Topic| token.publish.iter().any(|selector| selector.matches(topic));
        if topics.is_empty() {
            token.publish.contains(&Selector::Any)
        } else {
            topics.iter().all(is_granted)
        }
    }

    /// The scope of the publisher's idempotency keys: publishers with the same grants share one.
    pub(crate) fn scope(&self) -> String {
        let Some(token) = &self.token else { return String::new() };
        let mut digest = digest::Context::new(&digest::SHA256);
        for selector in &token.publish {
            // Neither part contains a NUL, so that two different lists have different encodings.
            for part in [selector.kind(), "\0", selector.as_str(), "\0"] {
                digest.update(part.as_bytes());
            }
        }
        URL_SAFE_NO_PAD.encode(digest.finish())
    }

    /// The dialect of the publisher's token. `None` without a token.
    pub fn dialect(&self) -> Option<Dialect> {
        self.token.as_ref().map(|token| token.dialect)
    }

    /// The answer to a publish that [`may_publish`](Self::may_publish) does not allow.
    pub fn forbidden(&self) -> AuthError {
        AuthError::insufficient(self.metadata_url.clone())
    }
}

impl Subscriber {
    pub(super) fn new(
        token: Arc<VerifiedToken>,
        location: TokenLocation,
        metadata_url: Option<Arc<str>>,
    ) -> Self {
        Self { token: Some(token), token_location: Some(location), metadata_url }
    }

    pub(super) fn anonymous(metadata_url: Option<Arc<str>>) -> Self {
        Self { token: None, token_location: None, metadata_url }
    }

    /// The selectors of the private events that the subscriber may read. Public events need no
    /// grant.
    pub fn grants(&self) -> &[Selector] {
        self.token.as_ref().map(|token| &*token.subscribe).unwrap_or_default()
    }

    /// Whether a grant covers this topic, such as the path of the subscription API.
    pub fn may_read(&self, topic: &Topic) -> bool {
        self.grants().iter().any(|grant| grant.matches(topic))
    }

    /// When the subscriber's streams must end. `None` without an `exp`, and for one that is later
    /// than the system clock can represent.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let expires_at = self.token.as_ref()?.expires_at?;
        UNIX_EPOCH.checked_add(Duration::from_secs(expires_at))
    }

    /// The payload of the token for the subscription with this selector, as the request writes it.
    pub fn payload(&self, selector: &str) -> Option<&Value> {
        let token = self.token.as_ref()?;
        match &token.payload {
            SubscriptionPayload::Shared(payload) => payload.as_deref(),
            SubscriptionPayload::ByDetail(payloads) => {
                let topic = Topic::try_from(selector).ok();
                let covers = |grant: &Selector| {
                    // `*` and a very long pattern are not topics, so that text is compared too.
                    grant.as_str() == selector
                        || topic.as_ref().is_some_and(|topic| grant.matches(topic))
                };
                let mut payloads = payloads.iter();
                let first = payloads.find(|(range, _)| {
                    token.subscribe.get(range.clone()).unwrap_or_default().iter().any(covers)
                });
                first.and_then(|(_, payload)| payload.as_deref())
            }
        }
    }

    /// Whether the request has no token.
    pub fn is_anonymous(&self) -> bool {
        self.token.is_none()
    }

    /// The dialect of the subscriber's token. `None` without a token.
    pub fn dialect(&self) -> Option<Dialect> {
        self.token.as_ref().map(|token| token.dialect)
    }

    /// The part of the request that carried the token. `None` without a token.
    pub fn token_location(&self) -> Option<TokenLocation> {
        self.token_location
    }

    /// The answer to a request that the token does not grant. An anonymous subscriber is asked for
    /// a token instead.
    pub fn forbidden(&self) -> AuthError {
        if self.is_anonymous() {
            AuthError::missing().with_metadata_url(self.metadata_url.clone())
        } else {
            AuthError::insufficient(self.metadata_url.clone())
        }
    }
}
