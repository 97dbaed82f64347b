//! Expressions that are a sequence of bytes and classes of bytes, each of which may repeat: nearly
//! all that URL Patterns have, `[^/]+?/comments/.*` for instance.
//!
//! They are matched by the Shift-And algorithm. The state is a set of positions in the expression,
//! one bit for each; a byte moves all of them at once with a few operations on words. Memory is
//! linear in the expression, while a deterministic automaton has a state for each set of positions
//! that can be reached.

use std::fmt;

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// Decides for a text whether a sequence matches all of it.
pub(super) struct Sequence {
    /// The class of each byte. Bytes of one class move the positions alike.
    classes: Box<[u8; 256]>,
    moves: Box<[Moves]>,
    /// The last position, at which the whole text has to end.
    end: usize,
}

/// What the bytes of one class do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Moves {
    /// The positions that they move to the next one.
    advance: Positions,
    /// The positions that they leave where they are.
    stay: Positions,
}

/// A set of positions in a sequence.
type Positions = [u64; WORDS];

const WORDS: usize = 2;

/// Most bytes and classes of a sequence. Longer ones are left to the deterministic automaton.
const LEN_MAX: usize = 64 * WORDS - 1;

impl Sequence {
    /// `None` for an expression that is no such sequence, or too long.
    pub(super) fn compile(hir: &Hir) -> Option<Self> {
        let mut items = Items { advance: Vec::new(), stay: vec![ByteSet::EMPTY], is_at_end: false };
        items.push(hir)?;
        if !items.is_at_end {
            return None;
        }
        let mut classes = Box::new([0; 256]);
        let mut moves: Vec<Moves> = Vec::new();
        for byte in 0..=u8::MAX {
            let own = items.moves(byte);
            let class = moves.iter().position(|moves| *moves == own).unwrap_or_else(|| {
                moves.push(own);
                moves.len() - 1
            });
            classes[usize::from(byte)] = u8::try_from(class).ok()?;
        }
        Some(Self { classes, moves: moves.into(), end: items.advance.len() })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let mut at = Positions::default();
        at[0] = 1;
        for byte in text.bytes() {
            let moves = &self.moves[usize::from(self.classes[usize::from(byte)])];
            let mut carry = 0;
            for ((at, advance), stay) in at.iter_mut().zip(&moves.advance).zip(&moves.stay) {
                let advanced = *at & advance;
                *at = *at & stay | advanced << 1 | carry;
                carry = advanced >> 63;
            }
            if at == Positions::default() {
                return false;
            }
        }
        at[self.end / 64] >> (self.end % 64) & 1 == 1
    }

    /// Bytes that it holds beside its own size.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.classes) + size_of_val(&*self.moves)
    }
}

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ByteSet([u128; 2]);

impl ByteSet {
    const EMPTY: Self = Self([0; 2]);

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte) / 128] |= 1 << (byte % 128);
    }

    fn has(self, byte: u8) -> bool {
        self.0[usize::from(byte) / 128] >> (byte % 128) & 1 == 1
    }

    fn or(self, other: Self) -> Self {
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }
}

/// The sequence while it is read from the expression.
struct Items {
    /// The bytes that move each position to the next one.
    advance: Vec<ByteSet>,
    /// The bytes that leave each position where it is: one more than there are in `advance`.
    stay: Vec<ByteSet>,
    is_at_end: bool,
}

impl Items {
    /// Appends an expression. `None` if it is no sequence.
    fn push(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => Some(()),
            HirKind::Look(Look::Start) => {
                (self.advance.is_empty() && self.stay == [ByteSet::EMPTY]).then_some(())
            }
            HirKind::Look(Look::End) => {
                self.is_at_end = true;
                Some(())
            }
            HirKind::Look(_) | HirKind::Alternation(_) => None,
            HirKind::Literal(literal) => literal.0.iter().try_for_each(|&byte| {
                let mut set = ByteSet::EMPTY;
                set.insert(byte);
                self.push_once(set)
            }),
            HirKind::Class(_) => self.push_once(set_of(hir)?),
            HirKind::Repetition(repetition) => self.push_repetition(repetition),
            HirKind::Capture(capture) => self.push(&capture.sub),
            HirKind::Concat(all) => all.iter().try_for_each(|one| self.push(one)),
        }
    }

    fn push_once(&mut self, set: ByteSet) -> Option<()> {
        if self.is_at_end || self.advance.len() == LEN_MAX {
            return None;
        }
        self.advance.push(set);
        self.stay.push(ByteSet::EMPTY);
        Some(())
    }

    fn push_repetition(&mut self, repetition: &Repetition) -> Option<()> {
        let set = set_of(&repetition.sub)?;
        if self.is_at_end || repetition.max.is_some_and(|max| max != repetition.min) {
            return None;
        }
        (0..repetition.min).try_for_each(|_| self.push_once(set))?;
        if repetition.max.is_none() {
            // Of two repetitions one after the other, one takes all that both take, or they need a
            // position between them.
            let stay = self.stay.last_mut()?;
            let both = stay.or(set);
            if both != set && both != *stay {
                return None;
            }
            *stay = both;
        }
        Some(())
    }

    fn moves(&self, byte: u8) -> Moves {
        let positions = |sets: &[ByteSet]| {
            let mut positions = Positions::default();
            for (at, _) in sets.iter().enumerate().filter(|(_, set)| set.has(byte)) {
                positions[at / 64] |= 1 << (at % 64);
            }
            positions
        };
        Moves { advance: positions(&self.advance), stay: positions(&self.stay) }
    }
}

/// The bytes that an expression of a single byte matches.
fn set_of(hir: &Hir) -> Option<ByteSet> {
    let mut set = ByteSet::EMPTY;
    match hir.kind() {
        HirKind::Literal(literal) => match *literal.0 {
            [byte] => set.insert(byte),
            _ => return None,
        },
        HirKind::Class(Class::Bytes(class)) => {
            let bytes = class.iter().flat_map(|range| range.start()..=range.end());
            bytes.for_each(|byte| set.insert(byte));
        }
        HirKind::Capture(capture) => return set_of(&capture.sub),
        _ => return None,
    }
    Some(set)
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequence").field("len", &self.end).finish_non_exhaustive()
    }
}
