//! Audiences in use: each distinct one once, with its connections, and lists of the audiences that
//! a record may be for.
//!
//! An audience is in a list for each topic and pattern that it selects, and in another for each
//! that grants it private records. A record is matched with the audiences of its lists in pieces,
//! between which the manager's lock is released; a private one with those that it is granted to,
//! where they are fewer than those that select it.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use super::keys::{AudienceKey, ShardKey};
use crate::audience::Audience;
use crate::limits;
use crate::log::{AudienceList, EVERYONE, Log, PatternKey, Record, TopicKey, Walk};
use crate::selector::{Selector, Topic};
use crate::steps;

#[derive(Debug, Default)]
pub(crate) struct Audiences {
    slots: Slab<AudienceEntry>,
    by_value: HashMap<Arc<Audience>, AudienceKey>,
    /// Audiences that select every topic.
    selects_any: AudienceList,
    /// Audiences that are granted everything.
    granted_all: AudienceList,
    /// Audiences that are granted a topic by name.
    granted_topics: HashMap<Topic, AudienceList>,
}

/// One audience and its members.
#[derive(Debug)]
pub(crate) struct AudienceEntry {
    pub(crate) audience: Arc<Audience>,
    /// The topics that it selects by name. Empty, like the patterns, if it selects every topic.
    topics: Box<[TopicKey]>,
    patterns: Box<[PatternKey]>,
    /// The patterns that grant private records, sorted.
    granting: Box<[PatternKey]>,
    /// Index from which on `granting` was in use.
    granting_since: u64,
    /// Its position in each of the lists that it is in, in the order of [`AudienceListKey`].
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
    /// The indexes that a member walks; `sent_to` is its slot if events wait that were sent to it
    /// alone.
    pub(crate) fn walk(&self, sent_to: Option<u32>) -> Walk<'_> {
        let topics = if self.audience.selects_any() { None } else { Some(&*self.topics) };
        let private = !self.audience.grants().is_empty();
        Walk {
            topics,
            patterns: &self.patterns,
            private,
            granting_since: self.granting_since,
            sent_to,
        }
    }

    /// The patterns that grant private records, sorted.
    pub(crate) fn granting(&self) -> &[PatternKey] {
        &self.granting
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

    /// Starts a wake pass over the members that are polled, because a record was appended for all
    /// of them. `false` if there are none, or a pass is running, which then runs again.
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

    /// The lists that the audience is in. Its position in each is at the same place of `positions`.
    fn lists(&self) -> impl Iterator<Item = AudienceListKey<'_>> {
        let any = self.audience.selects_any().then_some(AudienceListKey::Any);
        let granted_all = self.audience.grants_everything().then_some(AudienceListKey::GrantedAll);
        any.into_iter()
            .chain(self.topics.iter().map(|&topic| AudienceListKey::Topic(topic)))
            .chain(self.patterns.iter().map(|&pattern| AudienceListKey::Pattern(pattern)))
            .chain(granted_all)
            .chain(self.audience.granted_topics().map(AudienceListKey::GrantedTopic))
            .chain(self.granting.iter().map(|&pattern| AudienceListKey::Granting(pattern)))
    }

    fn set_position(&mut self, list: AudienceListKey<'_>, position: u32) {
        let index = self.lists().position(|other| other == list);
        if let Some(index) = index {
            self.positions[index] = position;
        }
    }

    /// Whether the audience selects a record, whose topics are matched by `patterns`.
    fn selects(&self, record: &Record, patterns: &[PatternKey]) -> bool {
        self.audience.selects_any()
            || record.topics.iter().any(|topic| self.topics.contains(&topic.key))
            || self.patterns.iter().any(|key| patterns.binary_search(key).is_ok())
    }

    /// Whether a private record is open to the audience.
    fn is_granted(&self, record: &Record, patterns: &[PatternKey]) -> bool {
        self.audience.is_granted_by_name(record.names())
            || self.granting.iter().any(|key| patterns.binary_search(key).is_ok())
    }
}

/// Whose list of audiences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AudienceListKey<'a> {
    /// Those that select every topic.
    Any,
    Topic(TopicKey),
    Pattern(PatternKey),
    /// Those that are granted everything.
    GrantedAll,
    GrantedTopic(&'a Topic),
    /// Those that are granted what a pattern matches.
    Granting(PatternKey),
}

