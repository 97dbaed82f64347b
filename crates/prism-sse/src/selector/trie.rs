//! A radix trie: a map from byte strings to values that finds the values of all prefixes of a text.
//!
//! A look-up takes time linear in the text, however many values there are. The trie is persistent:
//! a clone shares all nodes, and a change copies the nodes from the root to the changed value, if
//! they are shared, and no others.

use std::sync::Arc;

/// The price of a value of which a trie knows sums and maxima, in
/// [steps](crate::limits::PATTERN_STEPS_MAX).
pub(super) trait Price {
    fn cost(&self) -> u64;

    /// The cost for each byte of the text under which it is, where that is of interest.
    fn cost_per_byte(&self) -> u64 {
        0
    }
}

#[derive(Clone, Debug)]
pub(super) struct Trie<T>(Arc<Node<T>>);

#[derive(Clone, Debug)]
struct Node<T> {
    /// The bytes between the parent's text and this node's text. Only the root has none.
    label: Arc<[u8]>,
    value: Option<T>,
    /// Sorted by the first byte of their labels.
    children: Vec<Arc<Self>>,
    /// Values of this node and below it.
    len: usize,
    /// The cost of all values of this node and below it.
    total_cost: u64,
    /// The highest cost of the values from this node down to any other.
    path_cost: u64,
    /// The highest cost per byte of a value of this node or below it.
    cost_per_byte: u64,
}

impl<T: Clone + Price> Trie<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Node::new(&[], None)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cost of all values.
    pub(super) fn total_cost(&self) -> u64 {
        self.0.total_cost
    }

    /// The highest cost that the values of all prefixes of any one text have together.
    pub(super) fn path_cost(&self) -> u64 {
        self.0.path_cost
    }

    /// The highest cost per byte of any value.
    pub(super) fn cost_per_byte(&self) -> u64 {
        self.0.cost_per_byte
    }

    /// Changes the value of `text`: `change` gets the value, if there is one, and leaves the new
    /// one, or `None` to remove it.
    pub(super) fn update(&mut self, text: &[u8], change: impl FnOnce(&mut Option<T>)) {
        Arc::make_mut(&mut self.0).update(text, change);
    }

    pub(super) fn get(&self, text: &[u8]) -> Option<&T> {
        let (mut node, mut rest) = (&*self.0, text);
        while let Some(&first) = rest.first() {
            node = &node.children[node.child(first).ok()?];
            rest = rest.strip_prefix(&*node.label)?;
        }
        node.value.as_ref()
    }

    /// Calls `visit` for the value of each prefix of `text`, the shortest first.
    pub(super) fn for_each_prefix(&self, text: &[u8], mut visit: impl FnMut(&T)) {
        let (mut node, mut rest) = (&*self.0, text);
        loop {
            if let Some(value) = &node.value {
                visit(value);
            }
            let Some(&first) = rest.first() else { return };
            let Ok(place) = node.child(first) else { return };
            node = &node.children[place];
            let Some(after) = rest.strip_prefix(&*node.label) else { return };
            rest = after;
        }
    }

    /// Calls `visit` for each value and its text.
    pub(super) fn for_each(&self, visit: &mut impl FnMut(&[u8], &T)) {
        self.0.for_each(&mut Vec::new(), visit);
    }
}

impl<T: Clone + Price> Node<T> {
    fn new(label: &[u8], value: Option<T>) -> Self {
        let (label, children) = (label.into(), Vec::new());
        let (total_cost, path_cost, cost_per_byte) = (0, 0, 0);
        let mut own = Self { label, value, children, len: 0, total_cost, path_cost, cost_per_byte };
        own.sum_up();
        own
    }

    fn update(&mut self, rest: &[u8], change: impl FnOnce(&mut Option<T>)) {
        let Some(&first) = rest.first() else {
            change(&mut self.value);
            return self.sum_up();
        };
        match self.child(first) {
            Ok(place) => self.update_child(place, rest, change),
            Err(place) => {
                let mut value = None;
                change(&mut value);
                if value.is_some() {
                    self.children.insert(place, Arc::new(Self::new(rest, value)));
                }
            }
        }
        self.sum_up();
    }

    fn update_child(&mut self, place: usize, rest: &[u8], change: impl FnOnce(&mut Option<T>)) {
        let child = &mut self.children[place];
        let common = common_len(&child.label, rest);
        if common < child.label.len() {
            // The text has no node yet. If it gets a value, the child is split for it.
            let mut value = None;
            change(&mut value);
            if value.is_some() {
                let mut lower = Self::clone(child);
                lower.label = lower.label[common..].into();
                let mut upper = Self::new(&rest[..common], None);
                upper.children.push(Arc::new(lower));
                match &rest[common..] {
                    [] => upper.value = value,
                    rest => {
                        upper.children.push(Arc::new(Self::new(rest, value)));
                        upper.children.sort_unstable_by_key(|child| child.label[0]);
                    }
                }
                upper.sum_up();
                *child = Arc::new(upper);
            }
            return;
        }
        let node = Arc::make_mut(child);
        node.update(&rest[common..], change);
        // A node is kept if it has a value, or at least two children.
        match (&node.value, &*node.children) {
            (None, []) => {
                self.children.remove(place);
            }
            (None, [only]) => {
                let mut merged = Self::clone(only);
                merged.label = [&*node.label, &*only.label].concat().into();
                *child = Arc::new(merged);
            }
            _ => {}
        }
    }

