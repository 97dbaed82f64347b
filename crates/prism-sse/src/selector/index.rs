//! An index of patterns: by the prefix, the suffix and the segment that every topic which a pattern
//! matches must have. A topic is matched against the patterns whose key it has, few of which do not
//! match.

use std::cell::OnceCell;
use std::collections::BTreeMap;
#[cfg(feature = "patterns")]
use std::collections::HashMap;

use super::positions::ParsedTopic;
use super::trie::Trie;
#[cfg(feature = "patterns")]
use super::url_pattern::BaseUrl;
use super::{Selector, Topic, UriTemplate};
#[cfg(feature = "patterns")]
use super::{UrlPattern, url_pattern};

/// The patterns in use. The caller names each by a key of its own.
#[derive(Debug)]
pub(crate) struct PatternIndex<K> {
    templates: PrefixIndex<(UriTemplate, K)>,
    /// One index for each base URL, because a relative topic is another URL with each base.
    #[cfg(feature = "patterns")]
    url_patterns: HashMap<BaseUrl, PrefixIndex<(UrlPattern, K)>>,
}

impl<K: Copy + PartialEq> PatternIndex<K> {
    pub(crate) fn new() -> Self {
        Self {
            templates: PrefixIndex::new(),
            #[cfg(feature = "patterns")]
            url_patterns: HashMap::new(),
        }
    }

    /// Adds a pattern. A selector that is no pattern is ignored.
    pub(crate) fn insert(&mut self, selector: &Selector, key: K) {
        match selector {
            Selector::Any | Selector::Exact(_) => {}
            Selector::Template(template) => {
                self.templates.insert(&template_key(template), (template.clone(), key));
            }
            #[cfg(feature = "patterns")]
            Selector::UrlPattern(pattern) => {
                let index = self.url_patterns.entry(pattern.base_url().clone());
                let index = index.or_insert_with(PrefixIndex::new);
                index.insert(&url_pattern_key(pattern), (pattern.clone(), key));
            }
        }
    }

    /// Removes the pattern that was added with this key.
    pub(crate) fn remove(&mut self, selector: &Selector, key: K) {
        match selector {
            Selector::Any | Selector::Exact(_) => {}
            Selector::Template(template) => {
                self.templates.remove(&template_key(template), |(_, own)| *own == key);
            }
            #[cfg(feature = "patterns")]
            Selector::UrlPattern(pattern) => {
                let Some(index) = self.url_patterns.get_mut(pattern.base_url()) else { return };
                index.remove(&url_pattern_key(pattern), |(_, own)| *own == key);
                if index.0.is_empty() {
                    self.url_patterns.remove(pattern.base_url());
                }
            }
        }
    }

    /// Appends the keys of the patterns that match `topic`.
    pub(crate) fn find(&self, topic: &Topic, found: &mut Vec<K>) {
        let topic = topic.as_str();
        let parsed = OnceCell::new();
        self.templates.for_each_candidate(topic, |(template, key)| {
            if template.matches_parsed(topic, parsed.get_or_init(|| ParsedTopic::parse(topic))) {
                found.push(*key);
            }
        });
        #[cfg(feature = "patterns")]
        for (base, index) in &self.url_patterns {
            let Some(url) = url_pattern::resolve(topic, base) else { continue };
            index.for_each_candidate(&url_pattern::host_and_path(&url), |(pattern, key)| {
                if pattern.matches_url(&url) {
                    found.push(*key);
                }
            });
        }
    }
}

/// What every text that a pattern matches must begin with, end with and contain.
struct IndexKey<'a> {
    prefix: &'a str,
    suffix: &'a str,
    /// A path segment: text between two slashes.
    segment: Option<&'a str>,
}

fn template_key(template: &UriTemplate) -> IndexKey<'_> {
    let (prefix, suffix) = (template.prefix(), template.suffix());
    IndexKey { prefix, suffix, segment: template.segment() }
}

#[cfg(feature = "patterns")]
fn url_pattern_key(pattern: &UrlPattern) -> IndexKey<'_> {
    IndexKey { prefix: pattern.prefix(), suffix: pattern.suffix(), segment: None }
}

/// Values indexed by prefix, then by suffix, then by segment.
#[derive(Debug)]
struct PrefixIndex<T>(Trie<SuffixIndex<T>>);

/// The values with one prefix.
#[derive(Debug)]
struct SuffixIndex<T> {
    /// The values whose key has no suffix.
    no_suffix: SegmentIndex<T>,
    /// The other values, by the reversed suffix.
    by_suffix: Trie<SegmentIndex<T>>,
}

/// The values with one prefix and one suffix.
#[derive(Debug)]
struct SegmentIndex<T> {
    no_segment: Vec<T>,
    by_segment: BTreeMap<Box<[u8]>, Vec<T>>,
}

impl<T> PrefixIndex<T> {
    fn new() -> Self {
        Self(Trie::new())
    }

    fn insert(&mut self, key: &IndexKey<'_>, value: T) {
        let suffixes = self.0.entry(key.prefix.as_bytes(), SuffixIndex::new);
        let segments = match key.suffix {
            "" => &mut suffixes.no_suffix,
            suffix => suffixes.by_suffix.entry(&reversed(suffix), SegmentIndex::new),
        };
        match key.segment {
            Some(segment) => {
                segments.by_segment.entry(segment.as_bytes().into()).or_default().push(value);
            }
            None => segments.no_segment.push(value),
        }
    }

