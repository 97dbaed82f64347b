//! What happens to one member: it is adopted, reads on its own, has its timers, and is removed.

use std::io::{Read, Write};
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::member::{GroupMember, NOT_LIVE, WriteResult};
use super::state::{DeliveryShard, stall_ms};
use crate::connection::next_bytes::{Framing, NextBytes, read_replay};
use crate::limits;
use crate::manager::CloseReason;
use crate::random;
use crate::serve::hand_over::{HandedOverConnection, drop_catching_panics};
use crate::wire::{Framed, HEARTBEAT_CHUNK, LAST_CHUNK};

/// Whether a member can take another step.
enum StepOutcome {
    /// At once.
    Continue,
    /// After other members had their turn.
    Yield,
    /// Not before something happens, or never: it may be removed.
    Stop,
}

impl<S: Read + Write> DeliveryShard<S> {
    /// Takes over a connection.
    pub(crate) fn adopt(&mut self, connection: HandedOverConnection<S>, now: u64) {
        let HandedOverConnection { socket, shared, slot, id, reading, unwritten, body, guard } =
            connection;
        let manager = self.manager_key(&shared);
        let shard = self.managers[manager as usize].shard;
        let key = self.next_key();
        let adopted = {
            let mut state = shared.lock();
            let waker = state.adopt(slot, id, shard, key);
            waker.map(|waker| (waker, state.entry(slot).audience()))
        };
        let Some((waker, audience)) = adopted else {
            drop_catching_panics(body);
            if self.managers[manager as usize].members == 0 {
                self.detach_manager(manager);
            }
            return;
        };
        // Dropping a waker may drop a task, and with it the application's values.
        drop_catching_panics(waker);
        let jitter = id.jitter();
        let group = self.group_key(manager, audience, reading, now);
        self.managers[manager as usize].members += 1;
        self.groups[group as usize].members += 1;
        let ends_at = shared.settings.ends_at(jitter, now).unwrap_or(u64::MAX);
        self.members.insert(GroupMember {
            socket,
            slot,
            group,
            live_index: NOT_LIVE,
            jitter,
            timer_tick: 0,
            ignored_input: 0,
            last_write: now,
            ends_at,
            body,
            guard,
            progress: None,
        });
        let member = &mut self.members[key as usize];
        member.progress_mut().reading = Some(reading);
        if !unwritten.is_empty() {
            self.keep_unwritten(key, &unwritten, 0, now);
        }
        self.make_runnable(key);
        match self.drain_end {
            Some(end) => self.schedule_end(key, now, end),
            None => self.set_timer(key, now),
        }
    }

    /// Tells the shard what the member's socket can do now.
    pub(crate) fn socket_ready(&mut self, key: u32, readable: bool, writable: bool) {
        let Some(member) = self.members.get_mut(key as usize) else { return };
        if readable && !member.discard_input() {
            self.remove_member(key);
        } else if writable && member.has_unwritten() {
            self.make_runnable(key);
        }
    }

    /// Lets the member take steps at the next turn.
    pub(super) fn make_runnable(&mut self, key: u32) {
        let Some(member) = self.members.get_mut(key as usize) else { return };
        if !std::mem::replace(&mut member.progress_mut().is_runnable, true) {
            self.runnable.push_back(key);
        }
    }

    /// Keeps what the member's socket did not take: `bytes` from `begin` on.
    pub(super) fn keep_unwritten(&mut self, key: u32, bytes: &Bytes, begin: usize, now: u64) {
        let unwritten = self.pinned.pin(bytes, begin);
        let progress = self.members[key as usize].progress_mut();
        progress.unwritten = unwritten;
        progress.stalled_since = now;
        self.stalled.insert((now, key));
    }

    /// Closes the members that have taken nothing for the longest time, while too many bytes are
    /// pinned.
    pub(super) fn enforce_pin_limit(&mut self) {
        // The last one stays: an event that only it waits for may be larger than the limit.
        while self.pinned.exceed_limit() && self.stalled.len() > 1 {
            let Some(&(_, longest)) = self.stalled.first() else { break };
            self.close_connection(longest, CloseReason::Stalled);
            self.remove_member(longest);
        }
    }

    /// Lets a runnable member take a few steps.
    pub(super) fn run_member(&mut self, key: u32, now: u64) {
        // The key may be another member's by now.
        let member = self.members.get_mut(key as usize);
        let Some(progress) = member.and_then(|it| it.progress.as_mut()) else { return };
        if !std::mem::take(&mut progress.is_runnable) {
            return;
        }
        for _ in 0..limits::STEPS_PER_TURN {
            match self.step_member(key, now) {
                StepOutcome::Continue => {}
                StepOutcome::Yield => break,
                StepOutcome::Stop => return,
            }
        }
        self.make_runnable(key);
    }

