//! A regular expression of a URL component, compiled to an automaton that never grows.
//!
//! The automaton is deterministic and complete when it is built: matching makes one transition for
//! each byte, and allocates nothing. An expression whose automaton would be larger than allowed, or
//! would take too long to build, is refused. Components of URLs are ASCII, so that an expression is
//! compiled for bytes, without the tables of Unicode.

use std::fmt;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::ast::{self, Ast, Flag};
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{ErrorKind, Hir};

use super::super::invalid::InvalidSelector;
use crate::limits;

/// Bytes of the non-deterministic automaton from which the other one is built.
const NFA_BYTES_MAX: usize = 2 * limits::PATTERN_BYTES_MAX;

/// Decides for a text whether the expression matches it from its beginning.
pub(super) struct Automaton(Box<dense::DFA<Vec<u32>>>);

impl Automaton {
    /// Compiles an expression to an automaton that holds at most `max_bytes`.
    pub(super) fn compile(expression: &str, max_bytes: usize) -> Result<Self, InvalidSelector> {
        let own_bytes = size_of::<dense::DFA<Vec<u32>>>();
        let table_bytes = max_bytes.checked_sub(own_bytes).ok_or(InvalidSelector::TooLarge)?;
        let hir = parse(expression)?;
        let config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_BYTES_MAX));
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(&hir);
        let nfa = nfa.map_err(|_| InvalidSelector::TooLarge)?;
        // Each state is built with one transition for each class of bytes.
        let work = limits::PATTERN_COMPILE_WORK_MAX / nfa.byte_classes().alphabet_len();
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .accelerate(false)
            .dfa_size_limit(Some(table_bytes))
            .determinize_size_limit(Some(work));
        let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa);
        let own = Self(Box::new(dfa.map_err(|_| InvalidSelector::TooLarge)?));
        // The builder's limit leaves out some small tables.
        if own.memory_bytes() > max_bytes { Err(InvalidSelector::TooLarge) } else { Ok(own) }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(Anchored::Yes).earliest(true);
        // The search fails for automata that give up at certain bytes. This one has none.
        self.0.try_search_fwd(&input).is_ok_and(|found| found.is_some())
    }

    /// Bytes that it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.0) + self.0.memory_usage()
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
    let mut translator = TranslatorBuilder::new().unicode(false).utf8(false).build();
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
        f.debug_struct("Automaton").field("memory_bytes", &self.memory_bytes()).finish()
    }
}
