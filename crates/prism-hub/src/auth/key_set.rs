//! Key sets that were fetched, and when each was last confirmed by its URL.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::jwk_set;
use super::key_error::KeyError;
use super::verification_key::VerificationKey;
use crate::config::KeySetUrl;
use crate::limits;

/// The verification keys of a fetched JWK Set.
pub(crate) struct KeySet {
    keys: Vec<VerificationKey>,
    /// The text of the set, to see whether a later fetch returns the same.
    text: Box<[u8]>,
    /// The second of the last fetch that returned this text.
    confirmed_at: AtomicU64,
}

/// Fetched key sets by their URLs.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySets(BTreeMap<KeySetUrl, Arc<KeySet>>);

impl KeySet {
    /// Reads the text that was fetched from a URL at this second.
    pub(crate) fn read(url: &KeySetUrl, text: &[u8], now: u64) -> Result<Self, KeyError> {
        let keys = jwk_set::read_fetched(url, text)?;
        Ok(Self { keys, text: text.into(), confirmed_at: now.into() })
    }

    /// The set, or an error if it has no usable key.
    pub(crate) fn not_empty(self, url: &KeySetUrl) -> Result<Self, KeyError> {
        if self.keys.is_empty() { Err(KeyError::no_usable_key(url)) } else { Ok(self) }
    }

    /// Confirms the set if this text, fetched at this second, is the same. Returns whether it is.
    pub(crate) fn confirm(&self, text: &[u8], now: u64) -> bool {
        let is_same = *self.text == *text;
        if is_same {
            self.confirmed_at.store(now, Ordering::Relaxed);
        }
        is_same
    }

    /// Seconds since the set was last confirmed.
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.confirmed_at.load(Ordering::Relaxed))
    }

    /// Whether the set was last confirmed so long ago that keys which were removed since must be
    /// assumed. Its keys are no longer used.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        self.age(now) >= limits::JWKS_STALE.as_secs()
    }

    pub(super) fn keys(&self) -> &[VerificationKey] {
        &self.keys
    }
}

/// Leaves out the text, which may contain more than public keys.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl KeySets {
    /// The key set that was fetched from a URL.
    pub(crate) fn get(&self, url: &KeySetUrl) -> Option<&Arc<KeySet>> {
        self.0.get(url)
    }

    /// Adds or replaces the key set of a URL.
    pub(crate) fn put(&mut self, url: KeySetUrl, set: Arc<KeySet>) {
        self.0.insert(url, set);
    }

    /// The age of the set that was confirmed longest ago, in seconds. `None` without sets.
    pub(crate) fn age(&self, now: u64) -> Option<u64> {
        self.0.values().map(|set| set.age(now)).max()
    }
}
