//! One connection of a shard: its socket, and what it is on its own way for.

use std::io::{ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::{Delivery, HandOver, Held, drop_foreign, stall_ms};
use crate::connection::next_bytes::{Framing, NextBytes};
use crate::limits;
use crate::manager::{CloseReason, ManagerSettings};
use crate::random;
use crate::subscription::Subscription;
use crate::wire::{Framed, HEARTBEAT_CHUNK, LAST_CHUNK};

/// No place among the live.
const NOWHERE: u32 = u32::MAX;

/// A connection. One that has everything is this and no more.
pub(super) struct Member<S> {
    socket: S,
    /// The manager's slot for it.
    slot: u32,
    pub(super) group: u32,
    /// Its place among the group's live members.
    place: u32,
    jitter: u32,
    /// Its tick's lower half, which tells it from others for longer than timers run.
    look: u32,
    /// Bytes it sent that nobody reads.
    input: u32,
    /// When something was last written to it alone.
    spoke: u64,
    /// When its end is to be decided.
    ends: u64,
    body: Pin<Box<dyn Send>>,
    held: Held,
    pub(super) own: Option<Box<Own>>,
}

/// What a member has that is not as its group is.
pub(super) struct Own {
    /// Where it reads; a live member reads with its group.
    pub(super) reading: Option<Subscription>,
    /// What its socket did not take yet.
    rest: Bytes,
    /// Since when it takes nothing, while something waits for it.
    since: u64,
    /// It is among those that can go on.
    ready: bool,
    /// It has everything, and waits for its group.
    ahead: bool,
    /// Nothing follows.
    ends: bool,
}

/// What became of bytes that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// The socket took this many.
    Part(usize),
    /// There is nobody to read them.
    Gone,
}

impl<S: Read + Write> Member<S> {
    /// Writes as much as the socket takes now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Written {
        loop {
            return match self.socket.write(bytes) {
                Ok(len) if len == bytes.len() => Written::All,
                Ok(len) => Written::Part(len),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => Written::Part(0),
                    _ => Written::Gone,
                },
            };
        }
    }

    /// Reads what nobody wants. `false` if the reader is gone, or says too much.
    fn drain_input(&mut self) -> bool {
        let mut scratch = [0; 1024];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => return false,
                Ok(len) => self.input += len as u32,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            if self.input > limits::IGNORED_INPUT_BYTES {
                return false;
            }
        }
    }
}

impl<S> Member<S> {
    /// Its place among the live members of its group.
    pub(super) fn place(&self) -> Option<usize> {
        (self.place != NOWHERE).then_some(self.place as usize)
    }

    pub(super) fn moved(&mut self, place: u32) {
        self.place = place;
    }

    /// Whether its socket has not taken everything yet.
    pub(super) fn is_held(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.rest.is_empty())
    }

    /// Goes on with its group.
    pub(super) fn join(&mut self, place: u32) {
        self.place = place;
        if let Some(own) = &mut self.own {
            own.reading = None;
            own.ahead = false;
            if own.rest.is_empty() && !own.ready {
                self.own = None;
            }
        }
    }

    /// Goes on from its own place: there, or where it is already.
    pub(super) fn leave(&mut self, standing: Option<Subscription>) {
        self.place = NOWHERE;
        let own = self.own_mut();
        own.ahead = false;
        if let Some(standing) = standing {
            own.reading = Some(standing);
        }
    }

    /// Has everything, and waits for its group to come as far.
    pub(super) fn wait_ahead(&mut self) {
        self.own_mut().ahead = true;
    }

    pub(super) fn subscription(&self) -> Option<Subscription> {
        self.own.as_ref()?.reading
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.get_or_insert_with(|| {
            Box::new(Own {
                reading: None,
                rest: Bytes::new(),
                since: 0,
                ready: false,
                ahead: false,
                ends: false,
            })
        })
    }

    /// When a heartbeat is due. One that reads, or has not taken everything, needs none now.
    fn heartbeat_at(&self, settings: &ManagerSettings, group_spoke: u64, now: u64) -> u64 {
        let quiet = self.place != NOWHERE && !self.is_held();
        let spoke = if quiet { self.spoke.max(group_spoke) } else { now };
        settings.heartbeat_at(self.jitter, spoke).unwrap_or(u64::MAX)
    }
}

