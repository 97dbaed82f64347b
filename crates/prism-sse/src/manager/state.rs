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

use super::audiences::{AudienceKey, Audiences, Member};
use super::builder::Settings;
use super::keys::{Begun, Keyed, Keys};
use super::shards::{Calls, ShardKey, Shards};
use super::timers::Timers;
use super::{CloseReason, PublishError};
use crate::audience::Audience;
use crate::engine::{Ack, AckError, Answer, Durability, Publication, Target, Wakes};
use crate::log::{Class, EVERYONE, Log, Record, TopicKey};
use crate::sync::AtomicU64;
use crate::wire::{ConnectionId, Epoch, Framed};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) audiences: Audiences,
    pub(super) connections: Slab<Entry>,
    /// Connections that are not closing.
    open: usize,
    pub(super) due: VecDeque<Due>,
    pub(super) timers: Timers,
    shards: Shards,
    /// Answers to publications the engine acknowledged before they were applied here.
    unapplied: BTreeMap<u64, Vec<(Answer, Durability)>>,
    closed: bool,
    /// Counts what may concern a reader, so that one can tell without the lock that nothing did.
    changes: Arc<AtomicU64>,
    pub(crate) counts: Counts,
    pub(super) keys: Keys,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connected: u64,
    pub(crate) published: u64,
    pub(crate) gaps: u64,
}

/// What the manager knows of a connection; its place in the log is its own.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) id: ConnectionId,
    pub(super) audience: AudienceKey,
    pub(super) keeper: Keeper,
    /// The nameless topic of what is sent to it alone, once something was.
    direct: Option<TopicKey>,
    state: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) born: u64,
    /// When bytes were last handed out.
    pub(crate) spoke: u64,
    /// When it was last given a chance to be told the applied mark.
    pub(super) marked: u64,
    /// Its tick's lower half, which tells it from others for longer than timers run.
    pub(super) timer: u32,
    pub(super) queued: bool,
    /// The application was told that it began.
    greeted: bool,
    pub(crate) wants_heartbeat: bool,
    pub(crate) wants_mark: bool,
    /// Boxed, because most connections are not closing.
    pub(super) closing: Option<Box<Closing>>,
}

/// Who looks after a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keeper {
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
pub(crate) type Ended = (ConnectionId, Option<Arc<dyn Any + Send + Sync>>, CloseReason);

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Again,
    /// Until the next wake, or until this moment.
    Rest(Option<u64>),
}

