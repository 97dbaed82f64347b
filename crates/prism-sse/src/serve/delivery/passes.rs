//! How groups read the log and write to their members, and how members join and leave them.

use std::io::{Read, Write};
use std::sync::Arc;

use super::attached_manager::AttachedManager;
use super::group::{AudienceGroup, FanOutPass, GroupReplay};
use super::member::WriteResult;
use super::state::DeliveryShard;
use crate::connection::next_bytes::{
    EventBatch, Framing, NextBatch, audience_scope, next_batch, replay_batch,
};
use crate::limits;
use crate::log::Log;
use crate::manager::{AudienceKey, ManagerInner, State};
use crate::subscription::Subscription;
use crate::wire::Framed;

impl<S: Read + Write> DeliveryShard<S> {
    /// The key of an audience's group, which is made with its first member.
    pub(super) fn group_key(
        &mut self,
        manager: u32,
        audience: AudienceKey,
        at: Subscription,
        now: u64,
    ) -> u32 {
        let Self { managers, groups, mark_timers, .. } = self;
        let AttachedManager { shared, groups: keys, .. } = &mut managers[manager as usize];
        *keys.entry(audience).or_insert_with(|| {
            let key = groups.vacant_key() as u32;
            let mark_tick = shared.settings.mark_at(now).map_or(0, |at| mark_timers.set(key, at));
            groups.insert(AudienceGroup {
                manager,
                audience,
                // A member that reads pages joins once it is live.
                subscription: Subscription::at(
                    if at.is_paging() { 0 } else { at.next() },
                    at.last_sent(),
                ),
                live: Vec::new(),
                ahead: Vec::new(),
                pass: None,
                is_due: false,
                members: 0,
                last_pass_end: now,
                mark_tick,
            });
            key
        })
    }

    /// Removes a group without members.
    pub(super) fn remove_group(&mut self, key: u32) {
        let group = self.groups.remove(key as usize);
        self.managers[group.manager as usize].groups.remove(&group.audience);
        self.shared_frames.forget_group(key);
    }

    /// Takes the group's next bytes from the log, and starts a pass if there are any.
    pub(super) fn begin_pass(&mut self, manager: u32, key: u32, state: &State, now: u64) {
        // The key may be another group's by now.
        let group = self.groups.get_mut(key as usize);
        let Some(group) = group.filter(|it| it.manager == manager && it.pass.is_none()) else {
            return;
        };
        let begin = group.subscription;
        let end = state.log.end();
        if group.live.is_empty() && group.ahead.is_empty() {
            // All members read on their own, so that the group may skip to the end.
            group.is_due = false;
            group.subscription = Subscription::at(end, state.log.applied());
            return;
        }
        let reader = audience_scope(state, group.audience, None);
        group.is_due = false;
        let framing = Framing::Chunk;
        match next_batch(&mut group.subscription, &state.log, reader, end, None, framing) {
            NextBatch::Events(batch) => {
                let is_full = !group.subscription.is_at(end);
                group.is_due = is_full;
                let left = group.live.len();
                self.start_pass(key, FanOutPass { batch, is_full, begin, left }, now);
            }
            NextBatch::Replay(replay) => {
                self.group_replays.push(GroupReplay { key, replay, begin, end });
            }
            NextBatch::BudgetSpent => {
                group.is_due = true;
                self.queue_group(manager, key);
            }
            // The words of a gap depend on what its reader has received last.
            NextBatch::Gap(_) => self.split_group(key, &state.log),
            NextBatch::AtEnd => self.join_waiting(key, None, now),
        }
    }

    /// Reads the log for groups that are not live, with the manager's lock released.
    pub(super) fn read_group_replays(&mut self, manager: u32, shared: &ManagerInner, now: u64) {
        for GroupReplay { key, mut replay, begin, end } in std::mem::take(&mut self.group_replays) {
            let group = &mut self.groups[key as usize];
            if group.pass.is_some() {
                // It was due twice, and has read already.
                continue;
            }
            let framing = Framing::Chunk;
            let batch = replay_batch(&mut group.subscription, &mut replay, shared, framing);
            self.replay_work += replay.spent();
            let is_full = !group.subscription.is_at(end);
            group.is_due = is_full;
            if let Some(batch) = batch {
                let left = group.live.len();
                self.start_pass(key, FanOutPass { batch, is_full, begin, left }, now);
            } else {
                group.is_due = true;
                self.queue_group(manager, key);
            }
        }
    }

