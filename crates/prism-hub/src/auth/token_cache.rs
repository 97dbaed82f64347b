//! A bounded cache of verified tokens, so that a token's signature is checked once.
//!
//! The cache key is the SHA-256 digest of the whole token, and the role that it was verified for:
//! two tokens never share an entry, and an entry of one role is not found by the other. Time is not
//! part of an entry; expiry is checked at every request. Only valid tokens are cached, so that
//! invalid ones cannot evict them. The number of entries and their bytes are bounded.

use std::sync::Arc;

use aws_lc_rs::digest;
use prism_sse::Selector;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::role::Role;
use super::verified_token::VerifiedToken;
use crate::limits;

/// The cache of verified tokens.
pub(super) struct TokenCache(Cache<TokenCacheKey, CachedToken, TokenWeighter>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenCacheKey {
    role: Role,
    digest: [u8; digest::SHA256_OUTPUT_LEN],
}

#[derive(Clone)]
struct CachedToken {
    token: Arc<VerifiedToken>,
    bytes: u64,
}

/// Weighs an entry by the bytes it takes.
#[derive(Clone)]
struct TokenWeighter;

impl TokenCache {
    /// A cache of the default size.
    pub(super) fn new() -> Self {
        Self::with_limits(limits::VERIFIED_TOKENS, limits::VERIFIED_BYTES)
    }

    /// A cache of about `tokens` tokens, and at most `bytes` bytes.
    pub(super) fn with_limits(tokens: usize, bytes: u64) -> Self {
        Self(Cache::with_weighter(tokens, bytes, TokenWeighter))
    }

    /// The token, if it was verified for this role.
    pub(super) fn get(&self, role: Role, token: &str) -> Option<Arc<VerifiedToken>> {
        self.0.get(&TokenCacheKey::new(role, token)).map(|cached| cached.token)
    }

    /// Adds a token that was just verified for this role.
    pub(super) fn insert(&self, role: Role, token: &str, verified: &Arc<VerifiedToken>) {
        self.0.insert(TokenCacheKey::new(role, token), CachedToken::new(token, verified));
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

impl TokenCacheKey {
    fn new(role: Role, token: &str) -> Self {
        let mut digest = [0; digest::SHA256_OUTPUT_LEN];
        digest.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self { role, digest }
    }
}

impl CachedToken {
    fn new(token: &str, verified: &Arc<VerifiedToken>) -> Self {
        let grants = verified.publish.iter().chain(&verified.subscribe);
        let grants: u64 = grants.map(grant_bytes).sum();
        // The parsed claims are about as long as the token's text.
        let bytes = size_of::<VerifiedToken>() as u64 + 2 * token.len() as u64 + grants;
        Self { token: Arc::clone(verified), bytes }
    }
}

fn grant_bytes(grant: &Selector) -> u64 {
    match grant {
        Selector::UrlPattern(_) => limits::URL_PATTERN_BYTES,
        // A compiled template has at most one small part for each character.
        _ => 64 + 16 * grant.as_str().len() as u64,
    }
}

impl Weighter<TokenCacheKey, CachedToken> for TokenWeighter {
    fn weight(&self, _: &TokenCacheKey, cached: &CachedToken) -> u64 {
        size_of::<(TokenCacheKey, CachedToken)>() as u64 + cached.bytes
    }
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCache").field("tokens", &self.0.len()).finish_non_exhaustive()
    }
}
