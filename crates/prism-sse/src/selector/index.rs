//! The index of the patterns in use: which of them match a topic.
//!
//! It is made of persistent tries, so that a snapshot is a few references. Topics are matched
//! against a snapshot without holding up those who add and remove patterns; what they change is not
//! seen in the snapshot.
//!
//! Each pattern that is added has the next *generation*, a number. An answer that was computed from
//! a snapshot holds for the snapshot's generation. It is brought up to date with the patterns of
//! later generations that are still in use, and keys of patterns that were removed are filtered out
//! of it. So an answer stays good while patterns come and go.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::positions::{ParsedTopic, parse_cost};
use super::prefix_index::{IndexKey, IndexedPattern, PrefixIndex};
use super::topic_size::TopicSize;
#[cfg(feature = "patterns")]
use super::trie::{Price, Trie};
#[cfg(feature = "patterns")]
use super::url_pattern::{self, BaseUrl, UrlPattern};
use super::{Selector, Topic, UriTemplate};
use crate::limits;

/// The patterns in use. The caller names each by a key of its own, which it may give to another
/// pattern once the first one is removed.
#[derive(Debug)]
pub(crate) struct PatternIndex<K> {
    current: PatternSnapshot<K>,
    /// By generation.
    patterns: BTreeMap<u64, (Selector, K)>,
    generations: BTreeMap<K, u64>,
}

/// The patterns that were in use at one moment. A clone shares everything.
#[derive(Clone, Debug)]
pub(crate) struct PatternSnapshot<K> {
    generation: u64,
    templates: PrefixIndex<IndexedPattern<UriTemplate, K>>,
    /// By base URL, because a relative topic is another URL with each base.
    #[cfg(feature = "patterns")]
    url_patterns: Trie<BaseIndex<K>>,
}

/// The URL Patterns with one base URL.
#[cfg(feature = "patterns")]
#[derive(Clone, Debug)]
struct BaseIndex<K> {
    base: BaseUrl,
    patterns: PrefixIndex<IndexedPattern<UrlPattern, K>>,
}

#[cfg(feature = "patterns")]
impl<K: Copy> Price for BaseIndex<K> {
    fn cost(&self) -> u64 {
        url_pattern::resolve_cost(TopicSize::MAX, &self.base) + self.patterns.cost()
    }
}

/// What was added to the index since a generation, and is still in use.
#[derive(Debug)]
pub(crate) enum Changes<K> {
    /// These patterns, which are at most [`PATTERN_CHANGES`](limits::PATTERN_CHANGES).
    Few(Vec<(Selector, K)>),
    /// More than that: matching a topic against a new snapshot takes less time.
    Many,
}

impl<K: Copy + Ord> PatternIndex<K> {
    pub(crate) fn new() -> Self {
        let (patterns, generations) = (BTreeMap::new(), BTreeMap::new());
        Self { current: PatternSnapshot::new(), patterns, generations }
    }

    /// Adds a pattern under a key that no other one has. A selector that is no pattern is ignored.
    pub(crate) fn insert(&mut self, selector: &Selector, key: K) {
        if selector.is_pattern() {
            let generation = self.current.generation + 1;
            self.current.set(selector, generation, Some(key));
            self.current.generation = generation;
            self.patterns.insert(generation, (selector.clone(), key));
            self.generations.insert(key, generation);
        }
    }

    /// Removes the pattern that was added with this key.
    pub(crate) fn remove(&mut self, selector: &Selector, key: K) {
        if let Some(generation) = self.generations.remove(&key) {
            self.patterns.remove(&generation);
            self.current.set(selector, generation, None);
        }
    }

    /// The patterns as they are now. Takes constant time. While it exists, each change of the index
    /// copies the few nodes that it changes.
    pub(crate) fn snapshot(&self) -> PatternSnapshot<K> {
        self.current.clone()
    }

    /// The generation of the newest pattern.
    pub(crate) fn generation(&self) -> u64 {
        self.current.generation
    }

    /// What was added since an answer of this generation was computed. Takes constant time.
    pub(crate) fn changes_since(&self, generation: u64) -> Changes<K> {
        let mut added = self.patterns.range(generation + 1..).map(|(_, added)| added.clone());
        let few: Vec<_> = added.by_ref().take(limits::PATTERN_CHANGES).collect();
        if added.next().is_some() { Changes::Many } else { Changes::Few(few) }
    }

    /// Removes from an answer of this generation the keys of patterns that were removed since, of
    /// which some may name other patterns now.
    pub(crate) fn retain_in_use(&self, keys: &mut Vec<K>, generation: u64) {
        keys.retain(|key| self.generations.get(key).is_some_and(|&added| added <= generation));
    }

