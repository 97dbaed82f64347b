//! Names of types: the field's own terms, and one for each thing in a crate.

use std::collections::BTreeMap;

use super::names::words;
use super::rust::Source;
use super::violation::Violation;

/// Figures of speech, with what they stood for. No type has one of them in its name.
const FIGURES: &[(&str, &str)] = &[
    ("bell", "pending wake-ups"),
    ("desk", "the slot for a decision"),
    ("judge", "a validation"),
    ("keeper", "what is kept, as a registry or a store"),
    ("passage", "a shared frame"),
    ("rung", "a pending wake-up"),
    ("seat", "a permit"),
    ("teller", "the sending half of a one-shot"),
    ("ticket", "a permit, a token or a handle"),
    ("wish", "options"),
];

/// Names that need their comment to be understood, with what they stood for. No type is called so;
/// longer names may contain them.
const RIDDLES: &[(&str, &str)] = &[
    ("Begun", "what has been started"),
    ("Ends", "a queue of expirations"),
    ("Flights", "messages in flight"),
    ("Flying", "messages in flight"),
    ("Gone", "the end or the error that it is"),
    ("Held", "what is held back, and why"),
    ("Known", "the set of what is known"),
    ("Lanes", "streams of numbered messages"),
    ("Manner", "the way to start a server"),
    ("Moment", "a sample"),
    ("Own", "the private state of whose it is"),
    ("Pace", "a rate or an interval"),
    ("Pressed", "the result of what was measured"),
    ("Reached", "the result of what was measured"),
    ("Recents", "a cache of shared frames"),
    ("Rings", "pending wake-ups, or the rings of all classes"),
    ("Said", "the output or the answer that it is"),
    ("Told", "the receiving half of a one-shot"),
    ("Trust", "the trusted proxies, keys or origins"),
    ("Wanted", "the parameters of a request"),
    ("Way", "the variant that it is"),
    ("Went", "the result of a step"),
    ("Whom", "the recipients"),
    ("Written", "the result of a write"),
];

/// Files that were called after nothing that is in them.
const FILES: &[&str] = &["begun", "cases", "histories", "rests", "rig"];

/// A type that code defines, at any depth.
#[derive(Debug)]
struct Type<'a> {
    name: &'a str,
    line: usize,
}

/// Checks the whole tree.
pub(super) fn check(sources: &[Source<'_>], violations: &mut Vec<Violation>) {
    let mut defined: BTreeMap<(&str, &str), Vec<(&str, usize)>> = BTreeMap::new();
    for source in sources {
        check_file_name(source.path, violations);
        for Type { name, line } in types(source) {
            if let Some(meaning) = old_name(name) {
                let what = format!(
                    "the name of the type `{name}` is no term of the field; say what it is \
                     ({meaning})"
                );
                violations.push(Violation::new(source.path, line, what));
            }
            defined.entry((target(source.path), name)).or_default().push((source.path, line));
        }
    }
    for ((_, name), places) in defined {
        let (first, line) = places[0];
        // Two in one file are alternatives, one for each system.
        for (path, second) in places.iter().filter(|(path, _)| *path != first) {
            let what = format!(
                "a second type `{name}` in this crate, beside the one at {first}:{line}; one name \
                 means one thing"
            );
            violations.push(Violation::new(path, *second, what));
        }
    }
}

fn check_file_name(path: &str, violations: &mut Vec<Violation>) {
    let stem = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if FILES.contains(&stem) {
        let what =
            format!("the file's name `{stem}` says nothing to a newcomer; say what is in it");
        violations.push(Violation::new(path, 1, what));
    }
}

/// What a name that must not come back stood for.
fn old_name(name: &str) -> Option<&'static str> {
    let words = words(name);
    let is_in = |figure: &str| {
        words.iter().any(|word| word == figure || word.strip_suffix('s') == Some(figure))
    };
    let figure = FIGURES.iter().find(|(figure, _)| is_in(figure));
    let riddle = RIDDLES.iter().find(|(riddle, _)| *riddle == name);
    figure.or(riddle).map(|(_, meaning)| *meaning)
}

/// What is compiled together with a file: the sources of a package, or one of its tests, benches
/// and examples.
fn target(path: &str) -> &str {
    for dir in ["/src/", "/tests/", "/benches/", "/examples/"] {
        let Some(at) = path.find(dir) else { continue };
        let below = at + dir.len();
        let end = if dir == "/src/" {
            below
        } else {
            path[below..].find('/').map_or(path.len(), |it| below + it)
        };
        return &path[..end];
    }
    path
}

