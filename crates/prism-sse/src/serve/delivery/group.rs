//! Connections of one audience that have everything, and what is written to all of them.

use std::io::{Read, Write};
use std::sync::Arc;

use super::member::Written;
use super::{Delivery, source::Source};
use crate::connection::next_bytes::{EventBatch, Framing, NextBatch, audience_scope, next_batch};
use crate::limits;
use crate::log::Log;
use crate::manager::{AudienceKey, ManagerInner, State};
use crate::subscription::Subscription;
use crate::wire::Framed;

/// One audience's connections in one shard.
pub(super) struct Group {
    pub(super) source: u32,
    audience: AudienceKey,
    /// Where those stand who have everything.
    pub(super) subscription: Subscription,
    /// Those who have everything, but for a pass that is under way.
    pub(super) live: Vec<u32>,
    /// Those who have read further than the group, and wait for it.
    ahead: Vec<u32>,
    pub(super) pass: Option<Pass>,
    /// Something may have come since the last pass began.
    pub(super) due: bool,
    pub(super) members: usize,
    /// When a pass last ended.
    pub(super) spoke: u64,
    /// Tick of its next mark.
    mark: u64,
}

/// Bytes on their way to all members.
pub(super) struct Pass {
    batch: EventBatch,
    /// More was there than goes out at once.
    is_full: bool,
    /// Where the group stood before.
    begin: Subscription,
    /// Members below this place are still to get the bytes. The last is served first, so that
    /// who takes the place of one that leaves was served.
    left: usize,
}

impl Group {
    /// Where a live member at `place` stands.
    fn standing(&self, place: usize) -> Subscription {
        match &self.pass {
            Some(pass) if place < pass.left => pass.begin,
            _ => self.subscription,
        }
    }

    /// Takes out the member at `place`. Answers who has a new place now, and which.
    fn take_out(&mut self, place: usize) -> impl Iterator<Item = (u32, usize)> + use<> {
        let mut hole = place;
        let mut moved = [None, None];
        if let Some(pass) = &mut self.pass
            && place < pass.left
        {
            // One that is not served yet takes its place, and a served one that one's.
            pass.left -= 1;
            hole = pass.left;
            if place != hole {
                self.live[place] = self.live[hole];
                moved[0] = Some((self.live[place], place));
            }
        }
        self.live.swap_remove(hole);
        moved[1] = self.live.get(hole).map(|&member| (member, hole));
        moved.into_iter().flatten()
    }
}

impl<S: Read + Write> Delivery<S> {
    /// The group of an audience, which is made with its first member.
    pub(super) fn group_of(
        &mut self,
        source: u32,
        audience: AudienceKey,
        at: Subscription,
        now: u64,
    ) -> u32 {
        let Self { sources, groups, marks, .. } = self;
        let Source { shared, groups: known, .. } = &mut sources[source as usize];
        *known.entry(audience).or_insert_with(|| {
            let key = groups.vacant_key() as u32;
            let mark = shared.settings.mark_at(now).map_or(0, |at| marks.set(key, at));
            groups.insert(Group {
                source,
                audience,
                subscription: Subscription::at(at.next(), at.last_sent()),
                live: Vec::new(),
                ahead: Vec::new(),
                pass: None,
                due: false,
                members: 0,
                spoke: now,
                mark,
            });
            key
        })
    }

    /// Forgets a group without members.
    pub(super) fn forget_group(&mut self, key: u32) {
        let group = self.groups.remove(key as usize);
        self.sources[group.source as usize].groups.remove(&group.audience);
        self.recent.forget(key);
    }

    /// Takes the group's next bytes from the log.
    pub(super) fn begin_pass(&mut self, source: u32, key: u32, state: &State, now: u64) {
        // The place may be another group's by now.
        let group = self.groups.get_mut(key as usize);
        let Some(group) = group.filter(|it| it.source == source && it.pass.is_none()) else {
            return;
        };
        let begin = group.subscription;
        let end = state.log.end();
        if group.live.is_empty() && group.ahead.is_empty() {
            // Nobody is here who could miss it.
            group.due = false;
            group.subscription = Subscription::at(end, state.log.applied());
            return;
        }
        let reader = audience_scope(state, group.audience, None);
        group.due = false;
        match next_batch(&mut group.subscription, &state.log, reader, end, Framing::Chunk) {
            NextBatch::Events(batch) => {
                let is_full = !group.subscription.is_at(end);
                group.due = is_full;
                let left = group.live.len();
                self.set_out(key, Pass { batch, is_full, begin, left }, now);
            }
            NextBatch::BudgetSpent => {
                group.due = true;
                self.attend_to(source, key);
            }
            // Each is told of it in its own words.
            NextBatch::Gap(_) => self.scatter(key, &state.log),
            NextBatch::AtEnd => self.rejoin(key, None, now),
        }
    }