    /// The most steps that [`PatternSnapshot::matching`] takes for any topic.
    pub(crate) fn match_cost(&self) -> u64 {
        self.current.match_cost()
    }
}

impl<K: Copy> PatternSnapshot<K> {
    fn new() -> Self {
        Self {
            generation: 0,
            templates: PrefixIndex::new(),
            #[cfg(feature = "patterns")]
            url_patterns: Trie::new(),
        }
    }

    /// The generation of the newest pattern: an answer from this snapshot holds for it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Adds a pattern to this snapshot alone.
    pub(crate) fn add(&mut self, selector: &Selector, key: K) {
        self.generation += 1;
        self.set(selector, self.generation, Some(key));
    }

    /// Adds a pattern, or removes the one that was added with this generation.
    fn set(&mut self, selector: &Selector, generation: u64, key: Option<K>) {
        match selector {
            Selector::Any | Selector::Exact(_) => {}
            Selector::Template(template) => {
                let (prefix, suffix) = (template.prefix(), template.suffix());
                let index_key = IndexKey { prefix, suffix, segment: template.segment() };
                let cost = template.match_cost(TopicSize::MAX);
                let new = key.map(|key| IndexedPattern { pattern: template.clone(), key, cost });
                self.templates.set(index_key, generation, new);
            }
            #[cfg(feature = "patterns")]
            Selector::UrlPattern(pattern) => {
                let (prefix, suffix) = (pattern.prefix(), pattern.suffix());
                let index_key = IndexKey { prefix, suffix, segment: None };
                let cost = pattern.match_url_cost(TopicSize::MAX);
                let new = key.map(|key| IndexedPattern { pattern: pattern.clone(), key, cost });
                let base_text = pattern.base().unwrap_or_default();
                self.url_patterns.update(base_text.as_bytes(), |index| {
                    let base = pattern.base_url().clone();
                    let patterns = index.take().map_or_else(PrefixIndex::new, |own| own.patterns);
                    let mut own = BaseIndex { base, patterns };
                    own.patterns.set(index_key, generation, new);
                    *index = Some(own).filter(|own| !own.patterns.is_empty());
                });
            }
        }
    }

    /// Appends the keys of the patterns that match `topic`, and returns the steps that it took at
    /// most.
    pub(crate) fn matching(&self, topic: &Topic, found: &mut Vec<K>) -> u64 {
        let topic = topic.as_str();
        let size = TopicSize::of(topic);
        let mut steps = 0;
        let parsed = OnceCell::new();
        let find_cost = self.templates.for_each_candidate(topic, |candidate| {
            let parsed = parsed.get_or_init(|| ParsedTopic::parse(topic));
            if candidate.pattern.matches_parsed(topic, parsed) {
                found.push(candidate.key);
            }
            steps += candidate.pattern.match_cost(size);
        });
        steps += find_cost;
        if parsed.get().is_some() {
            steps += parse_cost(topic.len());
        }
        #[cfg(feature = "patterns")]
        self.url_patterns.for_each(&mut |_, index: &BaseIndex<K>| {
            steps += url_pattern::resolve_cost(size, &index.base);
            let Some(url) = url_pattern::resolve(topic, &index.base) else { return };
            let text = url_pattern::host_and_path(&url);
            let find_cost = index.patterns.for_each_candidate(&text, |candidate| {
                if candidate.pattern.matches_url(&url) {
                    found.push(candidate.key);
                }
                steps += candidate.pattern.match_url_cost(size);
            });
            steps += find_cost;
        });
        steps
    }

