//! Topics by name: for each an index into the rings, its floors, and the audiences that select it.

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::audience_list::AudienceList;
use super::class::{Class, PerClass};
use super::dropped_floors::DroppedFloors;
use super::floors::{Floor, Floors};
use super::keys::{PatternKey, TopicKey};
use crate::limits;
use crate::selector::Topic;

#[derive(Debug)]
pub(crate) struct TopicIndex {
    /// `None` for broadcasts.
    pub(crate) name: Option<Topic>,
    /// Per class, because each class evicts its own oldest record first.
    records: PerClass<TopicRecords>,
    /// Audiences that select the topic by name. The manager maintains the list.
    pub(crate) audiences: AudienceList,
    /// The cached result of matching patterns; `None` too if more than
    /// [`limits::TOPIC_PATTERNS`] match.
    matching: Option<Box<MatchingPatterns>>,
    /// Not dropped when it has neither records nor audiences.
    is_pinned: bool,
}

/// A topic's records of one class.
#[derive(Debug, Default)]
pub(super) struct TopicRecords {
    /// Their indexes, rising.
    pub(super) at: VecDeque<u64>,
    pub(super) floors: Floors,
}

/// The patterns that match a topic, as of a generation of the table of patterns.
#[derive(Debug)]
struct MatchingPatterns {
    generation: u64,
    patterns: Box<[PatternKey]>,
}

impl TopicRecords {
    fn first_from(&self, from: u64) -> Option<u64> {
        // Most readers are at the end: comparing with the newest record is enough for them.
        if *self.at.back()? < from {
            return None;
        }
        let before = self.at.partition_point(|&index| index < from);
        self.at.get(before).copied()
    }
}

impl TopicIndex {
    /// Index of the topic's first record at or after `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<u64> {
        self.records.iter().filter_map(|records| records.first_from(from)).min()
    }

    /// Its records of a class.
    pub(super) fn records(&self, class: Class) -> &TopicRecords {
        &self.records[class]
    }

    /// The patterns that match the topic, if they are cached, and the generation that they are of.
    pub(super) fn matching_patterns(&self) -> Option<(&[PatternKey], u64)> {
        let matching = self.matching.as_deref()?;
        Some((&matching.patterns, matching.generation))
    }

    fn is_unused(&self) -> bool {
        !self.is_pinned
            && self.audiences.is_empty()
            && self.records.iter().all(|records| records.at.is_empty())
    }
}

#[derive(Debug)]
pub(crate) struct Topics {
    slots: Slab<TopicIndex>,
    by_name: HashMap<Topic, TopicKey>,
    dropped: DroppedFloors,
    /// The floor of a topic that was never seen: the position at which this log began.
    base: Floor,
    /// Per class, what named topics with records of the class hold beside the records. A topic with
    /// records of several classes counts for each, so that no class pays for another.
    bytes: PerClass<usize>,
}

impl Topics {
    pub(super) fn new() -> Self {
        let mut slots = Slab::new();
        slots.insert(TopicIndex::new(None, PerClass::default(), true));
        Self {
            slots,
            by_name: HashMap::new(),
            dropped: DroppedFloors::new(),
            base: Floor::default(),
            bytes: PerClass::default(),
        }
    }

    /// The key of a topic, which is added if it is new.
    pub(crate) fn intern(&mut self, topic: &Topic) -> TopicKey {
        if let Some(&key) = self.by_name.get(topic) {
            return key;
        }
        let floors = self.dropped.floors(topic).map(|floors| floors.max(Floors::both(self.base)));
        let key = self.insert(TopicIndex::new(Some(topic.clone()), floors, false));
        self.by_name.insert(topic.clone(), key);
        key
    }

    /// A topic by name, if it has a record or an audience.
    pub(crate) fn find(&self, topic: &Topic) -> Option<&TopicIndex> {
        self.by_name.get(topic).map(|&key| &self[key])
    }

