//! One component of a compiled URL Pattern: what it matches, what it holds and what it costs.

use std::cell::OnceCell;

use urlpattern::RegexSyntax;
use urlpattern::matcher::{InnerMatcher, Matcher};
use urlpattern::regexp::RegExp;

use super::super::invalid::InvalidSelector;
use super::automaton::{Automaton, TRANSITION_STEPS};
use crate::limits;

/// Matches one component of a URL, its path for instance.
#[derive(Debug)]
pub(super) enum Component {
    Literal(Box<str>),
    /// A text between prefix and suffix: not the excluded character, and not empty unless allowed.
    Wildcard {
        prefix: Box<str>,
        suffix: Box<str>,
        excluded: Option<char>,
        allow_empty: bool,
    },
    /// What the expression matches between prefix and suffix.
    Expression {
        prefix: Box<str>,
        suffix: Box<str>,
        automaton: Automaton,
    },
}

/// The most steps that matching a component takes: so many in any case, and so many for each 16
/// bytes of the URL.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ComponentCost {
    pub(super) fixed: u64,
    pub(super) per_16_bytes: u64,
}

impl Component {
    /// Compiles what the crate urlpattern parsed. An automaton may hold at most `max_bytes`.
    pub(super) fn compile(
        matcher: Matcher<ExpressionText>,
        max_bytes: usize,
    ) -> Result<Self, InvalidSelector> {
        let (prefix, suffix) = (matcher.prefix.into(), matcher.suffix.into());
        Ok(match matcher.inner {
            InnerMatcher::Literal { literal } => Self::Literal(literal.into()),
            InnerMatcher::SingleCapture { filter, allow_empty } => {
                Self::Wildcard { prefix, suffix, excluded: filter, allow_empty }
            }
            InnerMatcher::RegExp { regexp } => {
                let expression = regexp.map_err(|_| InvalidSelector::UrlPattern)?;
                let automaton = Automaton::compile(&expression.text, max_bytes)?;
                Self::Expression { prefix, suffix, automaton }
            }
        })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Wildcard { prefix, suffix, excluded, allow_empty } => {
                between(text, prefix, suffix).is_some_and(|text| {
                    (*allow_empty || !text.is_empty())
                        && !excluded.is_some_and(|excluded| text.contains(excluded))
                })
            }
            Self::Expression { prefix, suffix, automaton } => {
                between(text, prefix, suffix).is_some_and(|text| automaton.matches(text))
            }
        }
    }

    /// What every text that it matches begins with.
    pub(super) fn prefix(&self) -> &str {
        match self {
            Self::Literal(literal) => literal,
            Self::Wildcard { prefix, .. } | Self::Expression { prefix, .. } => prefix,
        }
    }

    /// What every text that it matches ends with.
    pub(super) fn suffix(&self) -> &str {
        match self {
            Self::Literal(literal) => literal,
            Self::Wildcard { suffix, .. } | Self::Expression { suffix, .. } => suffix,
        }
    }

    /// Bytes that it holds beside its own size.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Literal(literal) => literal.len(),
            Self::Wildcard { prefix, suffix, .. } => prefix.len() + suffix.len(),
            Self::Expression { prefix, suffix, automaton } => {
                prefix.len() + suffix.len() + automaton.memory_bytes()
            }
        }
    }

    pub(super) fn cost(&self) -> ComponentCost {
        let texts = match self {
            Self::Literal(literal) => literal.len(),
            Self::Wildcard { prefix, suffix, .. } | Self::Expression { prefix, suffix, .. } => {
                prefix.len() + suffix.len()
            }
        };
        let per_16_bytes = match self {
            Self::Literal(_) | Self::Wildcard { excluded: None, .. } => 0,
            Self::Wildcard { excluded: Some(_), .. } => 1,
            Self::Expression { .. } => 16 * TRANSITION_STEPS,
        };
        ComponentCost { fixed: 6 + texts as u64 / 16, per_16_bytes }
    }
}

/// What is between a prefix and a suffix that do not overlap.
fn between<'a>(text: &'a str, prefix: &str, suffix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.strip_suffix(suffix)
}

/// The text of a regular expression. The crate urlpattern makes several for each pattern, most of
/// which are never used; those that are used become an [`Automaton`].
#[derive(Debug)]
pub(super) struct ExpressionText {
    text: Box<str>,
    /// For the parser, which asks the expression of a protocol whether it matches `https`.
    automaton: OnceCell<Option<Automaton>>,
}

impl RegExp for ExpressionText {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(expression: &str, _flags: &str, _force_eval: bool) -> Result<Self, ()> {
        Ok(Self { text: expression.into(), automaton: OnceCell::new() })
    }

    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        let compile = || Automaton::compile(&self.text, limits::PATTERN_BYTES_MAX).ok();
        let automaton = self.automaton.get_or_init(compile).as_ref()?;
        // What the groups matched is not used.
        automaton.matches(text).then(Vec::new)
    }

    fn pattern_string(&self) -> &str {
        &self.text
    }
}