/// All types of a file, but those that belong to a trait or to its implementation.
fn types<'a>(source: &Source<'a>) -> Vec<Type<'a>> {
    let mut types = Vec::new();
    let mut blocks_of_traits = Vec::new();
    let mut header = 0;
    for at in 0..source.tokens.len() {
        match source.at(at) {
            "{" => {
                let words = header..at;
                let has = |word| words.clone().any(|at| source.at(at) == word);
                blocks_of_traits.push((has("impl") || has("trait")) && !has("fn"));
            }
            "}" => drop(blocks_of_traits.pop()),
            ";" => {}
            "type" if blocks_of_traits.last() == Some(&true) => continue,
            "struct" | "enum" | "trait" | "type" | "union" => {
                let is_name = source.at(at + 1).starts_with(char::is_uppercase);
                if is_name
                    && matches!(source.at(at + 2), "{" | "<" | "(" | "=" | ";" | ":" | "where")
                {
                    let line = source.tokens[at + 1].line;
                    types.push(Type { name: source.at(at + 1), line });
                }
                continue;
            }
            _ => continue,
        }
        header = at + 1;
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source<'_>> =
            files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let mut violations = Vec::new();
        check(&sources, &mut violations);
        violations.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn names_that_went_do_not_come_back() {
        for (text, name) in [
            ("struct Bell;", "Bell"),
            ("pub(super) enum SocketBells<'a, T> { A }", "SocketBells"),
            ("fn f() { struct Ticket(u8); }", "Ticket"),
            ("trait Judge: Send {}", "Judge"),
            ("type Recents = Vec<u8>;", "Recents"),
            ("#[cfg(test)] mod tests { struct Told; }", "Told"),
            ("struct Own where u8: Copy { a: u8 }", "Own"),
        ] {
            for path in ["crates/a/src/b.rs", "crates/a/tests/it/b.rs", "models/tests/b.rs"] {
                let found = violations(&[(path, text)]);
                let what =
                    format!("{path}:1: the name of the type `{name}` is no term of the field");
                assert!(found.len() == 1 && found[0].starts_with(&what), "{found:?}");
            }
        }
        let what = "the name of the type `Bell` is no term of the field; say what it is (pending \
                    wake-ups)";
        assert_eq!(violations(&[("a.rs", "\nstruct Bell;")]), [format!("a.rs:2: {what}")]);
    }

    #[test]
    fn names_that_only_contain_such_letters_are_free() {
        for text in [
            "struct Label; struct Ring; struct OwnedRing; struct KnownTopics; enum Ending {}",
            "fn bell(seat: u8) {} const TICKET: u8 = 1; mod judge {} use a::Bell;",
            "// struct Bell;\nconst T: &str = \"struct Bell;\";",
            "impl Iterator for A { type Told = u8; } trait B { type Ends: Copy; type Held; }",
            "macro_rules! m { () => { struct $Bell; } }",
        ] {
            assert_eq!(violations(&[("crates/a/src/b.rs", text)]), [""; 0], "{text}");
        }
    }

    #[test]
    fn names_of_files_that_went_do_not_come_back() {
        let what = "the file's name `rig` says nothing to a newcomer; say what is in it";
        for path in ["crates/a/src/b/tests/rig.rs", "crates/a/tests/rig.rs"] {
            assert_eq!(violations(&[(path, "")]), [format!("{path}:1: {what}")]);
        }
        assert_eq!(violations(&[("crates/a/src/rigging.rs", "")]), [""; 0]);
    }

    #[test]
    fn a_crate_has_one_type_of_a_name() {
        let a = ("crates/a/src/a.rs", "struct Entry;\n");
        let what = "a second type `Entry` in this crate, beside the one at crates/a/src/a.rs:1; \
                    one name means one thing";
        for text in [
            "enum Entry {}",
            "type Entry = u8;",
            "fn f() { struct Entry; }",
            "#[cfg(test)] mod tests { pub(crate) struct Entry<T>(T); }",
        ] {
            let found = violations(&[a, ("crates/a/src/b/c.rs", text)]);
            assert_eq!(found, [format!("crates/a/src/b/c.rs:1: {what}")], "{text}");
        }
        let both = ("crates/a/src/b.rs", "impl T for A { type Entry = u8; } use crate::a::Entry;");
        assert_eq!(violations(&[a, both]), [""; 0]);
    }

    #[test]
    fn what_is_compiled_apart_may_have_the_same_names() {
        let files = [
            ("crates/a/src/a.rs", "struct Entry;"),
            ("crates/b/src/a.rs", "struct Entry;"),
            ("crates/a/tests/it/main.rs", "struct Entry;"),
            ("crates/a/tests/other.rs", "struct Entry;"),
            ("xtask/src/a.rs", "struct Entry;"),
            ("crates/c/src/a.rs", "#[cfg(unix)] struct S; #[cfg(not(unix))] struct S;"),
        ];
        assert_eq!(violations(&files), [""; 0]);
        let [a, b] = ["crates/a/tests/it/a.rs", "crates/a/tests/it/b/c.rs"];
        assert_eq!(violations(&[(a, "struct E;"), (b, "struct E;")]).len(), 1);
    }
}
