//! How a shard attaches managers and takes their calls.

use std::io::{Read, Write};
use std::sync::Arc;
use std::task::Waker;

use super::attached_manager::{AttachedManager, ManagerWaker};
use super::state::DeliveryShard;
use crate::limits;
use crate::manager::{AudienceKey, ManagerInner};

impl<S: Read + Write> DeliveryShard<S> {
    /// The key of the manager, which is attached with its first connection here.
    pub(super) fn manager_key(&mut self, shared: &Arc<ManagerInner>) -> u32 {
        let Self { managers, manager_keys, wake_queue, .. } = self;
        *manager_keys.entry(Arc::as_ptr(shared).addr()).or_insert_with(|| {
            let manager = managers.vacant_key() as u32;
            let waker = Arc::new(ManagerWaker { manager, queue: Arc::clone(wake_queue) });
            let shard = shared.lock().add_shard(Waker::from(waker));
            managers.insert(AttachedManager::new(Arc::clone(shared), shard));
            manager
        })
    }

    /// Detaches a manager that has no connections here.
    pub(super) fn detach_manager(&mut self, key: u32) {
        let manager = self.managers.remove(key as usize);
        self.manager_keys.remove(&Arc::as_ptr(&manager.shared).addr());
        let waker = manager.shared.lock().remove_shard(manager.shard);
        drop(waker);
        self.detached_managers.push(manager.shared);
    }

    /// Polls managers that woke the shard or have more to do, a bounded number of them.
    pub(super) fn poll_managers(&mut self, now: u64) {
        for key in self.wake_queue.take() {
            // A manager with a paused group is not polled, so that it does not wake the shard again
            // for each event. The end of the pause queues it.
            if self.managers.get(key as usize).is_some_and(|it| it.paused_groups == 0) {
                self.queue_manager(key);
            }
        }
        while let Some((_, managers)) = self.expiry_timers.take_due(now, limits::SHARD_TURN) {
            for key in managers {
                if let Some(manager) = self.managers.get_mut(key as usize) {
                    manager.expiry = None;
                    self.queue_manager(key);
                }
            }
        }
        while let Some(&(_, key, group)) = self.paused_groups.front().filter(|it| it.0 <= now) {
            self.paused_groups.pop_front();
            // The keys may belong to others by now; polling for them once too often is harmless.
            if let Some(manager) = self.managers.get_mut(key as usize) {
                manager.paused_groups = manager.paused_groups.saturating_sub(1);
                self.queue_group(key, group);
            }
        }
        for _ in 0..limits::SHARD_TURN {
            let Some(key) = self.due_managers.pop_front() else { break };
            self.poll_manager(key, now);
        }
    }

    /// Lets the group begin a pass when its manager is polled next.
    pub(super) fn queue_group(&mut self, manager: u32, group: u32) {
        self.managers[manager as usize].due_groups.push_back(group);
        self.queue_manager(manager);
    }

    fn queue_manager(&mut self, key: u32) {
        let Some(manager) = self.managers.get_mut(key as usize) else { return };
        if !std::mem::replace(&mut manager.is_queued, true) {
            self.due_managers.push_back(key);
        }
    }

    /// Takes the manager's calls, and the next bytes of groups that are due.
    fn poll_manager(&mut self, key: u32, now: u64) {
        // The key may be another manager's by now, or nobody's.
        let Some(manager) = self.managers.get_mut(key as usize) else { return };
        manager.is_queued = false;
        let shared = Arc::clone(&manager.shared);
        let mut calls = std::mem::take(&mut manager.calls);
        let manager_now = shared.now();

        let mut guard = shared.lock();
        let state = &mut *guard;
        state.log.trim(manager_now);
        state.take_wakeups(manager.shard, &mut calls);
        for member in calls.connections.drain(..) {
            self.leave_group(member);
            self.make_runnable(member);
        }
        for audience in calls.audiences.drain(..) {
            self.make_group_due(key, audience);
        }
        let due = self.managers[key as usize].due_groups.len().min(limits::SHARD_TURN);
        for _ in 0..due {
            let next = self.managers[key as usize].due_groups.pop_front();
            let Some(group) = next else { break };
            self.begin_pass(key, group, state, now);
        }
        let expires = state.log.expires();
        drop(guard);
        self.read_group_replays(key, &shared, now);

        let manager = &mut self.managers[key as usize];
        manager.calls = calls;
        let more = !manager.due_groups.is_empty();
        if let (Some(at), None) = (expires, manager.expiry) {
            // The retention age may be as large as `Duration::MAX`.
            let wait = at.saturating_sub(manager_now).min(limits::WAIT_MAX.as_millis() as u64);
            let at = now.saturating_add(wait);
            manager.expiry = Some(at);
            self.expiry_timers.set(key, at);
        }
        if more {
            self.queue_manager(key);
        }
    }

    fn make_group_due(&mut self, manager_key: u32, audience: AudienceKey) {
        let manager = &mut self.managers[manager_key as usize];
        // The audience may be gone, and its key another one's; then this group has no such key.
        let Some(&key) = manager.groups.get(&audience) else { return };
        let group = &mut self.groups[key as usize];
        if !std::mem::replace(&mut group.is_due, true) && group.pass.is_none() {
            manager.due_groups.push_back(key);
        }
    }
}
