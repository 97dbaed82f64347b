//! Rust source as the checks see it: tokens without comments and strings, and the paths in them.
//!
//! This is no parser. It knows where names stand, which of them belong to tests, and how `use`
//! trees unfold; rustfmt has seen every file, and the compiler has accepted it.

use super::lexer::{self, Token};
use crate::tree::File;

/// One `.rs` file.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    pub(super) lines: Vec<&'a str>,
    pub(super) tokens: Vec<Token<'a>>,
}

/// A path as the code names it, such as `std::sync::Arc`. One of a `use` tree is whole.
#[derive(Debug)]
pub(super) struct NamedPath<'a> {
    pub(super) segments: Vec<&'a str>,
    /// What the file calls it: the last segment, or the name after `as`.
    pub(super) name: &'a str,
    pub(super) role: Role,
    /// Where its first segment stands among the file's tokens.
    pub(super) at: usize,
    pub(super) line: usize,
    pub(super) test: bool,
    pub(super) inline_modules: usize,
}

/// What a path is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Code uses what it names.
    Code,
    /// A `use` brings it into the file.
    Import,
    /// A `use` with a visibility offers it to others.
    Export,
}

/// All Rust files. A file whose module is declared for tests only is test code as a whole.
pub(super) fn sources(files: &[File]) -> Vec<Source<'_>> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    let mut sources: Vec<Source<'_>> =
        rust.map(|file| Source::new(&file.path, &file.text)).collect();
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let path = source.path;
        // `a::tests` is a/tests.rs, or a/tests/mod.rs, and what lies below a/tests.
        let is_in = |module: &String| {
            path.strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if tests.iter().any(is_in) {
            source.tokens.iter_mut().for_each(|token| token.test = true);
        }
    }
    sources
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &'a str, text: &'a str) -> Self {
        let mut tokens = lexer::tokens(text);
        mark_tests(&mut tokens);
        count_inline_modules(&mut tokens);
        Self { path, lines: text.lines().collect(), tokens }
    }

    /// All paths, of one segment too.
    pub(super) fn paths(&self) -> Vec<NamedPath<'a>> {
        let mut paths = Vec::new();
        for at in 0..self.tokens.len() {
            if self.is_path_start(at) {
                self.unfold(at, &[], self.role(at), &mut paths);
            }
        }
        paths
    }

    /// The text of the token at a place, or nothing behind the end.
    pub(super) fn at(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |token| token.text)
    }

    /// How many lines are not compiled for tests only.
    pub(super) fn lines_without_tests(&self) -> usize {
        let mut is_test = vec![false; self.lines.len() + 1];
        let mut start = None;
        for token in &self.tokens {
            // Comments inside a test item have no tokens, so the lines between are filled in.
            match (token.test, start) {
                (true, None) => start = Some(token.line),
                (false, Some(_)) => start = None,
                _ => {}
            }
            if let Some(start) = start {
                is_test[start..=token.line].fill(true);
            }
        }
        self.lines.len() - is_test.iter().filter(|is_test| **is_test).count()
    }

    /// Where modules lie that are declared for tests only, without the `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let (dir, file) = self.path.rsplit_once('/').unwrap_or((".", self.path));
        let dir = match file {
            "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
            _ => format!("{dir}/{}", file.trim_end_matches(".rs")),
        };
        let places = 0..self.tokens.len();
        let modules = places
            .filter(|at| self.tokens[*at].test && self.at(*at) == "mod" && self.at(at + 2) == ";");
        modules.map(|at| format!("{dir}/{}", self.at(at + 1))).collect()
    }

    fn is_path_start(&self, at: usize) -> bool {
        if !is_name(self.at(at)) {
            return false;
        }
        let before = |back: usize| at.checked_sub(back).map_or("", |index| self.at(index));
        match before(1) {
            // A field or a method, unless it is the end of a range.
            "." => before(2) == ".",
            // The rest of a path, unless this is where a global path starts, as in `::tokio::sync`.
            "::" => !is_name(before(2)) && before(2) != ">",
            // The entries of a `use` tree come with the tree, and a new name with what it is for.
            "as" => !self.is_in_tree(at) && !self.is_renamed(at),
            "{" | "," => !self.is_in_tree(at),
            _ => true,
        }
    }

    /// What the path is there for that starts here.
    fn role(&self, at: usize) -> Role {
        let before = |back: usize| at.checked_sub(back).map_or("", |index| self.at(index));
        let keyword = if before(1) == "::" { 2 } else { 1 };
        match (before(keyword), before(keyword + 1)) {
            ("use", "pub" | ")") => Role::Export,
            ("use", _) => Role::Import,
            _ => Role::Code,
        }
    }

    /// Whether the name here is the new one in `use path as name`.
    fn is_renamed(&self, at: usize) -> bool {
        let mut before = self.tokens[..at - 1].iter().rev().map(|token| token.text);
        before.find(|text| *text != "::" && !is_name(text)) == Some("use")
    }

    /// Whether the `{` that is open at a place belongs to a `use` tree.
    fn is_in_tree(&self, at: usize) -> bool {
        let mut open = 0;
        for index in (0..at).rev() {
            match self.at(index) {
                "}" => open += 1,
                "{" if open > 0 => open -= 1,
                "{" => return index > 0 && self.at(index - 1) == "::",
                // Only `use` trees have no statements and no calls inside.
                ";" | "(" => return false,
                _ => {}
            }
        }
        false
    }

    /// Adds the path, or the tree of paths, that starts here. Returns where it ends.
    fn unfold(
        &self,
        start: usize,
        prefix: &[&'a str],
        role: Role,
        paths: &mut Vec<NamedPath<'a>>,
    ) -> usize {
        let mut segments = prefix.to_vec();
        let mut at = start;
        loop {
            match self.at(at) {
                "{" => {
                    at += 1;
                    while !matches!(self.at(at), "}" | "") {
                        at = match self.at(at) {
                            "," => at + 1,
                            "as" => at + 2,
                            _ => self.unfold(at, &segments, role, paths).max(at + 1),
                        };
                    }
                    return at + 1;
                }
                text if is_name(text) || text == "*" => segments.push(text),
                _ => break,
            }
            at += 1;
            if self.at(at) != "::" {
                break;
            }
            at += 1;
        }
        let name = match segments.as_slice() {
            _ if role != Role::Code && self.at(at) == "as" => self.at(at + 1),
            [.., module, "self"] => module,
            [.., last] => last,
            [] => "",
        };
        let Token { line, test, inline_modules, .. } = self.tokens[start];
        paths.push(NamedPath { segments, name, role, at: start, line, test, inline_modules });
        at
    }
}

