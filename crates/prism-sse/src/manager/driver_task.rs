//! The driver: the manager's one task, which wakes response bodies and handles their timers.
//!
//! A publisher appends and notifies the task once. The task takes the wakers of members that are
//! due in batches, under the lock, and wakes them without it. It also schedules heartbeats and
//! marks, closes connections that are too old or stalled, and evicts records that are too old.
//!
//! The task is started by the first connection that is polled inside a tokio runtime, and again by
//! a later one if that runtime ended. Without a runtime, publishers wake readers themselves, and
//! nothing happens by time.

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::close_reason::CloseReason;
use super::connection_entry::{DrivenBy, EndedConnection};
use super::inner::ManagerInner;
use super::settings::ManagerSettings;
use super::state::{Due, State};
use crate::limits;
use crate::steps;

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverStep {
    Again,
    /// Sleep until it is notified, or for this many milliseconds.
    Sleep(Option<u64>),
}

impl ManagerInner {
    /// Starts the driver unless it runs, if there is a runtime to run it.
    pub(crate) fn start_driver(&self) {
        if self.driver.is_running() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.driver.claim() {
            let guard = DriverGuard { manager: self.weak(), started: false, in_step: false };
            runtime.spawn(drive(guard, self.driver.signal()));
        }
    }

    /// Wakes the shards and the response bodies that are due. Call it with no lock held.
    pub(crate) fn wake(&self) {
        let shards = self.lock().take_shards_to_wake();
        shards.into_iter().for_each(Waker::wake);
        self.wake_bodies();
    }

    /// Wakes the response bodies that are due: through the driver, or here if it does not run.
    pub(super) fn wake_bodies(&self) {
        if self.driver.can_wake() {
            self.driver.notify();
        } else {
            self.wake_all_due();
        }
    }

    /// One bounded piece of the driver's work.
    fn driver_step(&self) -> DriverStep {
        let now = self.now();
        let mut wakers = Vec::new();
        let mut ended = Vec::new();
        let step = {
            let mut state = self.lock();
            let step = state.driver_step(now, &self.settings, &mut wakers, &mut ended);
            wakers.append(&mut state.take_shards_to_wake());
            step
        };
        wakers.into_iter().for_each(Waker::wake);
        self.run_disconnect_hook(ended);
        step
    }

    fn wake_all_due(&self) {
        while self.driver_step() == DriverStep::Again {}
    }
}

/// Owned by the task. Dropping it, for whatever reason, marks the task as ended.
struct DriverGuard {
    manager: Weak<ManagerInner>,
    /// The task was polled. A runtime that has ended drops it without.
    started: bool,
    /// The task is in a step, and not in an await at which its runtime may drop it.
    in_step: bool,
}

impl Drop for DriverGuard {
    fn drop(&mut self) {
        let Some(manager) = self.manager.upgrade() else { return };
        // A step panics in a runtime without a clock. The next task would panic as well, so that
        // none is started.
        manager.driver.release(self.in_step && std::thread::panicking());
        if self.started {
            // Waking everyone lets a reader in another runtime start the task there.
            manager.lock().schedule_all();
        }
        manager.wake_all_due();
    }
}

async fn drive(mut guard: DriverGuard, signal: Arc<Notify>) {
    loop {
        let Some(manager) = guard.manager.upgrade() else { return };
        (guard.started, guard.in_step) = (true, true);
        let step = manager.driver_step();
        drop(manager);
        match step {
            DriverStep::Again => {
                guard.in_step = false;
                tokio::task::yield_now().await;
            }
            DriverStep::Sleep(None) => {
                guard.in_step = false;
                signal.notified().await;
            }
            DriverStep::Sleep(Some(millis)) => {
                // Creating the timer panics in a runtime without a clock, and belongs to the step.
                let sleep = timeout(Duration::from_millis(millis), signal.notified());
                guard.in_step = false;
                drop(sleep.await);
            }
        }
    }
}

