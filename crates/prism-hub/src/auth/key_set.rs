//! Key sets that were fetched: what they hold, and when that was last confirmed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::keyring::Key;
use super::keys::{self, KeyError};
use crate::config::KeySetUrl;
use crate::limits;

/// A set as an address gave it.
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// What was read. It is compared with what is read later.
    text: Box<[u8]>,
    /// The second in which the address last gave just this.
    confirmed: AtomicU64,
}

/// Key sets by the addresses they came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySets(BTreeMap<KeySetUrl, Arc<KeySet>>);

impl KeySet {
    /// Reads what an address gave at this second.
    pub(crate) fn read(url: &KeySetUrl, text: &[u8], now: u64) -> Result<Self, KeyError> {
        let keys = keys::read_fetched(url, text)?;
        Ok(Self { keys, text: text.into(), confirmed: now.into() })
    }

    /// The set, if it has a key.
    pub(crate) fn with_a_key(self, url: &KeySetUrl) -> Result<Self, KeyError> {
        if self.keys.is_empty() { Err(KeyError::without_keys(url)) } else { Ok(self) }
    }

    /// Notes that the address gave the same again, if it did.
    pub(crate) fn confirm(&self, text: &[u8], now: u64) -> bool {
        let is_same = *self.text == *text;
        if is_same {
            self.confirmed.store(now, Ordering::Relaxed);
        }
        is_same
    }

    /// Seconds since the set was confirmed.
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.confirmed.load(Ordering::Relaxed))
    }

    /// Whether it was confirmed so long ago that nobody knows what was taken out of it since.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        self.age(now) >= limits::JWKS_STALE.as_secs()
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

/// The text may have more in it than public keys.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl KeySets {
    /// What an address gave.
    pub(crate) fn get(&self, url: &KeySetUrl) -> Option<&Arc<KeySet>> {
        self.0.get(url)
    }

    /// Puts a set in the place of what its address gave before.
    pub(crate) fn put(&mut self, url: KeySetUrl, set: Arc<KeySet>) {
        self.0.insert(url, set);
    }

    /// Seconds since the set was confirmed that was confirmed first. None without any.
    pub(crate) fn age(&self, now: u64) -> Option<u64> {
        self.0.values().map(|set| set.age(now)).max()
    }
}