    /// Computes what is known of the node's own value and of its children together.
    fn sum_up(&mut self) {
        let own = self.value.as_ref().map_or(0, Price::cost);
        let children = self.children.iter();
        self.len = usize::from(self.value.is_some())
            + children.clone().map(|child| child.len).sum::<usize>();
        self.total_cost = own + children.clone().map(|child| child.total_cost).sum::<u64>();
        self.path_cost =
            own + children.clone().map(|child| child.path_cost).max().unwrap_or_default();
        let own = self.value.as_ref().map_or(0, Price::cost_per_byte);
        self.cost_per_byte = children.map(|child| child.cost_per_byte).fold(own, u64::max);
    }

    fn child(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |child| child.label[0])
    }

    fn for_each(&self, text: &mut Vec<u8>, visit: &mut impl FnMut(&[u8], &T)) {
        let len = text.len();
        text.extend_from_slice(&self.label);
        if let Some(value) = &self.value {
            visit(text, value);
        }
        self.children.iter().for_each(|child| child.for_each(text, visit));
        text.truncate(len);
    }
}

fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Price for &str {
        fn cost(&self) -> u64 {
            self.len() as u64
        }

        fn cost_per_byte(&self) -> u64 {
            self.len() as u64 % 5
        }
    }

    const TEXTS: [&str; 11] =
        ["a", "", "abc", "ab", "abd", "b", "abcdef", "aa", "ac", "abcz", "ab/"];

    /// Holds a trie against the texts that it should have.
    fn check(trie: &Trie<&str>, kept: &[&str]) {
        let longer = ["", "a", "ab", "abc", "abcd", "abcde", "abcdefg", "b", "c", "aab", "ab/x"];
        let mut highest = 0;
        for text in longer.iter().chain(&TEXTS) {
            let mut found = Vec::new();
            trie.for_each_prefix(text.as_bytes(), |value| found.push(*value));
            let mut expected: Vec<&str> =
                kept.iter().copied().filter(|kept| text.starts_with(kept)).collect();
            expected.sort_unstable_by_key(|kept| kept.len());
            assert_eq!(found, expected, "{text:?} of {kept:?}");
            assert_eq!(trie.get(text.as_bytes()).is_some(), kept.contains(text), "{text:?}");
            highest = highest.max(expected.iter().map(|text| text.len() as u64).sum());
        }
        let mut all = Vec::new();
        trie.for_each(&mut |text, value| {
            assert_eq!(text, value.as_bytes());
            all.push(*value);
        });
        let mut expected = kept.to_vec();
        expected.sort_unstable();
        assert_eq!(all, expected);
        assert_eq!(trie.len(), kept.len());
        assert_eq!(trie.total_cost(), kept.iter().map(|text| text.len() as u64).sum::<u64>());
        assert_eq!(trie.path_cost(), highest);
        let per_byte = kept.iter().map(Price::cost_per_byte).max();
        assert_eq!(trie.cost_per_byte(), per_byte.unwrap_or_default());
    }

    #[test]
    fn every_prefix_is_found_and_nothing_else_while_texts_come_and_go() {
        for first in 0..TEXTS.len() {
            let mut trie = Trie::new();
            let mut snapshots = Vec::new();
            for end in first..=TEXTS.len() {
                check(&trie, &TEXTS[first..end]);
                snapshots.push((trie.clone(), first..end));
                let Some(text) = TEXTS.get(end) else { break };
                trie.update(text.as_bytes(), |value| *value = Some(text));
            }
            for begin in first..TEXTS.len() {
                check(&trie, &TEXTS[begin..]);
                snapshots.push((trie.clone(), begin..TEXTS.len()));
                trie.update(TEXTS[begin].as_bytes(), |value| *value = None);
                trie.update(b"never there", |value| assert!(value.is_none()));
                trie.update(b"abcd", |value| assert!(value.is_none()));
            }
            assert!(trie.is_empty() && trie.0.children.is_empty(), "nothing stays behind");
            for (snapshot, range) in snapshots {
                check(&snapshot, &TEXTS[range]);
            }
        }
    }

    #[test]
    fn a_change_copies_the_nodes_on_its_path_and_shares_the_others() {
        let mut trie = Trie::new();
        for text in ["abc", "abd", "xyz"] {
            trie.update(text.as_bytes(), |value| *value = Some(text));
        }
        let before = trie.clone();
        trie.update(b"abe", |value| *value = Some("abe"));
        let [old, new] = [&before, &trie].map(|trie| &trie.0.children);
        assert!(!Arc::ptr_eq(&old[0], &new[0]), "ab is on the path");
        assert!(Arc::ptr_eq(&old[0].children[0], &new[0].children[0]), "abc is not");
        assert!(Arc::ptr_eq(&old[1], &new[1]), "xyz is not");
        // Without a snapshot nothing is copied.
        drop(before);
        let place = Arc::as_ptr(&trie.0);
        trie.update(b"abf", |value| *value = Some("abf"));
        assert_eq!(place, Arc::as_ptr(&trie.0));
    }
}
