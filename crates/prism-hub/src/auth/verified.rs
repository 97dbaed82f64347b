//! Tokens whose signature was checked, so that it need not be checked again.
//!
//! An entry is found by the SHA-256 digest of the whole token and by the domain in which it was
//! verified: no two tokens share one, and no token is known in a domain that did not verify it. It
//! says nothing about time, which is judged at every request. Only tokens that were valid get in,
//! so that nobody can fill this with rubbish, and the number and size of entries are bounded.

use std::sync::Arc;

use aws_lc_rs::digest;
use prism_sse::Selector;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Role;
use super::rights::Rights;
use crate::limits;

/// The tokens that were verified.
pub(super) struct Verified(Cache<Key, Entry, Bytes>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    role: Role,
    digest: [u8; digest::SHA256_OUTPUT_LEN],
}

#[derive(Clone)]
struct Entry {
    rights: Arc<Rights>,
    bytes: u64,
}

#[derive(Clone)]
struct Bytes;

impl Verified {
    /// Remembers as much as the limits allow.
    pub(super) fn new() -> Self {
        Self::with_limits(limits::VERIFIED_TOKENS, limits::VERIFIED_BYTES)
    }

    /// Remembers about `tokens` tokens, of `bytes` bytes at most.
    pub(super) fn with_limits(tokens: usize, bytes: u64) -> Self {
        Self(Cache::with_weighter(tokens, bytes, Bytes))
    }

    /// What a token allows, if it was verified for this role.
    pub(super) fn get(&self, role: Role, token: &str) -> Option<Arc<Rights>> {
        self.0.get(&Key::new(role, token)).map(|entry| entry.rights)
    }

    /// Remembers a token that was just verified.
    pub(super) fn insert(&self, role: Role, token: &str, rights: &Arc<Rights>) {
        self.0.insert(Key::new(role, token), Entry::new(token, rights));
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

impl Key {
    fn new(role: Role, token: &str) -> Self {
        let mut digest = [0; digest::SHA256_OUTPUT_LEN];
        digest.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self { role, digest }
    }
}

impl Entry {
    fn new(token: &str, rights: &Arc<Rights>) -> Self {
        let grants = rights.publish.iter().chain(&rights.subscribe);
        let grants: u64 = grants.map(grant_bytes).sum();
        // What was read of the token is about as long as the token.
        let bytes = size_of::<Rights>() as u64 + 2 * token.len() as u64 + grants;
        Self { rights: Arc::clone(rights), bytes }
    }
}

fn grant_bytes(grant: &Selector) -> u64 {
    match grant {
        Selector::UrlPattern(_) => limits::URL_PATTERN_BYTES,
        // A template keeps a small part for each of its characters, at most.
        _ => 64 + 16 * grant.as_str().len() as u64,
    }
}

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        size_of::<(Key, Entry)>() as u64 + entry.bytes
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("tokens", &self.0.len()).finish_non_exhaustive()
    }
}
