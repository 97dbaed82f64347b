//! Audiences in use: each distinct one once, with the connections that share it.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use super::shards::ShardKey;
use crate::audience::Audience;
use crate::log::{EVERYONE, Log, PatternKey, Record, TopicKey, Walk};
use crate::selector::Selector;

/// An audience's place in the table, good for as long as it has a member.
pub(crate) type AudienceKey = u32;

#[derive(Debug, Default)]
pub(crate) struct Audiences {
    slots: Slab<Shared>,
    by_value: HashMap<Arc<Audience>, AudienceKey>,
    /// Those that choose every topic.
    any: BTreeSet<AudienceKey>,
}

/// One audience and all who share it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) audience: Arc<Audience>,
    /// The topics to walk; unused by an audience that chooses every topic, as the patterns.
    keys: Box<[TopicKey]>,
    patterns: Box<[PatternKey]>,
    pub(crate) members: Vec<Member>,
    /// Shards that have members of their own.
    posts: Vec<Post>,
    /// Members that are not closing.
    pub(crate) open: usize,
    /// Members below this place are still to be woken in the pass that is under way.
    due: usize,
    /// Something came during a pass: another pass follows it, so that everyone gets a turn.
    again: bool,
    /// Index of the last record that was matched, so that several topics count once.
    matched: u64,
}

/// One connection, as its audience sees it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) waker: Option<Waker>,
    /// The connection's slot.
    pub(crate) connection: u32,
    /// Since when something waits for it, in milliseconds; `None` if nothing does.
    pub(crate) due_since: Option<NonZeroU64>,
}

/// The members that one shard looks after.
#[derive(Debug)]
struct Post {
    shard: ShardKey,
    members: u32,
    /// The shard was called for them and has not taken the call yet.
    called: bool,
}

impl Member {
    /// Says that something waits for it, and takes its waker.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Waker> {
        self.due_since.get_or_insert(moment(now));
        self.waker.take()
    }

    /// Says that it took something of what waits for it.
    pub(crate) fn progress(&mut self, now: u64) {
        self.due_since = self.due_since.map(|_| moment(now));
    }
}

/// A moment that is never the first of all, so that none takes no room.
fn moment(now: u64) -> NonZeroU64 {
    NonZeroU64::new(now).unwrap_or(NonZeroU64::MIN)
}

impl Shared {
    /// What a member walks, whose nameless topic is `direct`.
    pub(crate) fn walk(&self, direct: Option<TopicKey>) -> Walk<'_> {
        let topics = if self.audience.selects_any() { None } else { Some(&*self.keys) };
        let private = !self.audience.grants().is_empty();
        Walk { topics, patterns: &self.patterns, private, direct }
    }

    /// The shards that are to be called because something came for all members.
    pub(crate) fn call_shards(&mut self) -> impl Iterator<Item = ShardKey> {
        let uncalled = self.posts.iter_mut().filter(|post| !post.called);
        uncalled.map(|post| {
            post.called = true;
            post.shard
        })
    }

    /// Says that the shard took the call.
    pub(crate) fn take_call(&mut self, shard: ShardKey) {
        if let Some(post) = self.posts.iter_mut().find(|post| post.shard == shard) {
            post.called = false;
        }
    }

    /// Says that something came for all members. `true` if a pass of those without a shard begins
    /// with it.
    pub(crate) fn begin_pass(&mut self) -> bool {
        if self.due > 0 {
            self.again = true;
            return false;
        }
        self.due = self.members.len();
        self.is_due()
    }

    /// The next members of the pass, at most `most`.
    pub(crate) fn take_due(&mut self, most: usize) -> &mut [Member] {
        let (begin, end) = (self.due.saturating_sub(most), self.due);
        self.due = begin;
        if begin == 0 && std::mem::take(&mut self.again) {
            self.due = self.members.len();
        }
        &mut self.members[begin..end]
    }

    /// Whether members are still to be woken.
    pub(crate) fn is_due(&self) -> bool {
        self.due > 0
    }
}

impl Audiences {
    pub(crate) fn intern(&mut self, audience: Audience, log: &mut Log) -> AudienceKey {
        if let Some(&key) = self.by_value.get(&audience) {
            return key;
        }
        let key = self.slots.vacant_key() as AudienceKey;
        let (keys, patterns) = if audience.selects_any() {
            self.any.insert(key);
            Default::default()
        } else {
            (add_to_topics(&audience, key, log), add_to_patterns(&audience, key, log))
        };
        let audience = Arc::new(audience);
        self.by_value.insert(Arc::clone(&audience), key);
        let members = Vec::new();
        self.slots.insert(Shared {
            audience,
            keys,
            patterns,
            members,
            posts: Vec::new(),
            open: 0,
            due: 0,
            again: false,
            matched: u64::MAX,
        });
        key
    }

