//! Authentication and authorization: from the head of a request to what its sender may do.
//!
//! An [`Authority`] is built from the configuration and asked for every request. It extracts the
//! token (`token_extractor`), takes it from the cache of verified tokens (`token_cache`) or
//! verifies it (`token_verifier`), and answers with a [`Publisher`] or a [`Subscriber`]. A reload
//! builds a new `Authority` with an empty cache, so that a removed key accepts no token any more.
//!
//! What holds for every token:
//!
//! - Each key is used with one algorithm (RFC 8725, section 3.1), which is known before a token
//!   arrives. A token's `alg` must be this one, and a token with `jwk`, `jku` or `x5u` is invalid.
//! - An unverified token causes no input or output. Keys are looked up in memory; key sets are
//!   fetched from configured URLs by a schedule (`jwks`), whatever tokens say.
//! - Every invalid token gets the same answer, [`AuthError`], so that an attacker learns nothing.
//! - The header parameter `typ` chooses the rules: draft-08 for `at+jwt`, draft-07 for everything
//!   else, if draft-07 is enabled.
//!
//! ```
//! use prism_hub::auth::{Authority, Clock};
//! use prism_hub::config::Config;
//!
//! let config = Config::from_args([
//!     "--publisher-key", "a secret of at least 32 bytes, or more", "--anonymous",
//! ])?;
//! let authority = Authority::new(&config, Clock::system())?;
//!
//! let (request, ()) = http::Request::get("/events").body(())?.into_parts();
//! assert!(authority.subscriber(&request)?.is_anonymous());
//! let (request, ()) = http::Request::post("/events").body(())?.into_parts();
//! assert_eq!(authority.publisher(&request).unwrap_err().status(), 401);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claims;
mod clock;
mod dialect;
mod error;
mod grant_selector;
mod jwk_set;
mod key_error;
mod key_material;
mod key_set;
mod key_strength;
mod key_type;
mod keyring;
mod principal;
mod role;
mod signing_key;
mod strict_json;
mod token_cache;
mod token_extractor;
mod token_header;
mod token_verifier;
mod verification_key;
mod verified_token;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::request::Parts;

use crate::config::{Config, KeySetUrl, Origin};

pub use clock::Clock;
pub use dialect::Dialect;
pub use error::{AuthError, TokenError};
pub use key_error::KeyError;
pub(crate) use key_set::{KeySet, KeySets};
pub use principal::{Publisher, Subscriber, TokenLocation};
pub(crate) use signing_key::SigningKey;

use keyring::Keyring;
use role::Role;
use token_cache::TokenCache;
use token_extractor::TokenExtractor;
use token_verifier::TokenVerifier;
use verified_token::VerifiedToken;

/// Decides who may publish and who may subscribe.
#[derive(Debug)]
pub struct Authority {
    publisher_tokens: TokenVerifier,
    subscriber_tokens: TokenVerifier,
    cache: TokenCache,
    clock: Clock,
    extractor: TokenExtractor,
    key_sets: KeySets,
    is_dev: bool,
    allows_anonymous: bool,
    /// The URL of the hub's metadata (RFC 9728), for `WWW-Authenticate`.
    metadata_url: Option<Arc<str>>,
    /// Whether a token that was refused because of its algorithm has been logged.
    has_logged_algorithm: AtomicBool,
}

