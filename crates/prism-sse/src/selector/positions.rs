//! Sets of positions in a topic, and what may lie between two of them.
//!
//! A template is matched from left to right with the set of all positions that what was looked at
//! so far can end at. Each step makes one set from another, in time linear in the topic, so that no
//! template can make matching take longer than its own length times the topic's.

use crate::limits;

/// Words of a set for any topic.
const WORDS: usize = limits::TOPIC_BYTES_MAX / 64 + 1;

/// Words of a set for a topic that is not very long.
const FEW_WORDS: usize = 4;

/// Positions between the bytes of a topic, its beginning and its end included. Bit `p` of a mask
/// of bytes stands for the byte after position `p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Positions<const W: usize>([u64; W]);

impl<const W: usize> Positions<W> {
    pub(super) const NONE: Self = Self([0; W]);

    pub(super) fn of(position: usize) -> Self {
        let mut own = Self::NONE;
        own.insert(position);
        own
    }

    pub(super) fn insert(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0[position / 64] >> (position % 64) & 1 == 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; W]
    }

    pub(super) fn or(self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    pub(super) fn and(self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    fn zip(mut self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = with(*a, *b));
        self
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let rest = |left: &u64| Some(left & (left - 1)).filter(|left| *left != 0);
            let lowest = move |left: u64| at * 64 + left.trailing_zeros() as usize;
            std::iter::successors(Some(word).filter(|word| *word != 0), rest).map(lowest)
        })
    }

    /// The positions one further. The last one has none.
    fn next(mut self) -> Self {
        let mut carry = 0;
        for word in &mut self.0 {
            (*word, carry) = (*word << 1 | carry, *word >> 63);
        }
        self
    }

    /// These positions, and all that are reached from one of them over bytes of `mask` alone.
    fn closure(self, mask: &Self) -> Self {
        // A start that is added to the bytes it may pass carries through all of them, up to the
        // first that it may not: what that changes is what the start reaches.
        let (mut reached, mut carry) = (self, false);
        for at in 0..W {
            let (sum, over) = (self.0[at] & mask.0[at]).overflowing_add(mask.0[at]);
            let (sum, over_too) = sum.overflowing_add(u64::from(carry));
            carry = over || over_too;
            reached.0[at] |= sum ^ mask.0[at];
        }
        reached
    }
}

/// The characters that separate values and name them, and begin expressions.
const MARKS: [u8; 8] = [b',', b'.', b'/', b';', b'&', b'=', b'?', b'#'];

/// A topic as the expansion of a template would be written: characters of a URI and triplets.
#[derive(Debug)]
pub(super) struct Expansion<'a, const W: usize> {
    bytes: &'a [u8],
    /// Bytes that a value may have where reserved characters are written as triplets.
    plain: Positions<W>,
    /// All bytes.
    any: Positions<W>,
    /// Positions that are not inside a character.
    ends: Positions<W>,
    marks: [Positions<W>; MARKS.len()],
}

