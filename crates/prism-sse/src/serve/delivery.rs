//! What a delivery shard does: a state machine over sockets, without a thread, a poll or a clock.
//!
//! The connections of one audience form a *group*, and are its *members*. Members that have
//! received everything are *live*: they share the group's position in the log, so that a live
//! connection is a socket and a few integers. When events come, the group's next bytes are taken
//! from the log once and written to every live member in a *fan-out pass*. A member whose socket is
//! full, that is sent something alone, or that is to end, leaves its group. It then reads the log
//! from its own position, as a response body does, and joins the group again when it has received
//! everything.
//!
//! Work is done in small pieces: a pass in slices of members, and a member on its own in a few
//! steps. Between two pieces the caller looks at its sockets. No lock is held while anything is
//! written.
//!
//! # Why nothing is lost
//!
//! A shard takes its calls from a manager and a group's next bytes from the log under one lock, and
//! a member that was called for leaves its group first. So a group never passes an event that was
//! sent to one of its members alone.

mod attached_manager;
mod group;
mod managers;
mod member;
mod passes;
mod pinned_buffers;
mod shared_frames;
mod state;
mod steps;
#[cfg(all(test, feature = "test-util"))]
mod tests;

use std::io::{Read, Write};
use std::time::Duration;

use super::hand_over::drop_catching_panics;
use crate::limits;
use crate::manager::Timers;
use state::stall_ms;
pub(crate) use state::{DeliveryShard, NextTurn};

impl<S: Read + Write> DeliveryShard<S> {
    /// Does one piece of work. `now` is in milliseconds of the shard's own clock, as everywhere
    /// below.
    pub(crate) fn turn(&mut self, now: u64) -> NextTurn {
        self.replay_work = 0;
        self.poll_managers(now);
        let mut left = limits::PASS_SLICE;
        while left > 0 {
            let Some(group) = self.passes.pop_front() else { break };
            left = left.saturating_sub(self.continue_pass(group, left, now).max(1));
        }
        for _ in 0..limits::SHARD_TURN {
            if self.replay_work >= limits::REPLAY_WORK {
                // Live members come first in the next turn.
                break;
            }
            let Some(key) = self.runnable.pop_front() else { break };
            self.run_member(key, now);
        }
        self.enforce_pin_limit();
        self.run_member_timers(now);
        self.send_due_marks(now);
        self.drop_detached_managers();
        self.next_turn(now)
    }

    fn next_turn(&self, now: u64) -> NextTurn {
        if let Some(&group) = self.passes.front() {
            return if self.pass_is_full(group) { NextTurn::Now } else { NextTurn::AfterYield };
        }
        if !self.runnable.is_empty() || !self.due_managers.is_empty() {
            return NextTurn::Now;
        }
        if !self.wake_queue.is_empty() {
            return NextTurn::AfterYield;
        }
        let stall = self.stalled.first().map(|&(since, _)| since + stall_ms());
        let timers =
            [&self.member_timers, &self.mark_timers, &self.expiry_timers].map(Timers::next);
        let pause = self.paused_groups.front().map(|&(until, ..)| until);
        match timers.into_iter().chain([stall, pause]).flatten().min() {
            Some(at) if at <= now => NextTurn::Now,
            Some(at) => NextTurn::At(at),
            None => NextTurn::WhenWoken,
        }
    }

    /// Ends each connection at a random moment within `window`, also those that are adopted later.
    pub(crate) fn drain(&mut self, now: u64, window: Duration) {
        let end = now.saturating_add(window.as_millis() as u64);
        self.drain_end = Some(end);
        let keys: Vec<u32> = self.members.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.schedule_end(key, now, end);
        }
    }

    /// Drops all connections at once.
    pub(crate) fn drop_all(&mut self) {
        let keys: Vec<u32> = self.members.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.remove_member(key);
        }
        self.drop_detached_managers();
    }
}

impl<S> DeliveryShard<S> {
    fn drop_detached_managers(&mut self) {
        self.detached_managers.drain(..).for_each(drop_catching_panics);
    }
}
