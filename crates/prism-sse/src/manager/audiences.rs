//! Audiences in use: each distinct one once, with its connections.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use super::keys::{AudienceKey, ShardKey};
use crate::audience::Audience;
use crate::log::{EVERYONE, Log, PatternKey, Record, TopicKey, Walk};
use crate::selector::Selector;

#[derive(Debug, Default)]
pub(crate) struct Audiences {
    slots: Slab<AudienceEntry>,
    by_value: HashMap<Arc<Audience>, AudienceKey>,
    /// Audiences that select every topic.
    any: BTreeSet<AudienceKey>,
}

/// One audience and its members.
#[derive(Debug)]
pub(crate) struct AudienceEntry {
    pub(crate) audience: Arc<Audience>,
    /// The topics that it selects by name. Empty, like the patterns, if it selects every topic.
    topics: Box<[TopicKey]>,
    patterns: Box<[PatternKey]>,
    /// Its position in the audience list of each of its topics, and then of each of its patterns.
    positions: Box<[u32]>,
    /// Members that are polled as response bodies.
    pub(crate) members: Vec<AudienceMember>,
    /// Shards that drive members.
    shards: Vec<ShardMembers>,
    /// Members that are not closing, those of shards included.
    pub(crate) open: usize,
    /// Members below this index are still to be woken in the current wake pass.
    due: usize,
    /// Something was appended during the pass, so that another one follows.
    again: bool,
    /// Index of the last record that matched, so that a record counts once whichever of its topics
    /// are selected.
    matched: u64,
}

/// A member that is polled as a response body.
#[derive(Debug)]
pub(crate) struct AudienceMember {
    pub(crate) waker: Option<Waker>,
    /// The connection's slot.
    pub(crate) connection: u32,
    /// Since when it has something to read, in milliseconds; `None` if it has nothing.
    pub(crate) due_since: Option<NonZeroU64>,
}

/// The members that one shard drives.
#[derive(Debug)]
struct ShardMembers {
    shard: ShardKey,
    members: u32,
    /// The shard was woken for them and has not taken the wake-up yet.
    is_woken: bool,
}

impl AudienceMember {
    /// Records that it has something to read, and takes its waker.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Waker> {
        self.due_since.get_or_insert(nonzero(now));
        self.waker.take()
    }

    /// Records that it read some of it.
    pub(crate) fn progress(&mut self, now: u64) {
        self.due_since = self.due_since.map(|_| nonzero(now));
    }
}

/// `now`, at least 1, so that an `Option` of it takes no extra space.
fn nonzero(now: u64) -> NonZeroU64 {
    NonZeroU64::new(now).unwrap_or(NonZeroU64::MIN)
}

impl AudienceEntry {
    /// The indexes that a member walks whose topic for events sent to it alone is `direct`.
    pub(crate) fn walk(&self, direct: Option<TopicKey>) -> Walk<'_> {
        let topics = if self.audience.selects_any() { None } else { Some(&*self.topics) };
        let private = !self.audience.grants().is_empty();
        Walk { topics, patterns: &self.patterns, private, direct }
    }

    /// The shards to wake because a record was appended for all members. They are woken once until
    /// they take the wake-up.
    pub(crate) fn shards_to_wake(&mut self) -> impl Iterator<Item = ShardKey> {
        let not_woken = self.shards.iter_mut().filter(|members| !members.is_woken);
        not_woken.map(|members| {
            members.is_woken = true;
            members.shard
        })
    }

    /// The shard takes its wake-up for this audience.
    pub(crate) fn take_wakeup(&mut self, shard: ShardKey) {
        if let Some(members) = self.shards.iter_mut().find(|members| members.shard == shard) {
            members.is_woken = false;
        }
    }

    /// Starts a wake pass over the members that are polled, because a record was appended for all of
    /// them. `false` if there are none, or a pass is running, which then runs again.
    pub(crate) fn begin_wake_pass(&mut self) -> bool {
        if self.due > 0 {
            self.again = true;
            return false;
        }
        self.due = self.members.len();
        self.is_due()
    }

    /// The next members of the wake pass, at most `most`.
    pub(crate) fn take_due(&mut self, most: usize) -> &mut [AudienceMember] {
        let (begin, end) = (self.due.saturating_sub(most), self.due);
        self.due = begin;
        if begin == 0 && std::mem::take(&mut self.again) {
            self.due = self.members.len();
        }
        &mut self.members[begin..end]
    }

    /// Whether the wake pass is not finished.
    pub(crate) fn is_due(&self) -> bool {
        self.due > 0
    }

    fn set_position_of_topic(&mut self, topic: TopicKey, position: u32) {
        if let Some(index) = self.topics.iter().position(|&other| other == topic) {
            self.positions[index] = position;
        }
    }

    fn set_position_of_pattern(&mut self, pattern: PatternKey, position: u32) {
        if let Some(index) = self.patterns.iter().position(|&other| other == pattern) {
            self.positions[self.topics.len() + index] = position;
        }
    }
}

impl Audiences {
    pub(crate) fn intern(&mut self, audience: Audience, log: &mut Log) -> AudienceKey {
        if let Some(&key) = self.by_value.get(&audience) {
            return key;
        }
        let key = self.slots.vacant_key() as AudienceKey;
        let mut positions = Vec::new();
        let (topics, patterns) = if audience.selects_any() {
            self.any.insert(key);
            Default::default()
        } else {
            let topics = add_to_topics(&audience, key, log, &mut positions);
            (topics, add_to_patterns(&audience, key, log, &mut positions))
        };
        let audience = Arc::new(audience);
        self.by_value.insert(Arc::clone(&audience), key);
        let members = Vec::new();
        self.slots.insert(AudienceEntry {
            audience,
            topics,
            patterns,
            positions: positions.into(),
            members,
            shards: Vec::new(),
            open: 0,
            due: 0,
            again: false,
            matched: u64::MAX,
        });
        key
    }

