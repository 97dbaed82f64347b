//! Patterns in use: for each distinct one an index of the newest records that it matches, the
//! audiences that select it, and those to which it grants private records.
//!
//! A pattern is indexed from the moment an audience selects it, and its index has a bounded number
//! of records. A reader that is further behind matches the topics of each record of its slices.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::audience_list::AudienceList;
use super::class::{Class, PerClass};
use super::floors::Floor;
use super::keys::PatternKey;
use super::pattern_match::{NewPatterns, PatternMatches, PatternQuery, TopicQuery};
use super::record::Record;
use crate::limits;
use crate::selector::{Changes, PatternIndex, Selector};
use crate::steps;

#[derive(Debug)]
pub(crate) struct Pattern {
    selector: Selector,
    /// Per class, because the rings of the classes begin at different indexes.
    records: PerClass<PatternClassRecords>,
    /// Audiences that select the pattern. The manager maintains the list, and the next one.
    pub(crate) audiences: AudienceList,
    /// Audiences to which the pattern grants private records.
    pub(crate) granted: AudienceList,
}

/// The newest records of one class that a pattern matches; public and private ones apart, because
/// not every reader reads private ones.
#[derive(Debug)]
struct PatternClassRecords {
    public: PatternRecords,
    private: PatternRecords,
}

/// An index of the newest records that a pattern matches, of one class and one visibility.
#[derive(Debug)]
pub(super) struct PatternRecords {
    /// Index and sequence number of each record, rising. The ring may have evicted the oldest.
    at: VecDeque<(u64, u64)>,
    /// The index from which on, and the sequence number after which, the list is complete.
    since: Floor,
}

impl PatternClassRecords {
    fn new(since: Floor) -> PerClass<Self> {
        let records = || PatternRecords::new(since);
        PerClass::of(|_| Self { public: records(), private: records() })
    }
}

impl PatternRecords {
    fn new(since: Floor) -> Self {
        Self { at: VecDeque::new(), since }
    }

    fn push(&mut self, index: u64, seq: u64) {
        if self.at.len() == limits::PATTERN_RECORDS
            && let Some((index, seq)) = self.at.pop_front()
        {
            self.since = Floor { index: index + 1, seq };
        }
        self.at.push_back((index, seq));
    }

    fn first_from(&self, from: u64) -> Option<u64> {
        // Most readers are at the end: comparing with the newest record is enough for them.
        if self.at.back()?.0 < from {
            return None;
        }
        let before = self.at.partition_point(|&(index, _)| index < from);
        self.at.get(before).map(|&(index, _)| index)
    }

    /// Whether one of these records at or after `from` was evicted. The ring begins at index
    /// `first` and has the floor `floor`.
    pub(super) fn missed(&self, from: u64, first: u64, floor: Floor) -> bool {
        if from < self.since.index {
            return floor.index > from;
        }
        self.first_from(from).is_some_and(|index| index < first)
    }

    /// Whether all of these records after `seq` are retained. The ring begins at index `first` and
    /// has the floor `floor`.
    pub(super) fn is_complete(&self, seq: u64, first: u64, floor: Floor) -> bool {
        if seq < self.since.seq {
            return floor.seq <= seq;
        }
        let after = self.at.partition_point(|&(_, other)| other <= seq);
        self.at.get(after).is_none_or(|&(index, _)| index >= first)
    }
}

impl Pattern {
    /// The indexes of a class for a reader that reads private records or does not, each with
    /// whether it is that of the private ones.
    pub(super) fn records(
        &self,
        class: Class,
        private: bool,
    ) -> impl Iterator<Item = (&PatternRecords, bool)> {
        let records = &self.records[class];
        let private = private.then_some((&records.private, true));
        [(&records.public, false)].into_iter().chain(private)
    }

    /// The first record of a class at or after `from`.
    pub(super) fn first_from(&self, class: Class, from: u64, private: bool) -> Option<u64> {
        self.records(class, private).filter_map(|(records, _)| records.first_from(from)).min()
    }

    /// The index from which on the indexes of all classes are complete.
    pub(super) fn since(&self, private: bool) -> u64 {
        let indexes = Class::ALL.into_iter().flat_map(|class| self.records(class, private));
        indexes.map(|(records, _)| records.since.index).max().unwrap_or(0)
    }
}

#[derive(Debug)]
pub(crate) struct Patterns {
    slots: Slab<Pattern>,
    by_selector: HashMap<Selector, PatternKey>,
    index: PatternIndex<PatternKey>,
    /// Tells this table from those of other managers.
    id: u64,
}

