//! Names that say nothing, or that already mean something else to whoever reads them.

use super::rust::Source;
use super::violation::Violation;

type Words = &'static [&'static str];

/// Words that no file and no public item of a crate has in its name.
const BANNED: Words =
    &["broker", "channel", "common", "handler", "helper", "misc", "session", "types", "util"];

/// Words that no file and no public module has in its name.
const BANNED_MODULES: Words = &["core"];

/// Words that no file has in its name.
const BANNED_FILES: Words = &["message"];

/// Words that no public item has in its name, except in the module `test`: this library serves,
/// and only its tests connect.
const BANNED_ITEMS: Words = &["client"];

/// Names that stay although they contain such a word, and why. The feature `test-util` needs no
/// entry: a feature is neither a file nor an item.
const EXCEPTIONS: &[Exception] = &[];

struct Exception {
    path: &'static str,
    name: &'static str,
    #[expect(dead_code, reason = "for whoever reads the list")]
    reason: &'static str,
}

/// Something public with a name.
struct Item<'a> {
    kind: &'static str,
    name: &'a str,
    line: usize,
}

/// Checks one file of a crate.
pub(super) fn check(source: &Source<'_>, violations: &mut Vec<Violation>) {
    check_except(source, EXCEPTIONS, violations);
}

fn check_except(source: &Source<'_>, exceptions: &[Exception], violations: &mut Vec<Violation>) {
    let Some(path) = path_in_src(source.path) else { return };
    let mut refuse = |line: usize, what: &str, name: &str, banned: &[Words]| {
        let is_excepted = exceptions.iter().any(|it| it.path == source.path && it.name == name);
        if let Some(word) = banned_word(name, banned).filter(|_| !is_excepted) {
            let what = format!(
                "the name of the {what} `{name}` contains `{word}`; say what it is or does instead"
            );
            violations.push(Violation::new(source.path, line, what));
        }
    };
    for part in path.trim_end_matches(".rs").split('/') {
        refuse(1, "file", part, &[BANNED, BANNED_MODULES, BANNED_FILES]);
    }
    let is_test_module = path == "test.rs" || path.starts_with("test/");
    let items = if is_test_module { &[] } else { BANNED_ITEMS };
    for Item { kind, name, line } in public_items(source) {
        let modules = if kind == "mod" { BANNED_MODULES } else { &[] };
        refuse(line, &format!("public {kind}"), name, &[BANNED, modules, items]);
    }
}

/// The part of a crate's source path below `src`.
fn path_in_src(path: &str) -> Option<&str> {
    let (_, path) = path.strip_prefix("crates/")?.split_once('/')?;
    path.strip_prefix("src/")
}

/// The first banned word that a name contains, in the singular or the plural.
fn banned_word(name: &str, banned: &[Words]) -> Option<&'static str> {
    let words = words(name);
    let is_in = |banned: &str| {
        words.iter().any(|word| word == banned || word.strip_suffix('s') == Some(banned))
    };
    banned.iter().flat_map(|list| list.iter().copied()).find(|word| is_in(word))
}

/// The words of a name in any case: `HTTPBody`, `HttpBody` and `http_body` are `http` and `body`.
pub(super) fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        let after_lower = at > 0 && !chars[at - 1].is_uppercase();
        let before_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        let is_start = c.is_uppercase() && (after_lower || before_lower);
        if is_start || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The items, fields and renamed imports that are public without a restriction.
fn public_items<'a>(source: &Source<'a>) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if token.text != "pub" || token.test || source.at(at + 1) == "(" {
            continue;
        }
        let mut add = |kind: &'static str, at: usize| {
            items.push(Item { kind, name: source.at(at), line: source.tokens[at].line });
        };
        let mut at = at + 1;
        while is_qualifier(source, at) {
            at += 1;
        }
        let kind = ["const", "enum", "fn", "mod", "static", "struct", "trait", "type", "union"];
        if let Some(kind) = kind.into_iter().find(|kind| *kind == source.at(at)) {
            add(kind, at + 1);
        } else if source.at(at) == "use" {
            while !matches!(source.at(at), ";" | "") {
                if source.at(at) == "as" {
                    add("import", at + 1);
                }
                at += 1;
            }
        } else if source.at(at + 1) == ":" {
            add("field", at);
        }
    }
    items
}