/// A topic as templates see it.
#[derive(Debug)]
pub(super) enum Written<'a> {
    /// No template expands to it.
    Never,
    Short(Expansion<'a, 1>),
    Middle(Box<Expansion<'a, FEW_WORDS>>),
    Long(Box<Expansion<'a, WORDS>>),
}

impl<'a> Written<'a> {
    pub(super) fn read(topic: &'a str) -> Self {
        let read = match topic.len() / 64 {
            0 => Expansion::read(topic).map(Self::Short),
            1..FEW_WORDS => Expansion::read(topic).map(|middle| Self::Middle(Box::new(middle))),
            _ => Expansion::read(topic).map(|long| Self::Long(Box::new(long))),
        };
        read.unwrap_or(Self::Never)
    }
}

/// Which characters a value may have as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allow {
    /// Letters, digits and `-._~`.
    Unreserved,
    /// All that URIs have.
    Reserved,
}

const UNRESERVED: u8 = 1;
const RESERVED: u8 = 2;

/// What each byte is: 0 if a URI has it in triplets alone.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => UNRESERVED,
            b':' | b'/' | b'?' | b'#' | b'[' | b']' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'('
            | b')' | b'*' | b'+' | b',' | b';' | b'=' => RESERVED,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

pub(super) fn is_unreserved(byte: u8) -> bool {
    KINDS[usize::from(byte)] == UNRESERVED
}

pub(super) fn is_reserved(byte: u8) -> bool {
    KINDS[usize::from(byte)] == RESERVED
}

/// The place of a byte among the marks, if it is one.
fn mark_of(byte: u8) -> Option<usize> {
    // The one mark that is unreserved is the point.
    let may_be = is_reserved(byte) || byte == b'.';
    may_be.then(|| MARKS.iter().position(|mark| *mark == byte)).flatten()
}

impl<'a, const W: usize> Expansion<'a, W> {
    /// `None` for a topic that no template expands to, or that has no room in the sets.
    fn read(topic: &'a str) -> Option<Self> {
        let bytes = topic.as_bytes();
        if bytes.len() >= W * 64 {
            return None;
        }
        let none = Positions::NONE;
        let marks = [none; MARKS.len()];
        let mut own = Self { bytes, plain: none, any: none, ends: none, marks };
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            own.ends.insert(at);
            let (len, plain) = match KINDS[usize::from(byte)] {
                UNRESERVED => (1, true),
                RESERVED => (1, false),
                _ => character(&bytes[at..])?,
            };
            for at in at..at + len {
                own.any.insert(at);
                if plain {
                    own.plain.insert(at);
                }
            }
            if let Some(mark) = mark_of(byte) {
                own.marks[mark].insert(at);
            }
            at += len;
        }
        own.ends.insert(at);
        Some(own)
    }

    /// Where values with these characters end that begin at `starts`. `joint` may be among them.
    pub(super) fn run(
        &self,
        starts: Positions<W>,
        allow: Allow,
        joint: Option<u8>,
    ) -> Positions<W> {
        let mask = self.mask(allow);
        let mask = joint.map_or(*mask, |byte| mask.or(self.mark(byte)));
        starts.closure(&mask).and(&self.ends)
    }

    /// As [`run`](Self::run), of values with a character at least.
    pub(super) fn run_some(
        &self,
        starts: Positions<W>,
        allow: Allow,
        joint: Option<u8>,
    ) -> Positions<W> {
        let mask = self.mask(allow);
        let mask = joint.map_or(*mask, |byte| mask.or(self.mark(byte)));
        starts.closure(&mask).and(&mask).next().and(&self.ends)
    }

    /// As [`run`](Self::run), of values with at most this many characters.
    pub(super) fn run_at_most(
        &self,
        starts: Positions<W>,
        allow: Allow,
        most: u16,
    ) -> Positions<W> {
        let mask = self.mask(allow);
        let mut reached = Positions::NONE;
        // Of several starts the last is the one that leads furthest.
        let mut left = None;
        for at in 0..=self.bytes.len() {
            if starts.has(at) {
                left = Some(most);
            }
            let is_end = self.ends.has(at);
            if is_end && left.is_some() {
                reached.insert(at);
            }
            if !mask.has(at) {
                left = None;
            } else if is_end {
                left = left.and_then(|left| left.checked_sub(1));
            }
        }
        reached
    }

    /// Where `name=value` pairs end that begin at `starts` and have `separator` between them.
    /// `bare` names may stand without a value.
    pub(super) fn pairs(&self, starts: Positions<W>, separator: u8, bare: bool) -> Positions<W> {
        let mut reached = Positions::NONE;
        let (mut in_name, mut in_value) = (false, false);
        for at in 0..=self.bytes.len() {
            in_name |= starts.has(at);
            let is_whole = in_value || (in_name && bare);
            if is_whole && self.ends.has(at) {
                reached.insert(at);
            }
            let Some(&byte) = self.bytes.get(at) else { break };
            let plain = self.plain.has(at);
            let named = in_name && byte == b'=';
            in_name = (in_name && plain) || (is_whole && byte == separator);
            in_value = (in_value && plain) || named;
        }
        reached
    }

    /// The positions after `byte`.
    pub(super) fn after(&self, starts: Positions<W>, byte: u8) -> Positions<W> {
        starts.and(self.mark(byte)).next()
    }

    /// The positions after `text`.
    pub(super) fn after_text(&self, starts: Positions<W>, text: &[u8]) -> Positions<W> {
        // Nearly every text begins with a mark, which few bytes are.
        let mark = text.first().and_then(|first| mark_of(*first));
        let starts = mark.map_or(starts, |mark| starts.and(&self.marks[mark]));
        let mut reached = Positions::NONE;
        for at in starts.iter().filter(|&at| self.bytes[at..].starts_with(text)) {
            reached.insert(at + text.len());
        }
        reached
    }

    fn mask(&self, allow: Allow) -> &Positions<W> {
        match allow {
            Allow::Unreserved => &self.plain,
            Allow::Reserved => &self.any,
        }
    }

    fn mark(&self, byte: u8) -> &Positions<W> {
        mark_of(byte).map_or(&Positions::NONE, |place| &self.marks[place])
    }
}

