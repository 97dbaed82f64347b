//! Topics by name: for each an index of positions into the rings, its floors, and who reads it.

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::class::{Class, PerClass};
use super::dropped::Dropped;
use super::patterns::PatternKey;
use crate::limits;
use crate::selector::Topic;

/// A topic's place in the table. Good for as long as the topic has a record or a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicKey(u32);

/// What is broadcast. It has no name, so that nobody can publish to it by name.
pub(crate) const EVERYONE: TopicKey = TopicKey(0);

/// What was evicted: the index after the last evicted record, and that record's sequence number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    pub(crate) index: u64,
    pub(crate) seq: u64,
}

/// Floors of public and of private records, which not every reader would have read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floors {
    pub(crate) public: Floor,
    pub(crate) private: Floor,
}

impl Floors {
    /// One floor for all records.
    pub(super) fn both(floor: Floor) -> Self {
        Self { public: floor, private: floor }
    }

    /// The floor for a reader that reads private records, or for one that does not.
    pub(crate) fn of(self, private: bool) -> Floor {
        if private { self.public.max(self.private) } else { self.public }
    }

    pub(crate) fn raise(&mut self, private: bool, floor: Floor) {
        let own = if private { &mut self.private } else { &mut self.public };
        *own = own.max(floor);
    }

    fn max(self, other: Self) -> Self {
        Self { public: self.public.max(other.public), private: self.private.max(other.private) }
    }

    /// The floor of private records alone, or of public ones.
    pub(super) fn own(self, private: bool) -> Floor {
        if private { self.private } else { self.public }
    }
}

impl Floor {
    pub(super) fn max(self, other: Self) -> Self {
        Self { index: self.index.max(other.index), seq: self.seq.max(other.seq) }
    }
}

#[derive(Debug)]
pub(crate) struct TopicIndex {
    /// `None` for what is broadcast and for what is sent to one connection.
    pub(crate) name: Option<Topic>,
    /// Classes apart, so that the oldest of each is in front.
    kept: PerClass<Kept>,
    /// Audiences that name the topic, sorted. The table keeps the list for the manager.
    pub(crate) audiences: Vec<u32>,
    /// The patterns that chose the topic when that was last asked, unless they were many.
    chosen_by: Option<Box<Choosers>>,
    /// Kept without records and audiences: someone holds the key.
    held: bool,
}

/// A topic's records of one class.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Their indexes, rising.
    pub(super) at: VecDeque<u64>,
    pub(super) floors: Floors,
}

/// The patterns that choose a topic, and when they did.
#[derive(Debug)]
struct Choosers {
    generation: u64,
    patterns: Box<[PatternKey]>,
}

impl Kept {
    fn first_from(&self, from: u64) -> Option<u64> {
        // Most readers are at the end, so that one look at the newest record is enough.
        if *self.at.back()? < from {
            return None;
        }
        let before = self.at.partition_point(|&index| index < from);
        self.at.get(before).copied()
    }
}

impl TopicIndex {
    /// The first of the topic's records at or after `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<u64> {
        self.kept.iter().filter_map(|kept| kept.first_from(from)).min()
    }

    /// Its records of a class.
    pub(super) fn kept(&self, class: Class) -> &Kept {
        &self.kept[class]
    }

    /// The patterns that choose the topic, if that is known of this generation.
    pub(super) fn chosen_by(&self, generation: u64) -> Option<&[PatternKey]> {
        let choosers = self.chosen_by.as_deref()?;
        (choosers.generation == generation).then_some(&*choosers.patterns)
    }

    fn is_unused(&self) -> bool {
        !self.held && self.audiences.is_empty() && self.kept.iter().all(|kept| kept.at.is_empty())
    }
}

#[derive(Debug)]
pub(crate) struct Topics {
    slots: Slab<TopicIndex>,
    by_name: HashMap<Topic, TopicKey>,
    dropped: Dropped,
    /// The floor of a topic that was never seen here: what was evicted before this log began.
    base: Floor,
    /// What named topics with records of a class hold, beside the records. A topic with records of
    /// several counts for each, so that none pays for what is kept of another.
    bytes: PerClass<usize>,
}

impl Topics {
    pub(super) fn new() -> Self {
        let mut slots = Slab::new();
        slots.insert(TopicIndex::new(None, PerClass::default(), true));
        Self {
            slots,
            by_name: HashMap::new(),
            dropped: Dropped::new(),
            base: Floor::default(),
            bytes: PerClass::default(),
        }
    }

