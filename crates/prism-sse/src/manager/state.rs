//! What the manager's lock guards: the log, who reads it, and who is due.
//!
//! Nothing here calls out. Wakers and hooks are handed to the caller, who runs them after the lock
//! was released.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use slab::Slab;

use super::audiences::{AudienceKey, AudienceMember, Audiences};
use super::builder::ManagerSettings;
use super::keys::{IdempotencyKeys, KeyDigest, KeyLookup};
use super::shards::{PendingWakeups, ShardKey, ShardTable};
use super::timers::Timers;
use super::{CloseReason, PublishError};
use crate::audience::Audience;
use crate::engine::{Ack, AckError, AckSender, Durability, Publication, Target, Wakes};
use crate::log::{Class, EVERYONE, Log, Record, TopicKey};
use crate::sync::AtomicU64;
use crate::wire::{ConnectionId, Epoch, Framed};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) audiences: Audiences,
    pub(super) connections: Slab<ConnectionEntry>,
    /// Connections that are not closing.
    open: usize,
    pub(super) due: VecDeque<Due>,
    pub(super) timers: Timers,
    shards: ShardTable,
    /// Answers to publications the engine acknowledged before they were applied here.
    unapplied: BTreeMap<u64, Vec<(AckSender, Durability)>>,
    closed: bool,
    /// Counters what may concern a reader, so that one can tell without the lock that nothing did.
    changes: Arc<AtomicU64>,
    pub(crate) counters: Counters,
    pub(super) keys: IdempotencyKeys,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connected: u64,
    pub(crate) published: u64,
    pub(crate) gaps: u64,
}

/// What the manager knows of a connection; its place in the log is its own.
#[derive(Debug)]
pub(crate) struct ConnectionEntry {
    pub(super) id: ConnectionId,
    pub(super) audience: AudienceKey,
    pub(super) driven_by: DrivenBy,
    /// The nameless topic of what is sent to it alone, once something was.
    direct: Option<TopicKey>,
    state: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) created_at: u64,
    /// When bytes were last handed out.
    pub(crate) last_write_at: u64,
    /// When it was last given a chance to be told the applied mark.
    pub(super) last_mark_at: u64,
    /// Its tick's lower half, which tells it from others for longer than timers run.
    pub(super) timer: u32,
    pub(super) queued: bool,
    /// The application was told that it began.
    connect_hook_returned: bool,
    pub(crate) wants_heartbeat: bool,
    pub(crate) wants_mark: bool,
    /// Boxed, because most connections are not closing.
    pub(super) closing: Option<Box<Closing>>,
}

/// Who looks after a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum DrivenBy {
    /// Whoever polls it: it has this place among the audience's members.
    Body { member: u32 },
    /// A shard, which knows it by its own key.
    Shard { shard: ShardKey, key: u32 },
}

/// A connection that ends once it has delivered what was there when its end was decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) reason: CloseReason,
    pub(crate) end: u64,
    pub(crate) applied: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Audience(AudienceKey),
    Connection(u32),
}