    /// Writes what is left, or else the next bytes from the log.
    fn step_member(&mut self, key: u32, now: u64) -> StepOutcome {
        if !self.write_unwritten(key, now) {
            return StepOutcome::Stop;
        }
        let member = &mut self.members[key as usize];
        let Some(progress) = &mut member.progress else { return StepOutcome::Stop };
        if progress.is_last {
            self.remove_member(key);
            return StepOutcome::Stop;
        }
        let Some(mut reading) = progress.reading else {
            // It is live, and its socket has taken everything.
            member.progress = None;
            return StepOutcome::Stop;
        };
        if progress.ahead_index.is_some() {
            return StepOutcome::Stop;
        }
        let slot = member.slot;
        let manager = self.groups[member.group as usize].manager;
        let shared = Arc::clone(&self.managers[manager as usize].shared);
        let mut ended = None;
        let manager_now = shared.now();
        let settings = &shared.settings;
        let (group, from) = (member.group, reading.next());
        let mut state = shared.lock();
        let is_common = reading.is_shareable(&state, settings, slot, manager_now);
        let frames = &self.shared_frames;
        let known = is_common.then(|| frames.read(group, &mut reading)).flatten();
        let (is_known, form) = (known.is_some(), Framing::Chunk);
        let mut step = match known {
            Some(batch) => NextBytes::Events(batch),
            None => reading.next_bytes(&mut state, settings, slot, manager_now, form, &mut ended),
        };
        if matches!(step, NextBytes::Wait) {
            self.members[key as usize].progress_mut().reading = Some(reading);
            self.join_group(key, &state);
        }
        let called = state.take_shards_to_wake();
        drop(state);
        called.into_iter().for_each(Waker::wake);
        if let NextBytes::Replay(mut replay) = step {
            step = read_replay(&mut reading, &mut replay, &shared, slot, form, &mut ended);
            self.replay_work += replay.spent();
        }
        if let (NextBytes::Events(batch), true, false) = (&step, is_common, is_known) {
            self.shared_frames.add(group, from, batch, reading);
        }
        if !matches!(step, NextBytes::Wait) {
            self.members[key as usize].progress_mut().reading = Some(reading);
        }
        shared.run_disconnect_hook(ended);
        let bytes = match step {
            NextBytes::Wait => return StepOutcome::Stop,
            NextBytes::Page(key) => {
                // Its arrival wakes this shard for the connection.
                let waits = shared.wait_for_page(key, slot);
                return if waits { StepOutcome::Stop } else { StepOutcome::Yield };
            }
            NextBytes::Again | NextBytes::Replay(_) => return StepOutcome::Yield,
            NextBytes::Events(batch) => {
                shared.count_delivered(u64::from(batch.events), batch.event_bytes);
                batch.bytes
            }
            NextBytes::Control(block) => Framed::from_block(&block).chunk(),
            NextBytes::End => {
                self.members[key as usize].progress_mut().is_last = true;
                Bytes::from_static(LAST_CHUNK)
            }
        };
        self.write_to_member(key, bytes, now)
    }

    /// Writes bytes to this member alone.
    fn write_to_member(&mut self, key: u32, bytes: Bytes, now: u64) -> StepOutcome {
        let member = &mut self.members[key as usize];
        match member.write(&bytes) {
            WriteResult::Complete => {
                member.last_write = now;
                StepOutcome::Continue
            }
            WriteResult::Partial(len) => {
                self.keep_unwritten(key, &bytes, len, now);
                StepOutcome::Stop
            }
            WriteResult::Closed => {
                self.remove_member(key);
                StepOutcome::Stop
            }
        }
    }

    /// Writes what the socket did not take before. Returns whether nothing is left.
    fn write_unwritten(&mut self, key: u32, now: u64) -> bool {
        let member = &mut self.members[key as usize];
        if !member.has_unwritten() {
            return true;
        }
        let unwritten = std::mem::take(&mut member.progress_mut().unwritten);
        let written = member.write(&unwritten);
        let progress = member.progress_mut();
        match written {
            WriteResult::Partial(0) => {
                progress.unwritten = unwritten;
                return false;
            }
            WriteResult::Partial(len) => {
                self.stalled.remove(&(progress.stalled_since, key));
                progress.stalled_since = now;
                self.stalled.insert((now, key));
                progress.unwritten = unwritten.slice(len..);
                return false;
            }
            WriteResult::Complete => {
                self.stalled.remove(&(progress.stalled_since, key));
                member.last_write = now;
                self.pinned.unpin(&unwritten);
            }
            WriteResult::Closed => {
                progress.unwritten = unwritten;
                self.remove_member(key);
                return false;
            }
        }
        true
    }

