//! The state behind the manager's lock: the log, the connections, and which of them are due.
//!
//! Nothing here runs code that is not ours. Wakers, attached values and hooks' arguments are returned
//! to the caller, which runs or drops them once the lock is released.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use slab::Slab;

use super::audiences::{AudienceMember, Audiences};
use super::close_reason::CloseReason;
use super::error::PublishError;
use super::idempotency::{IdempotencyKeys, KeyDigest, KeyLookup};
use super::keys::{AudienceKey, ShardKey};
use super::settings::ManagerSettings;
use super::shards::{PendingWakeups, ShardTable};
use super::timers::Timers;
use crate::audience::Audience;
use crate::engine::{Ack, AckError, AckSender, Durability, Publication, Target, Wakes};
use crate::limits;
use crate::log::{Class, EVERYONE, Log, Record, TopicKey};
use crate::sync::AtomicU64;
use crate::wire::{ConnectionId, Epoch, Framed};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) audiences: Audiences,
    pub(super) connections: Slab<ConnectionEntry>,
    /// How many connections are not closing.
    open: usize,
    /// What the driver has to wake.
    pub(super) due: VecDeque<Due>,
    pub(super) timers: Timers,
    shards: ShardTable,
    /// Receipts of publications that the engine acknowledged before they were applied here, by sequence
    /// number.
    unapplied: BTreeMap<u64, Vec<(AckSender, Durability)>>,
    closed: bool,
    /// Incremented with everything that may concern a reader, so that a reader can see without the
    /// lock that nothing has changed.
    changes: Arc<AtomicU64>,
    pub(crate) counters: Counters,
    pub(super) keys: IdempotencyKeys,
}

/// Totals for the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connected: u64,
    pub(crate) published: u64,
    pub(crate) gaps: u64,
}

/// A connection as the manager sees it. Its position in the log is kept by the connection itself.
#[derive(Debug)]
pub(crate) struct ConnectionEntry {
    pub(super) id: ConnectionId,
    pub(super) audience: AudienceKey,
    pub(super) driven_by: DrivenBy,
    /// The unnamed topic of events that are sent to it alone; set with the first of them.
    direct: Option<TopicKey>,
    state: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) created_at: u64,
    /// When it was last given bytes.
    pub(crate) last_write_at: u64,
    /// When a mark was last due.
    pub(super) last_mark_at: u64,
    /// The lower half of the tick for which its timer is set. Timers are shorter than the half wraps
    /// around, so that other entries of the timers can be recognised as outdated.
    pub(super) timer_tick: u32,
    /// It is in `due`, or among the pending wake-ups of its shard.
    pub(super) is_queued: bool,
    /// The hook for connections that begin has returned, or there is none.
    connect_hook_returned: bool,
    pub(crate) wants_heartbeat: bool,
    pub(crate) wants_mark: bool,
    /// Boxed, because most connections are not closing.
    pub(super) closing: Option<Box<Closing>>,
}

/// Who reads the log for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum DrivenBy {
    /// Whoever polls it as a response body. `member` is its index among the audience's members.
    Body { member: u32 },
    /// A delivery shard. `key` is the shard's key for it.
    Shard { shard: ShardKey, key: u32 },
}

/// A close that was decided. If it is a planned one, events before `end` are still delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) reason: CloseReason,
    /// The end of the log when the close was decided.
    pub(crate) end: u64,
    /// The applied mark then.
    pub(crate) applied: u64,
}

/// What the driver has to wake.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The members of an audience that are in its wake pass.
    Audience(AudienceKey),
    /// The connection in this slot.
    Connection(u32),
}

/// A connection that ended: the arguments of the hook.
pub(crate) type EndedConnection = (ConnectionId, Option<Arc<dyn Any + Send + Sync>>, CloseReason);

impl State {
    pub(crate) fn new(settings: &ManagerSettings) -> Self {
        Self {
            log: Log::new(settings.retention(), settings.has_history()),
            audiences: Audiences::default(),
            connections: Slab::new(),
            open: 0,
            due: VecDeque::new(),
            timers: Timers::default(),
            shards: ShardTable::default(),
            unapplied: BTreeMap::new(),
            closed: false,
            changes: Arc::default(),
            counters: Counters::default(),
            keys: IdempotencyKeys::default(),
        }
    }

