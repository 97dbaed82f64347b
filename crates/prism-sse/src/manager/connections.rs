//! Opening, closing and waking connections, under the manager's lock.

use std::any::Any;
use std::sync::Arc;
use std::task::Waker;

use super::audiences::AudienceMember;
use super::close_reason::CloseReason;
#[cfg(feature = "serve")]
use super::connection_entry::ClosedConnection;
use super::connection_entry::{Closing, ConnectionEntry, DrivenBy, EndedConnection};
use super::keys::{AudienceKey, ShardKey};
use super::settings::ManagerSettings;
use super::shards::PendingWakeups;
use super::state::State;
use crate::audience::Audience;
use crate::limits;
use crate::steps;
use crate::wire::ConnectionId;

/// A connection's id, and what the application attached to it.
pub(crate) type Attached = (ConnectionId, Option<Arc<dyn Any + Send + Sync>>);

impl State {
    /// Registers a connection. Returns its slot, its id, and whether the driver's sleep is now too
    /// long.
    pub(crate) fn connect(
        &mut self,
        random: (u64, u32),
        now: u64,
        audience: Audience,
        state: Option<Arc<dyn Any + Send + Sync>>,
        settings: &ManagerSettings,
    ) -> (u32, ConnectionId, bool) {
        let slot = self.connections.vacant_key() as u32;
        let id = ConnectionId::new(random, slot, &self.connection_ids);
        let audience = self.audiences.intern(audience, &mut self.log);
        let member = self.audiences.join(audience, slot);
        self.connections.insert(ConnectionEntry {
            id,
            audience,
            driven_by: DrivenBy::Body { member },
            sent_bytes: 0,
            state,
            created_at: now,
            last_write_at: now,
            last_mark_at: now,
            timer_tick: 0,
            is_queued: false,
            connect_hook_returned: !settings.has_hooks,
            wants_heartbeat: false,
            wants_mark: false,
            closing: None,
        });
        self.open += 1;
        self.counters.connected += 1;
        let before = self.timers.next();
        self.set_timer(slot, now, settings);
        (slot, id, self.timers.next() != before)
    }

    /// Removes a connection whose owner dropped it.
    ///
    /// What it held is returned, because dropping it may run code that is not ours.
    pub(crate) fn disconnect(
        &mut self,
        slot: u32,
    ) -> (Option<EndedConnection>, (Option<Waker>, ConnectionEntry)) {
        let ended = self.begin_close(slot, CloseReason::Disconnected);
        self.release_sent(slot, u64::MAX);
        let entry = self.connections.remove(slot as usize);
        let waker = match entry.driven_by {
            DrivenBy::Body { member } => self.leave(entry.audience, member),
            DrivenBy::Shard { shard, .. } => {
                self.audiences.leave_shard(entry.audience, shard, &mut self.log);
                None
            }
        };
        (ended, (waker, entry))
    }

    fn leave(&mut self, audience: AudienceKey, member: u32) -> Option<Waker> {
        let (moved, waker) = self.audiences.leave(audience, member, &mut self.log);
        if let Some(moved) = moved {
            self.connections[moved as usize].driven_by = DrivenBy::Body { member };
        }
        waker
    }

    /// Adds a shard that is woken through `waker`.
    pub(crate) fn add_shard(&mut self, waker: Waker) -> ShardKey {
        self.shards.insert(waker)
    }

    /// Removes a shard without connections, and returns its waker.
    pub(crate) fn remove_shard(&mut self, shard: ShardKey) -> Option<Waker> {
        self.shards.remove(shard)
    }

    /// Moves a connection that was polled until now to a shard, whose key for it is `key`. `None`
    /// if it was removed; else the waker that is not needed any more.
    pub(crate) fn adopt(
        &mut self,
        slot: u32,
        id: ConnectionId,
        shard: ShardKey,
        key: u32,
    ) -> Option<Option<Waker>> {
        let entry = self.connections.get_mut(slot as usize).filter(|entry| entry.id == id)?;
        let audience = entry.audience;
        let DrivenBy::Body { member } = entry.driven_by else { return None };
        entry.driven_by = DrivenBy::Shard { shard, key };
        // A wake-up that is due is not needed: the shard reads the log for it at once.
        entry.is_queued = false;
        self.audiences.join_shard(audience, shard);
        Some(self.leave(audience, member))
    }

