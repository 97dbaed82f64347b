//! Text by which something is named: topics, selectors, ids, names of events.
//!
//! Neither control characters nor those of Unicode's general category Cf may stand in it: they end
//! lines and headers, or make two names look alike that are not.

use std::sync::LazyLock;

use regex::Regex;

use crate::problem::Problem;

static INVISIBLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\p{Cc}\p{Cf}]").expect("a literal of the program is valid"));

/// Refuses text with characters that nobody sees; `what` begins the sentence.
pub(super) fn check_visible(what: &str, text: &str) -> Result<(), Problem> {
    if !is_plain(text) && INVISIBLE.is_match(text) {
        let sentence = format!("{what} must not contain control or format characters.");
        return Err(Problem::bad_request(sentence));
    }
    Ok(())
}

/// Whether a text is nothing but visible ASCII and spaces, as most are. That is cheaper to see than
/// to search for what is invisible.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A sentence of an error of the library, which begins in the middle of one.
pub(super) fn sentence(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_refused() {
        for text in
            ["a\0b", "a\nb", "\u{7f}", "\u{85}", "\u{ad}", "\u{200b}", "\u{202e}", "\u{feff}"]
        {
            assert!(check_visible("An id", text).is_err(), "{text:?}");
        }
        for text in ["", "a b", "é", "日本", "a\u{300}", "\u{1f600}", "~%7E{x}*"] {
            assert!(check_visible("An id", text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn plain_text_has_nothing_invisible() {
        for char in ('\0'..='\u{ff}').map(String::from).filter(|char| is_plain(char)) {
            assert!(!INVISIBLE.is_match(&char), "{char:?}");
        }
        assert!(is_plain("https://example.com/a?b=~") && !is_plain("\u{7f}") && !is_plain("é"));
    }

    #[test]
    fn a_sentence_begins_with_a_capital_and_ends_with_a_stop() {
        assert_eq!(sentence("an event's id is odd"), "An event's id is odd.");
    }
}