    fn start_pass(&mut self, key: u32, pass: FanOutPass, now: u64) {
        let group = &mut self.groups[key as usize];
        let ahead = (!group.ahead.is_empty()).then(|| pass.batch.clone());
        group.pass = Some(pass);
        self.passes.push_back(key);
        if let Some(batch) = ahead {
            self.join_waiting(key, Some(&batch), now);
        }
    }

    /// Lets those members join that were ahead of the group and are not any more. They get the part
    /// of `batch` that they have not read.
    fn join_waiting(&mut self, key: u32, batch: Option<&EventBatch>, now: u64) {
        let group = &mut self.groups[key as usize];
        for member in std::mem::take(&mut group.ahead) {
            let own = self.members[member as usize].subscription();
            let next = own.map_or(0, |own| own.next());
            if next > self.groups[key as usize].subscription.next() {
                self.wait_for_group(key, member);
                continue;
            }
            self.join_live(member);
            let Some(batch) = batch else { continue };
            if let Some((begin, events, event_bytes)) = batch.part_from(next) {
                let manager = self.groups[key as usize].manager;
                self.managers[manager as usize].shared.count_delivered(events, event_bytes);
                self.keep_unwritten(member, &batch.bytes, begin, now);
                self.make_runnable(member);
            }
        }
    }

    /// Serves the next members of a pass, at most `most`. Returns how many it looked at.
    pub(super) fn continue_pass(&mut self, key: u32, most: usize, now: u64) -> usize {
        let group = self.groups.get(key as usize);
        let Some(pass) = group.and_then(|group| group.pass.as_ref()) else { return 0 };
        let bytes = pass.batch.bytes.clone();
        let (events, event_bytes) = (u64::from(pass.batch.events), pass.batch.event_bytes);
        let manager = self.groups[key as usize].manager;
        let shared = Arc::clone(&self.managers[manager as usize].shared);
        let (mut served, mut looked) = (0, 0);
        while looked < most {
            // The group is removed with its last member.
            let Some(group) = self.groups.get_mut(key as usize) else { break };
            let Some(pass) = &mut group.pass else { break };
            let Some(index) = pass.left.checked_sub(1) else { break };
            let member = group.live[index];
            looked += 1;
            if self.members[member as usize].has_unwritten() {
                // It goes on by itself once its socket has taken what it got before.
                self.leave_group(member);
                continue;
            }
            pass.left = index;
            served += 1;
            match self.members[member as usize].write(&bytes) {
                WriteResult::Complete => {}
                WriteResult::Partial(len) => self.keep_unwritten(member, &bytes, len, now),
                WriteResult::Closed => self.remove_member(member),
            }
        }
        shared.count_delivered(served * events, served * event_bytes);
        let Some(group) = self.groups.get_mut(key as usize) else { return looked };
        if group.pass.as_ref().is_some_and(|pass| pass.left > 0) {
            self.passes.push_back(key);
            return looked;
        }
        let was_full = group.pass.take().is_some_and(|pass| pass.is_full);
        group.last_pass_end = now;
        if group.is_due && was_full {
            self.queue_group(manager, key);
        } else if group.is_due {
            // Events came during this pass. More may come during a short pause, and then one pass
            // writes all of them.
            let until = now + limits::PASS_PAUSE.as_millis() as u64;
            self.paused_groups.push_back((until, manager, key));
            self.managers[manager as usize].paused_groups += 1;
        }
        looked
    }

    /// Whether the group's pass takes as much as one pass may, so that another one follows.
    pub(super) fn pass_is_full(&self, key: u32) -> bool {
        let pass = self.groups.get(key as usize).and_then(|group| group.pass.as_ref());
        pass.is_some_and(|pass| pass.is_full)
    }

    /// Lets all members leave the group, and moves the group to the end of the log.
    fn split_group(&mut self, key: u32, log: &Log) {
        while let Some(&member) = self.groups[key as usize].live.last() {
            self.leave_group(member);
            self.make_runnable(member);
        }
        for member in std::mem::take(&mut self.groups[key as usize].ahead) {
            self.members[member as usize].leave(None);
            self.make_runnable(member);
        }
        let group = &mut self.groups[key as usize];
        group.subscription = Subscription::at(log.end(), log.applied());
    }

