//! Sets of positions in a topic, as bit sets: the states of the automaton that matches a template.
//!
//! A template is matched from left to right. After each of its parts the matcher has the set of all
//! positions at which the parts so far can end. Each operation makes one set from another in time
//! linear in the topic, so that matching takes at most the template's length times the topic's.
//! [`Cost`] has the price of each operation.

use crate::limits;

/// Words of a set for the longest topic.
const WORDS: usize = limits::TOPIC_BYTES_MAX / 64 + 1;

/// Words of a set for a topic of medium length.
const MEDIUM_WORDS: usize = 4;

/// The most work that operations take, in [steps](limits::PATTERN_STEPS_MAX): so many for each word
/// of a set, and so many for each byte of the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    words: u64,
    bytes: u64,
}

impl Cost {
    /// Of testing whether a set is empty.
    pub(super) const IS_EMPTY: Self = Self::words(1);
    /// Of [`PositionSet::or`] and [`PositionSet::and`].
    pub(super) const UNION: Self = Self::words(1);
    /// Of [`CharacterSets::after_byte`].
    pub(super) const AFTER_BYTE: Self = Self::words(3);
    /// Of [`CharacterSets::value_ends`].
    pub(super) const VALUE_ENDS: Self = Self::words(5);
    /// Of [`CharacterSets::nonempty_value_ends`].
    pub(super) const NONEMPTY_VALUE_ENDS: Self = Self::words(8);
    /// Of [`CharacterSets::pair_ends`].
    pub(super) const PAIR_ENDS: Self = Self { words: 0, bytes: PAIR_STEPS };

    const fn words(words: u64) -> Self {
        Self { words, bytes: 0 }
    }

    /// Of [`CharacterSets::after_text`]. The text may have to be compared at every position behind
    /// which there is room for it.
    pub(super) fn after_text(text: &[u8]) -> Self {
        let positions = limits::TOPIC_BYTES_MAX + 1;
        let with_room = positions.saturating_sub(text.len()) as u64;
        let average = comparison_steps(text.len()) * with_room / positions as u64;
        // Rounded up, and one for each position without room.
        Self { words: 2, bytes: average + 2 }
    }

    /// Of [`CharacterSets::prefix_ends`].
    pub(super) fn prefix_ends(most: u16) -> Self {
        match usize::from(most) {
            limits::TOPIC_BYTES_MAX.. => Self::VALUE_ENDS,
            _ => Self { words: 0, bytes: PREFIX_STEPS },
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { words: self.words + other.words, bytes: self.bytes + other.bytes }
    }

    /// The steps for a topic of this length.
    pub(super) fn steps(self, topic_len: usize) -> u64 {
        let words = match topic_len / 64 {
            0 => 1,
            1..MEDIUM_WORDS => MEDIUM_WORDS,
            _ => WORDS,
        };
        // One position more than there are bytes.
        self.words * words as u64 + self.bytes * (topic_len as u64 + 1)
    }
}

/// Steps of comparing a text with a part of the topic: 16 bytes at a time.
fn comparison_steps(len: usize) -> u64 {
    len.div_ceil(16).max(1) as u64
}

/// Steps of [`CharacterSets::pair_ends`] for each byte.
const PAIR_STEPS: u64 = 6;

/// Steps of [`CharacterSets::prefix_ends`] for each byte.
const PREFIX_STEPS: u64 = 4;

/// Steps of [`ParsedTopic::parse`] for each byte.
const PARSE_STEPS: u64 = 8;

/// The most steps that [`ParsedTopic::parse`] takes for a topic of this length.
pub(super) fn parse_cost(topic_len: usize) -> u64 {
    PARSE_STEPS * (topic_len as u64 + 1)
}

/// Counts the work that is done, for the test that no operation does more than its price says.
fn count(_steps: u64) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + _steps);
}

