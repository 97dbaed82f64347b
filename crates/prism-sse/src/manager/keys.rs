//! Idempotency keys: what was handed over under a name within the window, and what became of it.
//!
//! Names and contents are kept as hashes of 128 bits, under keys that are random in each process,
//! so that an entry has one size and nobody can make two of them meet.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use super::PublishError;
use crate::engine::{Ack, AckError, Outcome, Publication, Receipt};
use crate::limits;

type Digest = [u64; 2];

/// Makes entries of publications. It stands outside the lock, because hashing looks at all of an
/// event.
#[derive(Debug, Default)]
pub(super) struct DigestHasher([RandomState; 2]);

/// A publication with a key, in short.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyDigest {
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

/// What was handed over within the window.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    entries: HashMap<Digest, KeyEntry>,
    /// When each entry began, in order.
    began: VecDeque<(u64, Digest)>,
}

#[derive(Debug)]
struct KeyEntry {
    content: Digest,
    began: u64,
    /// What the engine said, if this manager handed it over.
    outcome: Option<Arc<Outcome>>,
    /// The place at which it was applied here, whoever handed it over.
    applied: Option<u64>,
}

/// What to do with a publication that has a key.
#[derive(Debug)]
pub(super) enum KeyLookup {
    /// It was handed over before: this is its receipt.
    Known(Receipt),
    /// It is to be handed over, and the outcome told.
    New(Arc<Outcome>),
}

impl IdempotencyKeys {
    /// Looks a publication up that is about to be handed over. `ack` tells of what was applied here
    /// although the engine did not answer.
    pub(super) fn begin(
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
            let known = entry.outcome.as_ref().map(|outcome| (outcome.result(), outcome));
            match (known, entry.applied) {
                (Some((None | Some(Ok(_)), outcome)), _) => {
                    return Ok(KeyLookup::Known(Receipt::of_outcome(Arc::clone(outcome))));
                }
                (_, Some(seq)) => {
                    let outcome = Outcome::new();
                    outcome.resolve(ack(seq));
                    entry.outcome = Some(Arc::clone(&outcome));
                    return Ok(KeyLookup::Known(Receipt::of_outcome(outcome)));
                }
                // It failed, or nobody knows: the engine is asked again.
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

    /// Says that the engine did not take it.
    pub(super) fn refused(&mut self, digest: KeyDigest, outcome: &Arc<Outcome>) {
        let own = |entry: &KeyEntry| {
            let is_own = entry.outcome.as_ref().is_some_and(|own| Arc::ptr_eq(own, outcome));
            is_own && entry.applied.is_none()
        };
        if self.entries.get(&digest.name).is_some_and(own) {
            self.entries.remove(&digest.name);
        }
    }

    /// Says that it was applied here at this place, whoever handed it over.
    pub(super) fn applied(&mut self, digest: KeyDigest, seq: u64, now: u64, window: u64) {
        self.forget(now, window);
        if let Some(entry) = self.entries.get_mut(&digest.name) {
            // What was accepted elsewhere under the same name at the same time cannot be refused.
            if entry.content == digest.content {
                entry.applied = Some(seq);
            }
        } else if self.entries.len() < limits::IDEMPOTENCY_KEYS_MAX {
            self.insert(digest, now, None, Some(seq));
        }
    }

    /// Says that the order is gone in which entries had their places.
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
        let entry = KeyEntry { content: digest.content, began: now, outcome, applied };
        self.entries.insert(digest.name, entry);
        self.began.push_back((now, digest.name));
    }

    fn forget(&mut self, now: u64, window: u64) {
        while let Some(&(began, name)) = self.began.front() {
            // An entry that was refused and came again has a later beginning.
            let is_gone = self.entries.get(&name).is_none_or(|entry| entry.began != began);
            if !is_gone && began.saturating_add(window) > now {
                break;
            }
            self.began.pop_front();
            if !is_gone {
                self.entries.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_beyond_the_limit_are_refused_until_others_are_old() {
        let mut keys = IdempotencyKeys::default();
        let digest = |name: usize| KeyDigest { name: [name as u64, 0], content: [0, 0] };
        let mut begin =
            |name, now| keys.begin(digest(name), now, 1000, |_| Err(AckError::Unknown)).map(drop);
        let max = limits::IDEMPOTENCY_KEYS_MAX;
        (0..max).for_each(|name| begin(name, 0).unwrap());
        assert_eq!(begin(max, 999), Err(PublishError::TooManyKeys { max }));
        assert_eq!(begin(0, 999), Ok(()), "a key that is known needs no room");
        assert_eq!(begin(max, 1000), Ok(()));
    }
}
