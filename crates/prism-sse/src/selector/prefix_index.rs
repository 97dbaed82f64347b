//! An index of patterns by the prefix, the suffix and the segment that every text which a pattern
//! matches must have. A text is matched against the patterns whose prefix, suffix and segment it
//! has, nearly all of which match.

use std::cell::OnceCell;

use super::trie::{Price, Trie};
use crate::limits;

/// What every text that a pattern matches must begin with, end with and contain.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexKey<'a> {
    pub(super) prefix: &'a str,
    pub(super) suffix: &'a str,
    /// A path segment: text between two slashes.
    pub(super) segment: Option<&'a str>,
}

impl<'a> IndexKey<'a> {
    /// Prefix, reversed suffix and segment, as they are indexed; the segment is empty for none.
    fn texts(&self) -> (&'a [u8], Vec<u8>, &'a [u8]) {
        let (prefix, suffix) = (self.prefix.as_bytes(), self.suffix.as_bytes());
        let prefix = &prefix[..prefix.len().min(limits::PATTERN_KEY_BYTES)];
        let suffix = suffix.iter().rev().take(limits::PATTERN_KEY_BYTES).copied().collect();
        let segment = self.segment.unwrap_or_default().as_bytes();
        (prefix, suffix, if segment.len() > limits::PATTERN_KEY_BYTES { &[] } else { segment })
    }
}

/// A pattern in the index.
#[derive(Clone, Debug)]
pub(super) struct IndexedPattern<P, K> {
    pub(super) pattern: P,
    pub(super) key: K,
    /// The most steps that matching takes for a topic of the greatest length.
    pub(super) cost: u64,
}

impl<P, K> Price for IndexedPattern<P, K> {
    fn cost(&self) -> u64 {
        2 * VISIT_STEPS + self.cost
    }
}

/// Steps of visiting a segment or a pattern in the index. No topic visits more segments than there
/// are patterns.
const VISIT_STEPS: u64 = 32;

/// Steps of finding the patterns with one prefix and one suffix.
const FIND_STEPS: u64 = 256;

/// Patterns indexed by prefix, then by suffix, then by segment. It is persistent, as [`Trie`] is.
#[derive(Clone, Debug)]
pub(super) struct PrefixIndex<T>(Trie<SuffixIndex<T>>);

/// The patterns with one prefix, by the reversed suffix.
#[derive(Clone, Debug)]
struct SuffixIndex<T>(Trie<SegmentIndex<T>>);

/// The patterns with one prefix and one suffix, by segment; those without one by the empty text.
#[derive(Clone, Debug)]
struct SegmentIndex<T>(Trie<PatternSet<T>>);

/// The patterns with one prefix, one suffix and one segment, by number.
#[derive(Clone, Debug)]
struct PatternSet<T> {
    patterns: Trie<T>,
    segment_len: usize,
}

impl<T: Clone + Price> Price for SuffixIndex<T> {
    fn cost(&self) -> u64 {
        self.0.path_cost()
    }
}

impl<T: Clone + Price> Price for SegmentIndex<T> {
    fn cost(&self) -> u64 {
        // A topic has only so many segments as there is room for.
        let without = self.0.get(&[]).map_or(0, Price::cost);
        let room = self.0.cost_per_byte() * (limits::TOPIC_BYTES_MAX as u64 + 1);
        FIND_STEPS + without + room.min(self.0.total_cost() - without)
    }
}

impl<T: Clone + Price> Price for PatternSet<T> {
    fn cost(&self) -> u64 {
        self.patterns.total_cost()
    }

    fn cost_per_byte(&self) -> u64 {
        match self.segment_len {
            0 => 0,
            // With a slash.
            len => self.cost().div_ceil(len as u64 + 1),
        }
    }
}

impl<T: Clone + Price> PrefixIndex<T> {
    pub(super) fn new() -> Self {
        Self(Trie::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The highest cost of the patterns that are candidates for one text.
    pub(super) fn cost(&self) -> u64 {
        self.0.path_cost()
    }

    /// Adds a pattern under a number that no other one has, or removes it with `None`.
    pub(super) fn set(&mut self, key: IndexKey<'_>, number: u64, pattern: Option<T>) {
        let (prefix, suffix, segment) = key.texts();
        self.0.update(prefix, |suffixes| {
            let mut own = suffixes.take().map_or_else(Trie::new, |suffixes| suffixes.0);
            own.update(&suffix, |segments| {
                let mut own = segments.take().map_or_else(Trie::new, |segments| segments.0);
                own.update(segment, |patterns| {
                    let mut own = patterns.take().unwrap_or_else(|| PatternSet {
                        patterns: Trie::new(),
                        segment_len: segment.len(),
                    });
                    own.patterns.update(&number.to_be_bytes(), |value| *value = pattern);
                    *patterns = Some(own).filter(|own| !own.patterns.is_empty());
                });
                *segments = Some(SegmentIndex(own)).filter(|segments| !segments.0.is_empty());
            });
            *suffixes = Some(SuffixIndex(own)).filter(|suffixes| !suffixes.0.is_empty());
        });
    }

    /// Calls `visit` for each pattern whose prefix, suffix and segment `text` has, and returns the
    /// steps of finding them.
    pub(super) fn for_each_candidate(&self, text: &str, mut visit: impl FnMut(&T)) -> u64 {
        let reversed: OnceCell<Vec<u8>> = OnceCell::new();
        let segments = OnceCell::new();
        let mut steps = 0;
        self.0.for_each_prefix(text.as_bytes(), |suffixes| {
            let reversed = reversed.get_or_init(|| text.bytes().rev().collect());
            suffixes.0.for_each_prefix(reversed, |of_suffix| {
                let segments = segments.get_or_init(|| segments_of(text));
                steps += of_suffix.for_each_candidate(segments, &mut visit);
            });
        });
        steps
    }
}

impl<T: Clone + Price> SegmentIndex<T> {
    fn for_each_candidate(&self, segments: &[&[u8]], visit: &mut impl FnMut(&T)) -> u64 {
        let mut visits = self.0.len().min(segments.len()) as u64;
        let mut visit_all = |patterns: &PatternSet<T>| {
            visits += patterns.patterns.len() as u64;
            patterns.patterns.for_each(&mut |_, pattern| visit(pattern));
        };
        // Looks up the segments of the topic, or those of the patterns, whichever are fewer.
        if segments.len() < self.0.len() {
            segments.iter().filter_map(|segment| self.0.get(segment)).for_each(visit_all);
        } else {
            self.0.for_each(&mut |segment, patterns| {
                if segments.binary_search(&segment).is_ok() {
                    visit_all(patterns);
                }
            });
        }
        FIND_STEPS + visits * VISIT_STEPS
    }
}

/// The distinct segments of a text, sorted, and the empty text, which stands for no segment.
fn segments_of(text: &str) -> Vec<&[u8]> {
    let mut all = Vec::with_capacity(16);
    all.push(&[][..]);
    all.extend(text.as_bytes().split(|byte| *byte == b'/'));
    all.sort_unstable();
    all.dedup();
    all
}
