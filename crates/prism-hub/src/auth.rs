//! Who may publish and who may read: from the head of a request to the rights it has.
//!
//! An [`Authority`] is built once from the configuration and asked for every request. It finds the
//! token (`credentials`), verifies it (`token`) or remembers that it did (`verified`), and
//! answers with a [`Publisher`] or a [`Subscriber`]. A reload builds another one; so a key that
//! was taken away is forgotten with everything it ever verified.
//!
//! What holds for every token:
//!
//! - The algorithm belongs to the key, from when the key is read. A token's `alg` only confirms
//!   it, and its `jwk`, `jku` and `x5u` make it invalid.
//! - Nothing unverified causes input or output: keys are looked up by comparing. What is fetched
//!   is fetched from configured addresses at times of the hub's own (`jwks`), whatever tokens say.
//! - Every defect gives the same answer, [`AuthError`], so that an attacker learns nothing.
//! - The header `typ` chooses the rules: `at+jwt` those of draft-08, and no others; anything else
//!   those of draft-07, where they are on.
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
//! let (reader, ()) = http::Request::get("/events").body(())?.into_parts();
//! assert!(authority.subscriber(&reader)?.is_anonymous());
//! let (publisher, ()) = http::Request::post("/events").body(())?.into_parts();
//! assert_eq!(authority.publisher(&publisher).unwrap_err().status(), 401);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claims;
mod clock;
mod credentials;
mod error;
mod grants;
mod key_set;
mod keyring;
mod keys;
mod rights;
mod token;
mod verified;

#[cfg(test)]
mod attacks_on_claims;
#[cfg(test)]
mod attacks_on_memory;
#[cfg(test)]
mod attacks_on_rights;
#[cfg(test)]
mod attacks_on_tokens;
#[cfg(test)]
mod drafts;
#[cfg(test)]
pub(crate) mod fixture;

use std::sync::Arc;

use http::request::Parts;

use crate::config::{Config, KeySetUrl, Origin};

pub use clock::Clock;
pub use error::{AuthError, Defect};
pub(crate) use key_set::{KeySet, KeySets};
pub use keys::KeyError;
pub(crate) use keys::SigningKey;
pub use rights::{Publisher, Subscriber, TokenPlace};
pub use token::Dialect;

use credentials::Credentials;
use keyring::Keyring;
use token::Verifier;
use verified::Verified;

/// What decides who may do what.
#[derive(Debug)]
pub struct Authority {
    publishers: Verifier,
    subscribers: Verifier,
    verified: Verified,
    clock: Clock,
    credentials: Credentials,
    key_sets: KeySets,
    is_dev: bool,
    allows_anonymous: bool,
    /// Where clients learn which tokens are wanted.
    metadata: Option<Arc<str>>,
}

