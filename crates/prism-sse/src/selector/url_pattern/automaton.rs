//! A regular expression of a URL component, compiled to an automaton that never grows.
//!
//! An expression that is a [`Sequence`] is matched as one. For any other the automaton is
//! deterministic, and complete when it is built: matching makes one transition for each byte, and
//! allocates nothing. An expression whose automaton would be larger than allowed, or would take too
//! long to build, is refused. Components of URLs are ASCII, so that an expression is compiled for
//! bytes, without the tables of Unicode.

use std::fmt;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, State, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::ast::{self, Ast, Flag};
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{ErrorKind, Hir};

use super::super::invalid::InvalidSelector;
use super::sequence::Sequence;
use crate::limits;

/// Bytes of the non-deterministic automaton from which the other one is built.
const NFA_BYTES_MAX: usize = 2 * limits::PATTERN_BYTES_MAX;

/// Decides for a text whether an expression between `^` and `$` matches it.
pub(super) enum Automaton {
    Sequence(Sequence),
    Deterministic(Box<dense::DFA<Vec<u32>>>),
}

/// Steps that matching takes for each byte.
pub(super) const TRANSITION_STEPS: u64 = 2;

impl Automaton {
    /// Compiles an expression to an automaton that holds at most `max_bytes`.
    pub(super) fn compile(expression: &str, max_bytes: usize) -> Result<Self, InvalidSelector> {
        let hir = parse(expression)?;
        let own = match Sequence::compile(&hir) {
            Some(sequence) => Self::Sequence(sequence),
            None => Self::Deterministic(Box::new(determinize(&hir, max_bytes)?)),
        };
        if own.memory_bytes() > max_bytes { Err(InvalidSelector::TooLarge) } else { Ok(own) }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let dfa = match self {
            Self::Sequence(sequence) => return sequence.matches(text),
            Self::Deterministic(dfa) => dfa,
        };
        let input = Input::new(text).anchored(Anchored::Yes).earliest(true);
        // The search fails for automata that give up at certain bytes. This one has none.
        dfa.try_search_fwd(&input).is_ok_and(|found| found.is_some())
    }

    /// Bytes that it holds beside its own size.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Sequence(sequence) => sequence.memory_bytes(),
            Self::Deterministic(dfa) => size_of_val(&**dfa) + dfa.memory_usage(),
        }
    }
}

/// Builds the deterministic automaton of an expression, about as large as `max_bytes` at most.
fn determinize(hir: &Hir, max_bytes: usize) -> Result<dense::DFA<Vec<u32>>, InvalidSelector> {
    let own_bytes = size_of::<dense::DFA<Vec<u32>>>();
    let table_bytes = max_bytes.checked_sub(own_bytes).ok_or(InvalidSelector::TooLarge)?;
    let config = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(NFA_BYTES_MAX));
    let nfa = thompson::Compiler::new().configure(config).build_from_hir(hir);
    let nfa = nfa.map_err(|_| InvalidSelector::TooLarge)?;
    // Each state has one transition for each class of bytes. To make a transition takes a visit of
    // each state of the other automaton that the state stands for, and of those that can be reached
    // without a byte.
    let classes = nfa.byte_classes().alphabet_len();
    let visits = TRANSITION_VISITS + nfa.states().iter().map(empty_transitions).sum::<usize>();
    let states = limits::PATTERN_COMPILE_WORK_MAX / (classes * visits);
    let state_bytes = classes.next_power_of_two() * size_of::<u32>();
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::All)
        .accelerate(false)
        .dfa_size_limit(Some(table_bytes.min(states * state_bytes)))
        .determinize_size_limit(Some(4 * limits::PATTERN_COMPILE_WORK_MAX / classes));
    let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa);
    dfa.map_err(|_| InvalidSelector::TooLarge)
}

/// Work of making a transition beside its visits of states, as so many visits.
const TRANSITION_VISITS: usize = 15;

/// The transitions of a state that take no byte.
fn empty_transitions(state: &State) -> usize {
    match state {
        State::Union { alternates } => alternates.len(),
        State::BinaryUnion { .. } => 2,
        State::Look { .. } | State::Capture { .. } => 1,
        _ => 0,
    }
}

