//! Every limit of prism-sse says what it is for, and something enforces it.

use std::collections::HashSet;

use super::rust::{NamedPath, Source};
use super::violation::Violation;

const LIMITS: &str = "crates/prism-sse/src/limits.rs";

/// Checks the limits against all sources.
pub(super) fn check(sources: &[Source<'_>], violations: &mut Vec<Violation>) {
    let Some(limits) = sources.iter().find(|source| source.path == LIMITS) else { return };
    let used: HashSet<&str> = sources.iter().filter(|it| is_code(it.path)).flat_map(used).collect();
    for (name, line) in public_constants(limits) {
        if !has_sentence(limits, line) {
            let what = format!("`{name}` has no reason; add a doc comment of at least a sentence");
            violations.push(Violation::new(LIMITS, line, what));
        }
        if !used.contains(name) {
            let what = format!("nothing enforces `{name}`; name it as a path where it is enforced");
            violations.push(Violation::new(LIMITS, line, format!("{what}, or remove it")));
        }
    }
}

fn public_constants<'a>(source: &Source<'a>) -> Vec<(&'a str, usize)> {
    let places = 0..source.tokens.len();
    let constants = places.filter(|at| {
        let token = &source.tokens[*at];
        !token.test && token.text == "pub" && source.at(at + 1) == "const"
    });
    // A function of limits is no limit.
    let constants = constants.filter(|at| source.at(at + 3) == ":");
    constants.map(|at| (source.at(at + 2), source.tokens[at].line)).collect()
}

/// Whether the doc comment above an item has text that ends like a sentence.
fn has_sentence(source: &Source<'_>, line: usize) -> bool {
    let above = source.lines[..line - 1].iter().rev().map(|line| line.trim_start());
    let mut above = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
    above.any(|line| line.starts_with("///") && line.trim_end().ends_with('.'))
}

/// Whether a file has code of a crate that is not for tests.
fn is_code(path: &str) -> bool {
    let Some((_, below)) = path.strip_prefix("crates/").and_then(|it| it.split_once('/')) else {
        return false;
    };
    // The root exports and enforces nothing, and the module `test` is there for tests.
    below.starts_with("src/")
        && path != LIMITS
        && below != "src/lib.rs"
        && below != "src/test.rs"
        && !below.starts_with("src/test/")
}

/// The limits that a file names. The same name may stand for something else in another module, so
/// only a path through `limits` counts.
fn used<'a>(source: &Source<'a>) -> Vec<&'a str> {
    let paths = source.paths().into_iter().filter(|path| !path.test);
    let limits = |path: NamedPath<'a>| {
        let pairs = path.segments.windows(2).filter(|pair| pair[0] == "limits");
        pairs.map(|pair| pair[1]).collect::<Vec<_>>()
    };
    paths.flat_map(limits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "/// Most of it.\npub const MAX: usize = 1;\n";

    fn violations(limits: &str, path: &str, user: &str) -> Vec<String> {
        let sources = [Source::new(LIMITS, limits), Source::new(path, user)];
        let mut violations = Vec::new();
        check(&sources, &mut violations);
        violations.iter().map(|it| format!("{}: {}", it.line, it.what)).collect()
    }

    #[test]
    fn a_limit_in_use_with_a_reason_passes() {
        for user in [
            "fn f() -> usize { limits::MAX }",
            "use crate::limits::MAX;",
            "use crate::{limits::{self, MAX}, wire};",
        ] {
            assert_eq!(violations(TEXT, "crates/b/src/c.rs", user), [""; 0], "{user}");
        }
        let other = format!("{TEXT}const PRIVATE: u8 = 1;\npub const fn of() {{}}\n");
        assert_eq!(violations(&other, "crates/b/src/c.rs", "use a::limits::MAX;"), [""; 0]);
    }

    #[test]
    fn a_limit_that_nobody_enforces_is_refused() {
        let what = "2: nothing enforces `MAX`; name it as a path where it is enforced, or remove \
                    it";
        for (path, user) in [
            ("crates/b/src/c.rs", "const MAX: u8 = 1; fn f() { MAX; limits::MAXIMUM; }"),
            ("crates/b/src/c.rs", "// limits::MAX\n#[cfg(test)]\nmod t { use a::limits::MAX; }"),
            ("crates/b/src/lib.rs", "pub use limits::MAX;"),
            ("crates/b/src/test/suite.rs", "use crate::limits::MAX;"),
            ("crates/b/tests/c.rs", "use a::limits::MAX;"),
            ("xtask/src/c.rs", "use a::limits::MAX;"),
        ] {
            assert_eq!(violations(TEXT, path, user), [what], "{path}: {user}");
        }
    }

    #[test]
    fn a_limit_without_a_sentence_is_refused() {
        let what = "`MAX` has no reason; add a doc comment of at least a sentence";
        for (text, line) in [
            ("pub const MAX: usize = 1;", 1),
            ("/// Max\npub const MAX: usize = 1;", 2),
            ("/// About another.\n\npub const MAX: usize = 1;", 3),
        ] {
            let found = violations(text, "crates/b/src/c.rs", "use crate::limits::MAX;");
            assert_eq!(found, [format!("{line}: {what}")]);
        }
    }
}
