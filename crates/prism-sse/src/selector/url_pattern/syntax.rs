//! What is checked of a URL Pattern before the crate urlpattern parses it.
//!
//! The crate panics at a `]` in the host that closes no `[`, and takes time in the square of the
//! number of parts.

use super::super::invalid::InvalidSelector;
use crate::limits;

/// Refuses a text that the parser must not see.
pub(super) fn check(text: &str) -> Result<(), InvalidSelector> {
    let operators = text.bytes().filter(|byte| b"*:({?+".contains(byte)).count();
    if operators > limits::URL_PATTERN_OPERATORS_MAX {
        return Err(InvalidSelector::TooComplex);
    }
    if closes_unopened_bracket(text) { Err(InvalidSelector::UrlPattern) } else { Ok(()) }
}

/// Whether the host has a `]` that closes no `[`.
///
/// The parser counts brackets from the `@` before the host to the `/`, `?` or `#` after it. A `?`
/// can be a modifier instead, and then the host goes on; so it is taken for one here, and a pattern
/// like `https://host?a]` is refused although the parser would take it.
fn closes_unopened_bracket(text: &str) -> bool {
    let mut rest = Literals { rest: text };
    while let Some(literal) = rest.next() {
        match literal {
            Literal::Char(':') => return host_closes_unopened_bracket(rest),
            // Which characters a name may begin with, the parser knows from tables of Unicode.
            Literal::UnclearName if host_closes_unopened_bracket(rest.clone()) => return true,
            Literal::UnclearName | Literal::Char(_) => {}
        }
    }
    false
}

fn host_closes_unopened_bracket(mut after_scheme: Literals<'_>) -> bool {
    let slash = Some(Literal::Char('/'));
    let mut ahead = after_scheme.clone();
    if ahead.next() == slash && ahead.next() == slash {
        after_scheme = ahead;
    }
    let mut open = 0_usize;
    for literal in after_scheme {
        match literal {
            Literal::Char('/' | '#') => return false,
            Literal::Char('@') => open = 0,
            Literal::Char('[') => open += 1,
            Literal::Char(']') if open == 0 => return true,
            Literal::Char(']') => open -= 1,
            Literal::Char(_) | Literal::UnclearName => {}
        }
    }
    false
}

/// The characters of a pattern that the parser may take for a part of the URL, rather than for a
/// group `{...}`, an expression `(...)` or a name `:...`.
#[derive(Clone, Debug)]
struct Literals<'a> {
    rest: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    Char(char),
    /// A colon before a character that is not ASCII: perhaps a name, perhaps the end of a scheme.
    UnclearName,
}

impl Iterator for Literals<'_> {
    type Item = Literal;

    fn next(&mut self) -> Option<Literal> {
        let mut depth = 0_usize;
        loop {
            let mut chars = self.rest.chars();
            let first = chars.next()?;
            self.rest = chars.as_str();
            let literal = match first {
                '\\' => {
                    let escaped = chars.next().unwrap_or(first);
                    self.rest = chars.as_str();
                    Literal::Char(escaped)
                }
                '{' => {
                    depth += 1;
                    continue;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    continue;
                }
                '(' => match expression_len(self.rest) {
                    Some(len) => {
                        self.rest = &self.rest[len..];
                        continue;
                    }
                    None => Literal::Char(first),
                },
                ':' => match chars.next() {
                    Some(next) if next.is_ascii_alphabetic() || "$_".contains(next) => continue,
                    Some(next) if !next.is_ascii() => Literal::UnclearName,
                    _ => Literal::Char(first),
                },
                _ => Literal::Char(first),
            };
            if depth == 0 {
                return Some(literal);
            }
        }
    }
}

/// The length of the regular expression at the beginning of a text, with the parenthesis that ends
/// it. `None` if the parser takes the parenthesis before it for a character.
fn expression_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 1);
    while depth > 0 {
        let byte = *bytes.get(at)?;
        let next = bytes.get(at + 1);
        match byte {
            0x80.. => return None,
            b'?' | b')' if at == 0 => return None,
            b'\\' if next?.is_ascii() => at += 1,
            b'\\' => return None,
            b'(' if next == Some(&b'?') => depth += 1,
            b'(' => return None,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_that_closes_nothing_is_found_in_the_host_alone() {
        let refused = [
            "://]",
            "https://a]b",
            "https://[]]",
            "https://[::1]]/x",
            "https:]",
            "https\\:a\\]",
            "http{s}?://]",
            "*:/\\/]",
            "https://[@]",
            "https://{[}]",
            "https://([)]",
            "https://(é[)]]",
            "https://:x?]",
            "https:Ⓐ]",
            ":ⒶⒷ://]",
        ];
        for text in refused {
            assert!(closes_unopened_bracket(text), "{text}");
        }
        let taken = [
            "/a]b",
            "?a[]=1",
            "?filter[:name]=*",
            "/a/:x]",
            "https://[::1]/",
            "https://[::1]:80/a]",
            "https://host/]",
            "https://host/a@]",
            "https://host#]",
            "https://{]}",
            "https://(])",
            "https://u:p@[::1]/",
            "(]://",
            "]",
            "",
        ];
        for text in taken {
            assert!(!closes_unopened_bracket(text), "{text}");
        }
    }
}
