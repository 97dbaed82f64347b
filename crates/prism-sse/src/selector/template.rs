//! URI Templates of RFC 6570, matched: whether a topic is one of a template's expansions.
//!
//! Each expression is matched independently: a variable that occurs in two of them may have
//! another value in each. A variable may be undefined, a string, a list or an associative array.
//! The keys of associative arrays are assumed to have no reserved characters, because with them
//! `{?x*}` would match nearly every topic.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::invalid::InvalidSelector;
use super::positions::{
    AllowedCharacters, CharacterSets, Cost, ParsedTopic, PositionSet, is_reserved, is_unreserved,
};
use super::topic_size::TopicSize;
use crate::limits;

/// A URI Template. It chooses the topics it expands to, and the topic that equals its own text.
///
/// [`Selector::template`](super::Selector::template) makes one.
#[derive(Clone)]
pub struct UriTemplate(Arc<CompiledTemplate>);

struct CompiledTemplate {
    text: Box<str>,
    /// The part of the text before this byte is a prefix of every expansion.
    prefix_end: usize,
    /// The part of the text from this byte on is a suffix of every expansion.
    suffix_begin: usize,
    /// Without a first and a last literal that are all of the prefix and the suffix.
    parts: Box<[TemplatePart]>,
    /// Bytes of those two literals.
    around: (usize, usize),
    cost: Cost,
    memory: usize,
}

#[derive(Debug)]
enum TemplatePart {
    Literal(Box<[u8]>),
    Expression { operator: Operator, variables: Box<[Variable]> },
}

/// The properties of an operator, as in the table of appendix A of RFC 6570.
#[derive(Clone, Copy, Debug)]
struct Operator {
    first: Option<u8>,
    separator: u8,
    named: bool,
    /// Whether a name with an empty value has no `=`.
    name_without_equals: bool,
    allow: AllowedCharacters,
}

#[derive(Debug)]
struct Variable {
    /// Empty if the operator does not write the name into the expansion.
    name: Box<[u8]>,
    modifier: Modifier,
}

#[derive(Clone, Copy, Debug)]
enum Modifier {
    None,
    Prefix(u16),
    Explode,
}