impl Authority {
    /// Reads the keys that the configuration names. Nothing is fetched: a token that a key set at
    /// an address could verify is refused as [unavailable](AuthError::is_unavailable).
    ///
    /// # Errors
    ///
    /// [`KeyError`] names the key that cannot be read or must not be used.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, KeyError> {
        Self::with_key_sets(config, clock, &KeySets::default())
    }

    /// Reads the keys that the configuration names, but for those that were fetched.
    pub(crate) fn with_key_sets(
        config: &Config,
        clock: Clock,
        fetched: &KeySets,
    ) -> Result<Self, KeyError> {
        let trust = &config.trust;
        let mut origins = trust.publish_origins.clone();
        origins.extend(config.public_url.as_ref().and_then(Origin::of_url));
        let verifier = |role| -> Result<Verifier, KeyError> {
            let keys = Keyring::read(trust, role, fetched)?;
            Ok(Verifier::new(keys, trust, config.hub_url.as_str()))
        };
        let mut key_sets = KeySets::default();
        for url in trust.key_set_urls() {
            if let Some(set) = fetched.get(url) {
                key_sets.put(url.clone(), Arc::clone(set));
            }
        }
        Ok(Self {
            publishers: verifier(Role::Publisher)?,
            subscribers: verifier(Role::Subscriber)?,
            verified: Verified::new(),
            clock,
            credentials: Credentials::new(trust, origins),
            key_sets,
            is_dev: trust.dev,
            allows_anonymous: trust.anonymous || trust.dev,
            metadata: config.metadata_url().map(|url| url.as_str().into()),
        })
    }

    /// The same, with another set of keys from an address. What was verified is verified again,
    /// since the key that vouched for it may be gone.
    pub(crate) fn with_key_set(&self, url: &KeySetUrl, set: &Arc<KeySet>) -> Self {
        let mut key_sets = self.key_sets.clone();
        key_sets.put(url.clone(), Arc::clone(set));
        Self {
            publishers: self.publishers.with_key_set(url, set),
            subscribers: self.subscribers.with_key_set(url, set),
            verified: Verified::new(),
            clock: self.clock.clone(),
            credentials: self.credentials.clone(),
            key_sets,
            is_dev: self.is_dev,
            allows_anonymous: self.allows_anonymous,
            metadata: self.metadata.clone(),
        }
    }

    /// The key sets that were fetched.
    pub(crate) fn key_sets(&self) -> &KeySets {
        &self.key_sets
    }

    /// The rights of whoever wants to publish.
    ///
    /// # Errors
    ///
    /// [`AuthError`] if there is no token, or none that counts.
    pub fn publisher(&self, request: &Parts) -> Result<Publisher, AuthError> {
        let found = self.credentials.find(request).map_err(|error| self.challenge(error))?;
        let Some(found) = found else {
            return if self.is_dev {
                Ok(Publisher::unrestricted())
            } else {
                Err(self.challenge(AuthError::missing()))
            };
        };
        let rights = self.verify(Role::Publisher, &found.token)?;
        Ok(Publisher::new(rights, self.metadata.clone()))
    }

    /// The rights of whoever wants to subscribe, or to read the subscription API.
    ///
    /// # Errors
    ///
    /// [`AuthError`] if there is no token that counts, and somebody without one may not read.
    pub fn subscriber(&self, request: &Parts) -> Result<Subscriber, AuthError> {
        let found = self.credentials.find(request).map_err(|error| self.challenge(error))?;
        let Some(found) = found else {
            return if self.allows_anonymous {
                Ok(Subscriber::anonymous(self.metadata.clone()))
            } else {
                Err(self.challenge(AuthError::missing()))
            };
        };
        let rights = self.verify(Role::Subscriber, &found.token)?;
        Ok(Subscriber::new(rights, found.place, self.metadata.clone()))
    }

    /// The time by which tokens are judged, in seconds since 1970.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    fn verify(&self, role: Role, token: &str) -> Result<Arc<rights::Rights>, AuthError> {
        let now = self.clock.now();
        let invalid = |defect| self.challenge(AuthError::invalid(defect));
        if let Some(rights) = self.verified.get(role, token) {
            match rights.check_time(now) {
                // Another set may have the key as well.
                Err(Defect::KeysUnknown) => {}
                judged => return judged.map(|()| rights).map_err(invalid),
            }
        }
        let verifier = match role {
            Role::Publisher => &self.publishers,
            Role::Subscriber => &self.subscribers,
        };
        let rights = Arc::new(verifier.verify(token, now).map_err(invalid)?);
        rights.check_time(now).map_err(invalid)?;
        self.verified.insert(role, token, &rights);
        Ok(rights)
    }

    fn challenge(&self, error: AuthError) -> AuthError {
        error.with_metadata(self.metadata.clone())
    }

    /// How many signatures were checked, for a test that some were not.
    #[cfg(test)]
    pub(crate) fn signatures_checked(&self) -> usize {
        self.publishers.signatures_checked() + self.subscribers.signatures_checked()
    }
}

/// What a token is shown for. It is also the domain of trust in which it was verified: what one
/// key vouched for says nothing in the domain of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Publisher,
    Subscriber,
}
