//! The state behind the manager's lock: the log, the connections, and which of them are due.
//!
//! Nothing here runs code that is not ours. Wakers, attached values and hooks' arguments are
//! returned to the caller, which runs or drops them once the lock is released.

use std::collections::{BTreeMap, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use slab::Slab;

use super::audiences::{Audiences, MatchCursor};
use super::connection_entry::{ConnectionEntry, DrivenBy};
use super::error::PublishError;
use super::idempotency::{IdempotencyKeys, KeyDigest, KeyLookup};
use super::keys::AudienceKey;
use super::settings::ManagerSettings;
use super::shards::ShardTable;
use super::timers::Timers;
use crate::engine::{Ack, AckError, AckSender, Durability, Publication, Target, Wakes};
use crate::limits;
use crate::log::{Class, EVERYONE, Log, PatternMatches, PatternQuery, Record, RecordTopic};
use crate::selector::Topic;
use crate::steps;
use crate::store::StoredRecord;
use crate::sync::AtomicU64;
use crate::wire::{ConnectionId, Epoch, Framed};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) audiences: Audiences,
    pub(super) connections: Slab<ConnectionEntry>,
    /// How many connections are not closing.
    pub(super) open: usize,
    /// What the driver has to wake.
    pub(super) due: VecDeque<Due>,
    pub(super) timers: Timers,
    pub(super) shards: ShardTable,
    /// Receipts of publications that the engine acknowledged before they were applied here, by
    /// sequence number.
    unapplied: BTreeMap<u64, Vec<(AckSender, Durability)>>,
    /// Why publications were not stored whose acknowledgement by the engine is still to come.
    refused: BTreeMap<u64, AckError>,
    /// How durable the store makes what it keeps, if there is one.
    pub(super) stored: Option<Durability>,
    /// The record that was appended last, until it was matched with all audiences.
    matching: Option<RecordMatch>,
    pub(super) closed: bool,
    /// Incremented with everything that may concern a reader, so that a reader can see without the
    /// lock that nothing has changed.
    changes: Arc<AtomicU64>,
    pub(crate) counters: Counters,
    pub(super) keys: IdempotencyKeys,
    /// The key with which the slots in connections' ids are encrypted.
    pub(super) connection_ids: RandomState,
}

/// Totals for the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connected: u64,
    pub(crate) published: u64,
    pub(crate) gaps: u64,
}

/// A record of the log, while the audiences that it is for are looked for.
#[derive(Debug)]
struct RecordMatch {
    record: Arc<Record>,
    cursor: MatchCursor,
    receivers: usize,
}

