//! What a verified token allows.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prism_sse::{Selector, Topic};
use serde_json::Value;

use super::error::{AuthError, Defect};
use super::key_set::KeySet;
use super::token::Dialect;

/// What a token says, once it was verified.
#[derive(Debug)]
pub(super) struct Rights {
    pub(super) dialect: Dialect,
    /// The second from which it is over.
    pub(super) expires: Option<u64>,
    /// The second before which it does not count.
    pub(super) begins: Option<u64>,
    pub(super) publish: Box<[Selector]>,
    pub(super) subscribe: Box<[Selector]>,
    pub(super) payload: Payload,
    /// The set that the key was fetched in that vouched for the token.
    pub(super) key_set: Option<Arc<KeySet>>,
}

/// What a token says about its subscriptions, for whoever looks at them.
#[derive(Debug)]
pub(super) enum Payload {
    /// The same of all, or nothing.
    OfAll(Option<Arc<Value>>),
    /// What the first of these ranges of the grants says that covers the subscription.
    OfFirst(Vec<(Range<usize>, Option<Arc<Value>>)>),
}

/// Somebody who may publish something.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// None if everything is allowed.
    rights: Option<Arc<Rights>>,
    metadata: Option<Arc<str>>,
}

/// Somebody who may subscribe, and what of the private they may read.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// None without a token.
    rights: Option<Arc<Rights>>,
    place: Option<TokenPlace>,
    metadata: Option<Arc<str>>,
}

/// Where a request carries its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenPlace {
    /// The header `Authorization`.
    Header,
    /// A cookie.
    Cookie,
    /// The parameter `authorization` of the query. The answer must not be stored by others:
    /// `Cache-Control` has `private`.
    Query,
}

impl Rights {
    /// Whether the token counts at this second, and so does the key that vouched for it.
    pub(super) fn check_time(&self, now: u64) -> Result<(), Defect> {
        if self.expires.is_some_and(|expires| now >= expires) {
            return Err(Defect::Expired);
        }
        if self.begins.is_some_and(|begins| now < begins) {
            return Err(Defect::NotYet);
        }
        if self.key_set.as_ref().is_some_and(|set| set.is_stale(now)) {
            return Err(Defect::KeysUnknown);
        }
        Ok(())
    }
}

impl Publisher {
    pub(super) fn new(rights: Arc<Rights>, metadata: Option<Arc<str>>) -> Self {
        Self { rights: Some(rights), metadata }
    }

    pub(super) fn unrestricted() -> Self {
        Self { rights: None, metadata: None }
    }

    /// Whether it may publish to every one of these topics, in public as in private. An event
    /// without topics goes to everybody, and takes the right to publish to everything.
    pub fn may_publish(&self, topics: &[Topic]) -> bool {
        let Some(rights) = &self.rights else { return true };
        let is_granted =
            |topic: &Topic| rights.publish.iter().any(|selector| selector.matches(topic));
        if topics.is_empty() {
            rights.publish.contains(&Selector::Any)
        } else {
            topics.iter().all(is_granted)
        }
    }

    /// A name that publishers of the same rights share, and no others.
    pub(crate) fn scope(&self) -> String {
        let Some(rights) = &self.rights else { return String::new() };
        let mut digest = digest::Context::new(&digest::SHA256);
        for selector in &rights.publish {
            // Neither has a NUL, so that no two lists are written alike.
            for part in [selector.kind(), "\0", selector.as_str(), "\0"] {
                digest.update(part.as_bytes());
            }
        }
        URL_SAFE_NO_PAD.encode(digest.finish())
    }

    /// The dialect of its token, if it has one.
    pub fn dialect(&self) -> Option<Dialect> {
        self.rights.as_ref().map(|rights| rights.dialect)
    }

    /// The answer to a publish that [`may_publish`](Self::may_publish) does not allow.
    pub fn forbidden(&self) -> AuthError {
        AuthError::insufficient(self.metadata.clone())
    }
}

impl Subscriber {
    pub(super) fn new(rights: Arc<Rights>, place: TokenPlace, metadata: Option<Arc<str>>) -> Self {
        Self { rights: Some(rights), place: Some(place), metadata }
    }

    pub(super) fn anonymous(metadata: Option<Arc<str>>) -> Self {
        Self { rights: None, place: None, metadata }
    }

    /// What of the private it may read; of the public, everything.
    pub fn grants(&self) -> &[Selector] {
        self.rights.as_ref().map(|rights| &*rights.subscribe).unwrap_or_default()
    }

    /// Whether one of its grants covers a topic, such as the address of the subscription API.
    pub fn may_read(&self, topic: &Topic) -> bool {
        self.grants().iter().any(|grant| grant.matches(topic))
    }

    /// When its streams must end. A token without an end, or with one in a time that clocks do not
    /// reach, has none.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let expires = self.rights.as_ref()?.expires?;
        UNIX_EPOCH.checked_add(Duration::from_secs(expires))
    }

    /// What its token says about the subscription with this selector, as the request has it.
    pub fn payload(&self, selector: &str) -> Option<&Value> {
        let rights = self.rights.as_ref()?;
        match &rights.payload {
            Payload::OfAll(payload) => payload.as_deref(),
            Payload::OfFirst(payloads) => {
                let topic = Topic::try_from(selector).ok();
                let covers = |grant: &Selector| {
                    // `*` is no topic, and neither is a very long pattern.
                    grant.as_str() == selector
                        || topic.as_ref().is_some_and(|topic| grant.matches(topic))
                };
                let mut payloads = payloads.iter();
                let first = payloads.find(|(range, _)| {
                    rights.subscribe.get(range.clone()).unwrap_or_default().iter().any(covers)
                });
                first.and_then(|(_, payload)| payload.as_deref())
            }
        }
    }

    /// Whether it has no token.
    pub fn is_anonymous(&self) -> bool {
        self.rights.is_none()
    }

    /// The dialect of its token, if it has one.
    pub fn dialect(&self) -> Option<Dialect> {
        self.rights.as_ref().map(|rights| rights.dialect)
    }

    /// Where its token was, if it has one.
    pub fn token_place(&self) -> Option<TokenPlace> {
        self.place
    }

    /// The answer to a request that its token does not allow. Somebody without a token is told
    /// that one is needed.
    pub fn forbidden(&self) -> AuthError {
        if self.is_anonymous() {
            AuthError::missing().with_metadata(self.metadata.clone())
        } else {
            AuthError::insufficient(self.metadata.clone())
        }
    }
}