/// What a member does after one step.
enum Went {
    /// It can go on at once.
    On,
    /// It can go on, after others had their turn.
    Later,
    /// Something must happen first, or it is gone.
    Nowhere,
}

impl<S: Read + Write> Delivery<S> {
    /// Takes over a connection.
    pub(crate) fn adopt(&mut self, hand_over: HandOver<S>, now: u64) {
        let HandOver { socket, shared, slot, id, reading, rest, body, held } = hand_over;
        let source = self.source_of(&shared);
        let shard = self.sources[source as usize].shard;
        let key = self.next_key();
        let adopted = {
            let mut state = shared.lock();
            let waker = state.adopt(slot, id, shard, key);
            waker.map(|waker| (waker, state.entry(slot).audience()))
        };
        let Some((waker, audience)) = adopted else {
            drop_foreign(body);
            if self.sources[source as usize].members == 0 {
                self.forget_source(source);
            }
            return;
        };
        // Dropping a waker may drop a task.
        drop_foreign(waker);
        let jitter = id.jitter();
        let group = self.group_of(source, audience, reading, now);
        self.sources[source as usize].members += 1;
        self.groups[group as usize].members += 1;
        let ends = shared.settings.ends_at(jitter, now).unwrap_or(u64::MAX);
        self.members.insert(Member {
            socket,
            slot,
            group,
            place: NOWHERE,
            jitter,
            look: 0,
            input: 0,
            spoke: now,
            ends,
            body,
            held,
            own: None,
        });
        let member = &mut self.members[key as usize];
        member.own_mut().reading = Some(reading);
        if !rest.is_empty() {
            self.hold(key, &rest, 0, now);
        }
        self.make_ready(key);
        match self.drains_until {
            Some(end) => self.end_within(key, now, end),
            None => self.set_look(key, now),
        }
    }

    /// Says what the member's socket can do now.
    pub(crate) fn socket_is(&mut self, key: u32, readable: bool, writable: bool) {
        let Some(member) = self.members.get_mut(key as usize) else { return };
        if readable && !member.drain_input() {
            self.remove(key);
        } else if writable && member.is_held() {
            self.make_ready(key);
        }
    }

    /// Lets the member go on at the next turn.
    pub(super) fn make_ready(&mut self, key: u32) {
        let Some(member) = self.members.get_mut(key as usize) else { return };
        if !std::mem::replace(&mut member.own_mut().ready, true) {
            self.ready.push_back(key);
        }
    }

    /// Keeps what the member's socket did not take: `bytes` from `begin` on.
    pub(super) fn hold(&mut self, key: u32, bytes: &Bytes, begin: usize, now: u64) {
        let rest = self.pins.add(bytes, begin);
        let own = self.members[key as usize].own_mut();
        own.rest = rest;
        own.since = now;
        self.stalled.insert((now, key));
    }

    /// Closes those who took nothing for the longest time, while too much is kept for such.
    pub(super) fn make_room(&mut self) {
        // What one reader waits for alone may be larger than the room.
        while self.pins.are_too_many() && self.stalled.len() > 1 {
            let Some(&(_, longest)) = self.stalled.first() else { break };
            self.close(longest, CloseReason::Stalled);
            self.remove(longest);
        }
    }