impl UriTemplate {
    /// The template as it was given.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    pub(super) fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let mut parts = Vec::new();
        let mut variables = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let invalid = |within: usize| InvalidSelector::Template { at: at + within };
            if let Some(inner) = rest.strip_prefix('{') {
                let end = inner.find('}').ok_or(invalid(0))?;
                let (expression, count) = expression(&inner[..end]).ok_or(invalid(0))?;
                parts.push(expression);
                variables += count;
                rest = &inner[end + 1..];
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                parts.push(TemplatePart::Literal(literal(&rest[..end]).map_err(invalid)?));
                rest = &rest[end..];
            }
        }
        if variables > limits::TEMPLATE_VARIABLES_MAX {
            return Err(InvalidSelector::TooComplex);
        }
        // A literal that is not ASCII is percent-encoded in an expansion.
        let prefix_end = text.find(|c: char| c == '{' || !c.is_ascii()).unwrap_or(text.len());
        let last = text.char_indices().rfind(|(_, c)| *c == '}' || !c.is_ascii());
        let suffix_begin = last.map_or(0, |(at, c)| at + c.len_utf8());
        let around = trim(&mut parts, prefix_end, text.len() - suffix_begin);
        let (text, parts) = (text.into(), parts.into());
        let cost = Cost::default();
        let mut compiled =
            CompiledTemplate { text, prefix_end, suffix_begin, parts, around, cost, memory: 0 };
        compiled.cost =
            compiled.parts.iter().map(TemplatePart::cost).fold(Cost::default(), Cost::plus);
        compiled.memory = compiled.memory_bytes();
        if compiled.memory > limits::PATTERN_BYTES_MAX {
            return Err(InvalidSelector::TooLarge);
        }
        let own = Self(Arc::new(compiled));
        match own.match_cost(TopicSize::MAX) {
            0..=limits::PATTERN_STEPS_MAX => Ok(own),
            steps => Err(InvalidSelector::TooCostly { steps }),
        }
    }

    /// Bytes that it holds.
    #[cfg(feature = "test-util")]
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory
    }

    /// The most steps that [`matches_parsed`](Self::matches_parsed) takes.
    pub(super) fn match_cost(&self, topic: TopicSize) -> u64 {
        self.0.cost.steps(topic.len) + TEXT_STEPS
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        // Nearly every topic that does not match differs in the prefix or the suffix already.
        let may = topic.starts_with(self.prefix()) && topic.ends_with(self.suffix());
        may && self.matches_parsed(topic, &ParsedTopic::parse(topic))
    }

    /// Whether it matches a topic that has its prefix and its suffix.
    pub(super) fn matches_parsed(&self, topic: &str, parsed: &ParsedTopic<'_>) -> bool {
        let is_expansion = match parsed {
            ParsedTopic::NoExpansion => false,
            ParsedTopic::Short(expansion) => self.expands_to(expansion, topic.len()),
            ParsedTopic::Medium(expansion) => self.expands_to(expansion, topic.len()),
            ParsedTopic::Long(expansion) => self.expands_to(expansion, topic.len()),
        };
        is_expansion || *self.0.text == *topic
    }

    /// A prefix of every topic that it matches.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.text[..self.0.prefix_end]
    }

    /// A suffix of every topic that it matches.
    pub(crate) fn suffix(&self) -> &str {
        &self.0.text[self.0.suffix_begin..]
    }

    /// A path segment of every topic that it matches, if one is known.
    pub(super) fn segment(&self) -> Option<&str> {
        let inner = self.0.text.get(self.0.prefix_end..self.0.suffix_begin)?;
        let (_, inner) = inner.split_once('/')?;
        let (inner, _) = inner.rsplit_once('/')?;
        // A slash in an expression can only be its operator, so that a segment without braces is a
        // literal.
        let is_literal = |part: &&str| part.is_ascii() && !part.contains(['{', '}']);
        inner.split('/').filter(is_literal).max_by_key(|part| part.len())
    }

    fn expands_to<const W: usize>(&self, topic: &CharacterSets<'_, W>, len: usize) -> bool {
        // The caller compared prefix and suffix.
        let (before, behind) = self.0.around;
        let mut at = PositionSet::of(before);
        for part in &self.0.parts {
            at = part.ends(topic, at);
            if at.is_empty() {
                return false;
            }
        }
        at.has(len.saturating_sub(behind))
    }
}

impl TemplatePart {
    /// The most work that [`ends`](Self::ends) takes.
    fn cost(&self) -> Cost {
        let (operator, variables) = match self {
            Self::Literal(text) => return Cost::after_text(text).plus(Cost::IS_EMPTY),
            Self::Expression { operator, variables } => (operator, variables),
        };
        let each = Cost::AFTER_BYTE.plus(Cost::UNION).plus(Cost::UNION);
        let cost = Cost::AFTER_BYTE.plus(Cost::IS_EMPTY);
        variables
            .iter()
            .fold(cost, |cost, variable| cost.plus(operator.variable_cost(variable)).plus(each))
    }

    /// The positions at which the part can end if it begins at one of `starts`.
    fn ends<const W: usize>(
        &self,
        topic: &CharacterSets<'_, W>,
        starts: PositionSet<W>,
    ) -> PositionSet<W> {
        let (operator, variables) = match self {
            Self::Literal(text) => return topic.after_text(starts, text),
            Self::Expression { operator, variables } => (operator, variables),
        };
        // An expression without defined variables expands to nothing.
        let mut ends = starts;
        let mut begins = operator.first.map_or(starts, |first| topic.after_byte(starts, first));
        for variable in variables {
            let defined_ends = operator.variable_ends(topic, begins, variable);
            ends = ends.or(&defined_ends);
            begins = begins.or(&topic.after_byte(defined_ends, operator.separator));
        }
        ends
    }
}

impl Operator {
    fn of(sign: Option<u8>) -> Option<Self> {
        let (first, separator) = match sign {
            None | Some(b'+') => (None, b','),
            Some(b'#') => (sign, b','),
            Some(b'?') => (sign, b'&'),
            Some(own @ (b'.' | b'/' | b';' | b'&')) => (sign, own),
            Some(_) => return None,
        };
        let named = matches!(sign, Some(b';' | b'?' | b'&'));
        let allow = match sign {
            Some(b'+' | b'#') => AllowedCharacters::UnreservedAndReserved,
            _ => AllowedCharacters::Unreserved,
        };
        Some(Self { first, separator, named, name_without_equals: sign == Some(b';'), allow })
    }

