//! Rules for the text of topics, selectors, ids and event names, and sentences for problem details.
//!
//! Such text must not contain control characters, which end lines and headers, nor characters of
//! Unicode's general category Cf (format), which make different names look alike.

use std::sync::LazyLock;

use regex::Regex;

use crate::problem::Problem;

static INVISIBLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\p{Cc}\p{Cf}]").expect("a literal of the program is valid"));

/// Refuses text with control or format characters; `what` is the subject of the sentence.
pub(super) fn check_visible(what: &str, text: &str) -> Result<(), Problem> {
    if !is_plain_ascii(text) && INVISIBLE.is_match(text) {
        let sentence = format!("{what} must not contain control or format characters.");
        return Err(Problem::bad_request(sentence));
    }
    Ok(())
}

/// Whether a text is visible ASCII and spaces only, as most are. This is cheaper than the search
/// with the regular expression, and makes it unnecessary.
fn is_plain_ascii(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// An error of the library as a sentence: with a capital letter and a full stop.
pub(super) fn as_sentence(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_format_characters_are_refused() {
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
    fn plain_ascii_has_no_invisible_characters() {
        for char in ('\0'..='\u{ff}').map(String::from).filter(|char| is_plain_ascii(char)) {
            assert!(!INVISIBLE.is_match(&char), "{char:?}");
        }
        assert!(
            is_plain_ascii("https://example.com/a?b=~")
                && !is_plain_ascii("\u{7f}")
                && !is_plain_ascii("é")
        );
    }

    #[test]
    fn a_sentence_begins_with_a_capital_letter_and_ends_with_a_full_stop() {
        assert_eq!(as_sentence("an event's id is odd"), "An event's id is odd.");
    }
}