impl State {
    /// Handles timers and collects wakers, a batch of each.
    fn driver_step(
        &mut self,
        now: u64,
        settings: &ManagerSettings,
        wakers: &mut Vec<Waker>,
        ended: &mut Vec<EndedConnection>,
    ) -> DriverStep {
        self.log.trim(now);
        if let Some((tick, slots)) = self.timers.take_due(now, limits::WAKE_BATCH) {
            for slot in slots {
                self.check_timers(slot, tick, now, settings, ended);
            }
        }
        let mut room = limits::WAKE_BATCH;
        while room > 0 {
            let Some(due) = self.due.pop_front() else { break };
            room -= self.collect_wakers(due, now, room, wakers).min(room);
        }
        if !wakers.is_empty() {
            // Members whose waker was taken have none registered any more, so that their next poll
            // must not be answered without the lock.
            self.count_change();
        }
        let next = [self.timers.next(), self.log.expires()].into_iter().flatten().min();
        if !self.due.is_empty()
            || next.is_some_and(|next| next <= now)
            || self.log.exceeds_retention(now)
        {
            return DriverStep::Again;
        }
        DriverStep::Sleep(next.map(|next| next - now))
    }

    /// Takes at most `room` wakers of members that are due. Returns how many members it looked at.
    fn collect_wakers(
        &mut self,
        due: Due,
        now: u64,
        room: usize,
        wakers: &mut Vec<Waker>,
    ) -> usize {
        match due {
            Due::AudiencesFrom(from) => self.schedule_from(from, room).max(1),
            Due::Audience(key) => {
                let Some(entry) = self.audiences.get_mut(key) else { return 1 };
                let members = entry.take_due(room);
                let looked_at = members.len();
                steps::count(looked_at);
                wakers.extend(members.iter_mut().filter_map(|member| member.take_due(now)));
                if entry.is_due() {
                    self.due.push_back(due);
                }
                looked_at.max(1)
            }
            Due::Connection(slot) => {
                let Some(entry) = self.connections.get_mut(slot as usize) else { return 1 };
                // The slot may belong to another connection by now, or to one that a shard drives.
                let is_body = matches!(entry.driven_by, DrivenBy::Body { .. });
                if !is_body || !std::mem::take(&mut entry.is_queued) {
                    return 1;
                }
                if let Some(member) = self.member_mut(slot) {
                    wakers.extend(member.take_due(now));
                }
                1
            }
        }
    }

    /// Handles a connection whose timer fired: a stall, its maximum age, a heartbeat, a mark.
    fn check_timers(
        &mut self,
        slot: u32,
        tick: u64,
        now: u64,
        settings: &ManagerSettings,
        ended: &mut Vec<EndedConnection>,
    ) {
        // The slot may belong to another connection by now, or the connection have another timer.
        let Some(entry) = self.connections.get_mut(slot as usize) else { return };
        if entry.timer_tick != tick as u32 || entry.closing.is_some() {
            return;
        }
        // A shard handles the timers of the connections that it drives.
        let Some(member) = self.member_mut(slot) else { return };
        let due_since = member.due_since;
        let entry = &mut self.connections[slot as usize];
        let stall = limits::STALL.as_millis() as u64;
        if due_since.is_some_and(|since| now.saturating_sub(since.get()) >= stall) {
            ended.extend(self.close(slot, CloseReason::Stalled));
            return;
        }
        if settings.ends_at(entry.id.jitter(), entry.created_at).is_some_and(|end| end <= now) {
            ended.extend(self.close(slot, CloseReason::MaxAge));
            return;
        }
        let heartbeat = settings
            .heartbeat_at(entry.id.jitter(), entry.last_write_at)
            .is_some_and(|at| at <= now);
        let mark = settings.mark_at(entry.last_mark_at).is_some_and(|at| at <= now);
        if mark {
            entry.last_mark_at = now;
        }
        entry.wants_heartbeat |= heartbeat;
        entry.wants_mark |= mark;
        if heartbeat || mark {
            self.schedule(slot);
        }
        self.set_timer(slot, now, settings);
    }
}