    /// Makes a member that has received everything live if its group has come as far. Otherwise the
    /// member waits for that.
    pub(super) fn join_group(&mut self, member: u32, state: &State) {
        let Some(own) = self.members[member as usize].subscription() else { return };
        let key = self.members[member as usize].group;
        let group = &mut self.groups[key as usize];
        let (manager, shard) = (group.manager, self.managers[group.manager as usize].shard);
        let is_first = group.live.is_empty() && group.pass.is_none() && group.ahead.is_empty();
        if is_first {
            group.subscription = Subscription::at(own.next(), own.last_sent());
        } else if !group.is_due && group.subscription.next() < own.next() {
            if state.has_pending_wakeup(shard) {
                // Some live members may have been called for alone. They leave from the group's
                // present position, so that the group must not move before the calls are taken.
                group.is_due = true;
                if group.pass.is_none() {
                    self.queue_group(manager, key);
                }
            } else {
                // The shard would have been called if events for this group had come since.
                group.subscription.skip_to(own.next());
            }
        }
        let group = &mut self.groups[key as usize];
        if group.subscription.next() == own.next() {
            // The group keeps the older last id of both, so that a mark is sent in time for all.
            group.subscription.set_last_sent(group.subscription.last_sent().min(own.last_sent()));
            self.join_live(member);
        } else {
            self.wait_for_group(key, member);
        }
    }

    fn wait_for_group(&mut self, key: u32, member: u32) {
        let ahead = &mut self.groups[key as usize].ahead;
        let index = ahead.len();
        ahead.push(member);
        self.members[member as usize].wait_for_group(index as u32);
    }

    fn join_live(&mut self, member: u32) {
        let group = &mut self.groups[self.members[member as usize].group as usize];
        let index = group.live.len();
        group.live.push(member);
        self.members[member as usize].join(index as u32);
    }

    /// Lets a member read from its own position. One that already does is left alone.
    pub(super) fn leave_group(&mut self, member: u32) {
        let Some(leaving) = self.members.get(member as usize) else { return };
        let key = leaving.group;
        let position = match leaving.live_index() {
            Some(index) => {
                let group = &mut self.groups[key as usize];
                let position = group.position_of(index);
                for (moved, index) in group.remove_live(index) {
                    self.members[moved as usize].set_live_index(index as u32);
                }
                Some(position)
            }
            None => {
                if let Some(index) = leaving.ahead_index() {
                    let ahead = &mut self.groups[key as usize].ahead;
                    ahead.swap_remove(index as usize);
                    if let Some(&moved) = ahead.get(index as usize) {
                        self.members[moved as usize].wait_for_group(index);
                    }
                }
                None
            }
        };
        self.members[member as usize].leave(position);
    }

    /// Sends a mark to groups whose last id lies behind the applied position and is due.
    pub(super) fn send_due_marks(&mut self, now: u64) {
        let due = self.mark_timers.take_due(now, limits::SHARD_TURN);
        let Some((tick, keys)) = due else { return };
        for key in keys {
            // The key may be another group's by now.
            let Some(group) = self.groups.get(key as usize) else { continue };
            if group.mark_tick != tick {
                continue;
            }
            let shared = Arc::clone(&self.managers[group.manager as usize].shared);
            let done = self.send_mark(key, &shared, now);
            let next = shared.settings.mark_at(now);
            let soon = now + limits::MARK_RETRY.as_millis() as u64;
            if let Some(at) = next.map(|at| if done { at } else { at.min(soon) }) {
                self.groups[key as usize].mark_tick = self.mark_timers.set(key, at);
            }
        }
    }

    /// Returns `false` if events are on their way, so that the group's position must not be moved.
    fn send_mark(&mut self, key: u32, shared: &ManagerInner, now: u64) -> bool {
        let state = shared.lock();
        let group = &mut self.groups[key as usize];
        let shard = self.managers[group.manager as usize].shard;
        let called = group.is_due || state.has_pending_wakeup(shard);
        let applied = state.log.applied();
        // Events carry ids themselves.
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
        self.start_pass(key, FanOutPass { batch, is_full: false, begin, left }, now);
        true
    }
}