    /// Decides the end of a member's connection.
    fn close_connection(&mut self, key: u32, reason: CloseReason) {
        let member = &self.members[key as usize];
        let manager = self.groups[member.group as usize].manager;
        let shared = Arc::clone(&self.managers[manager as usize].shared);
        let mut state = shared.lock();
        let ended = state.close(member.slot, reason);
        let called = state.take_shards_to_wake();
        drop(state);
        called.into_iter().for_each(Waker::wake);
        shared.run_disconnect_hook(ended);
    }

    /// Removes a member: its socket is closed and its key is free.
    pub(super) fn remove_member(&mut self, key: u32) {
        self.leave_group(key);
        let Some(mut member) = self.members.try_remove(key as usize) else { return };
        let progress = member.progress.take();
        if let Some(progress) = progress.filter(|progress| !progress.unwritten.is_empty()) {
            self.stalled.remove(&(progress.stalled_since, key));
            self.pinned.unpin(&progress.unwritten);
        }
        // If unread input is left at `close`, the system sends a reset, and the peer loses what was
        // written last.
        member.discard_input();
        let GroupMember { socket, group: group_key, body, guard, .. } = member;
        drop(socket);
        drop_catching_panics(body);
        drop(guard);
        let group = &mut self.groups[group_key as usize];
        let manager_key = group.manager;
        group.members -= 1;
        if group.members == 0 {
            self.remove_group(group_key);
        }
        let manager = &mut self.managers[manager_key as usize];
        manager.members -= 1;
        if manager.members == 0 {
            self.detach_manager(manager_key);
        }
    }

    /// Closes members that have stalled and runs the timers that are due, a bounded number of both.
    pub(super) fn run_member_timers(&mut self, now: u64) {
        for _ in 0..limits::SHARD_TURN {
            let Some(&(since, key)) = self.stalled.first() else { break };
            if now.saturating_sub(since) < stall_ms() {
                break;
            }
            self.close_connection(key, CloseReason::Stalled);
            self.remove_member(key);
        }
        if let Some((tick, keys)) = self.member_timers.take_due(now, limits::SHARD_TURN) {
            for key in keys {
                // The key may be another member's by now, or its member have a later timer.
                let member = self.members.get(key as usize);
                if member.is_some_and(|member| member.timer_tick == tick as u32) {
                    self.run_timer(key, now);
                }
            }
        }
    }

    fn run_timer(&mut self, key: u32, now: u64) {
        let member = &mut self.members[key as usize];
        if member.ends_at <= now {
            member.ends_at = u64::MAX;
            let drains = self.drain_end.is_some();
            let reason = if drains { CloseReason::Shutdown } else { CloseReason::MaxAge };
            self.close_connection(key, reason);
        } else if self.heartbeat_at(key, now) <= now {
            self.write_to_member(key, Bytes::from_static(HEARTBEAT_CHUNK), now);
        }
        if self.members.contains(key as usize) {
            self.set_timer(key, now);
        }
    }

    fn heartbeat_at(&self, key: u32, now: u64) -> u64 {
        let member = &self.members[key as usize];
        let group = &self.groups[member.group as usize];
        let settings = &self.managers[group.manager as usize].shared.settings;
        member.heartbeat_at(settings, group.last_pass_end, now)
    }

    fn set_timer(&mut self, key: u32, now: u64) {
        let at = self.heartbeat_at(key, now).min(self.members[key as usize].ends_at);
        let member = &mut self.members[key as usize];
        if at < u64::MAX {
            // The timers of removed members stay until they are due, so that none may run long.
            let latest = now + limits::SHARD_LOOK.as_millis() as u64;
            member.timer_tick = self.member_timers.set(key, at.clamp(now + 1, latest)) as u32;
        }
    }

    /// Ends a member's connection at a random moment until `end`.
    pub(super) fn schedule_end(&mut self, key: u32, now: u64, end: u64) {
        let window = end.saturating_sub(now);
        let wait = ((u128::from(random::bits()) * u128::from(window)) >> 64) as u64;
        self.members[key as usize].ends_at = now + wait;
        self.set_timer(key, now);
    }
}
