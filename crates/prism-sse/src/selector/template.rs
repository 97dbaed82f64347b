//! URI Templates of RFC 6570, read backwards: whether a topic is one of a template's expansions.
//!
//! Each expression is looked at by itself: a variable that stands in two of them need not have the
//! same value in both. Any variable may be undefined, a text, a list or names with values. The
//! names of such values are taken to need no reserved characters, since with them `{?x*}` would
//! choose nearly everything.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::InvalidSelector;
use super::positions::{Allow, Expansion, Positions, Written, is_reserved, is_unreserved};
use crate::limits;

/// A URI Template that chooses the topics it expands to, and the one that is written like itself.
///
/// [`Selector::template`](super::Selector::template) makes one.
#[derive(Clone)]
pub struct UriTemplate(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    /// Where the text stops to be what every expansion begins with.
    prefix_end: usize,
    /// From where on it is what every expansion ends with.
    suffix_begin: usize,
    pieces: Box<[Piece]>,
}

#[derive(Debug)]
enum Piece {
    Literal(Box<[u8]>),
    Expression { operator: Operator, variables: Box<[Variable]> },
}

/// How an expression is written, as the table in appendix A of RFC 6570 says.
#[derive(Clone, Copy, Debug)]
struct Operator {
    first: Option<u8>,
    separator: u8,
    named: bool,
    /// A name without a value stands without `=`.
    bare: bool,
    allow: Allow,
}

#[derive(Debug)]
struct Variable {
    /// Kept where it is part of the expansion.
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
        let mut pieces = Vec::new();
        let mut variables = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let invalid = |within: usize| InvalidSelector::Template { at: at + within };
            if let Some(inner) = rest.strip_prefix('{') {
                let end = inner.find('}').ok_or(invalid(0))?;
                let (expression, count) = expression(&inner[..end]).ok_or(invalid(0))?;
                pieces.push(expression);
                variables += count;
                rest = &inner[end + 1..];
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                pieces.push(Piece::Literal(literal(&rest[..end]).map_err(invalid)?));
                rest = &rest[end..];
            }
        }
        if variables > limits::TEMPLATE_VARIABLES_MAX {
            return Err(InvalidSelector::TooComplex);
        }
        // What is not ASCII is written differently in an expansion.
        let prefix_end = text.find(|c: char| c == '{' || !c.is_ascii()).unwrap_or(text.len());
        let last = text.char_indices().rfind(|(_, c)| *c == '}' || !c.is_ascii());
        let suffix_begin = last.map_or(0, |(at, c)| at + c.len_utf8());
        let (text, pieces) = (text.into(), pieces.into());
        Ok(Self(Arc::new(Compiled { text, prefix_end, suffix_begin, pieces })))
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        // Nearly every topic that is not chosen is told by its beginning or its end.
        let may = topic.starts_with(self.prefix()) && topic.ends_with(self.suffix());
        may && self.matches_written(topic, &Written::read(topic))
    }

    /// Whether it chooses a topic that begins and ends as it says.
    pub(super) fn matches_written(&self, topic: &str, written: &Written<'_>) -> bool {
        let is_expansion = match written {
            Written::Never => false,
            Written::Short(expansion) => self.expands_to(expansion, topic.len()),
            Written::Middle(expansion) => self.expands_to(expansion, topic.len()),
            Written::Long(expansion) => self.expands_to(expansion, topic.len()),
        };
        is_expansion || *self.0.text == *topic
    }

    /// What each topic that it chooses begins with, as far as it is known.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.text[..self.0.prefix_end]
    }

    /// What each topic that it chooses ends with, as far as it is known.
    pub(crate) fn suffix(&self) -> &str {
        &self.0.text[self.0.suffix_begin..]
    }

    /// A part between slashes that each topic that it chooses has, as far as one is known.
    pub(super) fn segment(&self) -> Option<&str> {
        let inner = self.0.text.get(self.0.prefix_end..self.0.suffix_begin)?;
        let (_, inner) = inner.split_once('/')?;
        let (inner, _) = inner.rsplit_once('/')?;
        // In an expression a slash stands first alone, so that a part without braces is none of it.
        let is_literal = |part: &&str| part.is_ascii() && !part.contains(['{', '}']);
        inner.split('/').filter(is_literal).max_by_key(|part| part.len())
    }

    fn expands_to<const W: usize>(&self, topic: &Expansion<'_, W>, len: usize) -> bool {
        // The beginning and the end are known to be there, and need not be looked at again unless
        // they are not all of a literal.
        let (mut pieces, mut at, mut end) = (&*self.0.pieces, Positions::of(0), len);
        if let [Piece::Literal(first), rest @ ..] = pieces
            && first.len() == self.0.prefix_end
        {
            (pieces, at) = (rest, Positions::of(first.len()));
        }
        if let [rest @ .., Piece::Literal(last)] = pieces
            && last.len() == self.suffix().len()
        {
            (pieces, end) = (rest, len.saturating_sub(last.len()));
        }
        for piece in pieces {
            at = piece.pass(topic, at);
            if at.is_empty() {
                return false;
            }
        }
        at.has(end)
    }
}