    /// The most work that [`variable_ends`](Self::variable_ends) takes.
    fn variable_cost(self, variable: &Variable) -> Cost {
        let of_name = Cost::after_text(&variable.name).plus(Cost::AFTER_BYTE).plus(Cost::UNION);
        let of_value = match variable.modifier {
            Modifier::Prefix(most) if self.named => {
                Cost::NONEMPTY_VALUE_ENDS.plus(Cost::prefix_ends(most)).plus(Cost::UNION)
            }
            Modifier::Prefix(most) => Cost::prefix_ends(most),
            Modifier::Explode if self.named => return Cost::PAIR_ENDS,
            Modifier::Explode => Cost::VALUE_ENDS.plus(Cost::PAIR_ENDS).plus(Cost::UNION),
            Modifier::None if self.named => Cost::NONEMPTY_VALUE_ENDS,
            Modifier::None => Cost::VALUE_ENDS,
        };
        if self.named { of_name.plus(of_value) } else { of_value }
    }

    /// The positions at which a defined variable can end if it begins at one of `starts`.
    fn variable_ends<const W: usize>(
        self,
        topic: &CharacterSets<'_, W>,
        starts: PositionSet<W>,
        variable: &Variable,
    ) -> PositionSet<W> {
        // The values of a list that is not exploded are separated by commas.
        let value = |starts| topic.value_ends(starts, self.allow, Some(b','));
        match (self.named, variable.modifier) {
            (false, Modifier::None) => value(starts),
            (false, Modifier::Prefix(most)) => topic.prefix_ends(starts, self.allow, most),
            (false, Modifier::Explode) => {
                let list = topic.value_ends(starts, self.allow, Some(self.separator));
                list.or(&topic.pair_ends(starts, self.separator, false))
            }
            (true, Modifier::Explode) => {
                topic.pair_ends(starts, self.separator, self.name_without_equals)
            }
            (true, modifier) => {
                let named = topic.after_text(starts, &variable.name);
                let begins = topic.after_byte(named, b'=');
                let bare = if self.name_without_equals { named } else { PositionSet::EMPTY };
                let defined_ends = match modifier {
                    Modifier::Prefix(most) if self.name_without_equals => {
                        let some = topic.nonempty_value_ends(begins, self.allow, None);
                        some.and(&topic.prefix_ends(begins, self.allow, most))
                    }
                    Modifier::Prefix(most) => topic.prefix_ends(begins, self.allow, most),
                    _ if self.name_without_equals => {
                        topic.nonempty_value_ends(begins, self.allow, Some(b','))
                    }
                    _ => value(begins),
                };
                bare.or(&defined_ends)
            }
        }
    }
}

/// Steps of comparing a topic with the template's own text, prefix and suffix.
const TEXT_STEPS: u64 = 3 * limits::TOPIC_BYTES_MAX as u64 / 16;

impl CompiledTemplate {
    /// Bytes that it holds, with the counts of references to it.
    fn memory_bytes(&self) -> usize {
        let inner = self.parts.iter().map(|part| match part {
            TemplatePart::Literal(text) => text.len(),
            TemplatePart::Expression { variables, .. } => {
                let names: usize = variables.iter().map(|variable| variable.name.len()).sum();
                size_of_val(&**variables) + names
            }
        });
        let parts = size_of_val(&*self.parts) + inner.sum::<usize>();
        2 * size_of::<usize>() + size_of::<Self>() + self.text.len() + parts
    }
}

/// Removes a first and a last literal that are all of the prefix and the suffix, which are compared
/// before anything else, and returns how long they are.
fn trim(parts: &mut Vec<TemplatePart>, prefix_len: usize, suffix_len: usize) -> (usize, usize) {
    let is_whole = |part: &TemplatePart, len: usize| match part {
        TemplatePart::Literal(text) => text.len() == len,
        TemplatePart::Expression { .. } => false,
    };
    let (mut before, mut behind) = (0, 0);
    if parts.first().is_some_and(|first| is_whole(first, prefix_len)) {
        parts.remove(0);
        before = prefix_len;
    }
    if parts.last().is_some_and(|last| is_whole(last, suffix_len)) {
        parts.pop();
        behind = suffix_len;
    }
    (before, behind)
}