impl State {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            log: Log::new(settings.retention(), settings.has_history()),
            audiences: Audiences::default(),
            connections: Slab::new(),
            open: 0,
            due: VecDeque::new(),
            timers: Timers::default(),
            shards: Shards::default(),
            unapplied: BTreeMap::new(),
            closed: false,
            changes: Arc::default(),
            counts: Counts::default(),
            keys: Keys::default(),
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
            tells_place: publication.event().data().is_some(),
            id: publication.event().event_id().cloned(),
            framed,
            receivers: 0,
            offset: 0,
        };
        self.log.choose(&record.topics);
        let (due, shards) = (&mut self.due, &mut self.shards);
        let mut receivers = 0;
        self.audiences.matching(self.log.end(), &record, &self.log, |key, shared| {
            receivers += shared.open;
            if shared.begin_pass() {
                due.push_back(Due::Audience(key));
            }
            shared.call_shards().for_each(|shard| shards.call_for_audience(shard, key));
        });
        record.receivers = u32::try_from(receivers).unwrap_or(u32::MAX);
        self.counts.published += 1;
        let ages = self.append(record);
        self.changed();
        self.answer_up_to(seq, &mut wakes);
        self.hand_out(ages, &mut wakes);
        wakes
    }

    /// Appends an event for one connection. Without that connection nothing happens.
    pub(crate) fn apply_ephemeral(
        &mut self,
        now: u64,
        to: ConnectionId,
        framed: Framed,
        answer: Answer,
    ) -> Wakes {
        let seq = self.log.applied();
        let Some(slot) = self.find(to) else {
            return Wakes::answer(answer, self.ack(seq, Durability::Memory, 0));
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
            tells_place: false,
            id: None,
            framed,
            receivers: 1,
            offset: 0,
        });
        self.make_due(slot);
        let mut wakes = Wakes::answer(answer, self.ack(seq, Durability::Memory, 1));
        self.hand_out(ages, &mut wakes);
        wakes
    }

    /// Appends a record. The answer says whether something is now too old earlier than the driver
    /// knows.
    fn append(&mut self, record: Record) -> bool {
        let before = self.log.expires();
        self.log.append(record);
        let after = self.log.expires();
        after.is_some_and(|after| before.is_none_or(|before| after < before))
    }

    /// Answers a publication, or keeps the answer until this node has applied it.
    pub(crate) fn acknowledge(
        &mut self,
        seq: u64,
        durability: Durability,
        answer: Answer,
    ) -> Wakes {
        if seq > self.log.applied() {
            self.unapplied.entry(seq).or_default().push((answer, durability));
            return Wakes::default();
        }
        Wakes::answer(answer, self.ack_of(seq, durability))
    }

    /// Begins an epoch. If the order before it is gone, every reader is due for a gap.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch, after: u64) -> Wakes {
        let mut wakes = Wakes::default();
        if self.log.begin_epoch(epoch, after) {
            self.keys.clear();
            for (answer, _) in std::mem::take(&mut self.unapplied).into_values().flatten() {
                wakes.push(answer, Err(AckError::Unknown));
            }
            self.make_everyone_due();
            self.hand_out(false, &mut wakes);
        }
        wakes
    }

    /// Says in `wakes` who has something to do: readers, or the driver because what is kept has
    /// begun to age.
    fn hand_out(&mut self, ages: bool, wakes: &mut Wakes) {
        wakes.readers(ages || !self.due.is_empty(), &mut self.shards.called);
    }

    /// Looks up a publication with a key that is about to be handed over.
    pub(super) fn begin_keyed(
        &mut self,
        keyed: Keyed,
        now: u64,
        window: u64,
        durability: Durability,
    ) -> Result<Begun, PublishError> {
        let mut keys = std::mem::take(&mut self.keys);
        let begun = keys.begin(keyed, now, window, |seq| self.ack_of(seq, durability));
        self.keys = keys;
        begun
    }

    fn ack_of(&self, seq: u64, durability: Durability) -> Result<Ack, AckError> {
        let receivers = self.log.find(seq).map_or(0, |record| record.receivers as usize);
        self.ack(seq, durability, receivers)
    }

    fn answer_up_to(&mut self, seq: u64, wakes: &mut Wakes) {
        while let Some(waiting) = self.unapplied.first_entry() {
            if *waiting.key() > seq {
                break;
            }
            let (seq, answers) = waiting.remove_entry();
            let receivers = self.log.find(seq).map_or(0, |record| record.receivers as usize);
            for (answer, durability) in answers {
                wakes.push(answer, self.ack(seq, durability, receivers));
            }
        }
    }

    fn ack(&self, seq: u64, durability: Durability, receivers: usize) -> Result<Ack, AckError> {
        let position = self.log.position(seq).ok_or(AckError::Unknown)?;
        Ok(Ack { position, durability, receivers })
    }

    /// Registers a connection. The answer says last whether the driver now rests too long.
    pub(crate) fn connect(
        &mut self,
        random: (u64, u32),
        now: u64,
        audience: Audience,
        state: Option<Arc<dyn Any + Send + Sync>>,
        settings: &Settings,
    ) -> (u32, ConnectionId, bool) {
        let slot = self.connections.vacant_key() as u32;
        let id = ConnectionId::new(random, slot);
        let audience = self.audiences.intern(audience, &mut self.log);
        let member = self.audiences.join(audience, slot);
        self.connections.insert(Entry {
            id,
            audience,
            keeper: Keeper::Body { member },
            direct: None,
            state,
            born: now,
            spoke: now,
            marked: now,
            timer: 0,
            queued: false,
            greeted: !settings.hooks.any(),
            wants_heartbeat: false,
            wants_mark: false,
            closing: None,
        });
        self.open += 1;
        self.counts.connected += 1;
        let rest = self.timers.next();
        self.set_timer(slot, now, settings);
        (slot, id, self.timers.next() != rest)
    }

    /// Forgets a connection whose owner dropped it.
    ///
    /// What it held is handed out, because dropping it may run foreign code.
    pub(crate) fn disconnect(&mut self, slot: u32) -> (Option<Ended>, (Option<Waker>, Entry)) {
        let ended = self.decide(slot, CloseReason::Disconnected);
        let entry = self.connections.remove(slot as usize);
        if let Some(topic) = entry.direct {
            self.log.topics_mut().release(topic);
        }
        let waker = match entry.keeper {
            Keeper::Body { member } => self.leave(entry.audience, member),
            Keeper::Shard { shard, .. } => {
                self.audiences.leave_shard(entry.audience, shard, &mut self.log);
                None
            }
        };
        (ended, (waker, entry))
    }

    fn leave(&mut self, audience: AudienceKey, member: u32) -> Option<Waker> {
        let (moved, waker) = self.audiences.leave(audience, member, &mut self.log);
        if let Some(moved) = moved {
            self.connections[moved as usize].keeper = Keeper::Body { member };
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
        let Keeper::Body { member } = entry.keeper else { return None };
        entry.keeper = Keeper::Shard { shard, key };
        // Its wake-up is forgotten with its waker; a shard looks at what it adopts.
        entry.queued = false;
        self.audiences.join_shard(audience, shard);
        Some(self.leave(audience, member))
    }

    /// Whether the shard was called for anything that it has not taken yet.
    pub(crate) fn is_shard_called(&self, shard: ShardKey) -> bool {
        self.shards.is_called(shard)
    }

    /// Takes what the shard was called for, in exchange for `empty`. Connections are named by the
    /// shard's own keys.
    pub(crate) fn take_calls(&mut self, shard: ShardKey, empty: &mut Calls) {
        self.shards.take(shard, empty);
        for &key in &empty.audiences {
            if let Some(shared) = self.audiences.get_mut(key) {
                shared.take_call(shard);
            }
        }
        let connections = &mut self.connections;
        empty.connections.retain_mut(|named| {
            // The slot may be another connection's by now.
            let Some(entry) = connections.get_mut(*named as usize) else { return false };
            let Keeper::Shard { shard: keeper, key } = entry.keeper else { return false };
            *named = key;
            keeper == shard && std::mem::take(&mut entry.queued)
        });
    }

    /// Shards to wake, now that the lock is about to be released.
    pub(crate) fn take_called(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.shards.called)
    }

    /// Ends a connection. Only the first reason counts, and only it is answered.
    pub(crate) fn close(&mut self, slot: u32, reason: CloseReason) -> Option<Ended> {
        let ended = self.decide(slot, reason);
        self.make_due(slot);
        ended
    }

    fn decide(&mut self, slot: u32, reason: CloseReason) -> Option<Ended> {
        let closing = Closing { reason, end: self.log.end(), applied: self.log.applied() };
        let entry = &mut self.connections[slot as usize];
        if entry.closing.is_some() {
            return None;
        }
        entry.closing = Some(Box::new(closing));
        self.open -= 1;
        self.audiences[entry.audience].open -= 1;
        // Its end is told after its beginning.
        entry.greeted.then(|| (entry.id, entry.state.clone(), reason))
    }

    /// Says that the application was told of the connection's beginning. If it ended meanwhile, its
    /// end is to be told now.
    pub(crate) fn greet(&mut self, slot: u32) -> Option<Ended> {
        let entry = self.entry_mut(slot);
        entry.greeted = true;
        entry.closing.as_ref().map(|closing| (entry.id, entry.state.clone(), closing.reason))
    }

    /// Ends every connection and lets no further one begin.
    pub(crate) fn close_all(&mut self, reason: CloseReason) -> Vec<Ended> {
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
    pub(crate) fn held(&self) -> usize {
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

    pub(crate) fn entry(&self, slot: u32) -> &Entry {
        &self.connections[slot as usize]
    }

    pub(crate) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.connections[slot as usize]
    }

    /// What the application attached to the connection.
    pub(crate) fn attached(&self, slot: u32) -> Option<Arc<dyn Any + Send + Sync>> {
        self.entry(slot).state.clone()
    }

    /// Says that nothing waits for the connection, and how to wake it once something does.
    ///
    /// A waker it replaces is handed out, because dropping it may run foreign code.
    pub(crate) fn wait(&mut self, slot: u32, waker: &Waker) -> Option<Waker> {
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
        let Keeper::Body { member } = entry.keeper else { return None };
        self.audiences[entry.audience].members[member as usize].waker.as_ref()
    }

    /// What its audience knows of a connection that no shard looks after.
    pub(super) fn member_mut(&mut self, slot: u32) -> Option<&mut Member> {
        let entry = &self.connections[slot as usize];
        let Keeper::Body { member } = entry.keeper else { return None };
        Some(&mut self.audiences[entry.audience].members[member as usize])
    }

    /// Says that the connection took bytes just now.
    pub(crate) fn progress(&mut self, slot: u32, now: u64) {
        let entry = &mut self.connections[slot as usize];
        entry.spoke = now;
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
    pub(crate) fn make_due(&mut self, slot: u32) {
        self.changed();
        let entry = self.entry_mut(slot);
        if std::mem::replace(&mut entry.queued, true) {
            return;
        }
        match entry.keeper {
            Keeper::Body { .. } => self.due.push_back(Due::Connection(slot)),
            Keeper::Shard { shard, .. } => self.shards.call_for_connection(shard, slot),
        }
    }

    pub(crate) fn make_everyone_due(&mut self) {
        self.changed();
        for (key, shared) in self.audiences.iter_mut() {
            if shared.begin_pass() {
                self.due.push_back(Due::Audience(key));
            }
            let shards = &mut self.shards;
            shared.call_shards().for_each(|shard| shards.call_for_audience(shard, key));
        }
    }
}

impl Entry {
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
