//! A manager whose connections a shard looks after.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Wake, Waker};

use super::Delivery;
use crate::limits;
use crate::manager::{AudienceKey, Calls, ShardKey, Shared};
use crate::sync::AtomicBool;

/// A manager as its shard sees it.
pub(super) struct Source {
    pub(super) shared: Arc<Shared>,
    /// What the manager knows the shard by.
    pub(super) shard: ShardKey,
    bell: Arc<Bell>,
    pub(super) groups: HashMap<AudienceKey, u32>,
    /// Groups for which something may have come, and that have no pass under way.
    pub(super) due: VecDeque<u32>,
    pub(super) members: usize,
    /// When a record will next be too old.
    pub(super) expires: Option<u64>,
    /// Room for the next calls.
    calls: Calls,
}

/// Tells from which manager a wake-up came.
struct Bell {
    rung: AtomicBool,
    shard: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.shard.wake_by_ref();
    }
}

impl<S: Read + Write> Delivery<S> {
    /// The manager's place, which is made with its first connection.
    pub(super) fn source_of(&mut self, shared: &Arc<Shared>) -> u32 {
        let known = self.sources.iter().find(|(_, source)| Arc::ptr_eq(&source.shared, shared));
        if let Some((key, _)) = known {
            return key as u32;
        }
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), shard: self.waker.clone() });
        let shard = shared.lock().add_shard(Waker::from(Arc::clone(&bell)));
        self.sources.insert(Source {
            shared: Arc::clone(shared),
            shard,
            bell,
            groups: HashMap::new(),
            due: VecDeque::new(),
            members: 0,
            expires: None,
            calls: Calls::default(),
        }) as u32
    }

    /// Forgets a manager without connections here.
    pub(super) fn forget_source(&mut self, key: u32) {
        let source = self.sources.remove(key as usize);
        let waker = source.shared.lock().remove_shard(source.shard);
        // The lock is released: dropping the last handle on a manager runs its destructor.
        drop(waker);
        drop(source);
    }

    /// Managers that have something for the shard to do, if only to drop what is too old.
    pub(super) fn called_sources(&self, now: u64) -> impl Iterator<Item = u32> {
        let called = move |source: &Source| {
            let expired = source.expires.is_some_and(|at| at <= now);
            expired || !source.due.is_empty() || source.bell.rung.load(Ordering::Acquire)
        };
        self.sources.iter().filter(move |(_, source)| called(source)).map(|(key, _)| key as u32)
    }

    /// Takes what the manager called for, and the next bytes of groups that are due.
    pub(super) fn attend(&mut self, key: u32, now: u64) {
        let source = &mut self.sources[key as usize];
        let shared = Arc::clone(&source.shared);
        let mut calls = std::mem::take(&mut source.calls);
        // Taken back before the calls are taken, so that a later call rings again.
        source.bell.rung.store(false, Ordering::Release);
        let manager_now = shared.now();

        let mut guard = shared.lock();
        let state = &mut *guard;
        state.log.trim(manager_now);
        state.take_calls(source.shard, &mut calls);
        for member in calls.connections.drain(..) {
            self.leave_group(member);
            self.make_ready(member);
        }
        for audience in calls.audiences.drain(..) {
            self.make_due(key, audience);
        }
        for _ in 0..limits::SHARD_TURN {
            let Some(group) = self.sources[key as usize].due.pop_front() else { break };
            self.begin_pass(key, group, state, now);
        }
        let expires = state.log.expires();
        drop(guard);

        let source = &mut self.sources[key as usize];
        source.calls = calls;
        source.expires = expires.map(|at| now + at.saturating_sub(manager_now));
    }

    fn make_due(&mut self, source: u32, audience: AudienceKey) {
        let source = &mut self.sources[source as usize];
        // The audience may have gone since, and another one have its place.
        let Some(&key) = source.groups.get(&audience) else { return };
        let group = &mut self.groups[key as usize];
        if !std::mem::replace(&mut group.due, true) && group.pass.is_none() {
            source.due.push_back(key);
        }
    }
}