/// A connection that ended, to be told to the hook.
pub(crate) type EndedConnection = (ConnectionId, Option<Arc<dyn Any + Send + Sync>>, CloseReason);

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DriverStep {
    Again,
    /// Until the next wake, or until this moment.
    Rest(Option<u64>),
}

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

    /// Appends an event that has a place in the order, and marks its readers as due.
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
            // An engine that gives it a place does not make it everybody's.
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
        self.changed();
        self.acknowledge_up_to(seq, &mut wakes);
        self.add_readers(ages, &mut wakes);
        wakes
    }

    /// Appends an event for one connection. Without that connection nothing happens.
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

    /// Appends a record. The sender says whether something is now too old earlier than the driver
    /// knows.
    fn append(&mut self, record: Record) -> bool {
        let before = self.log.expires();
        self.log.append(record);
        let after = self.log.expires();
        after.is_some_and(|after| before.is_none_or(|before| after < before))
    }

    /// Answers a publication, or keeps the sender until this node has applied it.
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

    /// Begins an epoch. If the order before it is gone, every reader is due for a gap.
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

    /// Says in `wakes` who has something to do: readers, or the driver because what is kept has
    /// begun to age.
    fn add_readers(&mut self, ages: bool, wakes: &mut Wakes) {
        wakes.readers(ages || !self.due.is_empty(), &mut self.shards.to_wake);
    }

    /// Looks up a publication with a key that is about to be handed over.
    pub(super) fn look_up_key(
        &mut self,
        digest: KeyDigest,
        now: u64,
        window: u64,
        durability: Durability,
    ) -> Result<KeyLookup, PublishError> {
        let mut keys = std::mem::take(&mut self.keys);
        let begun = keys.begin(digest, now, window, |seq| self.ack_of(seq, durability));
        self.keys = keys;
        begun
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

    /// Registers a connection. The sender says last whether the driver now rests too long.
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
            timer: 0,
            queued: false,
            connect_hook_returned: !settings.hooks.any(),
            wants_heartbeat: false,
            wants_mark: false,
            closing: None,
        });
        self.open += 1;
        self.counters.connected += 1;
        let rest = self.timers.next();
        self.set_timer(slot, now, settings);
        (slot, id, self.timers.next() != rest)
    }

    /// Forgets a connection whose owner dropped it.
    ///
    /// What it held is handed out, because dropping it may run foreign code.
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

    /// Forgets a shard that has no connections any more, and hands out its waker.
    pub(crate) fn remove_shard(&mut self, shard: ShardKey) -> Option<Waker> {
        self.shards.remove(shard)
    }

    /// Gives a connection that was polled until now to a shard, which knows it by `key`. `None` if
    /// it is not there any more; else a waker that is not needed any more is handed out.
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
        // Its wake-up is forgotten with its waker; a shard looks at what it adopts.
        entry.queued = false;
        self.audiences.join_shard(audience, shard);
        Some(self.leave(audience, member))
    }

    /// Whether the shard was called for anything that it has not taken yet.
    pub(crate) fn has_pending_wakeup(&self, shard: ShardKey) -> bool {
        self.shards.has_pending_wakeup(shard)
    }

    /// Takes what the shard was called for, in exchange for `empty`. Connections are named by the
    /// shard's own keys.
    pub(crate) fn take_wakeups(&mut self, shard: ShardKey, empty: &mut PendingWakeups) {
        self.shards.take(shard, empty);
        for &key in &empty.audiences {
            if let Some(entry) = self.audiences.get_mut(key) {
                entry.take_wakeup(shard);
            }
        }
        let connections = &mut self.connections;
        empty.connections.retain_mut(|named| {
            // The slot may be another connection's by now.
            let Some(entry) = connections.get_mut(*named as usize) else { return false };
            let DrivenBy::Shard { shard: driven_by, key } = entry.driven_by else { return false };
            *named = key;
            driven_by == shard && std::mem::take(&mut entry.queued)
        });
    }

    /// ShardTable to wake, now that the lock is about to be released.
    pub(crate) fn take_shards_to_wake(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.shards.to_wake)
    }

    /// Ends a connection. Only the first reason counters, and only it is answered.
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
        // Its end is told after its beginning.
        entry.connect_hook_returned.then(|| (entry.id, entry.state.clone(), reason))
    }

    /// Says that the application was told of the connection's beginning. If it ended meanwhile, its
    /// end is to be told now.
    pub(crate) fn connect_hook_returned(&mut self, slot: u32) -> Option<EndedConnection> {
        let entry = self.entry_mut(slot);
        entry.connect_hook_returned = true;
        entry.closing.as_ref().map(|closing| (entry.id, entry.state.clone(), closing.reason))
    }

    /// Ends every connection and lets no further one begin.
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

    /// Connections that are not dropped yet, closing ones included.
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

    /// Says that nothing waits for the connection, and how to wake it once something does.
    ///
    /// A waker it replaces is handed out, because dropping it may run foreign code.
    pub(crate) fn register_waker(&mut self, slot: u32, waker: &Waker) -> Option<Waker> {
        let member = self.member_mut(slot)?;
        member.due_since = None;
        match &member.waker {
            Some(known) if known.will_wake(waker) => None,
            _ => member.waker.replace(waker.clone()),
        }
    }

    /// The waker that is kept for the connection.
    pub(crate) fn waker(&self, slot: u32) -> Option<&Waker> {
        let entry = &self.connections[slot as usize];
        let DrivenBy::Body { member } = entry.driven_by else { return None };
        self.audiences[entry.audience].members[member as usize].waker.as_ref()
    }

    /// What its audience knows of a connection that no shard looks after.
    pub(super) fn member_mut(&mut self, slot: u32) -> Option<&mut AudienceMember> {
        let entry = &self.connections[slot as usize];
        let DrivenBy::Body { member } = entry.driven_by else { return None };
        Some(&mut self.audiences[entry.audience].members[member as usize])
    }

    /// Says that the connection took bytes just now.
    pub(crate) fn progress(&mut self, slot: u32, now: u64) {
        let entry = &mut self.connections[slot as usize];
        entry.last_write_at = now;
        entry.wants_heartbeat = false;
        if let Some(member) = self.member_mut(slot) {
            member.progress(now);
        }
    }

    /// The counter of [`changed`](Self::changed).
    pub(crate) fn changes(&self) -> &Arc<AtomicU64> {
        &self.changes
    }

    /// Says that something happened that a reader that has everything does not know of.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Lets the driver wake this connection, or its shard look at it.
    pub(crate) fn schedule(&mut self, slot: u32) {
        self.changed();
        let entry = self.entry_mut(slot);
        if std::mem::replace(&mut entry.queued, true) {
            return;
        }
        match entry.driven_by {
            DrivenBy::Body { .. } => self.due.push_back(Due::Connection(slot)),
            DrivenBy::Shard { shard, .. } => self.shards.wake_for_connection(shard, slot),
        }
    }

    pub(crate) fn schedule_all(&mut self) {
        self.changed();
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

    /// The end that was decided, if one was.
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