    /// The key of a topic, which gets a place if it has none.
    pub(crate) fn intern(&mut self, topic: &Topic) -> TopicKey {
        if let Some(&key) = self.by_name.get(topic) {
            return key;
        }
        let floors = self.dropped.floors(topic).map(|floors| floors.max(Floors::both(self.base)));
        let key = self.insert(TopicIndex::new(Some(topic.clone()), floors, false));
        self.by_name.insert(topic.clone(), key);
        key
    }

    /// A topic without a name, held until [`release`](Self::release).
    pub(crate) fn unnamed(&mut self) -> TopicKey {
        self.insert(TopicIndex::new(None, PerClass::default(), true))
    }

    pub(crate) fn release(&mut self, key: TopicKey) {
        self[key].held = false;
        self.drop_if_unused(key);
    }

    pub(crate) fn add_audience(&mut self, key: TopicKey, audience: u32) {
        let audiences = &mut self[key].audiences;
        if let Err(place) = audiences.binary_search(&audience) {
            audiences.insert(place, audience);
        }
    }

    pub(crate) fn remove_audience(&mut self, key: TopicKey, audience: u32) {
        let audiences = &mut self[key].audiences;
        if let Ok(place) = audiences.binary_search(&audience) {
            audiences.remove(place);
        }
        self.drop_if_unused(key);
    }

    /// How many topics have a record or a reader.
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
        let at = &mut self[key].kept[class].at;
        at.push_back(index);
        if at.len() == 1 {
            self.bytes[class] += self[key].cost();
        }
    }

    /// Remembers which patterns choose a topic, if they are not too many to be kept.
    pub(super) fn choose(&mut self, key: TopicKey, generation: u64, patterns: &[PatternKey]) {
        let is_few = patterns.len() <= limits::TOPIC_PATTERNS;
        let choosers = is_few.then(|| Box::new(Choosers { generation, patterns: patterns.into() }));
        let topic = &mut self[key];
        let before = topic.cost();
        topic.chosen_by = choosers;
        for class in Class::ALL {
            if !self[key].kept[class].at.is_empty() {
                self.bytes[class] = self.bytes[class] + self[key].cost() - before;
            }
        }
    }

    /// Says that the oldest record of a class was evicted.
    pub(super) fn evict(&mut self, key: TopicKey, class: Class, private: bool, floor: Floor) {
        let kept = &mut self[key].kept[class];
        kept.at.pop_front();
        kept.floors.raise(private, floor);
        if kept.at.is_empty() {
            kept.at = VecDeque::new();
            self.bytes[class] -= self[key].cost();
        }
        self.drop_if_unused(key);
    }

    /// The log begins at `base`: nothing is known of any topic before it.
    pub(super) fn set_base(&mut self, base: Floor) {
        self.base = base;
        for (_, topic) in &mut self.slots {
            for class in Class::ALL {
                topic.kept[class].floors = Floors::both(base);
            }
        }
    }

    /// Floors of dropped topics count in an order that is gone.
    pub(super) fn forget_floors(&mut self) {
        self.dropped = Dropped::new();
    }

    fn insert(&mut self, topic: TopicIndex) -> TopicKey {
        let slot = self.slots.insert(topic);
        TopicKey(u32::try_from(slot).expect("more topics than memory can hold"))
    }

    fn drop_if_unused(&mut self, key: TopicKey) {
        if !self[key].is_unused() {
            return;
        }
        let topic = self.slots.remove(key.0 as usize);
        let Some(name) = topic.name else { return };
        self.by_name.remove(&name);
        self.dropped.add(&name, |class| topic.kept[class].floors, self.base);
    }
}

impl TopicIndex {
    fn new(name: Option<Topic>, floors: PerClass<Floors>, held: bool) -> Self {
        let kept = floors.map(|floors| Kept { at: VecDeque::new(), floors });
        Self { name, kept, audiences: Vec::new(), chosen_by: None, held }
    }

    /// What a named topic holds beside its entries in the index.
    fn cost(&self) -> usize {
        let Some(name) = &self.name else { return 0 };
        let kept = |choosers: &Choosers| {
            size_of_val(choosers) + size_of_val(&*choosers.patterns) + limits::INDEX_ENTRY_BYTES
        };
        let choosers = self.chosen_by.as_deref().map_or(0, kept);
        name.as_str().len() + limits::TOPIC_OVERHEAD_BYTES + choosers
    }
}

impl Index<TopicKey> for Topics {
    type Output = TopicIndex;

    fn index(&self, key: TopicKey) -> &TopicIndex {
        &self.slots[key.0 as usize]
    }
}

impl IndexMut<TopicKey> for Topics {
    fn index_mut(&mut self, key: TopicKey) -> &mut TopicIndex {
        &mut self.slots[key.0 as usize]
    }
}
