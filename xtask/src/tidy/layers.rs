//! Which module of a crate may know which, and which of them know nothing of the world.

use super::modules::module_of;
use super::rust::{NamedPath, Source};
use super::violation::Violation;
use crate::tree::File;

/// Where people read the layers.
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// The top modules of a crate, and which may name which.
struct Layers {
    /// The directory of the crate's sources.
    src: &'static str,
    /// Low to high, as ARCHITECTURE.md has it. A module may name those of lower layers only, and
    /// none that it shares its layer with.
    order: &'static str,
    /// Modules without clock, runtime, lock and HTTP: what they do depends on their arguments
    /// alone, and a test of them needs nothing but values.
    pure: &'static [&'static str],
}

const CRATES: &[Layers] = &[
    Layers {
        src: "crates/prism-sse/src/",
        // `random` needs nothing, and stands above the pure modules because what it says is no
        // function of its arguments.
        order: "limits, steps < wire < selector < log < audience < random, sync < engine < store < \
                manager < subscription < connection < http < serve < test",
        pure: &["wire", "selector", "log", "audience"],
    },
    Layers {
        src: "crates/prism-hub/src/",
        order: "cli, limits < config, problem < auth, client, tls < rules < metrics < hub < jwks < \
                api < demo < serve < mode",
        pure: &[],
    },
    Layers {
        src: "crates/prism-bench/src/",
        order: "process, procfs, progress, receive, response_parser, stats, template, token < \
                check, cli < environment, publish, targets < client, server_api < run, server, \
                subscriber_process < metric, scenario < compare < bench_result, measure < goals, \
                table < page",
        pure: &[],
    },
];

/// Checks one file of a crate that has layers.
pub(super) fn check(source: &Source<'_>, violations: &mut Vec<Violation>) {
    let of = |layers: &&Layers| source.path.starts_with(layers.src);
    let Some(layers) = CRATES.iter().find(of) else { return };
    let module = module_of(&source.path[layers.src.len()..]);
    // The root is above all layers: it names the public interface.
    let Some(own) = module.first() else { return };
    if layers.place(own).is_none() {
        let what = format!(
            "the module `{own}` has no place among the layers; give it one in \
             xtask/src/tidy/layers.rs and {ARCHITECTURE}"
        );
        violations.push(Violation::new(source.path, 1, what));
        return;
    }
    let is_pure = layers.pure.contains(own);
    for path in source.paths().iter().filter(|path| !path.test) {
        let impurity = if is_pure { impurity(path) } else { None };
        let what = match (layers.violation(path, &module), impurity) {
            (Some(what), _) => what,
            (None, Some(named)) => format!(
                "`{own}` is pure and must not name {named}; take a value from the caller, or do \
                 this in a higher module"
            ),
            (None, None) => continue,
        };
        violations.push(Violation::new(source.path, path.line, what));
    }
}

/// Checks that the layers are written where people read them, if the tree has that file.
pub(super) fn check_text(files: &[File], violations: &mut Vec<Violation>) {
    let Some(file) = files.iter().find(|file| file.path == ARCHITECTURE) else { return };
    let text = file.text.split_whitespace().collect::<Vec<_>>().join(" ");
    for Layers { src, order, .. } in CRATES {
        if !text.contains(&format!("`{order}`")) {
            let what = format!("the layers of {src} are not written here; they are `{order}`");
            violations.push(Violation::new(ARCHITECTURE, 1, what));
        }
    }
}

impl Layers {
    fn place(&self, module: &str) -> Option<usize> {
        let mut layers = self.order.split(" < ");
        layers.position(|layer| layer.split(", ").any(|name| name == module))
    }

    fn violation(&self, path: &NamedPath<'_>, module: &[&str]) -> Option<String> {
        let named = *from_root(path, module.len())?.first()?;
        let own = module[0];
        match (self.place(named), self.place(own)) {
            _ if named == own => None,
            (Some(named_place), Some(own_place)) if named_place < own_place => None,
            (Some(_), _) => Some(format!(
                "`{own}` must not name `crate::{named}`, which is no layer below it; move what is \
                 needed down, or the code that needs it up"
            )),
            // In a macro that others use, the root is all there is to name.
            (None, _) if path.segments[0] == "$crate" => None,
            (None, _) => Some(format!(
                "`crate::{named}` is a name of the root, which is for users; name the module that \
                 `{named}` comes from"
            )),
        }
    }
}