    /// Adds a connection and returns its place among the members.
    pub(crate) fn join(&mut self, key: AudienceKey, connection: u32) -> u32 {
        let shared = &mut self[key];
        shared.members.push(Member { waker: None, connection, due_since: None });
        shared.open += 1;
        shared.members.len() as u32 - 1
    }

    /// Removes a member. The last member takes its place; the answer names that connection.
    ///
    /// The audience is dropped with its last member. The waker is handed out, because dropping it
    /// may run foreign code.
    pub(crate) fn leave(
        &mut self,
        key: AudienceKey,
        place: u32,
        log: &mut Log,
    ) -> (Option<u32>, Option<Waker>) {
        let shared = &mut self[key];
        // Members are woken from the last place to the first: whoever moves down was woken.
        let left = shared.members.swap_remove(place as usize);
        shared.due = shared.due.min(shared.members.len());
        let moved = shared.members.get(place as usize).map(|member| member.connection);
        self.remove_unused(key, log);
        (moved, left.waker)
    }

    /// Adds a member that the shard looks after.
    pub(crate) fn join_shard(&mut self, key: AudienceKey, shard: ShardKey) {
        let posts = &mut self[key].posts;
        match posts.iter_mut().find(|post| post.shard == shard) {
            Some(post) => post.members += 1,
            None => posts.push(Post { shard, members: 1, called: false }),
        }
    }

    /// Removes a member that the shard looks after. The audience is dropped with its last member.
    pub(crate) fn leave_shard(&mut self, key: AudienceKey, shard: ShardKey, log: &mut Log) {
        let posts = &mut self[key].posts;
        if let Some(place) = posts.iter().position(|post| post.shard == shard) {
            posts[place].members -= 1;
            if posts[place].members == 0 {
                posts.swap_remove(place);
            }
        }
        self.remove_unused(key, log);
    }

    /// Calls `found` for each audience that `record`, appended at `index`, is for. The log knows
    /// the patterns that choose it.
    pub(crate) fn matching(
        &mut self,
        index: u64,
        record: &Record,
        log: &Log,
        mut found: impl FnMut(AudienceKey, &mut Shared),
    ) {
        let named = record.topics.iter().flat_map(|&key| &log.topics()[key].audiences);
        for &key in self.any.iter().chain(named).chain(log.audiences_by_pattern()) {
            let shared = &mut self.slots[key as usize];
            if std::mem::replace(&mut shared.matched, index) == index {
                continue;
            }
            let audience = &shared.audience;
            let wanted = *record.topics != [EVERYONE] || audience.wants_broadcasts();
            if wanted && (!record.private || audience.is_granted(log.names(record))) {
                found(key, shared);
            }
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (AudienceKey, &mut Shared)> {
        self.slots.iter_mut().map(|(key, shared)| (key as AudienceKey, shared))
    }

    pub(crate) fn get_mut(&mut self, key: AudienceKey) -> Option<&mut Shared> {
        self.slots.get_mut(key as usize)
    }

    /// How many distinct audiences there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn remove_unused(&mut self, key: AudienceKey, log: &mut Log) {
        if !self[key].members.is_empty() || !self[key].posts.is_empty() {
            return;
        }
        let shared = self.slots.remove(key as usize);
        self.by_value.remove(&shared.audience);
        self.any.remove(&key);
        for &topic in &shared.keys {
            log.topics_mut().remove_audience(topic, key);
        }
        for &pattern in &shared.patterns {
            log.patterns_mut().remove_audience(pattern, key);
        }
    }
}

fn add_to_topics(audience: &Audience, key: AudienceKey, log: &mut Log) -> Box<[TopicKey]> {
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
    for &topic in &keys {
        topics.add_audience(topic, key);
    }
    keys.into()
}

fn add_to_patterns(audience: &Audience, key: AudienceKey, log: &mut Log) -> Box<[PatternKey]> {
    audience
        .patterns()
        .map(|selector| {
            let pattern = log.intern_pattern(selector);
            log.patterns_mut().add_audience(pattern, key);
            pattern
        })
        .collect()
}

impl std::ops::Index<AudienceKey> for Audiences {
    type Output = Shared;

    fn index(&self, key: AudienceKey) -> &Shared {
        &self.slots[key as usize]
    }
}

impl std::ops::IndexMut<AudienceKey> for Audiences {
    fn index_mut(&mut self, key: AudienceKey) -> &mut Shared {
        &mut self.slots[key as usize]
    }
}
