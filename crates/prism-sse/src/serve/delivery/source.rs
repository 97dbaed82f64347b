//! A manager whose connections a shard looks after.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use super::Delivery;
use crate::limits;
use crate::manager::{AudienceKey, ManagerInner, PendingWakeups, ShardKey};
use crate::sync::Mutex;

/// A manager as its shard sees it.
pub(super) struct Source {
    pub(super) shared: Arc<ManagerInner>,
    /// What the manager knows the shard by.
    pub(super) shard: ShardKey,
    pub(super) groups: HashMap<AudienceKey, u32>,
    /// Groups for which something may have come, and that have no pass under way.
    due: VecDeque<u32>,
    pub(super) members: usize,
    /// Its groups that rest, at most: as many entries are in the queue of those, or more.
    pub(super) resting: u32,
    /// It is among those to be attended to.
    listed: bool,
    /// When it is looked at because a record is too old.
    expiry: Option<u64>,
    /// Room for the next calls.
    calls: PendingWakeups,
}

/// Which managers rang.
pub(super) struct Rung {
    sources: Mutex<Vec<u32>>,
    shard: Waker,
}

impl Rung {
    pub(super) fn new(shard: Waker) -> Self {
        Self { sources: Mutex::new(Vec::new()), shard }
    }

    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.sources.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What one manager rings.
struct Bell {
    source: u32,
    rung: Arc<Rung>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let Self { source, rung } = &*self;
        // A manager rings once until its calls are taken, so that this does not grow.
        rung.sources.lock().unwrap_or_else(PoisonError::into_inner).push(*source);
        rung.shard.wake_by_ref();
    }
}

impl<S: Read + Write> Delivery<S> {
    /// The manager's place, which is made with its first connection.
    pub(super) fn source_of(&mut self, shared: &Arc<ManagerInner>) -> u32 {
        let Self { sources, known, rung, .. } = self;
        *known.entry(Arc::as_ptr(shared).addr()).or_insert_with(|| {
            let source = sources.vacant_key() as u32;
            let bell = Arc::new(Bell { source, rung: Arc::clone(rung) });
            let shard = shared.lock().add_shard(Waker::from(bell));
            sources.insert(Source {
                shared: Arc::clone(shared),
                shard,
                groups: HashMap::new(),
                due: VecDeque::new(),
                members: 0,
                resting: 0,
                listed: false,
                expiry: None,
                calls: PendingWakeups::default(),
            });
            source
        })
    }

    /// Forgets a manager without connections here.
    pub(super) fn forget_source(&mut self, key: u32) {
        let source = self.sources.remove(key as usize);
        self.known.remove(&Arc::as_ptr(&source.shared).addr());
        let waker = source.shared.lock().remove_shard(source.shard);
        drop(waker);
        // It may be the last handle on the manager, of whom more is being looked at here.
        self.forgotten.push(source.shared);
    }

    /// Attends to managers that rang or have more to do, some of them.
    pub(super) fn attend_some(&mut self, now: u64) {
        for key in self.rung.take() {
            // While a group rests its manager does, so that it need not ring again for each event.
            // The end of the rest lists it.
            if self.sources.get(key as usize).is_some_and(|source| source.resting == 0) {
                self.list(key);
            }
        }
        while let Some((_, sources)) = self.expiries.take_due(now, limits::SHARD_TURN) {
            for key in sources {
                if let Some(source) = self.sources.get_mut(key as usize) {
                    source.expiry = None;
                    self.list(key);
                }
            }
        }
        while let Some(&(_, source, group)) = self.resting.front().filter(|rest| rest.0 <= now) {
            self.resting.pop_front();
            // The places may be others' by now; then there is nothing to attend to.
            if let Some(known) = self.sources.get_mut(source as usize) {
                known.resting = known.resting.saturating_sub(1);
                self.attend_to(source, group);
            }
        }
        for _ in 0..limits::SHARD_TURN {
            let Some(source) = self.to_attend.pop_front() else { break };
            self.attend(source, now);
        }
    }

    /// Lets the group have a pass once its manager is attended to.
    pub(super) fn attend_to(&mut self, source: u32, group: u32) {
        self.sources[source as usize].due.push_back(group);
        self.list(source);
    }

    fn list(&mut self, key: u32) {
        let Some(source) = self.sources.get_mut(key as usize) else { return };
        if !std::mem::replace(&mut source.listed, true) {
            self.to_attend.push_back(key);
        }
    }

    /// Takes what the manager called for, and the next bytes of groups that are due.
    fn attend(&mut self, key: u32, now: u64) {
        // The place may be another manager's by now, or nobody's.
        let Some(source) = self.sources.get_mut(key as usize) else { return };
        source.listed = false;
        let shared = Arc::clone(&source.shared);
        let mut calls = std::mem::take(&mut source.calls);
        let manager_now = shared.now();

        let mut guard = shared.lock();
        let state = &mut *guard;
        state.log.trim(manager_now);
        state.take_wakeups(source.shard, &mut calls);
        for member in calls.connections.drain(..) {
            self.leave_group(member);
            self.make_ready(member);
        }
        for audience in calls.audiences.drain(..) {
            self.make_due(key, audience);
        }
        let due = self.sources[key as usize].due.len().min(limits::SHARD_TURN);
        for _ in 0..due {
            let Some(group) = self.sources[key as usize].due.pop_front() else { break };
            self.begin_pass(key, group, state, now);
        }
        let expires = state.log.expires();
        drop(guard);

        let source = &mut self.sources[key as usize];
        source.calls = calls;
        let more = !source.due.is_empty();
        if let (Some(at), None) = (expires, source.expiry) {
            // A record may be kept for ever.
            let wait = at.saturating_sub(manager_now).min(limits::WAIT_MAX.as_millis() as u64);
            let at = now.saturating_add(wait);
            source.expiry = Some(at);
            self.expiries.set(key, at);
        }
        if more {
            self.list(key);
        }
    }

    fn make_due(&mut self, source_key: u32, audience: AudienceKey) {
        let source = &mut self.sources[source_key as usize];
        // The audience may have gone since, and another one have its place.
        let Some(&key) = source.groups.get(&audience) else { return };
        let group = &mut self.groups[key as usize];
        if !std::mem::replace(&mut group.due, true) && group.pass.is_none() {
            source.due.push_back(key);
        }
    }
}
