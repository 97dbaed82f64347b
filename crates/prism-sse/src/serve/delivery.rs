//! What a delivery shard does: a state machine over sockets, without a thread, a poll or a clock.
//!
//! Connections of one audience form a *group*. Those that have everything share the group's place
//! in the log, so that a live connection is a socket and little else. When something comes, the
//! group's next bytes are taken from the log once, and written to every member in a *pass*. A
//! connection that cannot keep step, or that something happens to alone, leaves the group, reads
//! the log from its own place as a response body does, and comes back when it has everything.
//!
//! Work is done in pieces: a pass in slices of members, members on their own way in turns. Between
//! two pieces whoever drives this looks at its sockets. No lock is held while anything is written.
//!
//! # Why nothing is lost
//!
//! A shard takes what it was called for under the same lock under which it takes a group's next
//! bytes, and connections that were called for leave their groups first. So a group never passes an
//! event that one of its members was to get alone.

#[cfg(all(test, feature = "test-util"))]
mod cases;
mod group;
#[cfg(all(test, feature = "test-util"))]
mod histories;
mod member;
mod pins;
mod recent;
#[cfg(all(test, feature = "test-util"))]
mod rests;
#[cfg(all(test, feature = "test-util"))]
mod rig;
mod source;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use super::open::Held;
use crate::limits;
use crate::manager::{ManagerInner, Timers};
use crate::subscription::Subscription;
use crate::wire::ConnectionId;
use group::Group;
use member::Member;
use pins::Pins;
use recent::Recent;
use source::{Rung, Source};

/// A connection whose head was written, and what its owner still holds of it.
pub(crate) struct HandOver<S> {
    pub(crate) socket: S,
    pub(crate) shared: Arc<ManagerInner>,
    pub(crate) slot: u32,
    /// Tells it from a later connection in the same slot.
    pub(crate) id: ConnectionId,
    pub(crate) reading: Subscription,
    /// What could not be written at once of the head and the stream's first bytes.
    pub(crate) rest: Bytes,
    /// The response's body, with all that layers put around it. Dropping it ends the connection.
    pub(crate) body: Pin<Box<dyn Send>>,
    /// Its place among the server's connections.
    pub(crate) held: Held,
}

/// When to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At once: there is more to do.
    Again,
    /// After others had the processor: what they are about to publish goes out with the rest.
    Soon,
    /// At this moment, unless something happens before it.
    At(u64),
    /// When something happens.
    Never,
}

/// All connections of one shard.
pub(crate) struct Delivery<S> {
    sources: Slab<Source>,
    /// Managers by address.
    known: HashMap<usize, u32>,
    /// Managers that rang since they were listed.
    rung: Arc<Rung>,
    /// Managers that have something to do.
    to_attend: VecDeque<u32>,
    /// When to look at which manager because a record is too old.
    expiries: Timers,
    /// Managers without connections here, to be dropped when nobody looks at them.
    forgotten: Vec<Arc<ManagerInner>>,
    groups: Slab<Group>,
    members: Slab<Member<S>>,
    /// Groups whose pass is under way.
    passes: VecDeque<u32>,
    /// Groups that are due and rest between two passes: until when, their manager, the group.
    resting: VecDeque<(u64, u32, u32)>,
    /// Members on their own way that can go on.
    ready: VecDeque<u32>,
    /// Members whose socket takes no more, by the moment since which it took nothing.
    stalled: BTreeSet<(u64, u32)>,
    /// When to look at which member.
    looks: Timers,
    /// When to tell which group where it is.
    marks: Timers,
    pins: Pins,
    recent: Recent,
    /// End of the drain, once it began.
    drains_until: Option<u64>,
}

impl<S: Read + Write> Delivery<S> {
    /// A shard that is woken through `waker`, and pins at most `pinned_bytes` of half-written
    /// events.
    pub(crate) fn new(waker: Waker, pinned_bytes: usize) -> Self {
        Self {
            sources: Slab::new(),
            known: HashMap::new(),
            rung: Arc::new(Rung::new(waker)),
            to_attend: VecDeque::new(),
            expiries: Timers::default(),
            forgotten: Vec::new(),
            groups: Slab::new(),
            members: Slab::new(),
            passes: VecDeque::new(),
            resting: VecDeque::new(),
            ready: VecDeque::new(),
            stalled: BTreeSet::new(),
            looks: Timers::default(),
            marks: Timers::default(),
            pins: Pins::new(pinned_bytes),
            recent: Recent::new(),
            drains_until: None,
        }
    }

    /// The key that the next adopted connection gets.
    pub(crate) fn next_key(&self) -> u32 {
        self.members.vacant_key() as u32
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// One piece of work.
    pub(crate) fn turn(&mut self, now: u64) -> Turn {
        self.attend_some(now);
        let mut left = limits::PASS_SLICE;
        while left > 0 {
            let Some(group) = self.passes.pop_front() else { break };
            left = left.saturating_sub(self.pass_on(group, left, now).max(1));
        }
        for _ in 0..limits::SHARD_TURN {
            let Some(key) = self.ready.pop_front() else { break };
            self.go_on(key, now);
        }
        self.make_room();
        self.look_after_due(now);
        self.drop_forgotten();
        self.rest(now)
    }

    /// What the shard may rest for.
    fn rest(&self, now: u64) -> Turn {
        if let Some(&group) = self.passes.front() {
            return if self.is_full(group) { Turn::Again } else { Turn::Soon };
        }
        if !self.ready.is_empty() || !self.to_attend.is_empty() {
            return Turn::Again;
        }
        if !self.rung.is_empty() {
            return Turn::Soon;
        }
        let stalled = self.stalled.first().map(|&(since, _)| since + stall_ms());
        let timers = [&self.looks, &self.marks, &self.expiries].map(Timers::next);
        let rested = self.resting.front().map(|&(until, ..)| until);
        match timers.into_iter().chain([stalled, rested]).flatten().min() {
            Some(at) if at <= now => Turn::Again,
            Some(at) => Turn::At(at),
            None => Turn::Never,
        }
    }

    /// Ends all connections, each at a random moment within `window`, and those that come.
    pub(crate) fn drain(&mut self, now: u64, window: Duration) {
        let end = now.saturating_add(window.as_millis() as u64);
        self.drains_until = Some(end);
        let keys: Vec<u32> = self.members.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.end_within(key, now, end);
        }
    }

    /// Drops all connections at once.
    pub(crate) fn drop_all(&mut self) {
        let keys: Vec<u32> = self.members.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.remove(key);
        }
        self.drop_forgotten();
    }
}

impl<S> Delivery<S> {
    fn drop_forgotten(&mut self) {
        self.forgotten.drain(..).for_each(drop_foreign);
    }
}

/// Drops what others made, or what holds it. A panic there was reported by the panic hook, and is
/// no reason to end a shard.
pub(crate) fn drop_foreign<T>(value: T) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(value))));
}

/// Time without progress after which a member is given up.
fn stall_ms() -> u64 {
    limits::STALL.as_millis() as u64
}