#[cfg(test)]
thread_local! {
    pub(super) static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A set of positions between the bytes of a topic, with its beginning and its end. As a set of
/// bytes, bit `p` is the byte after position `p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PositionSet<const W: usize>([u64; W]);

impl<const W: usize> PositionSet<W> {
    pub(super) const EMPTY: Self = Self([0; W]);

    pub(super) fn of(position: usize) -> Self {
        let mut set = Self::EMPTY;
        set.insert(position);
        set
    }

    pub(super) fn insert(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0[position / 64] >> (position % 64) & 1 == 1
    }

    pub(super) fn is_empty(&self) -> bool {
        count(W as u64);
        self.0 == [0; W]
    }

    pub(super) fn or(self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    pub(super) fn and(self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    fn zip(mut self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        count(W as u64);
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = with(*a, *b));
        self
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        count(W as u64);
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let rest = |left: &u64| Some(left & (left - 1)).filter(|left| *left != 0);
            let lowest = move |left: u64| at * 64 + left.trailing_zeros() as usize;
            std::iter::successors(Some(word).filter(|word| *word != 0), rest).map(lowest)
        })
    }

    /// Each position plus one. A position that would be beyond the last word is dropped.
    fn next(mut self) -> Self {
        count(2 * W as u64);
        let mut carry = 0;
        for word in &mut self.0 {
            (*word, carry) = (*word << 1 | carry, *word >> 63);
        }
        self
    }

    /// These positions, and all that can be reached from one of them over bytes of `mask` alone.
    fn closure(self, mask: &Self) -> Self {
        count(3 * W as u64);
        // Adding a start to the mask carries through the run of mask bits that begins there, up to
        // the first clear bit. The bits that the addition changes are the positions reached.
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

/// The delimiters of RFC 6570: characters that begin an expression, or come between names and
/// values.
const DELIMITERS: [u8; 8] = [b',', b'.', b'/', b';', b'&', b'=', b'?', b'#'];

/// Which bytes of a topic belong to which kind of character. Only a topic of URI characters and
/// percent-encoded triplets can be an expansion.
#[derive(Debug)]
pub(super) struct CharacterSets<'a, const W: usize> {
    bytes: &'a [u8],
    /// Bytes of unreserved characters, and of triplets that encode any other character.
    plain: PositionSet<W>,
    /// All bytes of the topic.
    any: PositionSet<W>,
    /// Positions between characters: not within a triplet, or the triplets of one UTF-8 character.
    ends: PositionSet<W>,
    delimiters: [PositionSet<W>; DELIMITERS.len()],
}

/// A topic parsed for matching, in bit sets as short as its length allows.
#[derive(Debug)]
pub(super) enum ParsedTopic<'a> {
    /// The topic has a character that no expansion has.
    NoExpansion,
    Short(CharacterSets<'a, 1>),
    Medium(Box<CharacterSets<'a, MEDIUM_WORDS>>),
    Long(Box<CharacterSets<'a, WORDS>>),
}

impl<'a> ParsedTopic<'a> {
    pub(super) fn parse(topic: &'a str) -> Self {
        let parsed = match topic.len() / 64 {
            0 => CharacterSets::parse(topic).map(Self::Short),
            1..MEDIUM_WORDS => CharacterSets::parse(topic).map(|sets| Self::Medium(Box::new(sets))),
            _ => CharacterSets::parse(topic).map(|sets| Self::Long(Box::new(sets))),
        };
        parsed.unwrap_or(Self::NoExpansion)
    }
}

/// Which characters of a value are not percent-encoded: the column "allow" of RFC 6570, appendix A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AllowedCharacters {
    /// `U`: letters, digits and `-._~`.
    Unreserved,
    /// `U+R`: all characters of URIs, and triplets as they are.
    UnreservedAndReserved,
}

const UNRESERVED: u8 = 1;
const RESERVED: u8 = 2;

/// The kind of each byte; 0 for bytes that a URI has in triplets only.
const CHARACTER_KINDS: [u8; 256] = {
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
    CHARACTER_KINDS[usize::from(byte)] == UNRESERVED
}

pub(super) fn is_reserved(byte: u8) -> bool {
    CHARACTER_KINDS[usize::from(byte)] == RESERVED
}

/// The index of a byte in [`DELIMITERS`], if it is one.
fn delimiter_index(byte: u8) -> Option<usize> {
    // The dot is the only delimiter that is unreserved.
    let may_be_delimiter = is_reserved(byte) || byte == b'.';
    may_be_delimiter.then(|| DELIMITERS.iter().position(|delimiter| *delimiter == byte)).flatten()
}

impl<'a, const W: usize> CharacterSets<'a, W> {
    /// `None` for a topic that is no expansion, or is too long for `W` words.
    fn parse(topic: &'a str) -> Option<Self> {
        let bytes = topic.as_bytes();
        if bytes.len() >= W * 64 {
            return None;
        }
        let none = PositionSet::EMPTY;
        let delimiters = [none; DELIMITERS.len()];
        let mut sets = Self { bytes, plain: none, any: none, ends: none, delimiters };
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            sets.ends.insert(at);
            let (len, plain) = match CHARACTER_KINDS[usize::from(byte)] {
                UNRESERVED => (1, true),
                RESERVED => (1, false),
                _ => character(&bytes[at..])?,
            };
            for at in at..at + len {
                sets.any.insert(at);
                if plain {
                    sets.plain.insert(at);
                }
            }
            if let Some(index) = delimiter_index(byte) {
                sets.delimiters[index].insert(at);
            }
            at += len;
        }
        sets.ends.insert(at);
        Some(sets)
    }

    /// The ends of values that begin at `starts` and have the allowed characters, or `separator`.
    pub(super) fn value_ends(
        &self,
        starts: PositionSet<W>,
        allow: AllowedCharacters,
        separator: Option<u8>,
    ) -> PositionSet<W> {
        let mask = self.allowed(allow);
        let mask = separator.map_or(*mask, |byte| mask.or(self.bytes_equal(byte)));
        starts.closure(&mask).and(&self.ends)
    }

    /// As [`value_ends`](Self::value_ends), of values that are not empty.
    pub(super) fn nonempty_value_ends(
        &self,
        starts: PositionSet<W>,
        allow: AllowedCharacters,
        separator: Option<u8>,
    ) -> PositionSet<W> {
        let mask = self.allowed(allow);
        let mask = separator.map_or(*mask, |byte| mask.or(self.bytes_equal(byte)));
        starts.closure(&mask).and(&mask).next().and(&self.ends)
    }

    /// As [`value_ends`](Self::value_ends), of values of at most `most` characters.
    pub(super) fn prefix_ends(
        &self,
        starts: PositionSet<W>,
        allow: AllowedCharacters,
        most: u16,
    ) -> PositionSet<W> {
        if usize::from(most) >= limits::TOPIC_BYTES_MAX {
            return self.value_ends(starts, allow, None);
        }
        let mask = self.allowed(allow);
        let mut reached = PositionSet::EMPTY;
        // A later start reaches further than an earlier one, so that only the last one counts.
        let mut left = None;
        for at in 0..=self.bytes.len() {
            if starts.has(at) {
                left = Some(most);
            }
            count(PREFIX_STEPS);
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

    /// The ends of lists of `name=value` that begin at `starts` and are separated by `separator`.
    /// With `bare_names`, a name may have neither `=` nor value.
    pub(super) fn pair_ends(
        &self,
        starts: PositionSet<W>,
        separator: u8,
        bare_names: bool,
    ) -> PositionSet<W> {
        let mut reached = PositionSet::EMPTY;
        let (mut in_name, mut in_value) = (false, false);
        for at in 0..=self.bytes.len() {
            count(PAIR_STEPS);
            in_name |= starts.has(at);
            let is_whole = in_value || (in_name && bare_names);
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
    pub(super) fn after_byte(&self, starts: PositionSet<W>, byte: u8) -> PositionSet<W> {
        starts.and(self.bytes_equal(byte)).next()
    }

    /// The positions after `text`.
    pub(super) fn after_text(&self, starts: PositionSet<W>, text: &[u8]) -> PositionSet<W> {
        // Nearly every text begins with a delimiter, which few bytes of a topic are.
        let delimiter = text.first().and_then(|first| delimiter_index(*first));
        let starts = delimiter.map_or(starts, |index| starts.and(&self.delimiters[index]));
        let mut reached = PositionSet::EMPTY;
        for at in starts.iter() {
            let rest = &self.bytes[at..];
            count(comparison_steps(if rest.len() < text.len() { 0 } else { text.len() }));
            if rest.starts_with(text) {
                reached.insert(at + text.len());
            }
        }
        reached
    }

    fn allowed(&self, allow: AllowedCharacters) -> &PositionSet<W> {
        match allow {
            AllowedCharacters::Unreserved => &self.plain,
            AllowedCharacters::UnreservedAndReserved => &self.any,
        }
    }

    fn bytes_equal(&self, byte: u8) -> &PositionSet<W> {
        delimiter_index(byte).map_or(&PositionSet::EMPTY, |index| &self.delimiters[index])
    }
}

/// The length in bytes of the percent-encoded character at the beginning of `bytes`, and whether a
/// value with [`AllowedCharacters::Unreserved`] may have it. `None` if there is no triplet.
fn character(bytes: &[u8]) -> Option<(usize, bool)> {
    let first = octet(bytes)?;
    let len = match first {
        0..0x80 => return Some((3, !is_unreserved(first))),
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        // Not UTF-8. A value that was percent-encoded before may have it.
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
            let expansion = CharacterSets::<WORDS>::parse(&topic).unwrap();
            for start in [0, len / 2, len] {
                let reached = expansion.value_ends(
                    PositionSet::of(start),
                    AllowedCharacters::Unreserved,
                    None,
                );
                assert!((0..=len).all(|at| reached.has(at) == (at >= start)), "{len} {start}");
            }
        }
    }

    #[test]
    fn bytes_that_no_expansion_has_are_none() {
        for topic in ["a b", "é", "100%", "%4", "%zz", "{id}", "\"", "<", "\\", "^", "`", "|"] {
            assert!(matches!(ParsedTopic::parse(topic), ParsedTopic::NoExpansion), "{topic}");
        }
        let short = "%41%c3%A9:/?#[]@!$&'()*+,;=-._~";
        assert!(matches!(ParsedTopic::parse(short), ParsedTopic::Short(_)));
        assert!(matches!(ParsedTopic::parse(&short.repeat(4)), ParsedTopic::Medium(_)));
        assert!(matches!(ParsedTopic::parse(&short.repeat(20)), ParsedTopic::Long(_)));
    }

    #[test]
    fn a_value_ends_between_characters_and_not_within_one() {
        let expansion = CharacterSets::<WORDS>::parse("a%C3%A9%2Fb").unwrap();
        let ends = expansion.value_ends(PositionSet::of(0), AllowedCharacters::Unreserved, None);
        assert_eq!(ends.iter().collect::<Vec<_>>(), [0, 1, 7, 10, 11]);
        let two = expansion.prefix_ends(PositionSet::of(0), AllowedCharacters::Unreserved, 2);
        assert_eq!(two.iter().collect::<Vec<_>>(), [0, 1, 7]);
    }

    #[test]
    fn each_operation_takes_the_steps_of_its_price() {
        fn check<const W: usize>(len: usize) {
            let topic = "a".repeat(len);
            let sets = CharacterSets::<W>::parse(&topic).unwrap();
            let allow = AllowedCharacters::UnreservedAndReserved;
            let all = sets.value_ends(PositionSet::of(0), allow, None);
            let steps = |operation: &dyn Fn()| {
                STEPS.set(0);
                operation();
                STEPS.get()
            };
            let exact: [(Cost, &dyn Fn()); 8] = [
                (Cost::IS_EMPTY, &|| assert!(!all.is_empty())),
                (Cost::UNION, &|| assert_eq!(all.or(&all), all)),
                (Cost::AFTER_BYTE, &|| assert!(!sets.after_byte(all, b'/').has(1))),
                (Cost::VALUE_ENDS, &|| assert!(sets.value_ends(all, allow, Some(b',')).has(len))),
                (Cost::NONEMPTY_VALUE_ENDS, &|| {
                    assert!(sets.nonempty_value_ends(all, allow, Some(b',')).has(len));
                }),
                (Cost::PAIR_ENDS, &|| assert!(!sets.pair_ends(all, b'&', false).has(len))),
                (Cost::prefix_ends(7), &|| assert!(sets.prefix_ends(all, allow, 7).has(len))),
                (Cost::prefix_ends(1023), &|| assert!(sets.prefix_ends(all, allow, 7).has(len))),
            ];
            for (nth, (cost, operation)) in exact.into_iter().enumerate() {
                assert_eq!(steps(operation), cost.steps(len), "operation {nth}, {len} bytes");
            }
            let unbounded = steps(&|| assert!(sets.prefix_ends(all, allow, 9999).has(len)));
            assert!(unbounded <= Cost::prefix_ends(9999).steps(len));
            for text in (0..=len).map(|at| &topic.as_bytes()[at..]) {
                let taken = steps(&|| assert!(sets.after_text(all, text).has(len)));
                assert!(taken <= Cost::after_text(text).steps(len), "{} of {len}", text.len());
            }
        }

        check::<1>(1);
        check::<1>(63);
        check::<MEDIUM_WORDS>(64);
        check::<MEDIUM_WORDS>(255);
        check::<WORDS>(256);
        check::<WORDS>(limits::TOPIC_BYTES_MAX);
    }
}