    /// Appends an event of the order, and schedules its readers.
    pub(crate) fn apply(
        &mut self,
        seq: u64,
        now: u64,
        publication: &Publication,
        framed: Framed,
    ) -> Wakes {
        let mut wakes = Wakes::default();
        if seq <= self.log.applied() {
            return wakes;
        }
        let topics = match publication.target() {
            Target::Topics(topics) => {
                topics.iter().map(|topic| self.log.topics_mut().intern(topic)).collect()
            }
            Target::Everyone => [EVERYONE].into(),
            // Ephemeral publications are not part of the order; see `apply_ephemeral`.
            Target::Connection(_) => return wakes,
        };
        let mut record = Record {
            index: 0,
            seq,
            at: now,
            topics,
            class: publication.class(),
            private: publication.is_private(),
            ephemeral: false,
            sends_position: publication.event().data().is_some(),
            id: publication.event().event_id().cloned(),
            framed,
            receivers: 0,
            offset: 0,
        };
        self.log.match_patterns(&record.topics);
        let (due, shards) = (&mut self.due, &mut self.shards);
        let mut receivers = 0;
        self.audiences.matching(self.log.end(), &record, &self.log, |key, entry| {
            receivers += entry.open;
            if entry.begin_wake_pass() {
                due.push_back(Due::Audience(key));
            }
            entry.shards_to_wake().for_each(|shard| shards.wake_for_audience(shard, key));
        });
        record.receivers = u32::try_from(receivers).unwrap_or(u32::MAX);
        self.counters.published += 1;
        let ages = self.append(record);
        self.count_change();
        self.acknowledge_up_to(seq, &mut wakes);
        self.add_readers(ages, &mut wakes);
        wakes
    }

    /// Appends an event for one connection, if that is open.
    pub(crate) fn apply_ephemeral(
        &mut self,
        now: u64,
        to: ConnectionId,
        framed: Framed,
        sender: AckSender,
    ) -> Wakes {
        let seq = self.log.applied();
        let Some(slot) = self.find(to) else {
            return Wakes::ack(sender, self.ack(seq, Durability::Memory, 0));
        };
        let entry = &mut self.connections[slot as usize];
        let topic = *entry.direct.get_or_insert_with(|| self.log.topics_mut().unnamed());
        let ages = self.append(Record {
            index: 0,
            seq,
            at: now,
            topics: [topic].into(),
            class: Class::History,
            private: false,
            ephemeral: true,
            sends_position: false,
            id: None,
            framed,
            receivers: 1,
            offset: 0,
        });
        self.schedule(slot);
        let mut wakes = Wakes::ack(sender, self.ack(seq, Durability::Memory, 1));
        self.add_readers(ages, &mut wakes);
        wakes
    }

    /// Appends a record. Returns whether a record now expires earlier than the driver assumes.
    fn append(&mut self, record: Record) -> bool {
        let before = self.log.expires();
        self.log.append(record);
        let after = self.log.expires();
        after.is_some_and(|after| before.is_none_or(|before| after < before))
    }

    /// Completes the receipt of a publication, once this node has applied it.
    pub(crate) fn acknowledge(
        &mut self,
        seq: u64,
        durability: Durability,
        sender: AckSender,
    ) -> Wakes {
        if seq > self.log.applied() {
            self.unapplied.entry(seq).or_default().push((sender, durability));
            return Wakes::default();
        }
        Wakes::ack(sender, self.ack_of(seq, durability))
    }

