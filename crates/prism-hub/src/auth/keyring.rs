//! Which keys may have signed a token that is shown for a purpose.
//!
//! Each key of draft-08 belongs to one issuer, and only keys of the issuer that a token names are
//! tried. The keys of one role (`publisher-key`, `subscriber-key`) belong to the first issuer, and
//! sign draft-07 tokens as well, which name nobody. A key set belongs to an issuer; without one it
//! is for draft-07 tokens. So a token that an identity provider made for some other program is
//! never taken for a draft-07 token of this hub.

use jsonwebtoken::{Algorithm, DecodingKey};

use super::Role;
use super::keys::{self, KeyError};
use crate::config::Trust;

/// The keys for one purpose.
#[derive(Debug)]
pub(super) struct Keyring {
    draft_07: Vec<Key>,
    issuers: Vec<(String, Vec<Key>)>,
}

/// A key that verifies, with the only algorithms it is ever used with.
#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl Keyring {
    /// Reads the keys for a purpose.
    pub(super) fn read(trust: &Trust, role: Role) -> Result<Self, KeyError> {
        let (name, source) = match role {
            Role::Publisher => ("publisher-key", &trust.publisher_key),
            Role::Subscriber => ("subscriber-key", &trust.subscriber_key),
        };
        let own = match source {
            Some(source) => vec![keys::read_verifying(name, source, trust.dev)?],
            None => Vec::new(),
        };
        let mut issuers: Vec<(String, Vec<Key>)> =
            trust.issuers.iter().map(|issuer| (issuer.clone(), Vec::new())).collect();
        if let Some((_, keys)) = issuers.first_mut() {
            keys.extend(own.iter().cloned());
        }
        let mut keyring = Self { draft_07: own, issuers };
        for set in &trust.key_sets {
            let keys = keys::read_set(&set.path, trust.dev)?;
            match &set.issuer {
                None => keyring.draft_07.extend(keys),
                Some(owner) => {
                    let issuers = keyring.issuers.iter_mut();
                    issuers.filter(|(name, _)| name == owner).for_each(|(_, all)| {
                        all.extend(keys.iter().cloned());
                    });
                }
            }
        }
        Ok(keyring)
    }

    /// The keys of tokens that name nobody.
    pub(super) fn of_draft_07(&self) -> &[Key] {
        &self.draft_07
    }

    /// The keys of an issuer, if it is trusted.
    pub(super) fn of_issuer(&self, issuer: &str) -> Option<&[Key]> {
        let (_, keys) = self.issuers.iter().find(|(name, _)| name == issuer)?;
        Some(keys)
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