impl Authority {
    /// Reads the keys that the configuration names. Nothing is fetched: a token that a key set at a
    /// URL could verify is refused as [unavailable](AuthError::is_unavailable).
    ///
    /// # Errors
    ///
    /// [`KeyError`] names the key that cannot be read or must not be used.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, KeyError> {
        Self::with_key_sets(config, clock, &KeySets::default())
    }

    /// Reads the keys that the configuration names, and takes key sets at URLs from `fetched`.
    pub(crate) fn with_key_sets(
        config: &Config,
        clock: Clock,
        fetched: &KeySets,
    ) -> Result<Self, KeyError> {
        let auth = &config.auth;
        let mut publish_origins = auth.publish_origins.clone();
        publish_origins.extend(config.public_url.as_ref().and_then(Origin::of_url));
        let verifier = |role| -> Result<TokenVerifier, KeyError> {
            let keyring = Keyring::read(auth, role, fetched)?;
            Ok(TokenVerifier::new(keyring, auth, config.hub_url.as_str()))
        };
        let mut key_sets = KeySets::default();
        for url in auth.key_set_urls() {
            if let Some(set) = fetched.get(url) {
                key_sets.put(url.clone(), Arc::clone(set));
            }
        }
        Ok(Self {
            publisher_tokens: verifier(Role::Publisher)?,
            subscriber_tokens: verifier(Role::Subscriber)?,
            cache: TokenCache::new(),
            clock,
            extractor: TokenExtractor::new(auth, publish_origins),
            key_sets,
            is_dev: auth.dev,
            allows_anonymous: auth.anonymous || auth.dev,
            metadata_url: config.metadata_url().map(|url| url.as_str().into()),
            has_logged_algorithm: AtomicBool::new(false),
        })
    }

    /// A copy in which the key set that was fetched from this URL is replaced. Its token cache is
    /// empty, because the keys that verified cached tokens may have been removed.
    pub(crate) fn with_key_set(&self, url: &KeySetUrl, set: &Arc<KeySet>) -> Self {
        let mut key_sets = self.key_sets.clone();
        key_sets.put(url.clone(), Arc::clone(set));
        Self {
            publisher_tokens: self.publisher_tokens.with_key_set(url, set),
            subscriber_tokens: self.subscriber_tokens.with_key_set(url, set),
            cache: TokenCache::new(),
            clock: self.clock.clone(),
            extractor: self.extractor.clone(),
            key_sets,
            is_dev: self.is_dev,
            allows_anonymous: self.allows_anonymous,
            metadata_url: self.metadata_url.clone(),
            has_logged_algorithm: self.has_logged_algorithm.load(Ordering::Relaxed).into(),
        }
    }

    /// The key sets that were fetched.
    pub(crate) fn key_sets(&self) -> &KeySets {
        &self.key_sets
    }

    /// Authenticates the sender of a publish request.
    ///
    /// # Errors
    ///
    /// [`AuthError`] without a valid token.
    pub fn publisher(&self, request: &Parts) -> Result<Publisher, AuthError> {
        let presented = self.extractor.extract(request).map_err(|error| self.challenge(error))?;
        let Some(presented) = presented else {
            return if self.is_dev {
                Ok(Publisher::unrestricted())
            } else {
                Err(self.challenge(AuthError::missing()))
            };
        };
        let token = self.verify(Role::Publisher, &presented.text)?;
        Ok(Publisher::new(token, self.metadata_url.clone()))
    }

    /// Authenticates the sender of a subscribe request, or of one to the subscription API.
    ///
    /// # Errors
    ///
    /// [`AuthError`] for an invalid token, and without one unless anonymous subscribers are
    /// allowed.
    pub fn subscriber(&self, request: &Parts) -> Result<Subscriber, AuthError> {
        let presented = self.extractor.extract(request).map_err(|error| self.challenge(error))?;
        let Some(presented) = presented else {
            return if self.allows_anonymous {
                Ok(Subscriber::anonymous(self.metadata_url.clone()))
            } else {
                Err(self.challenge(AuthError::missing()))
            };
        };
        let token = self.verify(Role::Subscriber, &presented.text)?;
        Ok(Subscriber::new(token, presented.location, self.metadata_url.clone()))
    }

    /// The time that token validity is checked against, in seconds since 1970.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    fn verify(&self, role: Role, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        let now = self.clock.now();
        let invalid = |error| self.challenge(AuthError::invalid(error));
        if let Some(verified) = self.cache.get(role, token) {
            match verified.check_time(now) {
                // Another key set may contain the same key.
                Err(TokenError::KeysUnavailable) => {}
                result => return result.map(|()| verified).map_err(invalid),
            }
        }
        let verifier = match role {
            Role::Publisher => &self.publisher_tokens,
            Role::Subscriber => &self.subscriber_tokens,
        };
        let verified = verifier.verify(token, now);
        let verified = verified.inspect_err(|error| self.log_algorithm(*error)).map_err(invalid)?;
        let verified = Arc::new(verified);
        verified.check_time(now).map_err(invalid)?;
        self.cache.insert(role, token, &verified);
        Ok(verified)
    }

    /// Warns of the first token that is refused because of its algorithm, since the answer does not
    /// say so and the remedy is a setting. Only the first, because anybody can send such tokens.
    fn log_algorithm(&self, error: TokenError) {
        let is_algorithm = matches!(error, TokenError::Algorithm { .. });
        if is_algorithm && !self.has_logged_algorithm.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a token was refused: {error}; `publisher-key-alg`, `subscriber-key-alg` and \
                 `jwks-alg` set the algorithm of a key (more of these are logged at level debug)"
            );
        }
    }

    fn challenge(&self, error: AuthError) -> AuthError {
        error.with_metadata_url(self.metadata_url.clone())
    }

    /// The number of signatures checked so far, for tests of the token cache.
    #[cfg(test)]
    pub(crate) fn signatures_checked(&self) -> usize {
        self.publisher_tokens.signatures_checked() + self.subscriber_tokens.signatures_checked()
    }
}
