//! The trusted keys of one role.
//!
//! Each draft-08 key belongs to one issuer, and only keys of the issuer that a token names are
//! tried. The key of the role (`publisher-key`, `subscriber-key`) belongs to the first issuer, and
//! also verifies draft-07 tokens, which name no issuer. A key set belongs to an issuer; one without
//! an issuer verifies draft-07 tokens. Such a token names neither an issuer nor a hub: whoever
//! signs it with a key of that set is trusted, provided that it has the claim `mercure`.
//!
//! A fetched key set is kept once by its URL, and used by each issuer that names this URL. The keys
//! of a stale set are not used.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::jwk_set;
use super::key_error::KeyError;
use super::key_set::{KeySet, KeySets};
use super::role::Role;
use super::verification_key::VerificationKey;
use crate::config::{AuthConfig, KeySetLocation, KeySetUrl};

/// The trusted keys of one role.
#[derive(Debug)]
pub(super) struct Keyring {
    draft_07: TrustedKeys,
    issuers: Vec<(String, TrustedKeys)>,
}

/// The trusted keys of one issuer, or those for draft-07 tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustedKeys {
    configured: Vec<VerificationKey>,
    remote_sets: Vec<RemoteKeySet>,
    /// The algorithms of `jwks-alg`, for JWKs without `alg`.
    jwks_algorithms: Vec<Algorithm>,
}

/// A key that may have signed a token.
pub(super) struct CandidateKey<'a> {
    /// The one algorithm that this key is used with.
    pub(super) algorithm: Algorithm,
    pub(super) decoding: &'a DecodingKey,
    /// The set in which the key was fetched, if it was.
    pub(super) key_set: Option<&'a Arc<KeySet>>,
}

/// A key set at a URL. It has no keys until it was fetched.
#[derive(Clone, Debug)]
struct RemoteKeySet {
    url: KeySetUrl,
    set: Option<Arc<KeySet>>,
}

impl Keyring {
    /// Reads the keys of a role from settings and files. Key sets at URLs are taken from `fetched`.
    pub(super) fn read(
        config: &AuthConfig,
        role: Role,
        fetched: &KeySets,
    ) -> Result<Self, KeyError> {
        let (setting, source, algorithm) = match role {
            Role::Publisher => {
                ("publisher-key", &config.publisher_key, config.publisher_key_algorithm)
            }
            Role::Subscriber => {
                ("subscriber-key", &config.subscriber_key, config.subscriber_key_algorithm)
            }
        };
        let role_key = match source {
            Some(source) => vec![VerificationKey::read(setting, source, algorithm, config.dev)?],
            None => Vec::new(),
        };
        let of_issuer = |issuer: &String| {
            let jwks_algorithms = config.key_set_algorithms_of(Some(issuer));
            (issuer.clone(), TrustedKeys { jwks_algorithms, ..TrustedKeys::default() })
        };
        let mut issuers: Vec<(String, TrustedKeys)> =
            config.issuers.iter().map(of_issuer).collect();
        if let Some((_, keys)) = issuers.first_mut() {
            keys.configured.extend(role_key.iter().cloned());
        }
        let draft_07 = TrustedKeys {
            configured: role_key,
            remote_sets: Vec::new(),
            jwks_algorithms: config.key_set_algorithms_of(None),
        };
        let mut keyring = Self { draft_07, issuers };
        for set in &config.key_sets {
            let owner = match &set.issuer {
                None => Some(&mut keyring.draft_07),
                Some(issuer) => {
                    let mut issuers = keyring.issuers.iter_mut();
                    issuers.find(|(name, _)| name == issuer).map(|(_, keys)| keys)
                }
            };
            let Some(owner) = owner else { continue };
            match &set.location {
                KeySetLocation::File(path) => {
                    owner.configured.extend(jwk_set::read_file(path, config.dev)?);
                }
                KeySetLocation::Url(url) => {
                    let set = fetched.get(url).cloned();
                    owner.remote_sets.push(RemoteKeySet { url: url.clone(), set });
                }
            }
        }
        Ok(keyring)
    }

    /// A copy in which the key set that was fetched from this URL is replaced.
    pub(super) fn with_key_set(&self, url: &KeySetUrl, set: &Arc<KeySet>) -> Self {
        let replaced = |keys: &TrustedKeys| {
            let mut keys = keys.clone();
            for remote in keys.remote_sets.iter_mut().filter(|it| it.url == *url) {
                remote.set = Some(Arc::clone(set));
            }
            keys
        };
        let issuers = self.issuers.iter().map(|(name, keys)| (name.clone(), replaced(keys)));
        Self { draft_07: replaced(&self.draft_07), issuers: issuers.collect() }
    }

    /// The keys for draft-07 tokens, which name no issuer.
    pub(super) fn for_draft_07(&self) -> &TrustedKeys {
        &self.draft_07
    }

    /// The keys of an issuer. `None` if it is not trusted.
    pub(super) fn for_issuer(&self, issuer: &str) -> Option<&TrustedKeys> {
        let (_, keys) = self.issuers.iter().find(|(name, _)| name == issuer)?;
        Some(keys)
    }
}

impl TrustedKeys {
    /// The keys that are valid at this second and may have signed a token with this key id.
    pub(super) fn candidates(
        &self,
        key_id: Option<&str>,
        now: u64,
    ) -> impl Iterator<Item = CandidateKey<'_>> {
        let sets = self.remote_sets.iter().filter_map(move |it| it.valid_at(now));
        let fetched = sets.flat_map(|set| set.keys().iter().map(move |key| (key, Some(set))));
        let keys = self.configured.iter().map(|key| (key, None)).chain(fetched);
        let with_id = keys.filter(move |(key, _)| key.matches_id(key_id));
        with_id.map(|(key, key_set)| CandidateKey {
            algorithm: key.algorithm(&self.jwks_algorithms),
            decoding: key.decoding(),
            key_set,
        })
    }

    /// Whether a key set is missing or stale at this second.
    pub(super) fn lack_a_set(&self, now: u64) -> bool {
        self.remote_sets.iter().any(|it| it.valid_at(now).is_none())
    }
}

impl RemoteKeySet {
    fn valid_at(&self, now: u64) -> Option<&Arc<KeySet>> {
        self.set.as_ref().filter(|set| !set.is_stale(now))
    }
}