/// Whether this can be a segment of a path.
fn is_name(text: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "as", "break", "dyn", "else", "for", "if", "impl", "in", "let", "match", "mut", "pub",
        "ref", "return", "use", "where", "while",
    ];
    text.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$')
        && text != "$"
        && !KEYWORDS.contains(&text)
}

/// Marks each `#[cfg(test)]` and the item after it.
fn mark_tests(tokens: &mut [Token<'_>]) {
    let mut at = 0;
    while at < tokens.len() {
        let is = |pattern: &[&str]| {
            tokens.len() >= at + pattern.len()
                && pattern.iter().zip(&tokens[at..]).all(|(text, token)| *text == token.text)
        };
        let end = if is(&["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
            tokens.len()
        } else if is(&["#", "[", "cfg", "(", "test", ")", "]"])
            || is(&["#", "[", "cfg", "(", "all", "(", "test"])
        {
            item_end(tokens, at)
        } else {
            at += 1;
            continue;
        };
        tokens[at..end].iter_mut().for_each(|token| token.test = true);
        at = end;
    }
}

/// Where the item, field or variant ends that these attributes stand at.
fn item_end(tokens: &[Token<'_>], start: usize) -> usize {
    let start = attributes_end(tokens, start);
    let ends_at_comma = !is_item(&tokens[start..]);
    let mut open = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" if open == 0 => return at,
            ")" | "]" => open -= 1,
            "}" => {
                open -= 1;
                if open == 0 {
                    return at + 1;
                }
            }
            ";" if open == 0 => return at + 1,
            "," if open == 0 && ends_at_comma => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn attributes_end(tokens: &[Token<'_>], start: usize) -> usize {
    let mut end = start;
    let mut open = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "[" => open += 1,
            "]" => open -= 1,
            "#" => {}
            _ if open == 0 => return at,
            _ => {}
        }
        end = at + 1;
    }
    end
}

/// Whether an item starts here. A comma can stand between its generics, whereas a field or a
/// variant ends at one.
fn is_item(tokens: &[Token<'_>]) -> bool {
    const ITEMS: &[&str] = &[
        "async", "const", "enum", "extern", "fn", "impl", "let", "mod", "static", "struct",
        "trait", "type", "union", "unsafe", "use",
    ];
    let visibility = ["pub", "(", ")", "crate", "super"];
    let first = tokens.iter().find(|token| !visibility.contains(&token.text));
    first.is_some_and(|token| ITEMS.contains(&token.text))
}

fn count_inline_modules(tokens: &mut [Token<'_>]) {
    let mut is_module = Vec::new();
    for at in 0..tokens.len() {
        match tokens[at].text {
            "{" => is_module.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => drop(is_module.pop()),
            _ => {}
        }
        tokens[at].inline_modules = is_module.iter().filter(|is_module| **is_module).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &Source<'_>) -> Vec<String> {
        source.paths().iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn a_use_tree_unfolds() {
        let text =
            "use a::{\n    self, b::{C as D, E::*},\n    F,\n};\nuse ::tokio::sync;\ng(x.y);";
        let source = Source::new("a.rs", text);
        assert_eq!(
            names(&source),
            ["a::self", "a::b::C", "a::b::E::*", "a::F", "tokio::sync", "g", "x"]
        );
        let lines: Vec<usize> = source.paths().iter().map(|path| path.line).collect();
        assert_eq!(lines, [2, 2, 2, 3, 5, 6, 6]);
    }

    #[test]
    fn a_use_says_what_it_is_for_and_what_its_name_is() {
        let text = "\
use a::B;
pub use a::{self as c, d::E as F, g::self};
pub(crate) use ::h::I as J;
fn k() { l as M; }
";
        let source = Source::new("a.rs", text);
        let paths = source.paths();
        let uses = paths.iter().filter(|path| path.role != Role::Code);
        let uses: Vec<_> = uses.map(|it| (it.segments.join("::"), it.name, it.role)).collect();
        let expected = [
            ("a::B", "B", Role::Import),
            ("a::self", "c", Role::Export),
            ("a::d::E", "F", Role::Export),
            ("a::g::self", "g", Role::Export),
            ("h::I", "J", Role::Export),
        ];
        assert_eq!(uses, expected.map(|(path, name, role)| (path.to_owned(), name, role)));
        let code = paths.iter().filter(|path| path.role == Role::Code);
        let code: Vec<&str> = code.map(|path| path.name).collect();
        assert_eq!(code, ["crate", "fn", "k", "l", "M"]);
    }

    #[test]
    fn paths_of_expressions_are_whole() {
        let text = "\
fn f(a: &::http::Uri) {
    let b = [c::D, c::E];
    match b[..i::J] { c::F => g::<H>(), K { l } => l.0.m(0..n::O), }
}
";
        let names = names(&Source::new("a.rs", text));
        for path in ["http::Uri", "c::D", "c::E", "c::F", "g", "H", "i::J", "n::O"] {
            assert!(names.contains(&path.to_owned()), "{path} in {names:?}");
        }
        assert!(!names.contains(&"m".to_owned()), "{names:?}");
    }

    #[test]
    fn a_test_item_ends_where_the_item_ends() {
        let text = "\
fn a() {}
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct T<A, B> {
    // Nothing.
    t: A,
}
struct S {
    #[cfg(test)]
    t: u8,
    b: u8,
}
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = \"test-util\"))]
fn c() {}
";
        let source = Source::new("src/s.rs", text);
        let tests = source.tokens.iter().filter(|token| token.test).map(|token| token.line);
        let mut tests: Vec<usize> = tests.collect();
        tests.dedup();
        assert_eq!(tests, [2, 3, 4, 6, 7, 9, 10, 13, 14]);
        assert_eq!(source.lines_without_tests(), 16 - 10);
        assert_eq!(source.test_modules(), ["src/s/tests"]);
    }

    #[test]
    fn a_file_declared_for_tests_is_test_code() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("src/lib.rs", "#[cfg(test)]\nmod tests;\nmod test;\n"),
            file("src/test.rs", "a"),
            file("src/tests.rs", "b"),
            file("src/tests/deep.rs", "c"),
        ];
        let all: Vec<bool> = sources(&files).iter().map(|it| it.tokens[0].test).collect();
        assert_eq!(all, [true, false, true, true]);
    }

    #[test]
    fn inline_modules_are_counted() {
        let source = Source::new("a.rs", "a { } mod m { b { c } } d");
        let counts = source.paths();
        let count =
            |name: &str| counts.iter().find(|path| path.segments == [name]).unwrap().inline_modules;
        assert_eq!([count("a"), count("b"), count("c"), count("d")], [0, 1, 1, 0]);
    }
}
