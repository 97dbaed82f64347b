//! A token whose signature was verified: what it grants, and when it is valid.

use std::ops::Range;
use std::sync::Arc;

use prism_sse::Selector;
use serde_json::Value;

use super::dialect::Dialect;
use super::error::TokenError;
use super::key_set::KeySet;

/// The claims of a verified token that the hub uses.
#[derive(Debug)]
pub(super) struct VerifiedToken {
    pub(super) dialect: Dialect,
    /// The first second at which it is expired.
    pub(super) expires_at: Option<u64>,
    /// The first second at which it is valid.
    pub(super) not_before: Option<u64>,
    pub(super) publish: Box<[Selector]>,
    pub(super) subscribe: Box<[Selector]>,
    pub(super) payload: SubscriptionPayload,
    /// The fetched key set that contains the verifying key. The token is no longer accepted once
    /// that set is stale.
    pub(super) key_set: Option<Arc<KeySet>>,
}

/// The `payload` that a token attaches to its holder's subscriptions, for the subscription API.
#[derive(Debug)]
pub(super) enum SubscriptionPayload {
    /// Draft-07: one payload for all subscriptions.
    Shared(Option<Arc<Value>>),
    /// Draft-08: the payload of the first authorization detail that covers the subscription. Each
    /// range selects the grants of one detail in [`VerifiedToken::subscribe`].
    ByDetail(Vec<(Range<usize>, Option<Arc<Value>>)>),
}

impl VerifiedToken {
    /// Whether the token is valid at this second, and its key still known to be.
    pub(super) fn check_time(&self, now: u64) -> Result<(), TokenError> {
        if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Err(TokenError::Expired);
        }
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return Err(TokenError::NotYetValid);
        }
        if self.key_set.as_ref().is_some_and(|set| set.is_stale(now)) {
            return Err(TokenError::KeysUnavailable);
        }
        Ok(())
    }
}
