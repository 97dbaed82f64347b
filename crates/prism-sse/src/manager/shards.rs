//! Delivery shards as the manager sees them: their wakers and their pending wake-ups.
//!
//! A shard drives many connections itself. It is woken for an audience, or for one of its
//! connections, at most once until it takes the wake-up. Both happen under the manager's lock, so
//! that no wake-up is lost.

use std::task::Waker;

use slab::Slab;

use super::keys::{AudienceKey, ShardKey};

/// What a shard was woken for and has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct PendingWakeups {
    pub(crate) audiences: Vec<AudienceKey>,
    /// Slots of connections.
    pub(crate) connections: Vec<u32>,
}

#[derive(Debug, Default)]
pub(super) struct ShardTable {
    slots: Slab<ShardEntry>,
    /// Wakers of shards to wake once the lock is released.
    pub(super) to_wake: Vec<Waker>,
}

#[derive(Debug)]
struct ShardEntry {
    waker: Waker,
    /// It was woken since it last took its wake-ups.
    is_woken: bool,
    pending: PendingWakeups,
}

impl ShardTable {
    /// Adds a shard that is woken through `waker`.
    pub(super) fn insert(&mut self, waker: Waker) -> ShardKey {
        let pending = PendingWakeups::default();
        self.slots.insert(ShardEntry { waker, is_woken: false, pending }) as ShardKey
    }

    pub(super) fn remove(&mut self, key: ShardKey) -> Option<Waker> {
        self.slots.try_remove(key as usize).map(|shard| shard.waker)
    }

    pub(super) fn wake_for_audience(&mut self, key: ShardKey, audience: AudienceKey) {
        self.wake(key, |pending| pending.audiences.push(audience));
    }

    pub(super) fn wake_for_connection(&mut self, key: ShardKey, slot: u32) {
        self.wake(key, |pending| pending.connections.push(slot));
    }

    /// Whether the shard was woken since it last took its wake-ups.
    pub(super) fn has_pending_wakeup(&self, key: ShardKey) -> bool {
        self.slots.get(key as usize).is_some_and(|shard| shard.is_woken)
    }

    /// Exchanges the shard's pending wake-ups for `empty`.
    pub(super) fn take(&mut self, key: ShardKey, empty: &mut PendingWakeups) {
        let Some(shard) = self.slots.get_mut(key as usize) else { return };
        shard.is_woken = false;
        std::mem::swap(&mut shard.pending, empty);
    }

    fn wake(&mut self, key: ShardKey, add: impl FnOnce(&mut PendingWakeups)) {
        let Some(shard) = self.slots.get_mut(key as usize) else { return };
        add(&mut shard.pending);
        if !std::mem::replace(&mut shard.is_woken, true) {
            self.to_wake.push(shard.waker.clone());
        }
    }
}