    /// The most steps that [`matching`](Self::matching) takes for any topic.
    pub(crate) fn match_cost(&self) -> u64 {
        let templates = match self.templates.is_empty() {
            true => 0,
            false => parse_cost(limits::TOPIC_BYTES_MAX) + self.templates.cost(),
        };
        #[cfg(feature = "patterns")]
        let url_patterns = self.url_patterns.total_cost();
        #[cfg(not(feature = "patterns"))]
        let url_patterns = 0;
        templates + url_patterns
    }
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
                index.snapshot().matching(&topic, &mut found);
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
        assert!(index.current.templates.is_empty());
    }

    fn topic(text: &str) -> Topic {
        Topic::try_from(text).unwrap()
    }

    fn template(text: &str) -> Selector {
        Selector::template(text).unwrap()
    }

    #[test]
    fn a_snapshot_does_not_see_what_changes_later() {
        let mut index = PatternIndex::new();
        index.insert(&template("/a/{x}"), 0);
        let before = index.snapshot();
        index.insert(&template("/{y}/b"), 1);
        index.remove(&template("/a/{x}"), 0);
        for (snapshot, expected) in [(&before, 0), (&index.snapshot(), 1)] {
            let mut found = Vec::new();
            snapshot.matching(&topic("/a/b"), &mut found);
            assert_eq!(found, [expected]);
        }
        assert_eq!((before.generation(), index.snapshot().generation()), (1, 2));
    }

    /// Brings an answer up to date and returns how many patterns had to be matched for that.
    fn bring_up_to_date(
        index: &PatternIndex<usize>,
        topic: &Topic,
        answer: &mut Vec<usize>,
        generation: &mut u64,
    ) -> usize {
        index.retain_in_use(answer, *generation);
        let tried = match index.changes_since(*generation) {
            Changes::Few(added) => {
                let matching = added.iter().filter(|(selector, _)| selector.matches(topic));
                answer.extend(matching.map(|(_, key)| *key));
                added.len()
            }
            Changes::Many => {
                answer.clear();
                index.snapshot().matching(topic, answer);
                usize::MAX
            }
        };
        *generation = index.snapshot().generation();
        answer.sort_unstable();
        tried
    }

    #[test]
    fn an_answer_stays_good_while_patterns_come_and_go_and_keys_are_used_again() {
        let texts = ["/{a}", "/a/{b}", "{/c*}", "/{a}/b", "/b/{x}", "/a/{y}", "{+z}"];
        let topics = ["/a", "/a/b", "/b/b", "/b/a", "c"].map(topic);
        let mut index = PatternIndex::new();
        let mut in_use: Vec<Option<Selector>> = vec![None; 5];
        let mut answers = topics.map(|topic| (topic, Vec::new(), 0));
        let mut random = 1_usize;
        for round in 0..2000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (key, text) = ((random >> 33) % 5, texts[(random >> 40) % texts.len()]);
            match in_use[key].take() {
                Some(old) => index.remove(&old, key),
                None => {
                    index.insert(&template(text), key);
                    in_use[key] = Some(template(text));
                }
            }
            for (nth, (topic, answer, generation)) in answers.iter_mut().enumerate() {
                // Some answers are old when they are asked for.
                if round % (nth * 7 + 1) == 0 {
                    bring_up_to_date(&index, topic, answer, generation);
                    let matches = |key: &usize| {
                        in_use[*key].as_ref().is_some_and(|selector| selector.matches(topic))
                    };
                    assert_eq!(*answer, (0..5).filter(matches).collect::<Vec<_>>(), "{topic}");
                }
            }
        }
    }

    #[test]
    fn who_comes_and_goes_in_a_loop_makes_an_answer_look_at_one_pattern_and_not_at_all() {
        let mut index = PatternIndex::new();
        for key in 0..1000 {
            index.insert(&template(&format!("/{{x{key}}}")), key);
        }
        let (topic, mut answer, mut generation) = (topic("/a"), Vec::new(), 0);
        assert_eq!(bring_up_to_date(&index, &topic, &mut answer, &mut generation), usize::MAX);
        for round in 0..100 {
            for again in 0..100 {
                let own = template(&format!("/{{y{round}}}/{again}"));
                index.insert(&own, 5000);
                index.remove(&own, 5000);
            }
            index.insert(&template("/{y}"), 5000);
            assert_eq!(bring_up_to_date(&index, &topic, &mut answer, &mut generation), 1);
            assert_eq!(answer.len(), 1001);
            index.remove(&template("/{y}"), 5000);
            assert_eq!(bring_up_to_date(&index, &topic, &mut answer, &mut generation), 0);
            assert_eq!(answer.len(), 1000);
        }
    }

    #[test]
    fn an_answer_that_is_too_old_is_computed_anew() {
        let mut index = PatternIndex::new();
        for key in 0..=limits::PATTERN_CHANGES as u64 {
            index.insert(&template(&format!("/{key}/{{x}}")), key);
        }
        assert!(matches!(index.changes_since(0), Changes::Many));
        let Changes::Few(added) = index.changes_since(1) else { panic!("they are few") };
        assert_eq!(added.len(), limits::PATTERN_CHANGES);
    }

    /// Patterns that are tried for many topics, and topics for which many are tried.
    fn hostile() -> (Vec<Selector>, Vec<Topic>) {
        let templates = [
            "/{a}",
            "{/a*}",
            "{+a}",
            "{+a}/a/{b}",
            "{/a}/a/{b}",
            "/a{/b}/a/a/{c}/a",
            "/a/a/a/{b}",
            "{a:9999,b:9999,c:9999}",
            "{+a:999}",
            "{;a,b,c}",
            "{?a*,b}",
            "{+a}aaaaaaaaaaaaaaaab{+b}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ];
        let mut selectors: Vec<Selector> = templates.map(template).into();
        selectors.extend((0..40).map(|n| {
            let (prefix, suffix) = ("/a".repeat(n % 7), "a/".repeat(n % 5));
            template(&format!("{prefix}/{{x{n}}}/a/{{y}}/{suffix}"))
        }));
        #[cfg(feature = "patterns")]
        for base in [None, Some("https://host/"), Some("https://other.host/path/")] {
            let texts = ["https://host/*", "https://*/:x", "*://*/*a*b?*", "https://host/:a/a*a"];
            let made = texts.map(|text| Selector::url_pattern(text, base).unwrap());
            selectors.extend(made);
        }
        let parts = ["a", "/", "/a", "a/", "a=a&", "%41", "%C3%A9", ";a", ",", "é", "/é", "/a/b"];
        let mut topics = Vec::new();
        for part in parts {
            for len in [1, 63, 64, 255, 256, limits::TOPIC_BYTES_MAX] {
                let repeated = part.repeat(len.div_ceil(part.len()));
                for text in [repeated.clone(), format!("https://host/{repeated}")] {
                    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= len.max(part.len());
                    let text: String =
                        text.char_indices().take_while(fits).map(|(_, c)| c).collect();
                    topics.push(topic(&text));
                }
            }
        }
        (selectors, topics)
    }

    #[test]
    fn no_topic_takes_more_steps_than_the_index_says() {
        use super::super::positions::STEPS;

        let (selectors, topics) = hostile();
        let mut index = PatternIndex::new();
        for (key, selector) in selectors.iter().enumerate() {
            index.insert(selector, key);
            if key % 8 != 7 && key + 1 < selectors.len() {
                continue;
            }
            let mut highest = 0;
            for topic in &topics {
                STEPS.set(0);
                let steps = index.snapshot().matching(topic, &mut Vec::new());
                assert!(STEPS.get() <= steps, "{topic}: {} of {steps}", STEPS.get());
                highest = highest.max(steps);
            }
            assert!(highest <= index.match_cost(), "{key}: {highest} of {}", index.match_cost());
        }
    }

    #[test]
    fn patterns_of_which_no_topic_meets_all_cost_what_one_of_them_does() {
        let mut index = PatternIndex::new();
        index.insert(&template("/0/{x}"), 0);
        let one = index.match_cost();
        for key in 1..limits::PATTERNS {
            index.insert(&template(&format!("/{key}/{{x}}")), key);
        }
        assert!(index.match_cost() < 2 * one, "{} {one}", index.match_cost());
        assert!(index.match_cost() <= limits::PATTERNS_STEPS_MAX);
        // A topic has room for some of the segments.
        let mut index = PatternIndex::new();
        for key in 0..limits::PATTERNS {
            index.insert(&template(&format!("/{{x}}/s{key:04}/{{y}}")), key);
        }
        assert!(index.match_cost() <= limits::PATTERNS_STEPS_MAX, "{}", index.match_cost());
        let segments: String =
            (0..limits::TOPIC_BYTES_MAX / 6).map(|n| format!("/s{n:04}")).collect();
        let steps = index.snapshot().matching(&topic(&segments), &mut Vec::new());
        let cost = index.match_cost();
        assert!(steps <= cost && steps > cost / 10 * 9, "{steps} of {cost}");
        // Where one topic meets all, they cost what they cost together.
        let mut index = PatternIndex::new();
        for key in 0..2000 {
            index.insert(&template(&format!("/{{x{key}}}")), key);
        }
        let steps = index.snapshot().matching(&topic(&"/".repeat(1024)), &mut Vec::new());
        let cost = index.match_cost();
        assert!(steps <= cost && steps > cost / 10 * 9, "{steps} of {cost}");
        assert!(index.match_cost() <= limits::PATTERNS_STEPS_MAX);
        for key in 2000..2200 {
            index.insert(&template(&format!("/{{x{key}}}")), key);
        }
        assert!(
            index.match_cost() > limits::PATTERNS_STEPS_MAX,
            "one more is too many at some point"
        );
    }

    #[cfg(feature = "patterns")]
    #[test]
    fn a_topic_is_resolved_and_paid_for_once_for_each_base() {
        let bases = ["https://a.example/", "https://b.example/", "https://c.example/"];
        let cost = |base: fn(usize) -> usize| {
            let mut index = PatternIndex::new();
            for key in 0..3 {
                let selector = Selector::url_pattern(&format!("/{key}/:x"), Some(bases[base(key)]));
                index.insert(&selector.unwrap(), key);
            }
            index.match_cost()
        };
        let base = Some(bases[0].parse().unwrap());
        let resolve_cost = url_pattern::resolve_cost(TopicSize::MAX, &base);
        let (one, three) = (cost(|_| 0), cost(|key| key));
        assert!(one > resolve_cost && three > one + 2 * resolve_cost, "{one} {three}");
    }
}