    fn set_out(&mut self, key: u32, pass: Pass, now: u64) {
        let group = &mut self.groups[key as usize];
        let ahead = (!group.ahead.is_empty()).then(|| pass.batch.clone());
        group.pass = Some(pass);
        self.passes.push_back(key);
        if let Some(batch) = ahead {
            self.rejoin(key, Some(&batch), now);
        }
    }

    /// Lets those join who waited for the group to come as far as they are. Of `batch` they get
    /// what they have not read.
    fn rejoin(&mut self, key: u32, batch: Option<&EventBatch>, now: u64) {
        let group = &mut self.groups[key as usize];
        for member in std::mem::take(&mut group.ahead) {
            let own = self.members[member as usize].subscription();
            let next = own.map_or(0, |own| own.next());
            if next > self.groups[key as usize].subscription.next() {
                self.groups[key as usize].ahead.push(member);
                continue;
            }
            self.join_live(member);
            let Some(batch) = batch else { continue };
            if let Some((begin, events, event_bytes)) = batch.part_from(next) {
                let source = self.groups[key as usize].source;
                self.sources[source as usize].shared.count_delivered(events, event_bytes);
                self.hold(member, &batch.bytes, begin, now);
                self.make_ready(member);
            }
        }
    }

    /// Serves the next members of a pass, at most `most`. Answers how many it looked at.
    pub(super) fn pass_on(&mut self, key: u32, most: usize, now: u64) -> usize {
        let group = self.groups.get(key as usize);
        let Some(pass) = group.and_then(|group| group.pass.as_ref()) else { return 0 };
        let bytes = pass.batch.bytes.clone();
        let (events, event_bytes) = (u64::from(pass.batch.events), pass.batch.event_bytes);
        let source = self.groups[key as usize].source;
        let shared = Arc::clone(&self.sources[source as usize].shared);
        let (mut served, mut looked) = (0, 0);
        while looked < most {
            // With its last member a group goes too.
            let Some(group) = self.groups.get_mut(key as usize) else { break };
            let Some(pass) = &mut group.pass else { break };
            let Some(place) = pass.left.checked_sub(1) else { break };
            let member = group.live[place];
            looked += 1;
            if self.members[member as usize].is_held() {
                // It has not taken what it got before; it goes on by itself once it does.
                self.leave_group(member);
                continue;
            }
            pass.left = place;
            served += 1;
            match self.members[member as usize].write(&bytes) {
                Written::All => {}
                Written::Part(len) => self.hold(member, &bytes, len, now),
                Written::Gone => self.remove(member),
            }
        }
        shared.count_delivered(served * events, served * event_bytes);
        let Some(group) = self.groups.get_mut(key as usize) else { return looked };
        if group.pass.as_ref().is_some_and(|pass| pass.left > 0) {
            self.passes.push_back(key);
            return looked;
        }
        let was_full = group.pass.take().is_some_and(|pass| pass.is_full);
        group.spoke = now;
        if group.due && was_full {
            self.attend_to(source, key);
        } else if group.due {
            // Events come while others go out. More may, until it is worth another pass.
            let until = now + limits::PASS_REST.as_millis() as u64;
            self.resting.push_back((until, source, key));
            self.sources[source as usize].resting += 1;
        }
        looked
    }

    /// Whether the group's pass brings all that goes out at once, and more waits.
    pub(super) fn is_full(&self, key: u32) -> bool {
        let pass = self.groups.get(key as usize).and_then(|group| group.pass.as_ref());
        pass.is_some_and(|pass| pass.is_full)
    }

    /// Lets everyone go their own way, and begins anew where the log ends.
    fn scatter(&mut self, key: u32, log: &Log) {
        while let Some(&member) = self.groups[key as usize].live.last() {
            self.leave_group(member);
            self.make_ready(member);
        }
        for member in std::mem::take(&mut self.groups[key as usize].ahead) {
            self.members[member as usize].leave(None);
            self.make_ready(member);
        }
        let group = &mut self.groups[key as usize];
        group.subscription = Subscription::at(log.end(), log.applied());
    }