    /// A member's turn on its own way.
    pub(super) fn go_on(&mut self, key: u32, now: u64) {
        // The place may be another member's by now.
        let Some(own) = self.members.get_mut(key as usize).and_then(|it| it.own.as_mut()) else {
            return;
        };
        if !std::mem::take(&mut own.ready) {
            return;
        }
        for _ in 0..limits::STEPS_PER_TURN {
            match self.step(key, now) {
                Went::On => {}
                Went::Later => break,
                Went::Nowhere => return,
            }
        }
        self.make_ready(key);
    }

    fn step(&mut self, key: u32, now: u64) -> Went {
        if !self.write_rest(key, now) {
            return Went::Nowhere;
        }
        let member = &mut self.members[key as usize];
        let Some(own) = &mut member.own else { return Went::Nowhere };
        if own.ends {
            self.remove(key);
            return Went::Nowhere;
        }
        let Some(mut reading) = own.reading else {
            // It is live, and has taken everything.
            member.own = None;
            return Went::Nowhere;
        };
        if own.ahead {
            return Went::Nowhere;
        }
        let slot = member.slot;
        let source = self.groups[member.group as usize].source;
        let shared = Arc::clone(&self.sources[source as usize].shared);
        let mut ended = None;
        let manager_now = shared.now();
        let settings = &shared.settings;
        let (group, from) = (member.group, reading.next());
        let mut state = shared.lock();
        let is_common = reading.is_shareable(&state, settings, slot, manager_now);
        let known = is_common.then(|| self.recent.read(group, &mut reading)).flatten();
        let step = match known {
            Some(batch) => NextBytes::Events(batch),
            None => {
                let form = Framing::Chunk;
                let step =
                    reading.next_bytes(&mut state, settings, slot, manager_now, form, &mut ended);
                if let (NextBytes::Events(batch), true) = (&step, is_common) {
                    self.recent.add(group, from, batch, reading);
                }
                step
            }
        };
        self.members[key as usize].own_mut().reading = Some(reading);
        if matches!(step, NextBytes::Wait) {
            self.join_group(key, &state);
        }
        let called = state.take_shards_to_wake();
        drop(state);
        called.into_iter().for_each(Waker::wake);
        shared.run_disconnect_hook(ended);
        let bytes = match step {
            NextBytes::Wait => return Went::Nowhere,
            NextBytes::Again => return Went::Later,
            NextBytes::Events(batch) => {
                shared.count_delivered(u64::from(batch.events), batch.event_bytes);
                batch.bytes
            }
            NextBytes::Control(block) => Framed::from_block(&block).chunk(),
            NextBytes::End => {
                self.members[key as usize].own_mut().ends = true;
                Bytes::from_static(LAST_CHUNK)
            }
        };
        self.write_own(key, bytes, now)
    }

    /// Writes what is for this member alone.
    fn write_own(&mut self, key: u32, bytes: Bytes, now: u64) -> Went {
        let member = &mut self.members[key as usize];
        match member.write(&bytes) {
            Written::All => {
                member.spoke = now;
                Went::On
            }
            Written::Part(len) => {
                self.hold(key, &bytes, len, now);
                Went::Nowhere
            }
            Written::Gone => {
                self.remove(key);
                Went::Nowhere
            }
        }
    }

    /// Writes what the socket did not take before. `true` if it has taken everything.
    fn write_rest(&mut self, key: u32, now: u64) -> bool {
        let member = &mut self.members[key as usize];
        if !member.is_held() {
            return true;
        }
        let rest = std::mem::take(&mut member.own_mut().rest);
        let written = member.write(&rest);
        let own = member.own_mut();
        match written {
            Written::Part(0) => {
                own.rest = rest;
                return false;
            }
            Written::Part(len) => {
                self.stalled.remove(&(own.since, key));
                own.since = now;
                self.stalled.insert((now, key));
                own.rest = rest.slice(len..);
                return false;
            }
            Written::All => {
                self.stalled.remove(&(own.since, key));
                member.spoke = now;
                self.pins.remove(&rest);
            }
            Written::Gone => {
                own.rest = rest;
                self.remove(key);
                return false;
            }
        }
        true
    }