/// Whether a word stands between `pub` and the kind of item.
fn is_qualifier(source: &Source<'_>, at: usize) -> bool {
    match source.at(at) {
        "async" | "extern" | "unsafe" => true,
        "const" => matches!(source.at(at + 1), "async" | "extern" | "fn" | "unsafe"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str, exceptions: &[Exception]) -> Vec<String> {
        let mut violations = Vec::new();
        check_except(&Source::new(path, text), exceptions, &mut violations);
        violations.iter().map(|it| format!("{}: {}", it.line, it.what)).collect()
    }

    #[test]
    fn public_names_say_something() {
        for (text, what) in [
            ("pub fn open_session() {}", "public fn `open_session` contains `session`"),
            ("pub const fn util() {}", "public fn `util` contains `util`"),
            ("pub async unsafe fn utils() {}", "public fn `utils` contains `util`"),
            ("pub struct EventBroker;", "public struct `EventBroker` contains `broker`"),
            ("pub enum SSEChannels {}", "public enum `SSEChannels` contains `channel`"),
            ("pub trait Handler {}", "public trait `Handler` contains `handler`"),
            ("pub mod core;", "public mod `core` contains `core`"),
            ("pub type Common = u8;", "public type `Common` contains `common`"),
            ("pub const HELPERS: u8 = 1;", "public const `HELPERS` contains `helper`"),
            ("pub static MISC: u8 = 1;", "public static `MISC` contains `misc`"),
            ("struct S { pub types: u8 }", "public field `types` contains `types`"),
            ("pub use a::{B as BSession};", "public import `BSession` contains `session`"),
            ("pub struct TestClient;", "public struct `TestClient` contains `client`"),
        ] {
            let what = format!("1: the name of the {what}; say what it is or does instead");
            assert_eq!(violations("crates/a/src/b.rs", text, &[]), [what], "{text}");
        }
    }

    #[test]
    fn other_names_are_free() {
        for text in [
            "pub struct Type; pub fn futility() {} pub struct HttpBody { pub ty: u8 }",
            "pub(crate) fn handler() {} fn helper() {} struct Session { types: u8 }",
            "// pub struct Session;\npub struct A; // pub fn util() {}",
            "pub struct Core; pub enum Message {}",
            "#[cfg(test)]\nmod tests { pub fn helper() {} }",
        ] {
            assert_eq!(violations("crates/a/src/b.rs", text, &[]), [""; 0], "{text}");
        }
        assert_eq!(violations("crates/a/src/test/c.rs", "pub struct Client;", &[]), [""; 0]);
        assert_eq!(violations("crates/a/tests/util.rs", "pub fn util() {}", &[]), [""; 0]);
    }

    #[test]
    fn file_names_say_something() {
        for (path, name, word) in [
            ("crates/a/src/utils.rs", "utils", "util"),
            ("crates/a/src/session/mod.rs", "session", "session"),
            ("crates/a/src/core.rs", "core", "core"),
            ("crates/a/src/wire/message_id.rs", "message_id", "message"),
        ] {
            let what = format!(
                "1: the name of the file `{name}` contains `{word}`; say what it is or does instead"
            );
            assert_eq!(violations(path, "", &[]), [what]);
        }
    }

    #[test]
    fn an_exception_is_for_one_name_of_one_file() {
        let exceptions =
            [Exception { path: "crates/a/src/b.rs", name: "Session", reason: "It is one." }];
        let text = "pub struct Session;\npub struct Sessions;";
        let lines = |path| -> Vec<String> {
            let all = violations(path, text, &exceptions);
            all.iter().map(|it| it[..2].to_owned()).collect()
        };
        assert_eq!(lines("crates/a/src/b.rs"), ["2:"]);
        assert_eq!(lines("crates/a/src/c.rs"), ["1:", "2:"]);
    }

    #[test]
    fn words_are_found_in_any_case() {
        assert_eq!(words("HTTPBody"), ["http", "body"]);
        assert_eq!(words("MAX_BYTES2"), ["max", "bytes2"]);
        assert_eq!(words("_lastEventId"), ["last", "event", "id"]);
        assert_eq!(words("r#type"), ["r", "type"]);
    }
}
