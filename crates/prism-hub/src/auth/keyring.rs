//! Which keys may have signed a token that is shown for a purpose.
//!
//! Each key of draft-08 belongs to one issuer, and only keys of the issuer that a token names are
//! tried. The keys of one role (`publisher-key`, `subscriber-key`) belong to the first issuer, and
//! sign draft-07 tokens as well, which name nobody. A key set belongs to an issuer; without one it
//! is for draft-07 tokens. Those name neither an issuer nor a hub: whoever signs them with a key of
//! such a set is trusted, if they speak of a hub at all.
//!
//! What was fetched from an address is kept by that address and used by the owners that name it. A
//! set that was not confirmed for too long has no keys any more.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::Role;
use super::key_set::{KeySet, KeySets};
use super::keys::{self, KeyError};
use crate::config::{KeySetPlace, KeySetUrl, Trust};

/// The keys for one purpose.
#[derive(Debug)]
pub(super) struct Keyring {
    draft_07: Keys,
    issuers: Vec<(String, Keys)>,
}

/// The keys of one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    read: Vec<Key>,
    fetched: Vec<Fetched>,
}

/// A set that is fetched, and whether it was.
#[derive(Clone, Debug)]
struct Fetched {
    url: KeySetUrl,
    set: Option<Arc<KeySet>>,
}

/// A key that verifies, with the only algorithms it is ever used with.
#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl Keyring {
    /// Reads the keys for a purpose. Those at addresses are taken from `fetched`.
    pub(super) fn read(trust: &Trust, role: Role, fetched: &KeySets) -> Result<Self, KeyError> {
        let (name, source) = match role {
            Role::Publisher => ("publisher-key", &trust.publisher_key),
            Role::Subscriber => ("subscriber-key", &trust.subscriber_key),
        };
        let own = match source {
            Some(source) => vec![keys::read_verifying(name, source, trust.dev)?],
            None => Vec::new(),
        };
        let mut issuers: Vec<(String, Keys)> =
            trust.issuers.iter().map(|issuer| (issuer.clone(), Keys::default())).collect();
        if let Some((_, keys)) = issuers.first_mut() {
            keys.read.extend(own.iter().cloned());
        }
        let draft_07 = Keys { read: own, fetched: Vec::new() };
        let mut keyring = Self { draft_07, issuers };
        for set in &trust.key_sets {
            let owner = match &set.issuer {
                None => Some(&mut keyring.draft_07),
                Some(owner) => {
                    let mut issuers = keyring.issuers.iter_mut();
                    issuers.find(|(name, _)| name == owner).map(|(_, keys)| keys)
                }
            };
            let Some(owner) = owner else { continue };
            match &set.place {
                KeySetPlace::File(path) => owner.read.extend(keys::read_set(path, trust.dev)?),
                KeySetPlace::Url(url) => {
                    let set = fetched.get(url).cloned();
                    owner.fetched.push(Fetched { url: url.clone(), set });
                }
            }
        }
        Ok(keyring)
    }

    /// The same keys, but for those that an address gave another set of.
    pub(super) fn with_key_set(&self, url: &KeySetUrl, set: &Arc<KeySet>) -> Self {
        let owner = |keys: &Keys| {
            let mut keys = keys.clone();
            for fetched in keys.fetched.iter_mut().filter(|it| it.url == *url) {
                fetched.set = Some(Arc::clone(set));
            }
            keys
        };
        let issuers = self.issuers.iter().map(|(name, keys)| (name.clone(), owner(keys)));
        Self { draft_07: owner(&self.draft_07), issuers: issuers.collect() }
    }

    /// The keys of tokens that name nobody.
    pub(super) fn of_draft_07(&self) -> &Keys {
        &self.draft_07
    }

    /// The keys of an issuer, if it is trusted.
    pub(super) fn of_issuer(&self, issuer: &str) -> Option<&Keys> {
        let (_, keys) = self.issuers.iter().find(|(name, _)| name == issuer)?;
        Some(keys)
    }
}

impl Keys {
    /// The keys that count at this second, each with the set that it was fetched in.
    pub(super) fn at(&self, now: u64) -> impl Iterator<Item = (&Key, Option<&Arc<KeySet>>)> {
        let sets = self.fetched.iter().filter_map(move |it| it.known(now));
        let fetched = sets.flat_map(|set| set.keys().iter().map(move |key| (key, Some(set))));
        self.read.iter().map(|key| (key, None)).chain(fetched)
    }

    /// Whether there is a set of which nobody knows what is in it at this second.
    pub(super) fn lack_a_set(&self, now: u64) -> bool {
        self.fetched.iter().any(|it| it.known(now).is_none())
    }
}

impl Fetched {
    fn known(&self, now: u64) -> Option<&Arc<KeySet>> {
        self.set.as_ref().filter(|set| !set.is_stale(now))
    }
}

impl Key {
    pub(super) fn new(
        id: Option<String>,
        algorithms: Vec<Algorithm>,
        decoding: DecodingKey,
    ) -> Self {
        Self { id, algorithms, decoding }
    }

    /// Whether the key may be the one that a token names. A key without a name may be any.
    pub(super) fn fits(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        }
    }

    pub(super) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}