/// The part of a path below the crate's root, if it goes through the root.
fn from_root<'p, 'a>(path: &'p NamedPath<'a>, depth: usize) -> Option<&'p [&'a str]> {
    let segments = match path.segments.as_slice() {
        ["self", "super", ..] => &path.segments[1..],
        segments => segments,
    };
    match segments {
        ["crate" | "$crate", rest @ ..] => Some(rest),
        ["super", ..] => {
            let ups = segments.iter().take_while(|segment| **segment == "super").count();
            (ups == depth + path.inline_modules).then(|| &segments[ups..])
        }
        _ => None,
    }
}

/// What of the world outside a path names.
fn impurity(path: &NamedPath<'_>) -> Option<&'static str> {
    match path.segments.as_slice() {
        ["tokio", ..] => return Some("tokio"),
        ["http", ..] => return Some("the crate http"),
        ["std", "thread", ..] => return Some("threads"),
        ["async"] => return Some("`async`"),
        _ => {}
    }
    path.segments.iter().find_map(|segment| match *segment {
        "Mutex" | "RwLock" => Some("a lock"),
        "Instant" | "SystemTime" => Some("a clock"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        violations_of("prism-sse", path, text)
    }

    fn violations_of(package: &str, path: &str, text: &str) -> Vec<String> {
        let path = format!("crates/{package}/src/{path}");
        let mut violations = Vec::new();
        check(&Source::new(&path, text), &mut violations);
        violations.iter().map(|it| format!("{}: {}", it.line, it.what)).collect()
    }

    #[test]
    fn names_go_down() {
        let down = "\
//! See [`Event`](crate::Event) and [`Manager`](crate::manager::Manager).
use crate::{limits, wire::{Event, Position}};
use super::super::log::Log;
use super::Engine;
use crate::engine::memory;
pub(crate) fn f() -> super::super::selector::Topic {}
#[cfg(test)]
mod tests {
    use crate::{Manager, http::Body};
}
";
        assert_eq!(violations("engine/memory.rs", down), [""; 0]);
        assert_eq!(violations("log.rs", "use crate::selector::Topic;"), [""; 0]);
        assert_eq!(violations("test/suite.rs", "use crate::serve::serve;"), [""; 0]);
        assert_eq!(violations("lib.rs", "pub use crate::serve::serve; mod wire;"), [""; 0]);
    }

    #[test]
    fn names_do_not_go_up() {
        let up = "`wire` must not name `crate::log`, which is no layer below it; move what is \
                  needed down, or the code that needs it up";
        for text in [
            "use crate::log::Log;",
            "use crate::{limits, log};",
            "use super::super::log;",
            "use self::super::super::log;",
            "fn f() { crate::log::open(); }",
            "fn f(a: u8, log: &crate::log::Log) {}",
            "mod sealed { use super::super::super::log; }",
            "#[cfg(test)] fn g() {} use crate::log::Log;",
        ] {
            assert_eq!(violations("wire/event.rs", text), [format!("1: {up}")], "{text}");
        }
        assert_eq!(violations("wire/mod.rs", "use super::log;"), [format!("1: {up}")]);
        assert_eq!(violations("wire.rs", "use super::log;"), [format!("1: {up}")]);
        assert_eq!(violations("selector.rs", "\nuse crate::log::Log;").len(), 1);
        assert_eq!(violations("serve.rs", "use crate::test::Suite;").len(), 1);
    }

    #[test]
    fn modules_of_one_layer_do_not_name_each_other() {
        for (package, path, text, upper) in [
            ("prism-sse", "random.rs", "use crate::sync::Lock;", "sync"),
            ("prism-hub", "auth/keys.rs", "use crate::hub::Hub;", "hub"),
            ("prism-hub", "auth/keys.rs", "use super::super::client::Client;", "client"),
        ] {
            let own = path.split(['/', '.']).next().unwrap();
            let what = format!(
                "1: `{own}` must not name `crate::{upper}`, which is no layer below it; move what \
                 is needed down, or the code that needs it up"
            );
            assert_eq!(violations_of(package, path, text), [what]);
        }
        let down = "use crate::auth::{self, Role}; use crate::api::events; use super::host;";
        assert_eq!(violations_of("prism-hub", "api/events.rs", down), [""; 0]);
    }

    #[test]
    fn what_people_read_is_what_is_checked() {
        let text = |orders: &[&str]| {
            let text = orders.iter().map(|order| format!("- `{}`\n", order.replace(" < ", " <\n")));
            File { path: ARCHITECTURE.to_owned(), text: text.collect() }
        };
        let found = |files: &[File]| {
            let mut violations = Vec::new();
            check_text(files, &mut violations);
            violations.iter().map(|it| it.what.clone()).collect::<Vec<_>>()
        };
        let orders: Vec<&str> = CRATES.iter().map(|layers| layers.order).collect();
        assert_eq!(found(&[text(&orders)]), [""; 0]);
        assert_eq!(found(&[]), [""; 0]);
        let Layers { src, order, .. } = &CRATES[1];
        let other = order.replacen(" < ", ", ", 1);
        let what = format!("the layers of {src} are not written here; they are `{order}`");
        assert_eq!(found(&[text(&[orders[0], &other, orders[2]])]), [what]);
    }

    #[test]
    fn an_inner_super_is_not_the_root() {
        assert_eq!(violations("engine.rs", "mod m { use super::Retention; }"), [""; 0]);
        assert_eq!(violations("engine/memory.rs", "use super::Retention;"), [""; 0]);
    }

    #[test]
    fn the_root_is_for_users() {
        let root = |name: &str| {
            format!(
                "1: `crate::{name}` is a name of the root, which is for users; name the module \
                 that `{name}` comes from"
            )
        };
        assert_eq!(violations("serve.rs", "use crate::Event;"), [root("Event")]);
        assert_eq!(violations("serve.rs", "use super::{wire, Event};"), [root("Event")]);
        assert_eq!(violations("serve.rs", "use crate::*;"), [root("*")]);
        assert_eq!(violations("serve.rs", "pub(crate) fn f() {} pub(super) fn g() {}"), [""; 0]);
        let macros = "#[macro_export] macro_rules! m { () => { $crate::Event::new() } }";
        assert_eq!(violations("serve.rs", macros), [""; 0]);
    }

    #[test]
    fn every_module_has_a_layer() {
        assert_eq!(
            violations("extra.rs", ""),
            ["1: the module `extra` has no place among the layers; give it one in \
              xtask/src/tidy/layers.rs and ARCHITECTURE.md"]
        );
        assert_eq!(violations_of("prism-hub", "extra/deep.rs", "").len(), 1);
        assert_eq!(violations_of("another", "extra.rs", "use crate::any;"), [""; 0]);
    }

    #[test]
    fn pure_modules_know_nothing_of_the_world() {
        for (text, named) in [
            ("use tokio::sync::Notify;", "tokio"),
            ("use ::tokio::sync::Notify;", "tokio"),
            ("fn f(uri: &http::Uri) {}", "the crate http"),
            ("use std::{thread, time::Duration};", "threads"),
            ("use std::sync::{Arc, Mutex};", "a lock"),
            ("type L = std::sync::RwLock<u8>;", "a lock"),
            ("fn f() { std::time::Instant::now(); }", "a clock"),
            ("use std::time::{Duration, SystemTime};", "a clock"),
            ("async fn f() {}", "`async`"),
        ] {
            let what = format!(
                "1: `log` is pure and must not name {named}; take a value from the caller, or do \
                 this in a higher module"
            );
            assert_eq!(violations("log.rs", text), [what], "{text}");
            assert_eq!(violations("log.rs", &format!("#[cfg(test)]\nmod t {{ {text} }}")), [""; 0]);
            assert_eq!(violations("serve.rs", text), [""; 0]);
        }
        let pure = "use std::sync::Arc;\n// tokio\nuse std::time::Duration;\nlet http_like = 1;";
        assert_eq!(violations("wire/event.rs", pure), [""; 0]);
    }
}
