//! What holds for text as text: its lines, its length, and words that do not belong in it.

use super::rust::Source;
use super::violation::Violation;
use crate::tree::File;

const COLUMNS_MAX: usize = 100;

/// A longer file has more than one subject.
const LINES_MAX: usize = 600;

/// What is noted to be done is done, or is an issue. Assembled, so that this file has none.
const LEFT_OVER: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("db", "g!(")];

/// Words about the tools that people write with, which say nothing about the project.
const FOREIGN_WORDS: &[&str] = &[
    concat!("assist", "ant"),
    concat!("chat", "gpt"),
    concat!("clau", "de"),
    concat!("anth", "ropic"),
    concat!("l", "lm"),
];

/// Places on somebody's machine, which nobody else has.
const FOREIGN_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("shared/", "reading")];

/// Kinds of files that people edit. Data for tests may end and look as it likes.
const EDITED: &[&str] = &["html", "js", "json", "lock", "md", "rs", "sh", "toml", "yaml", "yml"];

/// Checks any text file.
pub(super) fn check_file(file: &File, violations: &mut Vec<Violation>) {
    let mut refuse = |line, what: String| violations.push(Violation::new(&file.path, line, what));
    for word in foreign(&file.path) {
        refuse(1, format!("the file's path mentions `{word}`; rename it"));
    }
    for (at, line) in file.text.lines().enumerate() {
        for word in foreign(line) {
            refuse(at + 1, format!("`{word}` does not belong in the project; say it without"));
        }
    }
    let extension = file.path.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
    let is_edited = extension.is_some_and(|(_, extension)| EDITED.contains(&extension));
    if is_edited && !file.text.is_empty() && !ends_in_one_line_feed(&file.text) {
        let what = "the file does not end in one line feed; end its last line, and no other";
        refuse(file.text.lines().count(), what.to_owned());
    }
    if file.path.ends_with(".rs") {
        for (at, line) in file.text.split('\n').enumerate() {
            for what in line_violations(line) {
                refuse(at + 1, what);
            }
        }
    }
}

/// Checks what a Rust file is besides lines.
pub(super) fn check_source(source: &Source<'_>, violations: &mut Vec<Violation>) {
    for token in source.tokens.iter().filter(|token| token.text == "unsafe") {
        let what = "unsafe code; find a safe way, or a crate whose purpose is this";
        violations.push(Violation::new(source.path, token.line, what));
    }
    let lines = source.lines_without_tests();
    if is_crate_source(source.path) && lines > LINES_MAX {
        let what =
            format!("{lines} lines without tests, of {LINES_MAX}; split the file by subject");
        violations.push(Violation::new(source.path, LINES_MAX + 1, what));
    }
}

fn line_violations(line: &str) -> Vec<String> {
    let mut violations = Vec::new();
    if line.contains('\t') {
        violations.push("a tab; use spaces, or `\\t` in a string".to_owned());
    }
    if line.trim_end() != line {
        violations.push("white space at the end of the line; remove it".to_owned());
    }
    let columns = line.chars().count();
    if columns > COLUMNS_MAX && !is_unbreakable(line) {
        violations.push(format!("{columns} columns, of {COLUMNS_MAX}; break the line"));
    }
    for mark in LEFT_OVER {
        if contains_word(line, mark) {
            violations.push(format!("`{mark}` is left over; finish it, or open an issue"));
        }
    }
    violations
}

/// An address or the definition of a link cannot be broken.
fn is_unbreakable(line: &str) -> bool {
    let comment = line.trim_start();
    let comment = comment.strip_prefix("///").or_else(|| comment.strip_prefix("//!"));
    let is_link = comment.is_some_and(|it| it.trim_start().starts_with('[') && it.contains("]: "));
    is_link || line.contains("://")
}

fn ends_in_one_line_feed(text: &str) -> bool {
    text.ends_with('\n') && !text.ends_with("\n\n") && text != "\n"
}

/// The words and paths in a text that do not belong in the project.
fn foreign(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let all = FOREIGN_WORDS.iter().chain(FOREIGN_PATHS);
    all.copied().filter(|word| contains_word(&text, word)).collect()
}

