//! A manager that has connections in a shard, and how it wakes the shard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use crate::manager::{AudienceKey, ManagerInner, PendingWakeups, ShardKey};
use crate::sync::Mutex;

pub(super) struct AttachedManager {
    pub(super) shared: Arc<ManagerInner>,
    /// The manager's key for this shard.
    pub(super) shard: ShardKey,
    pub(super) groups: HashMap<AudienceKey, u32>,
    /// Groups without a pass under way for which there may be events.
    pub(super) due_groups: VecDeque<u32>,
    pub(super) members: usize,
    /// How many entries of the shard's paused groups are this manager's. A group that is gone may
    /// still have an entry.
    pub(super) paused_groups: u32,
    /// The manager is in the shard's queue of managers to poll.
    pub(super) is_queued: bool,
    /// When the manager is polled because a record has become too old.
    pub(super) expiry: Option<u64>,
    /// An empty buffer that is exchanged for the manager's calls.
    pub(super) calls: PendingWakeups,
}

impl AttachedManager {
    pub(super) fn new(shared: Arc<ManagerInner>, shard: ShardKey) -> Self {
        Self {
            shared,
            shard,
            groups: HashMap::new(),
            due_groups: VecDeque::new(),
            members: 0,
            paused_groups: 0,
            is_queued: false,
            expiry: None,
            calls: PendingWakeups::default(),
        }
    }
}

/// The managers that woke the shard. A manager wakes it once until its calls are taken, so that the
/// queue holds at most one entry for each manager.
pub(super) struct WakeQueue {
    managers: Mutex<Vec<u32>>,
    shard: Waker,
}

impl WakeQueue {
    pub(super) fn new(shard: Waker) -> Self {
        Self { managers: Mutex::new(Vec::new()), shard }
    }

    pub(super) fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.managers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.managers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Wakes the shard for one manager.
pub(super) struct ManagerWaker {
    pub(super) manager: u32,
    pub(super) queue: Arc<WakeQueue>,
}

impl Wake for ManagerWaker {
    fn wake(self: Arc<Self>) {
        let Self { manager, queue } = &*self;
        queue.managers.lock().unwrap_or_else(PoisonError::into_inner).push(*manager);
        queue.shard.wake_by_ref();
    }
}