    /// Begins an epoch. If the order was replaced, every reader is scheduled, to be sent a gap.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch, after: u64) -> Wakes {
        let mut wakes = Wakes::default();
        if self.log.begin_epoch(epoch, after) {
            self.keys.clear();
            for (sender, _) in std::mem::take(&mut self.unapplied).into_values().flatten() {
                wakes.push(sender, Err(AckError::Unknown));
            }
            self.schedule_all();
            self.add_readers(false, &mut wakes);
        }
        wakes
    }

    /// Adds to `wakes` what is due: response bodies, the driver if its sleep is too long, and shards.
    fn add_readers(&mut self, ages: bool, wakes: &mut Wakes) {
        wakes.readers(ages || !self.due.is_empty(), &mut self.shards.to_wake);
    }

    /// Looks up the idempotency key of a publication that is about to be appended.
    pub(super) fn look_up_key(
        &mut self,
        digest: KeyDigest,
        now: u64,
        window: u64,
        durability: Durability,
    ) -> Result<KeyLookup, PublishError> {
        let mut keys = std::mem::take(&mut self.keys);
        let lookup = keys.look_up(digest, now, window, |seq| self.ack_of(seq, durability));
        self.keys = keys;
        lookup
    }

    fn ack_of(&self, seq: u64, durability: Durability) -> Result<Ack, AckError> {
        let receivers = self.log.find(seq).map_or(0, |record| record.receivers as usize);
        self.ack(seq, durability, receivers)
    }

    fn acknowledge_up_to(&mut self, seq: u64, wakes: &mut Wakes) {
        while let Some(waiting) = self.unapplied.first_entry() {
            if *waiting.key() > seq {
                break;
            }
            let (seq, senders) = waiting.remove_entry();
            let receivers = self.log.find(seq).map_or(0, |record| record.receivers as usize);
            for (sender, durability) in senders {
                wakes.push(sender, self.ack(seq, durability, receivers));
            }
        }
    }

    fn ack(&self, seq: u64, durability: Durability, receivers: usize) -> Result<Ack, AckError> {
        let position = self.log.position(seq).ok_or(AckError::Unknown)?;
        Ok(Ack { position, durability, receivers })
    }

    /// Registers a connection. Returns its slot, its id, and whether the driver's sleep is now too long.
    pub(crate) fn connect(
        &mut self,
        random: (u64, u32),
        now: u64,
        audience: Audience,
        state: Option<Arc<dyn Any + Send + Sync>>,
        settings: &ManagerSettings,
    ) -> (u32, ConnectionId, bool) {
        let slot = self.connections.vacant_key() as u32;
        let id = ConnectionId::new(random, slot);
        let audience = self.audiences.intern(audience, &mut self.log);
        let member = self.audiences.join(audience, slot);
        self.connections.insert(ConnectionEntry {
            id,
            audience,
            driven_by: DrivenBy::Body { member },
            direct: None,
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
        let entry = self.connections.remove(slot as usize);
        if let Some(topic) = entry.direct {
            self.log.topics_mut().release(topic);
        }
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

    /// Moves a connection that was polled until now to a shard, whose key for it is `key`. `None` if it
    /// was removed; else the waker that is not needed any more.
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

    /// Takes the shard's pending wake-ups, in exchange for `empty`. Connections are named by the shard's
    /// own keys.
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

    /// ShardTable to wake, now that the lock is about to be released.
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

    /// The hook for connections that begin has returned. If the connection ended meanwhile, the hook for
    /// that is due now.
    pub(crate) fn connect_hook_returned(&mut self, slot: u32) -> Option<EndedConnection> {
        let entry = self.entry_mut(slot);
        entry.connect_hook_returned = true;
        entry.closing.as_ref().map(|closing| (entry.id, entry.state.clone(), closing.reason))
    }

    /// Closes every connection and refuses further ones.
    pub(crate) fn close_all(&mut self, reason: CloseReason) -> Vec<EndedConnection> {
        self.closed = true;
        let slots: Vec<u32> = self.connections.iter().map(|(slot, _)| slot as u32).collect();
        slots.into_iter().filter_map(|slot| self.close(slot, reason)).collect()
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
        let entry = self.connections.get(id.slot() as usize)?;
        (entry.id == id && entry.closing.is_none()).then_some(id.slot())
    }

    /// Open connections, with what the application attached to them.
    pub(crate) fn all(
        &self,
    ) -> impl Iterator<Item = (ConnectionId, Option<Arc<dyn Any + Send + Sync>>)> {
        let open = self.connections.iter().filter(|(_, entry)| entry.closing.is_none());
        open.map(|(_, entry)| (entry.id, entry.state.clone()))
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

    /// Incremented with everything that may concern a reader that has read everything.
    pub(crate) fn changes(&self) -> &Arc<AtomicU64> {
        &self.changes
    }

    pub(super) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Lets the driver wake this connection, or wakes its shard for it.
    pub(crate) fn schedule(&mut self, slot: u32) {
        self.count_change();
        let entry = self.entry_mut(slot);
        if std::mem::replace(&mut entry.is_queued, true) {
            return;
        }
        match entry.driven_by {
            DrivenBy::Body { .. } => self.due.push_back(Due::Connection(slot)),
            DrivenBy::Shard { shard, .. } => self.shards.wake_for_connection(shard, slot),
        }
    }

    /// Lets the driver, or their shards, wake all connections.
    pub(crate) fn schedule_all(&mut self) {
        self.count_change();
        for (key, entry) in self.audiences.iter_mut() {
            if entry.begin_wake_pass() {
                self.due.push_back(Due::Audience(key));
            }
            let shards = &mut self.shards;
            entry.shards_to_wake().for_each(|shard| shards.wake_for_audience(shard, key));
        }
    }
}

impl ConnectionEntry {
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The close that was decided, if one was.
    pub(crate) fn closing(&self) -> Option<Closing> {
        self.closing.as_deref().copied()
    }

    pub(crate) fn audience(&self) -> AudienceKey {
        self.audience
    }

    pub(crate) fn direct(&self) -> Option<TopicKey> {
        self.direct
    }
}
