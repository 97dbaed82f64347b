//! `cargo xtask tidy`: the rules of this project that no compiler and no lint knows.
//!
//! The same checks run as a test, so that `cargo test` is enough to see them.

mod circles;
mod layers;
mod lexer;
mod limits;
mod manifests;
mod modules;
mod names;
mod rust;
mod test_files;
mod text;
mod types;
mod violation;

use std::path::Path;

use self::violation::Violation;
use crate::tree::{self, File};

/// Checks the whole tree and prints every violation.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let violations = check(&tree::files(root)?);
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => Err("the tree is not tidy: 1 violation".to_owned()),
        count => Err(format!("the tree is not tidy: {count} violations")),
    }
}

/// All violations, by path and line.
fn check(files: &[File]) -> Vec<Violation> {
    let sources = rust::sources(files);
    let mut violations = Vec::new();
    for file in files {
        text::check_file(file, &mut violations);
        manifests::check(file, &mut violations);
    }
    for source in &sources {
        text::check_source(source, &mut violations);
        layers::check(source, &mut violations);
        names::check(source, &mut violations);
        test_files::check(source, &mut violations);
    }
    layers::check_text(files, &mut violations);
    limits::check(&sources, &mut violations);
    circles::check(&sources, &mut violations);
    types::check(&sources, &mut violations);
    violations.sort_by(|a, b| (&a.path, a.line, &a.what).cmp(&(&b.path, b.line, &b.what)));
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let violations = check(&tree::files(root).unwrap());
        let list: Vec<String> = violations.iter().map(Violation::to_string).collect();
        assert!(list.is_empty(), "the tree is not tidy:\n{}", list.join("\n"));
    }

    #[test]
    fn every_check_is_applied_to_the_tree() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let violations = check(&[
            file("ARCHITECTURE.md", "No layers.\n"),
            file("a/Cargo.toml", "[package]\nname = \"a\"\n"),
            file("crates/prism-sse/src/limits.rs", "/// Text.\npub const UNUSED: u8 = 1;\n"),
            file("crates/prism-sse/src/log.rs", "use crate::engine::Engine;\nuse tokio::sync;\n"),
            file("crates/prism-sse/src/wire.rs", "pub struct Session;"),
            file("xtask/src/a.rs", "use super::b::B;\nstruct A;\n"),
            file("xtask/src/b.rs", "\nuse super::a::A;\nstruct A;\n"),
            file("xtask/src/fixture.rs", "\n\nstruct Bell;\n"),
            file("xtask/src/main.rs", "mod a;\n"),
        ]);
        let places: Vec<String> =
            violations.iter().map(|it| format!("{}:{}", it.path, it.line)).collect();
        assert_eq!(
            places,
            [
                "ARCHITECTURE.md:1",
                "ARCHITECTURE.md:1",
                "ARCHITECTURE.md:1",
                "a/Cargo.toml:1",
                "a/Cargo.toml:1",
                "a/Cargo.toml:1",
                "a/Cargo.toml:1",
                "a/Cargo.toml:1",
                "crates/prism-sse/src/limits.rs:2",
                "crates/prism-sse/src/log.rs:1",
                "crates/prism-sse/src/log.rs:2",
                "crates/prism-sse/src/wire.rs:1",
                "crates/prism-sse/src/wire.rs:1",
                "xtask/src/a.rs:1",
                "xtask/src/b.rs:3",
                "xtask/src/fixture.rs:1",
                "xtask/src/fixture.rs:3",
            ]
        );
    }
}