/// What the driver has to wake.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The members of all audiences whose keys are not below this one.
    AudiencesFrom(AudienceKey),
    /// The members of an audience that are in its wake pass.
    Audience(AudienceKey),
    /// The connection in this slot.
    Connection(u32),
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
            refused: BTreeMap::new(),
            stored: None,
            matching: None,
            closed: false,
            changes: Arc::default(),
            counters: Counters::default(),
            keys: IdempotencyKeys::new(
                settings.idempotency_window_ms(),
                settings.idempotency_bytes,
            ),
            connection_ids: RandomState::new(),
        }
    }

    /// What is to be matched with the patterns in use before an event about these topics is
    /// applied.
    pub(super) fn unmatched(
        &self,
        topics: &[Topic],
        matches: Option<&PatternMatches>,
    ) -> Option<PatternQuery> {
        match matches {
            Some(matches) => self.log.pattern_query_since(matches),
            None => self.log.pattern_query(topics),
        }
    }

    /// Appends an event of the order, and schedules its readers. `matches` are the patterns that
    /// match its topics.
    pub(crate) fn apply(
        &mut self,
        seq: u64,
        now: u64,
        publication: &Publication,
        framed: Framed,
        matches: Option<PatternMatches>,
    ) -> Wakes {
        let mut wakes = Wakes::default();
        if seq <= self.log.applied() {
            return wakes;
        }
        let topics: Box<[RecordTopic]> = match publication.target() {
            Target::Topics(topics) => {
                let topic = |name: &Topic| RecordTopic {
                    key: self.log.topics_mut().intern(name),
                    name: Some(name.clone()),
                };
                topics.iter().map(topic).collect()
            }
            Target::Everyone => [RecordTopic { key: EVERYONE, name: None }].into(),
            // Ephemeral publications are not part of the order; see `apply_ephemeral`.
            Target::Connection(_) => return wakes,
        };
        self.log.set_matching(&topics, matches);
        let private = publication.is_private();
        let expires_earlier = self.append(Record {
            index: 0,
            seq,
            at: now,
            topics,
            class: publication.class(),
            private,
            ephemeral: false,
            sends_position: publication.event().data().is_some(),
            id: publication.event().event_id().cloned(),
            framed,
            granting: if private { self.log.granting() } else { Box::default() },
            receivers: AtomicU32::new(0),
            offset: 0,
        });
        self.counters.published += 1;
        self.add_readers(expires_earlier, &mut wakes);
        self.match_some(&mut wakes);
        wakes
    }

    /// Appends a record. Returns whether the driver has to evict records earlier than it assumes.
    fn append(&mut self, record: Record) -> bool {
        let (before, now) = (self.log.expires(), record.at);
        let record = self.log.append(record);
        let cursor = self.audiences.begin_match(&record, self.log.matching(), &self.log);
        self.matching = Some(RecordMatch { record, cursor, receivers: 0 });
        let after = self.log.expires();
        after.is_some_and(|after| before.is_none_or(|before| after < before))
            || self.log.exceeds_retention(now)
    }

    /// Matches the record that was appended last with some of the audiences that it may be for, and
    /// schedules its readers. Returns whether audiences are left; then the caller releases the lock
    /// for a moment.
    pub(super) fn match_some(&mut self, wakes: &mut Wakes) -> bool {
        let Some(mut matching) = self.matching.take() else { return false };
        let RecordMatch { record, cursor, receivers } = &mut matching;
        let (due, shards) = (&mut self.due, &mut self.shards);
        let patterns = self.log.matching();
        let done = self.audiences.match_some(cursor, record, patterns, &self.log, |key, entry| {
            *receivers += entry.open;
            if entry.begin_wake_pass() {
                due.push_back(Due::Audience(key));
            }
            entry.shards_to_wake().for_each(|shard| shards.wake_for_audience(shard, key));
        });
        record.receivers.store(u32::try_from(*receivers).unwrap_or(u32::MAX), Ordering::Relaxed);
        let seq = record.seq;
        self.count_change();
        if done {
            self.acknowledge_up_to(seq, wakes);
        } else {
            self.matching = Some(matching);
        }
        self.add_readers(false, wakes);
        !done
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
        if !self.has_room_for_sent(slot, framed.len()) {
            return Wakes::ack(sender, Err(AckError::Failed));
        }
        let record = Record {
            index: 0,
            seq,
            at: now,
            topics: Box::default(),
            class: Class::History,
            private: false,
            ephemeral: true,
            sends_position: false,
            id: None,
            framed,
            granting: Box::default(),
            receivers: AtomicU32::new(1),
            offset: 0,
        };
        self.connections[slot as usize].sent_bytes += self.log.append_sent(slot, record) as u32;
        self.schedule(slot);
        let mut wakes = Wakes::ack(sender, self.ack(seq, Durability::Memory, 1));
        self.add_readers(false, &mut wakes);
        wakes
    }

    /// Whether an event of `len` bytes may be sent to a connection, beside the unread ones that
    /// were sent to it and to all others. An event may always be the only one.
    pub(super) fn has_room_for_sent(&self, slot: u32, len: usize) -> bool {
        let unread = self.connections[slot as usize].sent_bytes as usize;
        (unread == 0 || unread + len <= limits::CONNECTION_SENT_BYTES)
            && self.log.has_room_for_sent(len)
    }

    /// Drops the events that were sent to a connection and that it has read: those before index
    /// `read`.
    pub(crate) fn release_sent(&mut self, slot: u32, read: u64) {
        let unread = &mut self.connections[slot as usize].sent_bytes;
        while *unread > 0
            && let Some(bytes) = self.log.release_sent(slot, read)
        {
            *unread -= bytes as u32;
        }
    }

    /// Completes the receipt of a publication, once this node has applied it.
    pub(crate) fn acknowledge(
        &mut self,
        seq: u64,
        durability: Durability,
        sender: AckSender,
    ) -> Wakes {
        if let Some(error) = self.refused.remove(&seq) {
            return Wakes::ack(sender, Err(error));
        }
        let is_matching = self.matching.as_ref().is_some_and(|it| it.record.seq <= seq);
        if seq > self.log.applied() || is_matching {
            self.unapplied.entry(seq).or_default().push((sender, durability));
            return Wakes::default();
        }
        Wakes::ack(sender, self.ack_of(seq, durability))
    }

    /// A publication was not stored: its sequence number is a hole.
    pub(super) fn refuse(&mut self, seq: u64, error: AckError) -> Wakes {
        let mut wakes = Wakes::default();
        let Some(senders) = self.unapplied.remove(&seq) else {
            self.refused.insert(seq, error);
            return wakes;
        };
        for (sender, _) in senders {
            wakes.push(sender, Err(error));
        }
        wakes
    }

    /// Appends a record that a store kept, before there are readers.
    pub(super) fn restore(&mut self, stored: StoredRecord, at: u64) {
        // What a store serves is what it was given.
        let Some(framed) = Framed::from_chunk(stored.chunk) else { return };
        let topic = |name: &Topic| RecordTopic {
            key: self.log.topics_mut().intern(name),
            name: Some(name.clone()),
        };
        let topics: Box<[RecordTopic]> = if stored.topics.is_empty() {
            [RecordTopic { key: EVERYONE, name: None }].into()
        } else {
            stored.topics.iter().map(topic).collect()
        };
        self.log.set_matching(&topics, None);
        self.log.append(Record {
            index: 0,
            seq: stored.seq,
            at,
            topics,
            class: Class::History,
            private: stored.private,
            ephemeral: false,
            sends_position: stored.sends_position,
            id: stored.id,
            framed,
            granting: Box::default(),
            receivers: AtomicU32::new(0),
            offset: 0,
        });
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

    /// Adds to `wakes` what is due: response bodies, the driver if its sleep is too long, and
    /// shards.
    fn add_readers(&mut self, expires_earlier: bool, wakes: &mut Wakes) {
        wakes.readers(expires_earlier || !self.due.is_empty(), &mut self.shards.to_wake);
    }

    /// Looks up the idempotency key of a publication that is about to be appended.
    pub(super) fn look_up_key(
        &mut self,
        digest: KeyDigest,
        now: u64,
        durability: Durability,
    ) -> Result<KeyLookup, PublishError> {
        let mut keys = std::mem::take(&mut self.keys);
        let lookup = keys.look_up(digest, now, |seq| self.ack_of(seq, durability));
        self.keys = keys;
        lookup
    }

    fn ack_of(&self, seq: u64, durability: Durability) -> Result<Ack, AckError> {
        let (receivers, durability) = self.outcome(seq, durability);
        self.ack(seq, durability, receivers)
    }

    /// The receivers of a record, and its durability, given that of the engine.
    fn outcome(&self, seq: u64, durability: Durability) -> (usize, Durability) {
        let record = self.log.find(seq);
        let is_stored = record.is_none_or(|record| record.class == Class::History);
        let stored = self.stored.filter(|_| is_stored).unwrap_or(durability);
        (record.map_or(0, |record| record.receivers()), durability.max(stored))
    }

    fn acknowledge_up_to(&mut self, seq: u64, wakes: &mut Wakes) {
        while let Some(waiting) = self.unapplied.first_entry() {
            if *waiting.key() > seq {
                break;
            }
            let (seq, senders) = waiting.remove_entry();
            steps::count(1 + senders.len());
            for (sender, durability) in senders {
                let (receivers, durability) = self.outcome(seq, durability);
                wakes.push(sender, self.ack(seq, durability, receivers));
            }
        }
    }

    fn ack(&self, seq: u64, durability: Durability, receivers: usize) -> Result<Ack, AckError> {
        let position = self.log.position(seq).ok_or(AckError::Unknown)?;
        Ok(Ack { position, durability, receivers })
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
        self.due.push_back(Due::AudiencesFrom(0));
    }

    /// Schedules the members of at most `max` audiences whose keys are not below `from`. Returns
    /// how many keys it looked at.
    pub(super) fn schedule_from(&mut self, from: AudienceKey, max: usize) -> usize {
        self.count_change();
        let end = self.audiences.keys_end();
        let until = end.min(from.saturating_add(max as AudienceKey));
        steps::count((until.saturating_sub(from)) as usize);
        for key in from..until {
            let Some(entry) = self.audiences.get_mut(key) else { continue };
            if entry.begin_wake_pass() {
                self.due.push_back(Due::Audience(key));
            }
            let shards = &mut self.shards;
            entry.shards_to_wake().for_each(|shard| shards.wake_for_audience(shard, key));
        }
        if until < end {
            self.due.push_back(Due::AudiencesFrom(until));
        }
        until.saturating_sub(from) as usize
    }
}
