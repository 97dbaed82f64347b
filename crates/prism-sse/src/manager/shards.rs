//! Delivery shards, as the manager sees them: who must be called when something comes.
//!
//! A shard owns many connections and looks after them itself. It is called for an audience or for
//! one of its connections, at most once until it has taken what it was called for; both happen
//! under the manager's lock, so that no call is lost.

use std::task::Waker;

use slab::Slab;

use super::audiences::AudienceKey;

/// A shard's place in the table.
pub(crate) type ShardKey = u32;

/// What a shard was called for and has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) audiences: Vec<AudienceKey>,
    /// Slots of connections.
    pub(crate) connections: Vec<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Shards {
    slots: Slab<Shard>,
    /// Shards to wake once the lock is released.
    pub(super) called: Vec<Waker>,
}

#[derive(Debug)]
struct Shard {
    waker: Waker,
    /// It was woken since it last took its calls.
    woken: bool,
    calls: Calls,
}

impl Shards {
    /// Adds a shard that is woken through `waker`.
    pub(super) fn insert(&mut self, waker: Waker) -> ShardKey {
        self.slots.insert(Shard { waker, woken: false, calls: Calls::default() }) as ShardKey
    }

    pub(super) fn remove(&mut self, key: ShardKey) -> Option<Waker> {
        self.slots.try_remove(key as usize).map(|shard| shard.waker)
    }

    pub(super) fn call_for_audience(&mut self, key: ShardKey, audience: AudienceKey) {
        self.call(key, |calls| calls.audiences.push(audience));
    }

    pub(super) fn call_for_connection(&mut self, key: ShardKey, slot: u32) {
        self.call(key, |calls| calls.connections.push(slot));
    }

    /// Whether the shard was called since it last took its calls.
    pub(super) fn is_called(&self, key: ShardKey) -> bool {
        self.slots.get(key as usize).is_some_and(|shard| shard.woken)
    }

    /// Exchanges the shard's calls for `empty`.
    pub(super) fn take(&mut self, key: ShardKey, empty: &mut Calls) {
        let Some(shard) = self.slots.get_mut(key as usize) else { return };
        shard.woken = false;
        std::mem::swap(&mut shard.calls, empty);
    }

    fn call(&mut self, key: ShardKey, note: impl FnOnce(&mut Calls)) {
        let Some(shard) = self.slots.get_mut(key as usize) else { return };
        note(&mut shard.calls);
        if !std::mem::replace(&mut shard.woken, true) {
            self.called.push(shard.waker.clone());
        }
    }
}
