//! Idempotency keys: the publications of the last window that had one, with their outcomes.
//!
//! Keys and contents are stored as hashes of 128 bits, so that all entries have the same size. The
//! hashers are seeded at random, so that nobody can construct collisions.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use super::error::PublishError;
use crate::engine::{Ack, AckError, Outcome, Publication, Receipt};
use crate::limits;

type Digest = [u64; 2];

/// Hashes publications. It is used without the manager's lock, because hashing takes time in
/// proportion to the event.
#[derive(Debug, Default)]
pub(super) struct DigestHasher([RandomState; 2]);

/// The hashes of a publication with an idempotency key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyDigest {
    /// Of the key and the publisher.
    name: Digest,
    content: Digest,
}

impl DigestHasher {
    /// `None` for a publication without a key.
    pub(super) fn of(&self, publication: &Publication) -> Option<KeyDigest> {
        let name = (publication.key()?, publication.published_by());
        Some(KeyDigest { name: self.hash(name), content: self.hash(publication.content()) })
    }

    fn hash(&self, value: impl Hash) -> Digest {
        self.0.each_ref().map(|hasher| hasher.hash_one(&value))
    }
}

/// The keys that were used within the window.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    entries: HashMap<Digest, KeyEntry>,
    /// Entries in the order in which they were added, with the time.
    by_age: VecDeque<(u64, Digest)>,
}

#[derive(Debug)]
struct KeyEntry {
    content: Digest,
    added_at: u64,
    /// The outcome, if this manager appended the publication to the engine.
    outcome: Option<Arc<Outcome>>,
    /// The sequence number with which it was applied here, whichever node appended it.
    applied: Option<u64>,
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
    /// Looks up a publication that is about to be appended. `ack` makes the acknowledgement of one
    /// that was applied here although the engine did not answer.
    pub(super) fn look_up(
        &mut self,
        digest: KeyDigest,
        now: u64,
        window: u64,
        ack: impl FnOnce(u64) -> Result<Ack, AckError>,
    ) -> Result<KeyLookup, PublishError> {
        self.forget(now, window);
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
                    outcome.resolve(ack(seq));
                    entry.outcome = Some(Arc::clone(&outcome));
                    return Ok(KeyLookup::Known(Receipt::of_outcome(outcome)));
                }
                // It failed, or the outcome is unknown: the engine gets it again.
                (_, None) => {
                    let outcome = Outcome::new();
                    entry.outcome = Some(Arc::clone(&outcome));
                    return Ok(KeyLookup::New(outcome));
                }
            }
        }
        if self.entries.len() >= limits::IDEMPOTENCY_KEYS_MAX {
            return Err(PublishError::TooManyKeys { max: limits::IDEMPOTENCY_KEYS_MAX });
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
            self.entries.remove(&digest.name);
        }
    }

    /// The publication was applied here with this sequence number, whichever node appended it.
    pub(super) fn applied(&mut self, digest: KeyDigest, seq: u64, now: u64, window: u64) {
        self.forget(now, window);
        if let Some(entry) = self.entries.get_mut(&digest.name) {
            // Other content with the same key, which another node accepted at the same time, is in
            // the order already and cannot be refused.
            if entry.content == digest.content {
                entry.applied = Some(seq);
            }
        } else if self.entries.len() < limits::IDEMPOTENCY_KEYS_MAX {
            self.insert(digest, now, None, Some(seq));
        }
    }

    /// Forgets all keys, because the order that their sequence numbers belong to was replaced.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn insert(
        &mut self,
        digest: KeyDigest,
        now: u64,
        outcome: Option<Arc<Outcome>>,
        applied: Option<u64>,
    ) {
        let entry = KeyEntry { content: digest.content, added_at: now, outcome, applied };
        self.entries.insert(digest.name, entry);
        self.by_age.push_back((now, digest.name));
    }

    fn forget(&mut self, now: u64, window: u64) {
        while let Some(&(added_at, name)) = self.by_age.front() {
            // A key that was refused and then used again has a later entry.
            let is_outdated =
                self.entries.get(&name).is_none_or(|entry| entry.added_at != added_at);
            if !is_outdated && added_at.saturating_add(window) > now {
                break;
            }
            self.by_age.pop_front();
            if !is_outdated {
                self.entries.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_beyond_the_limit_are_refused_until_others_have_expired() {
        let mut keys = IdempotencyKeys::default();
        let digest = |name: usize| KeyDigest { name: [name as u64, 0], content: [0, 0] };
        let mut look_up =
            |name, now| keys.look_up(digest(name), now, 1000, |_| Err(AckError::Unknown)).map(drop);
        let max = limits::IDEMPOTENCY_KEYS_MAX;
        (0..max).for_each(|name| look_up(name, 0).unwrap());
        assert_eq!(look_up(max, 999), Err(PublishError::TooManyKeys { max }));
        assert_eq!(look_up(0, 999), Ok(()), "a known key needs no new entry");
        assert_eq!(look_up(max, 1000), Ok(()));
    }
}