    /// Removes an audience from a topic's list; see [`AudienceList::remove`].
    pub(crate) fn remove_audience(&mut self, key: TopicKey, position: u32) -> Option<u32> {
        let moved = self[key].audiences.remove(position);
        self.drop_if_unused(key);
        moved
    }

    /// How many named topics have a record or an audience.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Bytes that topics hold because they have records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.iter().sum()
    }

    /// Bytes that topics hold because they have records of a class.
    pub(super) fn bytes_of(&self, class: Class) -> usize {
        self.bytes[class]
    }

    pub(super) fn push(&mut self, key: TopicKey, class: Class, index: u64) {
        let records = &mut self[key].records[class];
        records.at.push_back(index);
        if records.at.len() == 1 {
            self.bytes[class] += self[key].cost();
        }
    }

    /// Caches which patterns match a topic, unless they are too many.
    pub(super) fn cache_matching_patterns(
        &mut self,
        key: TopicKey,
        generation: u64,
        patterns: &[PatternKey],
    ) {
        let is_cached = patterns.len() <= limits::TOPIC_PATTERNS;
        let topic = &mut self[key];
        let before = topic.cost();
        topic.matching =
            is_cached.then(|| Box::new(MatchingPatterns { generation, patterns: patterns.into() }));
        for class in Class::ALL {
            if !self[key].records[class].at.is_empty() {
                self.bytes[class] = self.bytes[class] + self[key].cost() - before;
            }
        }
    }

    /// Removes the topic's oldest record of a class, which was evicted.
    pub(super) fn evict(&mut self, key: TopicKey, class: Class, private: bool, floor: Floor) {
        let records = &mut self[key].records[class];
        records.at.pop_front();
        records.floors.raise(private, floor);
        if records.at.is_empty() {
            records.at = VecDeque::new();
            self.bytes[class] -= self[key].cost();
        }
        self.drop_if_unused(key);
    }

    /// Sets the floors of every topic to `base`, where the order begins.
    pub(super) fn set_base(&mut self, base: Floor) {
        self.base = base;
        for (_, topic) in &mut self.slots {
            for class in Class::ALL {
                topic.records[class].floors = Floors::both(base);
            }
        }
    }

    /// Forgets the floors of dropped topics, because the order that they belong to was replaced.
    pub(super) fn forget_floors(&mut self) {
        self.dropped = DroppedFloors::new();
    }

    fn insert(&mut self, topic: TopicIndex) -> TopicKey {
        TopicKey::of_slot(self.slots.insert(topic))
    }

    fn drop_if_unused(&mut self, key: TopicKey) {
        if !self[key].is_unused() {
            return;
        }
        let topic = self.slots.remove(key.slot());
        let Some(name) = topic.name else { return };
        self.by_name.remove(&name);
        self.dropped.add(&name, |class| topic.records[class].floors, self.base);
    }
}

impl TopicIndex {
    fn new(name: Option<Topic>, floors: PerClass<Floors>, is_pinned: bool) -> Self {
        let records = floors.map(|floors| TopicRecords { at: VecDeque::new(), floors });
        Self { name, records, audiences: AudienceList::default(), matching: None, is_pinned }
    }

    /// Bytes that a named topic holds beside the entries of its index.
    fn cost(&self) -> usize {
        let Some(name) = &self.name else { return 0 };
        let of_matching = |matching: &MatchingPatterns| {
            size_of_val(matching) + size_of_val(&*matching.patterns) + limits::INDEX_ENTRY_BYTES
        };
        let matching = self.matching.as_deref().map_or(0, of_matching);
        name.as_str().len() + limits::TOPIC_OVERHEAD_BYTES + matching
    }
}

impl Index<TopicKey> for Topics {
    type Output = TopicIndex;

    fn index(&self, key: TopicKey) -> &TopicIndex {
        &self.slots[key.slot()]
    }
}

impl IndexMut<TopicKey> for Topics {
    fn index_mut(&mut self, key: TopicKey) -> &mut TopicIndex {
        &mut self.slots[key.slot()]
    }
}
