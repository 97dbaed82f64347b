//! Idempotency keys: the publications of the last window that had one, with their outcomes.
//!
//! Keys and contents are stored as hashes of 128 bits, so that all entries have the same size. The
//! hashers are seeded at random, so that nobody can construct collisions.
//!
//! No key is forgotten within the window, because its event could then be published twice; so new
//! keys are refused when the bytes for them are used up. Each scope (a publisher, or all
//! publications without one) may have at most [`limits::IDEMPOTENCY_SHARE`] times the bytes that
//! are free. The scope that has most is the first to be refused: alone it leaves a quarter free,
//! and `n` scopes that use all they may leave one part of `3n + 1`. The rule needs no search for
//! the largest scope: a key takes the same few steps however many scopes there are.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::error::PublishError;
use crate::engine::{Ack, AckError, Outcome, Publication, Receipt};
use crate::limits;
use crate::random;
use crate::steps;
use crate::store::StoredKey;

type Digest = [u64; 2];

/// Hashes publications. It is used without the manager's lock, because hashing takes time in
/// proportion to the event.
#[derive(Debug)]
pub(super) struct DigestHasher {
    names: [RandomState; 2],
    /// The key of the digests of contents, which a store keeps beside them.
    secret: [u8; 16],
}

/// The hashes of a publication with an idempotency key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyDigest {
    /// Of the key and the publisher.
    name: Digest,
    content: [u8; 16],
    /// Of the publisher. Scopes whose hashes are equal share their bytes.
    scope: u64,
}

impl DigestHasher {
    /// A hasher whose digests of contents are keyed with `secret`, or at random.
    pub(super) fn new(secret: Option<[u8; 16]>) -> Self {
        let random = || {
            let [one, other] = [random::bits(), random::bits()].map(u64::to_le_bytes);
            std::array::from_fn(|at| if at < 8 { one[at] } else { other[at - 8] })
        };
        Self { names: Default::default(), secret: secret.unwrap_or_else(random) }
    }

    /// `None` for a publication without a key.
    pub(super) fn of(&self, publication: &Publication) -> Option<KeyDigest> {
        let key = publication.key()?;
        Some(self.digest(key, publication.published_by(), self.content(publication)))
    }

    /// The digest of a publication whose key a store kept.
    pub(super) fn of_stored(&self, stored: &StoredKey) -> KeyDigest {
        self.digest(&stored.key, stored.publisher.as_deref(), stored.content)
    }

    /// The digest of what a second publication with the same key has to be equal in. It is the same
    /// in every process with this secret, whatever it was built with.
    pub(super) fn content(&self, publication: &Publication) -> [u8; 16] {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        publication.write_content(|bytes| {
            hasher.write(&(bytes.len() as u64).to_le_bytes());
            hasher.write(bytes);
        });
        hasher.finish128().as_bytes()
    }

    fn digest(&self, key: &str, publisher: Option<&str>, content: [u8; 16]) -> KeyDigest {
        KeyDigest {
            name: self.names.each_ref().map(|hasher| hasher.hash_one((key, publisher))),
            content,
            scope: self.names[0].hash_one(publisher),
        }
    }
}

/// The keys that were used within the window.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    /// In milliseconds.
    window: u64,
    max_bytes: usize,
    entries: HashMap<Digest, KeyEntry>,
    /// The names of all entries by their number, and so in the order in which they were added.
    by_age: BTreeMap<u64, Digest>,
    last_number: u64,
    /// Entries of each scope that has any.
    scopes: HashMap<u64, usize>,
}

#[derive(Debug)]
struct KeyEntry {
    content: [u8; 16],
    scope: u64,
    number: u64,
    added_at: u64,
    /// The outcome, if this manager appended the publication to the engine.
    outcome: Option<Arc<Outcome>>,
    /// The sequence number with which it was applied here, whichever node appended it.
    applied: Option<NonZeroU64>,
}

/// The result of looking up a key.
#[derive(Debug)]
pub(super) enum KeyLookup {
    /// The publication was appended before: its receipt.
    Known(Receipt),
    /// The publication is to be appended with this outcome.
    New(Arc<Outcome>),
}

impl IdempotencyKeys {
    /// Remembers keys for `window` milliseconds, in at most `max_bytes`.
    pub(super) fn new(window: u64, max_bytes: usize) -> Self {
        Self { window, max_bytes, ..Self::default() }
    }