/// Parses the text between two braces. Also returns the number of variables.
fn expression(text: &str) -> Option<(TemplatePart, usize)> {
    let is_operator = |byte: &&u8| !is_name_byte(**byte) && **byte != b'%';
    let sign = text.as_bytes().first().filter(is_operator).copied();
    let operator = Operator::of(sign)?;
    let list = &text[usize::from(sign.is_some())..];
    let variables: Option<Box<[Variable]>> =
        list.split(',').map(|text| variable(text, operator.named)).collect();
    let variables = variables?;
    let count = variables.len();
    Some((TemplatePart::Expression { operator, variables }, count))
}

fn variable(text: &str, named: bool) -> Option<Variable> {
    let (name, modifier) = match (text.strip_suffix('*'), text.split_once(':')) {
        (Some(name), _) => (name, Modifier::Explode),
        (None, Some((name, most))) => {
            let is_number = most.len() <= 4 && most.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number || most.starts_with('0') {
                return None;
            }
            (name, Modifier::Prefix(most.parse().ok()?))
        }
        (None, None) => (text, Modifier::None),
    };
    // The parts of a name are separated by dots.
    name.split('.').all(is_name).then(|| Variable {
        name: if named { name.as_bytes().into() } else { Box::default() },
        modifier,
    })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.as_bytes();
    let is_empty = bytes.is_empty();
    while let [first, rest @ ..] = bytes {
        bytes = match (first, rest) {
            (b'%', [high, low, rest @ ..]) if is_triplet(*high, *low) => rest,
            (byte, rest) if is_name_byte(*byte) => rest,
            _ => return false,
        };
    }
    !is_empty
}

fn is_triplet(high: u8, low: u8) -> bool {
    high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
}

/// Text outside expressions, percent-encoded as in the expansion. The error is the byte at which a
/// character begins that is not allowed.
fn literal(text: &str) -> Result<Box<[u8]>, usize> {
    use std::io::Write;

    let mut out = Vec::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match u8::try_from(c) {
            Ok(b'%') => match text.as_bytes()[at..] {
                [_, high, low, ..] if is_triplet(high, low) => out.push(b'%'),
                _ => return Err(at),
            },
            Ok(byte) if is_unreserved(byte) || is_reserved(byte) => out.push(byte),
            _ if c.is_ascii() || c.is_control() => return Err(at),
            _ => {
                let octets = c.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
                for octet in octets {
                    // Writing to a vector cannot fail.
                    write!(out, "%{octet:02X}").ok();
                }
            }
        }
    }
    Ok(out.into())
}

impl PartialEq for UriTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for UriTemplate {}

impl Hash for UriTemplate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for UriTemplate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UriTemplate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Debug for UriTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UriTemplate").field(&self.as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::positions::STEPS;
    use super::*;

    #[test]
    fn matching_a_template_takes_no_more_steps_than_its_price_says() {
        let expressions = [
            "{a}",
            "{+a}",
            "{a:9999}",
            "{+a:7}",
            "{/a*}",
            "{+a*}",
            "{;a,b:3}",
            "{?a,b*}",
            "{&a:1024}",
            "{#a,b}",
            "{.a,b,c}",
            "{+a}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
            "{+a}a",
        ];
        let parts = ["a", "/", "=", "a=a&", "%41", "%C3%A9", ";a", ",a", "aaaaaaab", "?a=a", "."];
        let mut dearest = 0.0_f64;
        for (first, second) in expressions.iter().flat_map(|a| expressions.map(|b| (*a, b))) {
            let Ok(template) = UriTemplate::parse(&[first, second, "!"].concat().repeat(2)) else {
                continue;
            };
            for part in parts {
                for len in [1, 63, 64, 65, 255, 256, limits::TOPIC_BYTES_MAX] {
                    let topic = &part.repeat(len.div_ceil(part.len()))[..len];
                    let parsed = ParsedTopic::parse(topic);
                    STEPS.set(0);
                    template.matches_parsed(topic, &parsed);
                    let size = TopicSize { len, is_ascii: true };
                    let (steps, price) = (STEPS.get(), template.match_cost(size));
                    assert!(steps <= price, "{first}{second} {part} {len}: {steps} of {price}");
                    dearest = dearest.max(steps as f64 / price as f64);
                }
            }
        }
        assert!(dearest > 0.5, "the price is not far from what is done: {dearest}");
    }
}