impl Piece {
    /// Where the piece ends that begins at `starts`.
    fn pass<const W: usize>(&self, topic: &Expansion<'_, W>, starts: Positions<W>) -> Positions<W> {
        let (operator, variables) = match self {
            Self::Literal(text) => return topic.after_text(starts, text),
            Self::Expression { operator, variables } => (operator, variables),
        };
        // Where no variable is defined, nothing is written.
        let mut ends = starts;
        let mut begins = operator.first.map_or(starts, |first| topic.after(starts, first));
        for variable in variables {
            let passed = operator.pass(topic, begins, variable);
            ends = ends.or(&passed);
            begins = begins.or(&topic.after(passed, operator.separator));
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
            Some(b'+' | b'#') => Allow::Reserved,
            _ => Allow::Unreserved,
        };
        Some(Self { first, separator, named, bare: sign == Some(b';'), allow })
    }

    /// Where a variable that is defined ends.
    fn pass<const W: usize>(
        self,
        topic: &Expansion<'_, W>,
        starts: Positions<W>,
        variable: &Variable,
    ) -> Positions<W> {
        // Lists that are not exploded have commas.
        let value = |starts| topic.run(starts, self.allow, Some(b','));
        match (self.named, variable.modifier) {
            (false, Modifier::None) => value(starts),
            (false, Modifier::Prefix(most)) => topic.run_at_most(starts, self.allow, most),
            (false, Modifier::Explode) => {
                let list = topic.run(starts, self.allow, Some(self.separator));
                list.or(&topic.pairs(starts, self.separator, false))
            }
            (true, Modifier::Explode) => topic.pairs(starts, self.separator, self.bare),
            (true, modifier) => {
                let named = topic.after_text(starts, &variable.name);
                let begins = topic.after(named, b'=');
                let bare = if self.bare { named } else { Positions::NONE };
                let passed = match modifier {
                    Modifier::Prefix(most) if self.bare => {
                        let some = topic.run_some(begins, self.allow, None);
                        some.and(&topic.run_at_most(begins, self.allow, most))
                    }
                    Modifier::Prefix(most) => topic.run_at_most(begins, self.allow, most),
                    _ if self.bare => topic.run_some(begins, self.allow, Some(b',')),
                    _ => value(begins),
                };
                bare.or(&passed)
            }
        }
    }
}

/// What is between two braces, and how many variables it has.
fn expression(text: &str) -> Option<(Piece, usize)> {
    let is_sign = |byte: &&u8| !is_name_byte(**byte) && **byte != b'%';
    let sign = text.as_bytes().first().filter(is_sign).copied();
    let operator = Operator::of(sign)?;
    let list = &text[usize::from(sign.is_some())..];
    let variables: Option<Box<[Variable]>> =
        list.split(',').map(|text| variable(text, operator.named)).collect();
    let variables = variables?;
    let count = variables.len();
    Some((Piece::Expression { operator, variables }, count))
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
    // Points stand between the parts of a name.
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

/// Text outside expressions, as the expansion has it. The error is the place of what it cannot
/// have.
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
                    // A vector takes whatever is written.
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