fn parse(expression: &str) -> Result<Hir, InvalidSelector> {
    let mut parser = ast::parse::ParserBuilder::new().nest_limit(limits::PATTERN_DEPTH_MAX).build();
    let ast = parser.parse(expression).map_err(|error| match error.kind() {
        ast::ErrorKind::NestLimitExceeded(_) => InvalidSelector::TooComplex,
        _ => InvalidSelector::UrlPattern,
    })?;
    // In Unicode mode one class without regard to case costs a million steps.
    ast::visit(&ast, RefuseUnicode)?;
    // No URL has a line break. With a dot for all bytes, more expressions are sequences.
    let mut translator = TranslatorBuilder::new();
    let mut translator = translator.unicode(false).utf8(false).dot_matches_new_line(true).build();
    translator.translate(expression, &ast).map_err(|error| match error.kind() {
        ErrorKind::UnicodeNotAllowed => InvalidSelector::UnicodeExpression,
        _ => InvalidSelector::UrlPattern,
    })
}

/// Looks for the flag that turns Unicode mode on.
struct RefuseUnicode;

impl ast::Visitor for RefuseUnicode {
    type Output = ();
    type Err = InvalidSelector;

    fn finish(self) -> Result<(), InvalidSelector> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), InvalidSelector> {
        let flags = match ast {
            Ast::Flags(set) => Some(&set.flags),
            Ast::Group(group) => group.flags(),
            _ => None,
        };
        match flags.and_then(|flags| flags.flag_state(Flag::Unicode)) {
            Some(true) => Err(InvalidSelector::UnicodeExpression),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Automaton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut own = f.debug_struct("Automaton");
        own.field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of up to four of these parts.
    fn texts() -> Vec<String> {
        let parts = ["a", "b", "/", "ab", "-", "1"];
        let mut all = vec![String::new()];
        for begin in 0..=258 {
            all.extend(parts.map(|part| all[begin].clone() + part));
        }
        all
    }

    #[test]
    fn a_sequence_matches_what_a_deterministic_automaton_matches() {
        let expressions = [
            "",
            "a",
            ".*",
            ".*a",
            "a.*",
            "[^/]+?",
            "([^/]+?)/([^/]+?)",
            "(.*)ab(.*)ab(.*)",
            "a{2}[ab]{2,}",
            "[^/]+.*",
            ".*[^/]+",
            "[ab]*a*",
            "a*[ab]*b",
            "(?i:A)[0-9]+",
            "([ab]*)1",
            "((a))((b)*)",
            ".{3,}",
            "[^a][^b]",
        ];
        for inner in expressions {
            let expression = format!("^{inner}$");
            let hir = parse(&expression).unwrap();
            let sequence = Sequence::compile(&hir).expect(inner);
            let dfa = Automaton::Deterministic(Box::new(determinize(&hir, 1 << 16).unwrap()));
            for text in texts() {
                assert_eq!(sequence.matches(&text), dfa.matches(&text), "{expression} {text}");
            }
        }
    }

    #[test]
    fn what_is_no_sequence_becomes_a_deterministic_automaton() {
        let long = "a.".repeat(64);
        for inner in ["ab|c", "a?", "(?:ab)*", "a{1,2}", "a*b*", "a\\b", "(?:^|b)a", "a$b", &long] {
            let automaton = Automaton::compile(&format!("^(?:{inner})$"), 1 << 16).unwrap();
            assert!(matches!(automaton, Automaton::Deterministic(_)), "{inner}");
        }
        assert!(Sequence::compile(&parse("^a").unwrap()).is_none(), "it has no end");
    }

    #[test]
    fn a_sequence_crosses_the_words_of_its_positions() {
        for len in [1, 62, 63, 64, 65, 126] {
            let word = "ab".repeat(len).chars().take(len).collect::<String>();
            let automaton = Automaton::compile(&format!("^{word}+$"), 1 << 16).unwrap();
            assert!(matches!(automaton, Automaton::Sequence(_)), "{len}");
            let last = &word[len - 1..];
            assert!(automaton.matches(&word) && automaton.matches(&format!("{word}{last}{last}")));
            assert!(!automaton.matches(&word[1..]) && !automaton.matches(&format!("{word}c")));
        }
    }
}