    /// Puts a member that has everything among the live, if the group is as far; else it waits for
    /// the group to come there.
    pub(super) fn join_group(&mut self, member: u32, state: &State) {
        let Some(own) = self.members[member as usize].subscription() else { return };
        let key = self.members[member as usize].group;
        let group = &mut self.groups[key as usize];
        let (source, shard) = (group.source, self.sources[group.source as usize].shard);
        let alone = group.live.is_empty() && group.pass.is_none() && group.ahead.is_empty();
        if alone {
            group.subscription = Subscription::at(own.next(), own.last_sent());
        } else if !group.due && group.subscription.next() < own.next() {
            if state.has_pending_wakeup(shard) {
                // Live members may have been called for alone: they leave from where they stand.
                group.due = true;
                if group.pass.is_none() {
                    self.attend_to(source, key);
                }
            } else {
                // Nothing came for the group since, or the shard would have been called.
                group.subscription.skip_to(own.next());
            }
        }
        let group = &mut self.groups[key as usize];
        if group.subscription.next() == own.next() {
            // The group says the older place of both, so that nobody's grows too old.
            group.subscription.set_last_sent(group.subscription.last_sent().min(own.last_sent()));
            self.join_live(member);
        } else {
            group.ahead.push(member);
            self.members[member as usize].wait_ahead();
        }
    }

    fn join_live(&mut self, member: u32) {
        let group = &mut self.groups[self.members[member as usize].group as usize];
        let place = group.live.len();
        group.live.push(member);
        self.members[member as usize].join(place as u32);
    }

    /// Lets a member read from its own place. Those that do already are left alone.
    pub(super) fn leave_group(&mut self, member: u32) {
        let Some(own) = self.members.get(member as usize) else { return };
        let key = own.group;
        let standing = match own.place() {
            Some(place) => {
                let group = &mut self.groups[key as usize];
                let standing = group.standing(place);
                for (moved, place) in group.take_out(place) {
                    self.members[moved as usize].moved(place as u32);
                }
                Some(standing)
            }
            None => {
                self.groups[key as usize].ahead.retain(|&ahead| ahead != member);
                None
            }
        };
        self.members[member as usize].leave(standing);
    }

    /// Tells groups where they are whose last id lies behind.
    pub(super) fn mark_due(&mut self, now: u64) {
        let Some((tick, keys)) = self.marks.take_due(now, limits::SHARD_TURN) else { return };
        for key in keys {
            // The place may be another group's by now.
            let Some(group) = self.groups.get(key as usize) else { continue };
            if group.mark != tick {
                continue;
            }
            let shared = Arc::clone(&self.sources[group.source as usize].shared);
            let done = self.mark(key, &shared, now);
            let next = shared.settings.mark_at(now);
            let soon = now + limits::MARK_RETRY.as_millis() as u64;
            if let Some(at) = next.map(|at| if done { at } else { at.min(soon) }) {
                self.groups[key as usize].mark = self.marks.set(key, at);
            }
        }
    }

    /// `false` if the shard was called meanwhile, so that the group's place is not to be moved.
    fn mark(&mut self, key: u32, shared: &ManagerInner, now: u64) -> bool {
        let state = shared.lock();
        let group = &mut self.groups[key as usize];
        let shard = self.sources[group.source as usize].shard;
        let called = group.due || state.has_pending_wakeup(shard);
        let applied = state.log.applied();
        // Events that are on their way tell a place themselves.
        if called || group.pass.is_some() {
            return false;
        }
        let talks = state.audiences[group.audience].audience.wants_control_events();
        if !talks || group.subscription.last_sent() >= applied {
            return true;
        }
        let begin = group.subscription;
        group.subscription.skip_to(state.log.end());
        let block = group.subscription.mark(&state.log, applied);
        let bytes = Framed::from_block(&block).chunk();
        let batch = EventBatch { bytes, events: 0, event_bytes: 0, offsets: Vec::new() };
        drop(state);
        let left = group.live.len();
        self.set_out(key, Pass { batch, is_full: false, begin, left }, now);
        true
    }
}