    /// Looks up a publication that is about to be appended. `ack` makes the acknowledgement of one
    /// that was applied here although the engine did not answer.
    pub(super) fn look_up(
        &mut self,
        digest: KeyDigest,
        now: u64,
        ack: impl FnOnce(u64) -> Result<Ack, AckError>,
    ) -> Result<KeyLookup, PublishError> {
        self.forget(digest.name, now);
        if let Some(entry) = self.entries.get_mut(&digest.name) {
            if entry.content != digest.content {
                return Err(PublishError::KeyReused);
            }
            let result = entry.outcome.as_ref().map(|outcome| (outcome.result(), outcome));
            match (result, entry.applied) {
                (Some((None | Some(Ok(_)), outcome)), _) => {
                    return Ok(KeyLookup::Known(Receipt::of_outcome(Arc::clone(outcome))));
                }
                (_, Some(seq)) => {
                    let outcome = Outcome::new();
                    outcome.resolve(ack(seq.get()));
                    entry.outcome = Some(Arc::clone(&outcome));
                    return Ok(KeyLookup::Known(Receipt::of_outcome(outcome)));
                }
                // It failed, or the outcome is unknown: the engine gets it again, and the window
                // begins again.
                (_, None) => drop(self.remove(digest.name)),
            }
        } else if !self.has_room_for(digest.scope) {
            return Err(PublishError::TooManyKeys { max: self.max_bytes });
        }
        let outcome = Outcome::new();
        self.insert(digest, now, Some(Arc::clone(&outcome)), None);
        Ok(KeyLookup::New(outcome))
    }

    /// The engine did not accept the publication.
    pub(super) fn refused(&mut self, digest: KeyDigest, outcome: &Arc<Outcome>) {
        let is_of_outcome = |entry: &KeyEntry| {
            let is_same = entry.outcome.as_ref().is_some_and(|it| Arc::ptr_eq(it, outcome));
            is_same && entry.applied.is_none()
        };
        if self.entries.get(&digest.name).is_some_and(is_of_outcome) {
            self.remove(digest.name);
        }
    }

    /// The publication was applied here with this sequence number, whichever node appended it.
    pub(super) fn applied(&mut self, digest: KeyDigest, seq: u64, now: u64) {
        self.forget(digest.name, now);
        let applied = NonZeroU64::new(seq);
        if let Some(entry) = self.entries.get_mut(&digest.name) {
            // Other content with the same key, which another node accepted at the same time, is in
            // the order already and cannot be refused.
            if entry.content == digest.content {
                entry.applied = applied;
            }
        } else if self.free_bytes() >= limits::IDEMPOTENCY_ENTRY_BYTES {
            // The node that accepted it has asked whether its scope may have it.
            self.insert(digest, now, None, applied);
        }
    }

