//! Patterns by what the topics they choose begin and end with, so that a topic is held against few
//! others than those that choose it.

use std::cell::OnceCell;
use std::collections::BTreeMap;
#[cfg(feature = "patterns")]
use std::collections::HashMap;

use super::positions::Written;
use super::trie::Trie;
#[cfg(feature = "patterns")]
use super::url_pattern::Base;
use super::{Selector, Topic, UriTemplate};
#[cfg(feature = "patterns")]
use super::{UrlPattern, url_pattern};

/// Patterns, each with a key.
#[derive(Debug)]
pub(crate) struct PatternIndex<K> {
    templates: Tree<(UriTemplate, K)>,
    /// Apart for each URL against which topics are resolved.
    #[cfg(feature = "patterns")]
    url_patterns: HashMap<Base, Tree<(UrlPattern, K)>>,
}

impl<K: Copy + PartialEq> PatternIndex<K> {
    pub(crate) fn new() -> Self {
        Self {
            templates: Tree::new(),
            #[cfg(feature = "patterns")]
            url_patterns: HashMap::new(),
        }
    }

    /// Adds a pattern; a selector that is none is left out.
    pub(crate) fn insert(&mut self, selector: &Selector, key: K) {
        match selector {
            Selector::Any | Selector::Exact(_) => {}
            Selector::Template(template) => {
                self.templates.insert(&traits(template), (template.clone(), key));
            }
            #[cfg(feature = "patterns")]
            Selector::UrlPattern(pattern) => {
                let tree = self.url_patterns.entry(pattern.base_url().clone());
                let tree = tree.or_insert_with(Tree::new);
                tree.insert(&url_traits(pattern), (pattern.clone(), key));
            }
        }
    }

    /// Removes a pattern that was added under this key.
    pub(crate) fn remove(&mut self, selector: &Selector, key: K) {
        match selector {
            Selector::Any | Selector::Exact(_) => {}
            Selector::Template(template) => {
                self.templates.remove(&traits(template), |(_, own)| *own == key);
            }
            #[cfg(feature = "patterns")]
            Selector::UrlPattern(pattern) => {
                let Some(tree) = self.url_patterns.get_mut(pattern.base_url()) else { return };
                tree.remove(&url_traits(pattern), |(_, own)| *own == key);
                if tree.0.is_empty() {
                    self.url_patterns.remove(pattern.base_url());
                }
            }
        }
    }

    /// Appends the keys of the patterns that choose `topic`.
    pub(crate) fn find(&self, topic: &Topic, found: &mut Vec<K>) {
        let topic = topic.as_str();
        let written = OnceCell::new();
        self.templates.candidates(topic, |(template, key)| {
            if template.matches_written(topic, written.get_or_init(|| Written::read(topic))) {
                found.push(*key);
            }
        });
        #[cfg(feature = "patterns")]
        for (base, tree) in &self.url_patterns {
            let Some(url) = url_pattern::resolve(topic, base) else { continue };
            tree.candidates(&url_pattern::place(&url), |(pattern, key)| {
                if pattern.matches_url(&url) {
                    found.push(*key);
                }
            });
        }
    }
}

/// What all texts have in common that a pattern may match.
struct Traits<'a> {
    prefix: &'a str,
    suffix: &'a str,
    /// A part between slashes.
    segment: Option<&'a str>,
}

fn traits(template: &UriTemplate) -> Traits<'_> {
    let (prefix, suffix) = (template.prefix(), template.suffix());
    Traits { prefix, suffix, segment: template.segment() }
}

#[cfg(feature = "patterns")]
fn url_traits(pattern: &UrlPattern) -> Traits<'_> {
    Traits { prefix: pattern.prefix(), suffix: pattern.suffix(), segment: None }
}

/// Values by prefix, then by suffix, then by segment.
#[derive(Debug)]
struct Tree<T>(Trie<Branch<T>>);

/// Values with one prefix.
#[derive(Debug)]
struct Branch<T> {
    /// Those without a suffix.
    plain: Bucket<T>,
    /// The others, by suffix backwards.
    by_suffix: Trie<Bucket<T>>,
}

/// Values with one prefix and one suffix.
#[derive(Debug)]
struct Bucket<T> {
    any: Vec<T>,
    by_segment: BTreeMap<Box<[u8]>, Vec<T>>,
}

impl<T> Tree<T> {
    fn new() -> Self {
        Self(Trie::new())
    }

    fn insert(&mut self, traits: &Traits<'_>, value: T) {
        let branch = self.0.entry(traits.prefix.as_bytes(), Branch::new);
        let bucket = match traits.suffix {
            "" => &mut branch.plain,
            suffix => branch.by_suffix.entry(&backwards(suffix), Bucket::new),
        };
        match traits.segment {
            Some(segment) => {
                bucket.by_segment.entry(segment.as_bytes().into()).or_default().push(value);
            }
            None => bucket.any.push(value),
        }
    }

    fn remove(&mut self, traits: &Traits<'_>, is_it: impl Fn(&T) -> bool) {
        let prefix = traits.prefix.as_bytes();
        let Some(branch) = self.0.get_mut(prefix) else { return };
        if traits.suffix.is_empty() {
            branch.plain.remove(traits.segment, is_it);
        } else {
            let suffix = backwards(traits.suffix);
            let Some(bucket) = branch.by_suffix.get_mut(&suffix) else { return };
            bucket.remove(traits.segment, is_it);
            if bucket.is_empty() {
                branch.by_suffix.remove(&suffix);
            }
        }
        if branch.plain.is_empty() && branch.by_suffix.is_empty() {
            self.0.remove(prefix);
        }
    }

    /// Calls `found` for each value whose traits `text` has.
    fn candidates(&self, text: &str, mut found: impl FnMut(&T)) {
        let (reversed, segments) = (OnceCell::new(), OnceCell::new());
        self.0.for_prefixes(text.as_bytes(), |branch| {
            branch.plain.candidates(text, &segments, &mut found);
            if !branch.by_suffix.is_empty() {
                let reversed = reversed.get_or_init(|| backwards(text));
                branch.by_suffix.for_prefixes(reversed, |bucket| {
                    bucket.candidates(text, &segments, &mut found);
                });
            }
        });
    }
}

impl<T> Branch<T> {
    fn new() -> Self {
        Self { plain: Bucket::new(), by_suffix: Trie::new() }
    }
}

impl<T> Bucket<T> {
    fn new() -> Self {
        Self { any: Vec::new(), by_segment: BTreeMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.by_segment.is_empty()
    }

    fn remove(&mut self, segment: Option<&str>, is_it: impl Fn(&T) -> bool) {
        let take = |values: &mut Vec<T>| {
            if let Some(place) = values.iter().position(is_it) {
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
                take(&mut self.any);
            }
        }
    }

    fn candidates<'a>(
        &self,
        text: &'a str,
        segments: &OnceCell<Vec<&'a [u8]>>,
        found: &mut impl FnMut(&T),
    ) {
        self.any.iter().for_each(&mut *found);
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
        named.flatten().for_each(found);
    }
}

fn backwards(text: &str) -> Box<[u8]> {
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