/// How far a record was matched with the audiences that it may be for.
#[derive(Debug)]
pub(crate) struct MatchCursor {
    /// Private records are matched with the audiences that they are granted to, where those are
    /// fewer than the ones that select them.
    by_grant: bool,
    /// Number of the list among those of the record.
    list: usize,
    /// Audiences of that list that are still to be matched, from its end; `None` before its first.
    left: Option<usize>,
}

impl Audiences {
    pub(crate) fn intern(&mut self, audience: Audience, log: &mut Log) -> AudienceKey {
        if let Some(&key) = self.by_value.get(&audience) {
            return key;
        }
        let key = self.slots.vacant_key() as AudienceKey;
        let (topics, patterns) = if audience.selects_any() {
            Default::default()
        } else {
            let topics = topics_of(&audience, log);
            (topics, audience.patterns().map(|pattern| log.intern_pattern(pattern)).collect())
        };
        let mut granting: Box<[PatternKey]> =
            audience.grant_patterns().map(|pattern| log.intern_pattern(pattern)).collect();
        granting.sort_unstable();
        let granting_since = if granting.is_empty() { 0 } else { log.end() };
        let audience = Arc::new(audience);
        self.by_value.insert(Arc::clone(&audience), key);
        let mut entry = AudienceEntry {
            audience,
            topics,
            patterns,
            granting,
            granting_since,
            positions: Box::default(),
            members: Vec::new(),
            shards: Vec::new(),
            open: 0,
            due: 0,
            again: false,
            matched: u64::MAX,
        };
        entry.positions = entry.lists().map(|list| self.add_to(list, key, log)).collect();
        steps::count(entry.positions.len());
        self.slots.insert(entry);
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
    /// The audience is dropped with its last member. The waker is returned, because dropping it
    /// under the lock may run code that is not ours.
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

    /// Begins to match a record with the audiences that it may be for. `patterns` match one of its
    /// topics.
    pub(crate) fn begin_match(
        &self,
        record: &Record,
        patterns: &[PatternKey],
        log: &Log,
    ) -> MatchCursor {
        let size = |by_grant| {
            let lists = (0..).map_while(|list| list_of(by_grant, list, record, patterns));
            let sizes = lists.filter_map(|list| self.list(list, log)).map(AudienceList::len);
            sizes.inspect(|_| steps::count(1)).sum::<usize>()
        };
        let by_grant = record.private && size(true) < size(false);
        MatchCursor { by_grant, list: 0, left: None }
    }

    /// Calls `found` for audiences that may read the record, at most [`limits::MATCH_BATCH`] of
    /// those that it may be for. Returns whether all were matched.
    ///
    /// Between two calls audiences may come and go. Lists are matched from their ends, and what is
    /// removed from a list is replaced by its last, which was matched then.
    pub(crate) fn match_some(
        &mut self,
        cursor: &mut MatchCursor,
        record: &Record,
        patterns: &[PatternKey],
        log: &Log,
        mut found: impl FnMut(AudienceKey, &mut AudienceEntry),
    ) -> bool {
        let mut budget = limits::MATCH_BATCH;
        let Self { slots, selects_any, granted_all, granted_topics, .. } = self;
        while let Some(list) = list_of(cursor.by_grant, cursor.list, record, patterns) {
            let list = match list {
                AudienceListKey::Any => Some(&*selects_any),
                AudienceListKey::GrantedAll => Some(&*granted_all),
                AudienceListKey::GrantedTopic(topic) => granted_topics.get(topic),
                AudienceListKey::Topic(topic) => Some(&log.topics()[topic].audiences),
                AudienceListKey::Pattern(pattern) => {
                    log.patterns().get(pattern).map(|it| &it.audiences)
                }
                AudienceListKey::Granting(pattern) => {
                    log.patterns().get(pattern).map(|it| &it.granted)
                }
            };
            let keys = list.map_or(&[][..], AudienceList::as_slice);
            let mut left = cursor.left.unwrap_or(keys.len()).min(keys.len());
            while left > 0 {
                if budget == 0 {
                    cursor.left = Some(left);
                    return false;
                }
                budget -= 1;
                steps::count(1);
                left -= 1;
                let key = keys[left];
                let entry = &mut slots[key as usize];
                if std::mem::replace(&mut entry.matched, record.index) == record.index {
                    continue;
                }
                let is_wanted = !record.is_broadcast() || entry.audience.wants_broadcasts();
                let is_selected = !cursor.by_grant || entry.selects(record, patterns);
                let is_open = !record.private || entry.is_granted(record, patterns);
                if is_wanted && is_selected && is_open {
                    found(key, entry);
                }
            }
            (cursor.list, cursor.left) = (cursor.list + 1, None);
        }
        true
    }

    fn list<'a>(&'a self, list: AudienceListKey<'_>, log: &'a Log) -> Option<&'a AudienceList> {
        match list {
            AudienceListKey::Any => Some(&self.selects_any),
            AudienceListKey::GrantedAll => Some(&self.granted_all),
            AudienceListKey::GrantedTopic(topic) => self.granted_topics.get(topic),
            AudienceListKey::Topic(topic) => Some(&log.topics()[topic].audiences),
            AudienceListKey::Pattern(pattern) => {
                log.patterns().get(pattern).map(|it| &it.audiences)
            }
            AudienceListKey::Granting(pattern) => log.patterns().get(pattern).map(|it| &it.granted),
        }
    }

    /// Adds an audience to a list. Returns its position there.
    fn add_to(&mut self, list: AudienceListKey<'_>, key: AudienceKey, log: &mut Log) -> u32 {
        match list {
            AudienceListKey::Any => self.selects_any.add(key),
            AudienceListKey::GrantedAll => self.granted_all.add(key),
            AudienceListKey::GrantedTopic(topic) => {
                self.granted_topics.entry(topic.clone()).or_default().add(key)
            }
            AudienceListKey::Topic(topic) => log.topics_mut()[topic].audiences.add(key),
            AudienceListKey::Pattern(pattern) => log.add_pattern_audience(pattern, key),
            AudienceListKey::Granting(pattern) => log.patterns_mut()[pattern].granted.add(key),
        }
    }

    /// Removes the audience at a position of a list. Returns the one that is there now.
    fn remove_from(
        &mut self,
        list: AudienceListKey<'_>,
        position: u32,
        log: &mut Log,
    ) -> Option<u32> {
        match list {
            AudienceListKey::Any => self.selects_any.remove(position),
            AudienceListKey::GrantedAll => self.granted_all.remove(position),
            AudienceListKey::GrantedTopic(topic) => {
                let granted = self.granted_topics.get_mut(topic)?;
                let moved = granted.remove(position);
                if granted.is_empty() {
                    self.granted_topics.remove(topic);
                }
                moved
            }
            AudienceListKey::Topic(topic) => log.topics_mut().remove_audience(topic, position),
            AudienceListKey::Pattern(pattern) => {
                log.patterns_mut().remove_audience(pattern, position)
            }
            AudienceListKey::Granting(pattern) => {
                log.patterns_mut().remove_granted(pattern, position)
            }
        }
    }

    /// A key above all keys in use.
    pub(crate) fn keys_end(&self) -> AudienceKey {
        self.slots.capacity() as AudienceKey
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
        for (list, &position) in entry.lists().zip(&entry.positions) {
            steps::count(1);
            if let Some(moved) = self.remove_from(list, position, log) {
                self[moved].set_position(list, position);
            }
        }
    }
}

