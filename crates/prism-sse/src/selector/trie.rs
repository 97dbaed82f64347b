//! A radix trie: a map from byte strings to values that finds the values of all prefixes of a text.
//!
//! A look-up takes time linear in the text, however many values there are.

use slab::Slab;

#[derive(Debug)]
pub(super) struct Trie<T> {
    nodes: Slab<Node<T>>,
    values: usize,
}

#[derive(Debug)]
struct Node<T> {
    /// The bytes between the parent's text and this node's text. Only the root has none.
    label: Box<[u8]>,
    value: Option<T>,
    /// The first byte of each child's label, and the child's place among the nodes. Sorted.
    children: Vec<(u8, usize)>,
}

/// The root's place among the nodes.
const ROOT: usize = 0;

impl<T> Trie<T> {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(&[]));
        Self { nodes, values: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// The value of `text`. If there is none, `make` makes it.
    pub(super) fn entry(&mut self, text: &[u8], make: impl FnOnce() -> T) -> &mut T {
        let (mut at, mut rest) = (ROOT, text);
        while let Some(&first) = rest.first() {
            at = match self.nodes[at].child(first) {
                Ok(place) => {
                    let (_, child) = self.nodes[at].children[place];
                    let common = common(&self.nodes[child].label, rest);
                    rest = &rest[common..];
                    self.split(child, common)
                }
                Err(place) => {
                    let child = self.nodes.insert(Node::new(rest));
                    self.nodes[at].children.insert(place, (first, child));
                    rest = &[];
                    child
                }
            };
        }
        let value = &mut self.nodes[at].value;
        self.values += usize::from(value.is_none());
        value.get_or_insert_with(make)
    }

    pub(super) fn get_mut(&mut self, text: &[u8]) -> Option<&mut T> {
        let at = *self.path(text)?.last()?;
        self.nodes[at].value.as_mut()
    }

    pub(super) fn remove(&mut self, text: &[u8]) {
        let Some(mut path) = self.path(text) else { return };
        let Some(mut at) = path.pop() else { return };
        self.values -= usize::from(self.nodes[at].value.take().is_some());
        // A node is kept if it has a value, or at least two children, or is the root.
        while let Some(&above) = path.last() {
            match (&self.nodes[at].value, &*self.nodes[at].children) {
                (None, []) => {
                    let gone = self.nodes.remove(at);
                    self.nodes[above].children.retain(|(first, _)| *first != gone.label[0]);
                    (at, _) = (above, path.pop());
                }
                (None, &[(_, only)]) => {
                    let gone = self.nodes.remove(at);
                    let child = &mut self.nodes[only];
                    child.label = [&*gone.label, &*child.label].concat().into();
                    let mut children = self.nodes[above].children.iter_mut();
                    if let Some(place) = children.find(|(_, child)| *child == at) {
                        place.1 = only;
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// Calls `visit` for the value of each prefix of `text`, the shortest first.
    pub(super) fn for_each_prefix(&self, text: &[u8], mut visit: impl FnMut(&T)) {
        let (mut node, mut rest) = (&self.nodes[ROOT], text);
        loop {
            if let Some(value) = &node.value {
                visit(value);
            }
            let Some(&first) = rest.first() else { return };
            let Ok(place) = node.child(first) else { return };
            node = &self.nodes[node.children[place].1];
            let Some(after) = rest.strip_prefix(&*node.label) else { return };
            rest = after;
        }
    }

    /// The nodes from the root to the node of `text`, which is the last.
    fn path(&self, text: &[u8]) -> Option<Vec<usize>> {
        let (mut path, mut rest) = (vec![ROOT], text);
        while let (Some(&first), Some(&at)) = (rest.first(), path.last()) {
            let place = self.nodes[at].child(first).ok()?;
            let (_, child) = self.nodes[at].children[place];
            rest = rest.strip_prefix(&*self.nodes[child].label)?;
            path.push(child);
        }
        Some(path)
    }

    /// The node that ends after the first `len` bytes of this node's label. The node is split
    /// unless its label ends there.
    fn split(&mut self, at: usize, len: usize) -> usize {
        let node = &mut self.nodes[at];
        if len == node.label.len() {
            return at;
        }
        let lower = Node {
            label: node.label[len..].into(),
            value: node.value.take(),
            children: std::mem::take(&mut node.children),
        };
        node.label = node.label[..len].into();
        let first = lower.label[0];
        let lower = self.nodes.insert(lower);
        self.nodes[at].children.push((first, lower));
        at
    }
}

impl<T> Node<T> {
    fn new(label: &[u8]) -> Self {
        Self { label: label.into(), value: None, children: Vec::new() }
    }

    fn child(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |(first, _)| *first)
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_found_and_nothing_else_while_texts_come_and_go() {
        let texts = ["a", "", "abc", "ab", "abd", "b", "abcdef", "aa", "ac", "abcz", "ab/"];
        let longer = ["", "a", "ab", "abc", "abcd", "abcde", "abcdefg", "b", "c", "aab", "ab/x"];
        let mut trie = Trie::new();
        let check = |trie: &Trie<&str>, kept: &[&str]| {
            for text in longer {
                let mut found = Vec::new();
                trie.for_each_prefix(text.as_bytes(), |value| found.push(*value));
                let mut expected: Vec<&str> =
                    kept.iter().copied().filter(|kept| text.starts_with(kept)).collect();
                expected.sort_unstable_by_key(|kept| kept.len());
                assert_eq!(found, expected, "{text:?} of {kept:?}");
            }
        };
        for first in 0..texts.len() {
            for end in 0..=texts.len() {
                *trie.entry(texts[first].as_bytes(), || texts[first]) = texts[first];
                check(&trie, &texts[first..=first]);
                for at in first + 1..end {
                    trie.entry(texts[at].as_bytes(), || texts[at]);
                    check(&trie, &texts[first..=at]);
                }
                for at in first..end.max(first + 1) {
                    assert_eq!(trie.get_mut(texts[at].as_bytes()).copied(), Some(texts[at]));
                    trie.remove(texts[at].as_bytes());
                    check(&trie, &texts[(at + 1).min(end.max(at + 1))..end.max(at + 1)]);
                }
                assert!(trie.is_empty() && trie.nodes.len() == 1, "nothing stays behind");
            }
        }
        trie.remove(b"never there");
        assert!(trie.is_empty());
    }
}