    /// Forgets all keys, because the order that their sequence numbers belong to was replaced.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.window, self.max_bytes);
    }

    fn free_bytes(&self) -> usize {
        self.max_bytes.saturating_sub(self.entries.len() * limits::IDEMPOTENCY_ENTRY_BYTES)
    }

    /// Whether a scope may have one more entry.
    fn has_room_for(&self, scope: u64) -> bool {
        let free = self.free_bytes();
        let used = self.scopes.get(&scope).copied().unwrap_or(0) * limits::IDEMPOTENCY_ENTRY_BYTES;
        let is_below_share = used < free.saturating_mul(limits::IDEMPOTENCY_SHARE);
        free >= limits::IDEMPOTENCY_ENTRY_BYTES && is_below_share
    }

    fn insert(
        &mut self,
        digest: KeyDigest,
        now: u64,
        outcome: Option<Arc<Outcome>>,
        applied: Option<NonZeroU64>,
    ) {
        let KeyDigest { name, content, scope } = digest;
        self.last_number += 1;
        let number = self.last_number;
        let entry = KeyEntry { content, scope, number, added_at: now, outcome, applied };
        self.entries.insert(name, entry);
        self.by_age.insert(number, name);
        *self.scopes.entry(scope).or_default() += 1;
    }

    fn remove(&mut self, name: Digest) -> Option<KeyEntry> {
        let entry = self.entries.remove(&name)?;
        self.by_age.remove(&entry.number);
        if let Some(entries) = self.scopes.get_mut(&entry.scope) {
            *entries -= 1;
            if *entries == 0 {
                self.scopes.remove(&entry.scope);
            }
        }
        Some(entry)
    }

    /// Removes this entry if its window has passed, and a few of the oldest whose window has. Each
    /// call is followed by at most one addition, so that a few at a time keep up.
    fn forget(&mut self, name: Digest, now: u64) {
        let window = self.window;
        let is_outdated = |entry: &KeyEntry| entry.added_at.saturating_add(window) <= now;
        if self.entries.get(&name).is_some_and(is_outdated) {
            self.remove(name);
        }
        for _ in 0..limits::IDEMPOTENCY_FORGET_BATCH {
            let Some((_, &oldest)) = self.by_age.first_key_value() else { break };
            if !self.entries.get(&oldest).is_none_or(is_outdated) {
                break;
            }
            steps::count(1);
            self.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 1000;
    const ENTRY: usize = limits::IDEMPOTENCY_ENTRY_BYTES;

    fn digest(scope: u64, name: u64) -> KeyDigest {
        KeyDigest { name: [name, scope], content: [0; 16], scope }
    }

    fn add(keys: &mut IdempotencyKeys, scope: u64, name: u64, now: u64) -> bool {
        match keys.look_up(digest(scope, name), now, |_| Err(AckError::Unknown)) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, PublishError::TooManyKeys { max: keys.max_bytes });
                false
            }
        }
    }

    /// Adds keys of a scope until one is refused. Returns how many were added.
    fn flood(keys: &mut IdempotencyKeys, scope: u64, now: u64) -> u64 {
        (0..).find(|&name| !add(keys, scope, name, now)).unwrap()
    }

    #[test]
    fn keys_beyond_the_limit_are_refused_until_others_have_expired() {
        let mut keys = IdempotencyKeys::new(WINDOW, 100 * ENTRY);
        let max = flood(&mut keys, 0, 0);
        assert_eq!(max, 75, "three times what is free");
        assert!(!add(&mut keys, 0, max, WINDOW - 1));
        assert!(add(&mut keys, 0, 0, WINDOW - 1), "a known key needs no new entry");
        assert!(add(&mut keys, 0, max, WINDOW));
    }

    #[test]
    fn the_scope_that_has_most_is_refused_first_and_nobody_forgets_a_key() {
        let mut keys = IdempotencyKeys::new(WINDOW, 1000 * ENTRY);
        let flooded = flood(&mut keys, 0, 0);
        for scope in 1..=20 {
            for name in 0..5 {
                assert!(add(&mut keys, scope, name, 1), "{name} of {scope}");
            }
            assert!(!add(&mut keys, 0, flooded, 1), "the scope that has most stays refused");
        }
        let second = flood(&mut keys, 1, 1);
        assert!((5..flooded).contains(&second), "{second}");
        assert!(add(&mut keys, 21, 0, 1), "two floods leave room too");
        for name in 0..flooded {
            let known = keys.look_up(digest(0, name), WINDOW - 1, |_| Err(AckError::Unknown));
            assert!(matches!(known, Ok(KeyLookup::Known(_))), "{name} was forgotten");
        }
        assert!(keys.entries.len() <= 1000);
    }

    #[test]
    fn a_refused_publication_leaves_nothing_behind_beside_an_older_key() {
        let mut keys = IdempotencyKeys::new(WINDOW, 1000 * ENTRY);
        assert!(add(&mut keys, 0, 0, 0));
        for name in 1..10_000 {
            let digest = digest(name % 7, name);
            let Ok(KeyLookup::New(outcome)) = keys.look_up(digest, 1, |_| Err(AckError::Unknown))
            else {
                panic!("{name} is known or refused");
            };
            keys.refused(digest, &outcome);
        }
        assert_eq!((keys.entries.len(), keys.by_age.len(), keys.scopes.len()), (1, 1, 1));
    }

    #[test]
    fn a_window_begins_again_with_another_attempt() {
        let mut keys = IdempotencyKeys::new(WINDOW, 10 * ENTRY);
        let mut attempt = |now| keys.look_up(digest(0, 0), now, |_| Err(AckError::Unknown));
        let Ok(KeyLookup::New(outcome)) = attempt(0) else { panic!("it is new") };
        outcome.resolve(Err(AckError::Failed));
        let Ok(KeyLookup::New(again)) = attempt(WINDOW - 1) else { panic!("it failed") };
        assert!(matches!(attempt(2 * WINDOW - 2), Ok(KeyLookup::Known(_))));
        drop(again);
    }

    #[test]
    fn what_one_publication_forgets_is_bounded() {
        let mut keys = IdempotencyKeys::new(WINDOW, 1000 * ENTRY);
        let many = flood(&mut keys, 0, 0) as usize;
        assert!(add(&mut keys, 1, 0, WINDOW));
        let left = keys.entries.len();
        assert_eq!(left, many + 1 - limits::IDEMPOTENCY_FORGET_BATCH);
        let outdated = keys.look_up(digest(0, 700), WINDOW, |_| Err(AckError::Unknown));
        assert!(matches!(outdated, Ok(KeyLookup::New(_))), "one that is left is outdated");
    }
}