/// The `n`-th of the lists that have the audiences for a record.
fn list_of<'a>(
    by_grant: bool,
    n: usize,
    record: &'a Record,
    patterns: &[PatternKey],
) -> Option<AudienceListKey<'a>> {
    let Some(n) = n.checked_sub(1) else {
        return Some(if by_grant { AudienceListKey::GrantedAll } else { AudienceListKey::Any });
    };
    if let Some(topic) = record.topics.get(n) {
        return match (by_grant, &topic.name) {
            (false, _) => Some(AudienceListKey::Topic(topic.key)),
            (true, Some(name)) => Some(AudienceListKey::GrantedTopic(name)),
            // What is broadcast has no name by which it is granted.
            (true, None) => None,
        };
    }
    let pattern = *patterns.get(n - record.topics.len())?;
    Some(if by_grant {
        AudienceListKey::Granting(pattern)
    } else {
        AudienceListKey::Pattern(pattern)
    })
}

fn topics_of(audience: &Audience, log: &mut Log) -> Box<[TopicKey]> {
    let topics = log.topics_mut();
    let names = audience.selectors().iter().filter_map(|selector| match selector {
        Selector::Exact(topic) => Some(topic),
        _ => None,
    });
    let mut keys: Vec<TopicKey> = names.map(|topic| topics.intern(topic)).collect();
    if audience.wants_broadcasts() {
        keys.push(EVERYONE);
    }
    keys.into()
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