    /// Whether the shard was woken since it last took its wake-ups.
    pub(crate) fn has_pending_wakeup(&self, shard: ShardKey) -> bool {
        self.shards.has_pending_wakeup(shard)
    }

    /// Takes the shard's pending wake-ups, in exchange for `empty`. Connections are named by the
    /// shard's own keys.
    pub(crate) fn take_wakeups(&mut self, shard: ShardKey, empty: &mut PendingWakeups) {
        self.shards.take(shard, empty);
        for &key in &empty.audiences {
            if let Some(entry) = self.audiences.get_mut(key) {
                entry.take_wakeup(shard);
            }
        }
        let connections = &mut self.connections;
        empty.connections.retain_mut(|slot| {
            // The slot may belong to another connection by now.
            let Some(entry) = connections.get_mut(*slot as usize) else { return false };
            let DrivenBy::Shard { shard: driven_by, key } = entry.driven_by else { return false };
            *slot = key;
            driven_by == shard && std::mem::take(&mut entry.is_queued)
        });
    }

    /// The wakers of shards to wake, now that the lock is about to be released.
    pub(crate) fn take_shards_to_wake(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.shards.to_wake)
    }

    /// Closes a connection. Only the first call for a connection has an effect and a result.
    pub(crate) fn close(&mut self, slot: u32, reason: CloseReason) -> Option<EndedConnection> {
        let ended = self.begin_close(slot, reason);
        self.schedule(slot);
        ended
    }

    fn begin_close(&mut self, slot: u32, reason: CloseReason) -> Option<EndedConnection> {
        let closing = Closing { reason, end: self.log.end(), applied: self.log.applied() };
        let entry = &mut self.connections[slot as usize];
        if entry.closing.is_some() {
            return None;
        }
        entry.closing = Some(Box::new(closing));
        self.open -= 1;
        self.audiences[entry.audience].open -= 1;
        // The hook for its end runs after the one for its beginning.
        entry.connect_hook_returned.then(|| (entry.id, entry.state.clone(), reason))
    }

    /// The hook for connections that begin has returned. If the connection ended meanwhile, the
    /// hook for that is due now.
    pub(crate) fn connect_hook_returned(&mut self, slot: u32) -> Option<EndedConnection> {
        let entry = self.entry_mut(slot);
        entry.connect_hook_returned = true;
        entry.closing.as_ref().map(|closing| (entry.id, entry.state.clone(), closing.reason))
    }

    /// Refuses further connections.
    pub(super) fn refuse_connections(&mut self) {
        self.closed = true;
    }

    /// Closes the connections in a batch of slots that begins at `from`. Returns where the next
    /// batch begins, if there is one.
    pub(super) fn close_batch(
        &mut self,
        from: u32,
        reason: CloseReason,
        ended: &mut Vec<EndedConnection>,
    ) -> Option<u32> {
        let (slots, next) = self.slot_batch(from);
        for slot in slots {
            if self.connections.contains(slot as usize) {
                ended.extend(self.close(slot, reason));
            }
        }
        next
    }

    /// A batch of slots that begins at `from`, and where the next batch begins, if there is one.
    fn slot_batch(&self, from: u32) -> (std::ops::Range<u32>, Option<u32>) {
        let end = self.connections.capacity() as u32;
        let until = end.min(from.saturating_add(limits::SLOT_BATCH));
        steps::count(until.saturating_sub(from) as usize);
        (from..until, (until < end).then_some(until))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// How many connections are registered, including those that are closing.
    pub(crate) fn registered(&self) -> usize {
        self.connections.len()
    }

    /// The slot of an open connection.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<u32> {
        let slot = self.find_any(id)?;
        self.connections[slot as usize].closing.is_none().then_some(slot)
    }

    /// The slot of a connection that was not dropped yet.
    pub(super) fn find_any(&self, id: ConnectionId) -> Option<u32> {
        let slot = id.slot(&self.connection_ids);
        (self.connections.get(slot as usize)?.id == id).then_some(slot)
    }

    /// The end of a connection that was closed and is not dropped yet.
    #[cfg(feature = "serve")]
    pub(super) fn closed(&self, id: ConnectionId) -> Option<ClosedConnection> {
        let entry = self
            .connections
            .get(id.slot(&self.connection_ids) as usize)
            .filter(|entry| entry.id == id)?;
        let reason = entry.closing()?.reason;
        Some(ClosedConnection { reason, last_write_at: entry.last_write_at })
    }

    /// The open connections in a batch of slots that begins at `from`, with what the application
    /// attached to them; and where the next batch begins, if there is one.
    pub(crate) fn batch(&self, from: u32) -> (Vec<Attached>, Option<u32>) {
        let (slots, next) = self.slot_batch(from);
        let entries = slots.filter_map(|slot| self.connections.get(slot as usize));
        let open = entries.filter(|entry| entry.closing.is_none());
        (open.map(|entry| (entry.id, entry.state.clone())).collect(), next)
    }

    pub(crate) fn entry(&self, slot: u32) -> &ConnectionEntry {
        &self.connections[slot as usize]
    }

    pub(crate) fn entry_mut(&mut self, slot: u32) -> &mut ConnectionEntry {
        &mut self.connections[slot as usize]
    }

    /// What the application attached to the connection.
    pub(crate) fn attached(&self, slot: u32) -> Option<Arc<dyn Any + Send + Sync>> {
        self.entry(slot).state.clone()
    }

    /// Registers the waker of a connection that has read everything.
    ///
    /// The waker that it replaces is returned, because dropping it may run code that is not ours.
    pub(crate) fn register_waker(&mut self, slot: u32, waker: &Waker) -> Option<Waker> {
        let member = self.member_mut(slot)?;
        member.due_since = None;
        match &member.waker {
            Some(registered) if registered.will_wake(waker) => None,
            _ => member.waker.replace(waker.clone()),
        }
    }

    /// The connection's registered waker.
    pub(crate) fn waker(&self, slot: u32) -> Option<&Waker> {
        let entry = &self.connections[slot as usize];
        let DrivenBy::Body { member } = entry.driven_by else { return None };
        self.audiences[entry.audience].members[member as usize].waker.as_ref()
    }

    /// The member of a connection that is polled as a response body.
    pub(super) fn member_mut(&mut self, slot: u32) -> Option<&mut AudienceMember> {
        let entry = &self.connections[slot as usize];
        let DrivenBy::Body { member } = entry.driven_by else { return None };
        Some(&mut self.audiences[entry.audience].members[member as usize])
    }

    /// Sets the connection's timer to the next moment at which something may be due for it.
    pub(super) fn set_timer(&mut self, slot: u32, now: u64, settings: &ManagerSettings) {
        let entry = &mut self.connections[slot as usize];
        let heartbeat_from = if entry.wants_heartbeat { now } else { entry.last_write_at };
        let next = [
            settings.heartbeat_at(entry.id.jitter(), heartbeat_from),
            settings.mark_at(entry.last_mark_at),
            settings.ends_at(entry.id.jitter(), entry.created_at),
        ];
        let stall_check = now + limits::STALL_CHECK_INTERVAL.as_millis() as u64;
        let next = next.into_iter().flatten().fold(stall_check, u64::min).max(now + 1);
        entry.timer_tick = self.timers.set(slot, next) as u32;
    }

    /// The connection was given bytes.
    pub(crate) fn progress(&mut self, slot: u32, now: u64) {
        let entry = &mut self.connections[slot as usize];
        entry.last_write_at = now;
        entry.wants_heartbeat = false;
        if let Some(member) = self.member_mut(slot) {
            member.progress(now);
        }
    }
}