/// Whether the word stands in the text and is no part of a longer one.
fn contains_word(text: &str, word: &str) -> bool {
    let is_cut = |a: Option<char>, b: Option<char>| {
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        is_word(a) && is_word(b)
    };
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        // A path that begins with a slash is not the end of a longer path.
        let is_deeper = word.starts_with('/') && before.is_some_and(char::is_alphanumeric);
        !is_deeper
            && !is_cut(before, word.chars().next())
            && !is_cut(word.chars().next_back(), after)
    })
}

fn is_crate_source(path: &str) -> bool {
    let path = path.strip_prefix("crates/").and_then(|path| path.split_once('/'));
    path.is_some_and(|(_, path)| path.starts_with("src/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let mut violations = Vec::new();
        check_file(&file, &mut violations);
        if path.ends_with(".rs") {
            check_source(&Source::new(path, text), &mut violations);
        }
        violations.iter().map(|it| format!("{}: {}", it.line, it.what)).collect()
    }

    #[test]
    fn tidy_text_passes() {
        let link = format!("/// [name]: {}\n", "x".repeat(100));
        let address = format!("const A: &str = \"https://{}\";\n", "x".repeat(100));
        let umlauts = format!("// {}\n", "ü".repeat(97));
        for text in ["", "fn f() {}\n", "// An example of XXXX and a todo list.\n"] {
            assert_eq!(violations("a.rs", text), [""; 0], "{text:?}");
        }
        assert_eq!(violations("a.rs", &format!("{link}{address}{umlauts}")), [""; 0]);
        assert_eq!(violations("a.md", "a\tb  \n"), [""; 0]);
        assert_eq!(violations("stream.txt", "data: a\n\n"), [""; 0]);
    }

    #[test]
    fn untidy_lines_are_refused() {
        let long = format!("// {}\n", "x".repeat(98));
        for (text, what) in [
            ("a();\n\tb();\n", "2: a tab; use spaces, or `\\t` in a string"),
            ("a(); \n", "1: white space at the end of the line; remove it"),
            ("a();\r\n", "1: white space at the end of the line; remove it"),
            (&long, "1: 101 columns, of 100; break the line"),
        ] {
            assert_eq!(violations("a.rs", text), [what]);
        }
        for mark in LEFT_OVER {
            let what = format!("1: `{mark}` is left over; finish it, or open an issue");
            assert_eq!(violations("a.rs", &format!("// a {mark}: b\n")), [what]);
        }
    }

    #[test]
    fn a_file_ends_in_one_line_feed() {
        let what = "the file does not end in one line feed; end its last line, and no other";
        assert_eq!(violations("a.rs", "a\nb"), [format!("2: {what}")]);
        assert_eq!(violations("a/b.toml", "a\n\n"), [format!("2: {what}")]);
        assert_eq!(violations("c.md", "\n"), [format!("1: {what}")]);
    }

    #[test]
    fn foreign_words_are_refused_in_every_file() {
        for word in FOREIGN_WORDS.iter().chain(FOREIGN_PATHS) {
            let what = format!("1: `{word}` does not belong in the project; say it without");
            for text in [format!("see {word}."), word.to_uppercase(), format!("`{word}`_x")] {
                assert_eq!(violations("any.txt", &text), [what.as_str()], "{text}");
            }
        }
        for word in FOREIGN_WORDS {
            let what = format!("1: the file's path mentions `{word}`; rename it");
            assert_eq!(violations(&format!("docs/{word}.txt"), ""), [what]);
            assert_eq!(violations("any.txt", &format!("a{word} {word}b")), [""; 0]);
        }
        assert_eq!(violations("any.txt", "https://example.com/work/1"), [""; 0]);
    }

    #[test]
    fn unsafe_code_is_refused_even_in_tests() {
        let what = "2: unsafe code; find a safe way, or a crate whose purpose is this";
        assert_eq!(violations("a.rs", "#[cfg(test)]\nunsafe fn f() {}\n"), [what]);
        let text = "#![forbid(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";\n";
        assert_eq!(violations("a.rs", text), [""; 0]);
    }

    #[test]
    fn a_long_file_is_refused() {
        let code = "a();\n".repeat(600);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        let tidy = format!("{code}{tests}");
        assert_eq!(violations("crates/a/src/b.rs", &tidy), [""; 0]);
        let what = "601: 601 lines without tests, of 600; split the file by subject";
        assert_eq!(violations("crates/a/src/b.rs", &format!("a();\n{tidy}")), [what]);
        assert_eq!(violations("crates/a/tests/b.rs", &format!("a();\n{tidy}")), [""; 0]);
    }
}