    /// Decides the end of a member's connection.
    fn close(&mut self, key: u32, reason: CloseReason) {
        let member = &self.members[key as usize];
        let source = self.groups[member.group as usize].source;
        let shared = Arc::clone(&self.sources[source as usize].shared);
        let mut state = shared.lock();
        let ended = state.close(member.slot, reason);
        let called = state.take_shards_to_wake();
        drop(state);
        called.into_iter().for_each(Waker::wake);
        shared.run_disconnect_hook(ended);
    }

    /// Drops a member: its socket is closed, and its place is free.
    pub(super) fn remove(&mut self, key: u32) {
        self.leave_group(key);
        let Some(mut member) = self.members.try_remove(key as usize) else { return };
        if let Some(own) = member.own.take().filter(|own| !own.rest.is_empty()) {
            self.stalled.remove(&(own.since, key));
            self.pins.remove(&own.rest);
        }
        // What came and was not read would make the system cut off what was written last.
        member.drain_input();
        let Member { socket, group: group_key, body, held, .. } = member;
        drop(socket);
        drop_foreign(body);
        drop(held);
        let group = &mut self.groups[group_key as usize];
        let source_key = group.source;
        group.members -= 1;
        if group.members == 0 {
            self.forget_group(group_key);
        }
        let source = &mut self.sources[source_key as usize];
        source.members -= 1;
        if source.members == 0 {
            self.forget_source(source_key);
        }
    }

    /// Looks at members whose time has come, some of them.
    pub(super) fn look_after_due(&mut self, now: u64) {
        for _ in 0..limits::SHARD_TURN {
            let Some(&(since, key)) = self.stalled.first() else { break };
            if now.saturating_sub(since) < stall_ms() {
                break;
            }
            self.close(key, CloseReason::Stalled);
            self.remove(key);
        }
        if let Some((tick, keys)) = self.looks.take_due(now, limits::SHARD_TURN) {
            for key in keys {
                // The place may be another member's by now, or have another timer.
                let member = self.members.get(key as usize);
                if member.is_some_and(|member| member.look == tick as u32) {
                    self.look_after(key, now);
                }
            }
        }
        self.mark_due(now);
    }

    fn look_after(&mut self, key: u32, now: u64) {
        let member = &mut self.members[key as usize];
        if member.ends <= now {
            member.ends = u64::MAX;
            let drains = self.drains_until.is_some();
            self.close(key, if drains { CloseReason::Shutdown } else { CloseReason::MaxAge });
        } else if self.heartbeat_at(key, now) <= now {
            self.write_own(key, Bytes::from_static(HEARTBEAT_CHUNK), now);
        }
        if self.members.contains(key as usize) {
            self.set_look(key, now);
        }
    }

    fn heartbeat_at(&self, key: u32, now: u64) -> u64 {
        let member = &self.members[key as usize];
        let group = &self.groups[member.group as usize];
        let settings = &self.sources[group.source as usize].shared.settings;
        member.heartbeat_at(settings, group.spoke, now)
    }

    fn set_look(&mut self, key: u32, now: u64) {
        let at = self.heartbeat_at(key, now).min(self.members[key as usize].ends);
        let member = &mut self.members[key as usize];
        if at < u64::MAX {
            // Timers of those who left are forgotten when they are due, and not before.
            let latest = now + limits::SHARD_LOOK.as_millis() as u64;
            member.look = self.looks.set(key, at.clamp(now + 1, latest)) as u32;
        }
    }

    /// Ends a member's connection at a random moment until `end`.
    pub(super) fn end_within(&mut self, key: u32, now: u64, end: u64) {
        let window = end.saturating_sub(now);
        let wait = ((u128::from(random::bits()) * u128::from(window)) >> 64) as u64;
        self.members[key as usize].ends = now + wait;
        self.set_look(key, now);
    }
}
