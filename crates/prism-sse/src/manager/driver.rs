//! The driver: the manager's one task, which wakes readers and looks after their timers.
//!
//! A publisher appends and signals the driver once. The driver takes the wakers of those who are
//! due in batches, under the lock, and wakes them after it was released. It also sends heartbeats
//! and marks, ends connections that are too old or stalled, and lets records grow too old.
//!
//! It is started by the first connection that is polled inside a tokio runtime, and again by a
//! later one if that runtime ended. Where there is no runtime, publishers wake readers themselves,
//! and nothing happens by time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::builder::ManagerSettings;
use super::inner::ManagerInner;
use super::state::{DrivenBy, DriverStep, Due, EndedConnection, State};
use super::{CloseReason, hooks};
use crate::limits;
use crate::sync::AtomicBool;

#[derive(Debug, Default)]
pub(crate) struct Driver {
    running: AtomicBool,
    /// The task cannot run here; publishers wake readers for good.
    broken: AtomicBool,
    signal: Arc<Notify>,
}

impl Driver {
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Starts the task if it does not run and can.
    pub(crate) fn start(&self, shared: &Arc<ManagerInner>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.running.swap(true, Ordering::AcqRel) {
            let shared = Arc::downgrade(shared);
            let running = Running { shared, began: false, awake: false };
            runtime.spawn(drive(running, Arc::clone(&self.signal)));
        }
    }

    /// Lets due readers be woken: by the task, or by the caller where there is none.
    pub(crate) fn wake(&self, shared: &ManagerInner) {
        if self.running.load(Ordering::Acquire) && !self.broken.load(Ordering::Acquire) {
            self.signal.notify_one();
        } else {
            shared.wake_all_due();
        }
    }

    /// Ends the task; called when the manager is dropped.
    pub(crate) fn stop(&self) {
        self.signal.notify_one();
    }
}

/// Says that the task runs, for as long as it is not dropped, by whomever.
struct Running {
    shared: Weak<ManagerInner>,
    /// It ran at all; a runtime that has ended drops it at once.
    began: bool,
    /// It is our own code that runs, and no wait that is given up.
    awake: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        // A runtime without a clock ends the task with a panic, and would end the next one too.
        let broken = self.awake && std::thread::panicking();
        shared.driver.running.store(broken, Ordering::Release);
        shared.driver.broken.store(broken, Ordering::Release);
        if self.began {
            // Everyone has a turn, so that a reader in another runtime starts the task there.
            shared.lock().schedule_all();
        }
        shared.wake_all_due();
    }
}

async fn drive(mut running: Running, signal: Arc<Notify>) {
    loop {
        let Some(shared) = running.shared.upgrade() else { return };
        (running.began, running.awake) = (true, true);
        let turn = shared.driver_step();
        drop(shared);
        match turn {
            DriverStep::Again => {
                running.awake = false;
                tokio::task::yield_now().await;
            }
            DriverStep::Rest(None) => {
                running.awake = false;
                signal.notified().await;
            }
            DriverStep::Rest(Some(millis)) => {
                // Either end of the wait leads to the next turn.
                let rest = timeout(Duration::from_millis(millis), signal.notified());
                running.awake = false;
                drop(rest.await);
            }
        }
    }
}

impl ManagerInner {
    /// One bounded piece of the driver's work.
    fn driver_step(&self) -> DriverStep {
        let now = self.now();
        let mut wakers = Vec::new();
        let mut ended = Vec::new();
        let turn = {
            let mut state = self.lock();
            let turn = state.driver_step(now, &self.settings, &mut wakers, &mut ended);
            wakers.append(&mut state.take_shards_to_wake());
            turn
        };
        wakers.into_iter().for_each(Waker::wake);
        hooks::disconnected(&self.settings.hooks, self, ended);
        turn
    }

    fn wake_all_due(&self) {
        while self.driver_step() == DriverStep::Again {}
    }
}

impl State {
    /// Looks at timers and collects wakers, some of each. `Rest` counters from `now`.
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
            room -= self.collect(due, now, room, wakers).min(room);
        }
        if !wakers.is_empty() {
            // Who is woken for what it knows already has no waker here any more.
            self.changed();
        }
        let next = [self.timers.next(), self.log.expires()].into_iter().flatten().min();
        if !self.due.is_empty() || next.is_some_and(|next| next <= now) {
            return DriverStep::Again;
        }
        DriverStep::Rest(next.map(|next| next - now))
    }

    /// Takes at most `room` wakers of who is due, and returns how many it looked at.
    fn collect(&mut self, due: Due, now: u64, room: usize, wakers: &mut Vec<Waker>) -> usize {
        match due {
            Due::Audience(key) => {
                let Some(entry) = self.audiences.get_mut(key) else { return 1 };
                let members = entry.take_due(room);
                let looked = members.len();
                wakers.extend(members.iter_mut().filter_map(|member| member.take_due(now)));
                if entry.is_due() {
                    self.due.push_back(due);
                }
                looked.max(1)
            }
            Due::Connection(slot) => {
                let Some(entry) = self.connections.get_mut(slot as usize) else { return 1 };
                // The slot may be another connection's, or a shard's, which is called itself.
                let is_body = matches!(entry.driven_by, DrivenBy::Body { .. });
                if !is_body || !std::mem::take(&mut entry.queued) {
                    return 1;
                }
                if let Some(member) = self.member_mut(slot) {
                    wakers.extend(member.take_due(now));
                }
                1
            }
        }
    }

    fn check_timers(
        &mut self,
        slot: u32,
        tick: u64,
        now: u64,
        settings: &ManagerSettings,
        ended: &mut Vec<EndedConnection>,
    ) {
        // The slot may be another connection's by now, or have another timer.
        let Some(entry) = self.connections.get_mut(slot as usize) else { return };
        if entry.timer != tick as u32 || entry.closing.is_some() {
            return;
        }
        // A shard looks after its connections itself.
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

    pub(super) fn set_timer(&mut self, slot: u32, now: u64, settings: &ManagerSettings) {
        let entry = &mut self.connections[slot as usize];
        let heartbeat = if entry.wants_heartbeat { now } else { entry.last_write_at };
        let next = [
            settings.heartbeat_at(entry.id.jitter(), heartbeat),
            settings.mark_at(entry.last_mark_at),
            settings.ends_at(entry.id.jitter(), entry.created_at),
        ];
        let look = now + limits::LOOK.as_millis() as u64;
        let next = next.into_iter().flatten().fold(look, u64::min).max(now + 1);
        entry.timer = self.timers.set(slot, next) as u32;
    }
}