    /// Adds a connection. Returns its index among the members.
    pub(crate) fn join(&mut self, key: AudienceKey, connection: u32) -> u32 {
        let entry = &mut self[key];
        entry.members.push(AudienceMember { waker: None, connection, due_since: None });
        entry.open += 1;
        entry.members.len() as u32 - 1
    }

    /// Removes the member at `index`. The last member moves there; its connection is returned.
    ///
    /// The audience is dropped with its last member. The waker is returned, because dropping it under
    /// the lock may run code that is not ours.
    pub(crate) fn leave(
        &mut self,
        key: AudienceKey,
        index: u32,
        log: &mut Log,
    ) -> (Option<u32>, Option<Waker>) {
        let entry = &mut self[key];
        // A wake pass goes from the last member to the first, so that a member that moves down was
        // woken already.
        let removed = entry.members.swap_remove(index as usize);
        entry.due = entry.due.min(entry.members.len());
        let moved = entry.members.get(index as usize).map(|member| member.connection);
        self.remove_if_unused(key, log);
        (moved, removed.waker)
    }

    /// Adds a member that a shard drives.
    pub(crate) fn join_shard(&mut self, key: AudienceKey, shard: ShardKey) {
        let shards = &mut self[key].shards;
        match shards.iter_mut().find(|members| members.shard == shard) {
            Some(members) => members.members += 1,
            None => shards.push(ShardMembers { shard, members: 1, is_woken: false }),
        }
    }

    /// Removes a member that a shard drives. The audience is dropped with its last member.
    pub(crate) fn leave_shard(&mut self, key: AudienceKey, shard: ShardKey, log: &mut Log) {
        let shards = &mut self[key].shards;
        if let Some(index) = shards.iter().position(|members| members.shard == shard) {
            shards[index].members -= 1;
            if shards[index].members == 0 {
                shards.swap_remove(index);
            }
        }
        self.remove_if_unused(key, log);
    }

    /// Calls `found` for each audience that may read `record`, which is appended at `index`. The log
    /// has matched its patterns before.
    pub(crate) fn matching(
        &mut self,
        index: u64,
        record: &Record,
        log: &Log,
        mut found: impl FnMut(AudienceKey, &mut AudienceEntry),
    ) {
        let named = record.topics.iter().flat_map(|&key| log.topics()[key].audiences.iter());
        for &key in self.any.iter().chain(named).chain(log.audiences_by_pattern()) {
            let entry = &mut self.slots[key as usize];
            if std::mem::replace(&mut entry.matched, index) == index {
                continue;
            }
            let audience = &entry.audience;
            let is_selected = *record.topics != [EVERYONE] || audience.wants_broadcasts();
            if is_selected && (!record.private || audience.is_granted(log.names(record))) {
                found(key, entry);
            }
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (AudienceKey, &mut AudienceEntry)> {
        self.slots.iter_mut().map(|(key, entry)| (key as AudienceKey, entry))
    }

    pub(crate) fn get_mut(&mut self, key: AudienceKey) -> Option<&mut AudienceEntry> {
        self.slots.get_mut(key as usize)
    }

    /// How many distinct audiences there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn remove_if_unused(&mut self, key: AudienceKey, log: &mut Log) {
        if !self[key].members.is_empty() || !self[key].shards.is_empty() {
            return;
        }
        let entry = self.slots.remove(key as usize);
        self.by_value.remove(&entry.audience);
        self.any.remove(&key);
        let (of_topics, of_patterns) = entry.positions.split_at(entry.topics.len());
        for (&topic, &position) in entry.topics.iter().zip(of_topics) {
            if let Some(moved) = log.topics_mut().remove_audience(topic, position) {
                self[moved].set_position_of_topic(topic, position);
            }
        }
        for (&pattern, &position) in entry.patterns.iter().zip(of_patterns) {
            if let Some(moved) = log.patterns_mut().remove_audience(pattern, position) {
                self[moved].set_position_of_pattern(pattern, position);
            }
        }
    }
}

fn add_to_topics(
    audience: &Audience,
    key: AudienceKey,
    log: &mut Log,
    positions: &mut Vec<u32>,
) -> Box<[TopicKey]> {
    let topics = log.topics_mut();
    let mut keys: Vec<TopicKey> = audience
        .selectors()
        .iter()
        .filter_map(|selector| match selector {
            Selector::Exact(topic) => Some(topics.intern(topic)),
            _ => None,
        })
        .collect();
    if audience.wants_broadcasts() {
        keys.push(EVERYONE);
    }
    positions.extend(keys.iter().map(|&topic| topics[topic].audiences.add(key)));
    keys.into()
}

fn add_to_patterns(
    audience: &Audience,
    key: AudienceKey,
    log: &mut Log,
    positions: &mut Vec<u32>,
) -> Box<[PatternKey]> {
    audience
        .patterns()
        .map(|selector| {
            let pattern = log.intern_pattern(selector);
            positions.push(log.patterns_mut()[pattern].audiences.add(key));
            pattern
        })
        .collect()
}

impl std::ops::Index<AudienceKey> for Audiences {
    type Output = AudienceEntry;

    fn index(&self, key: AudienceKey) -> &AudienceEntry {
        &self.slots[key as usize]
    }
}

impl std::ops::IndexMut<AudienceKey> for Audiences {
    fn index_mut(&mut self, key: AudienceKey) -> &mut AudienceEntry {
        &mut self.slots[key as usize]
    }
}