impl Patterns {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            by_selector: HashMap::new(),
            index: PatternIndex::new(),
            id: RandomState::new().build_hasher().finish(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Asks which patterns match these topics, of which the answers in `known` are known, each with
    /// its generation.
    pub(super) fn query<'a>(
        &self,
        known: impl Iterator<Item = Option<(&'a [PatternKey], u64)>>,
    ) -> PatternQuery {
        let query = |known: Option<(&[PatternKey], u64)>| {
            let Some((keys, generation)) = known else { return TopicQuery::All };
            let Changes::Few(added) = self.index.changes_since(generation) else {
                return TopicQuery::All;
            };
            steps::count(keys.len() + added.len());
            let mut known = keys.to_vec();
            self.index.retain_in_use(&mut known, generation);
            TopicQuery::Added { known, added }
        };
        PatternQuery {
            table: self.id,
            topics: known.map(query).collect(),
            snapshot: self.index.snapshot(),
        }
    }

    /// Whether an answer needs no further pattern to be matched.
    pub(super) fn is_current(&self, matches: &PatternMatches) -> bool {
        matches.table == self.id && self.index.generation() == matches.generation
    }

    /// Takes out of an answer what is not in use any more.
    pub(super) fn retain_in_use(&self, keys: &mut Vec<PatternKey>, generation: u64) {
        steps::count(keys.len());
        self.index.retain_in_use(keys, generation);
    }

    pub(super) fn not_in_use<'a>(
        &self,
        patterns: impl Iterator<Item = &'a Selector>,
    ) -> Option<NewPatterns> {
        let new = patterns.inspect(|_| steps::count(1));
        let new: Vec<_> = new.filter(|it| !self.by_selector.contains_key(*it)).cloned().collect();
        (!new.is_empty()).then(|| NewPatterns { snapshot: self.index.snapshot(), patterns: new })
    }

    /// The most steps that matching a topic with the patterns in use takes.
    pub(super) fn match_cost(&self) -> u64 {
        self.index.match_cost()
    }

    /// Whether a pattern is in use, or fewer than `max` are.
    pub(super) fn has_room(&self, selector: &Selector, max: usize) -> bool {
        self.slots.len() < max || self.by_selector.contains_key(selector)
    }

    /// A pattern, if it is in use.
    pub(crate) fn get(&self, key: PatternKey) -> Option<&Pattern> {
        self.slots.get(key.slot())
    }

    /// The key of a pattern. A new pattern is indexed from `since` on.
    pub(super) fn intern(&mut self, selector: &Selector, since: Floor) -> PatternKey {
        if let Some(&key) = self.by_selector.get(selector) {
            return key;
        }
        let slot = self.slots.insert(Pattern {
            selector: selector.clone(),
            records: PatternClassRecords::new(since),
            audiences: AudienceList::default(),
            granted: AudienceList::default(),
        });
        let key = PatternKey::of_slot(slot);
        self.by_selector.insert(selector.clone(), key);
        self.index.insert(selector, key);
        key
    }

    /// Adds an audience that selects a pattern. Its records are indexed from the first such
    /// audience on, which is `since`. Returns the audience's position in the list.
    pub(super) fn add_audience(&mut self, key: PatternKey, audience: u32, since: Floor) -> u32 {
        let pattern = &mut self[key];
        if pattern.audiences.is_empty() {
            pattern.records = PatternClassRecords::new(since);
        }
        pattern.audiences.add(audience)
    }

    /// Removes an audience that selects a pattern; see [`AudienceList::remove`]. The pattern is
    /// dropped with its last audience.
    pub(crate) fn remove_audience(&mut self, key: PatternKey, position: u32) -> Option<u32> {
        let moved = self[key].audiences.remove(position);
        self.drop_if_unused(key);
        moved
    }

    /// Removes an audience to which a pattern grants records, likewise.
    pub(crate) fn remove_granted(&mut self, key: PatternKey, position: u32) -> Option<u32> {
        let moved = self[key].granted.remove(position);
        self.drop_if_unused(key);
        moved
    }

    fn drop_if_unused(&mut self, key: PatternKey) {
        let pattern = &self[key];
        if pattern.audiences.is_empty() && pattern.granted.is_empty() {
            let pattern = self.slots.remove(key.slot());
            self.by_selector.remove(&pattern.selector);
            self.index.remove(&pattern.selector, key);
        }
    }

    /// Adds a record to the index of a pattern that matches it.
    pub(super) fn push(&mut self, key: PatternKey, record: &Record) {
        let pattern = &mut self[key];
        if pattern.audiences.is_empty() {
            return;
        }
        let records = &mut pattern.records[record.class];
        let records = if record.private { &mut records.private } else { &mut records.public };
        records.push(record.index, record.seq);
    }

    /// Empties the index of every pattern, because the order begins anew at `since`.
    pub(super) fn reset(&mut self, since: Floor) {
        for (_, pattern) in &mut self.slots {
            pattern.records = PatternClassRecords::new(since);
        }
    }
}

impl Index<PatternKey> for Patterns {
    type Output = Pattern;

    fn index(&self, key: PatternKey) -> &Pattern {
        &self.slots[key.slot()]
    }
}

impl IndexMut<PatternKey> for Patterns {
    fn index_mut(&mut self, key: PatternKey) -> &mut Pattern {
        &mut self.slots[key.slot()]
    }
}