    fn remove(&mut self, key: &IndexKey<'_>, is_wanted: impl Fn(&T) -> bool) {
        let prefix = key.prefix.as_bytes();
        let Some(suffixes) = self.0.get_mut(prefix) else { return };
        if key.suffix.is_empty() {
            suffixes.no_suffix.remove(key.segment, is_wanted);
        } else {
            let suffix = reversed(key.suffix);
            let Some(segments) = suffixes.by_suffix.get_mut(&suffix) else { return };
            segments.remove(key.segment, is_wanted);
            if segments.is_empty() {
                suffixes.by_suffix.remove(&suffix);
            }
        }
        if suffixes.no_suffix.is_empty() && suffixes.by_suffix.is_empty() {
            self.0.remove(prefix);
        }
    }

    /// Calls `visit` for each value whose prefix, suffix and segment `text` has.
    fn for_each_candidate(&self, text: &str, mut visit: impl FnMut(&T)) {
        let (reversed_text, segments) = (OnceCell::new(), OnceCell::new());
        self.0.for_each_prefix(text.as_bytes(), |suffixes| {
            suffixes.no_suffix.for_each_candidate(text, &segments, &mut visit);
            if !suffixes.by_suffix.is_empty() {
                let reversed_text = reversed_text.get_or_init(|| reversed(text));
                suffixes.by_suffix.for_each_prefix(reversed_text, |segments_of| {
                    segments_of.for_each_candidate(text, &segments, &mut visit);
                });
            }
        });
    }
}

impl<T> SuffixIndex<T> {
    fn new() -> Self {
        Self { no_suffix: SegmentIndex::new(), by_suffix: Trie::new() }
    }
}

impl<T> SegmentIndex<T> {
    fn new() -> Self {
        Self { no_segment: Vec::new(), by_segment: BTreeMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.no_segment.is_empty() && self.by_segment.is_empty()
    }

    fn remove(&mut self, segment: Option<&str>, is_wanted: impl Fn(&T) -> bool) {
        let take = |values: &mut Vec<T>| {
            if let Some(place) = values.iter().position(is_wanted) {
                values.swap_remove(place);
            }
            values.is_empty()
        };
        match segment {
            Some(segment) => {
                if self.by_segment.get_mut(segment.as_bytes()).is_some_and(take) {
                    self.by_segment.remove(segment.as_bytes());
                }
            }
            None => {
                take(&mut self.no_segment);
            }
        }
    }

    fn for_each_candidate<'a>(
        &self,
        text: &'a str,
        segments: &OnceCell<Vec<&'a [u8]>>,
        visit: &mut impl FnMut(&T),
    ) {
        self.no_segment.iter().for_each(&mut *visit);
        if self.by_segment.is_empty() {
            return;
        }
        let segments = segments.get_or_init(|| {
            let mut all = Vec::with_capacity(16);
            all.extend(text.as_bytes().split(|byte| *byte == b'/'));
            all.sort_unstable();
            all.dedup();
            all
        });
        let named = segments.iter().filter_map(|part| self.by_segment.get(*part));
        named.flatten().for_each(visit);
    }
}

fn reversed(text: &str) -> Box<[u8]> {
    text.bytes().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_finds_what_matching_one_by_one_finds() {
        let templates = [
            "/{a}",
            "/{+a}",
            "{+a}",
            "/x/{a}",
            "/x/{a}/y",
            "{/a*}/y",
            "/{a}/t5/{b}",
            "/{a}/t50/{b}",
            "/{a}/{b}/t5",
            "{a}{b}",
            "/é/{a}",
            "/x{?q}",
            "x{y}z",
            "/{a}/é/{b}",
            "/t5/{a}/t5",
            "{a}/t5/t6/{b}",
            "/x/{a}/t5/{b}/y",
        ];
        let selectors: Vec<Selector> =
            templates.iter().map(|text| Selector::template(text).unwrap()).collect();
        let mut index = PatternIndex::new();
        for (key, selector) in selectors.iter().enumerate() {
            index.insert(selector, key);
        }
        let topics = [
            "/",
            "/x",
            "/x/1",
            "/x/1/y",
            "/a/t5/b",
            "/a/t50/b",
            "/a/b/t5",
            "/%C3%A9/1",
            "/x?q=1",
            "xyz",
            "/t5/t5",
            "/t5/1/t5",
            "/{a}/t5/{b}",
            "/é/{a}",
            "a/t5/t6/b",
            "/x/1/t5/2/y",
            "é",
        ];
        for round in 0..=selectors.len() {
            for topic in topics {
                let topic = Topic::try_from(topic).unwrap();
                let mut found = Vec::new();
                index.find(&topic, &mut found);
                found.sort_unstable();
                let kept = round..selectors.len();
                let expected: Vec<usize> =
                    kept.filter(|key| selectors[*key].matches(&topic)).collect();
                assert_eq!(found, expected, "{topic}");
            }
            if let Some(selector) = selectors.get(round) {
                index.remove(selector, round);
            }
        }
        assert!(index.templates.0.is_empty());
    }
}