/// Length of the character in triplets that `bytes` begin with, and whether it is one that a value
/// has if reserved characters are written so. `None` if they begin with no triplet.
fn character(bytes: &[u8]) -> Option<(usize, bool)> {
    let first = octet(bytes)?;
    let len = match first {
        0..0x80 => return Some((3, !is_unreserved(first))),
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        // No text has this octet; a value that was written in triplets already may.
        _ => return Some((3, false)),
    };
    let mut octets = [first, 0, 0, 0];
    for (at, other) in octets.iter_mut().enumerate().take(len).skip(1) {
        let Some(octet) = bytes.get(at * 3..).and_then(octet) else { return Some((3, false)) };
        *other = octet;
    }
    let is_text = std::str::from_utf8(&octets[..len]).is_ok();
    Some(if is_text { (len * 3, true) } else { (3, false) })
}

fn octet(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_crosses_the_words_of_the_set() {
        for len in [1, 63, 64, 65, 128, 700, limits::TOPIC_BYTES_MAX] {
            let topic = "x".repeat(len);
            let expansion = Expansion::<WORDS>::read(&topic).unwrap();
            for start in [0, len / 2, len] {
                let reached = expansion.run(Positions::of(start), Allow::Unreserved, None);
                assert!((0..=len).all(|at| reached.has(at) == (at >= start)), "{len} {start}");
            }
        }
    }

    #[test]
    fn bytes_that_no_expansion_has_are_none() {
        for topic in ["a b", "é", "100%", "%4", "%zz", "{id}", "\"", "<", "\\", "^", "`", "|"] {
            assert!(matches!(Written::read(topic), Written::Never), "{topic}");
        }
        let short = "%41%c3%A9:/?#[]@!$&'()*+,;=-._~";
        assert!(matches!(Written::read(short), Written::Short(_)));
        assert!(matches!(Written::read(&short.repeat(4)), Written::Middle(_)));
        assert!(matches!(Written::read(&short.repeat(20)), Written::Long(_)));
    }

    #[test]
    fn a_value_ends_between_characters_and_not_within_one() {
        let expansion = Expansion::<WORDS>::read("a%C3%A9%2Fb").unwrap();
        let ends = expansion.run(Positions::of(0), Allow::Unreserved, None);
        assert_eq!(ends.iter().collect::<Vec<_>>(), [0, 1, 7, 10, 11]);
        let two = expansion.run_at_most(Positions::of(0), Allow::Unreserved, 2);
        assert_eq!(two.iter().collect::<Vec<_>>(), [0, 1, 7]);
    }
}
