//! What every `Cargo.toml` of the workspace says.

use super::violation::Violation;
use crate::tree::File;

/// One `key = value` of a manifest, with the table it stands in.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    table: String,
    key: String,
    /// As written, on one line, without comments.
    value: String,
    line: usize,
}

/// Checks a manifest; other files pass.
pub(super) fn check(file: &File, violations: &mut Vec<Violation>) {
    let name = file.path.rsplit('/').next();
    if name != Some("Cargo.toml") {
        return;
    }
    let entries = entries(&file.text);
    let mut refuse = |line, what: String| violations.push(Violation::new(&file.path, line, what));
    check_package(&entries, &mut refuse);
    check_workspace(&entries, &mut refuse);
    for entry in &entries {
        check_dependency(entry, &mut refuse);
    }
}

fn check_package(entries: &[Entry], refuse: &mut dyn FnMut(usize, String)) {
    let Some(package) = entries.iter().find(|entry| entry.table == "package") else { return };
    // The table's own line is above its first key; this is near enough to find it.
    let line = package.line.saturating_sub(1).max(1);
    for key in ["license", "edition", "rust-version"] {
        if !is_inherited(entries, "package", key) {
            refuse(
                line,
                format!("the package does not inherit `{key}`; add `{key}.workspace = true`"),
            );
        }
    }
    let is_private = value(entries, "package", "publish") == Some("false");
    if !is_private && value(entries, "package", "description").is_none() {
        refuse(line, "the package has no description; add one, or `publish = false`".to_owned());
    }
    if value(entries, "lints", "workspace") != Some("true") {
        refuse(
            line,
            "the workspace's lints are not on; add `[lints]` with `workspace = true`".to_owned(),
        );
    }
}

fn check_workspace(entries: &[Entry], refuse: &mut dyn FnMut(usize, String)) {
    if !entries.iter().any(|entry| entry.table == "workspace") {
        return;
    }
    let level = value(entries, "workspace.lints.rust", "unsafe_code").unwrap_or_default();
    if !level.contains("\"forbid\"") {
        let what = "unsafe code is possible; set `unsafe_code = \"forbid\"` in \
                    `[workspace.lints.rust]`";
        refuse(1, what.to_owned());
    }
}

fn check_dependency(entry: &Entry, refuse: &mut dyn FnMut(usize, String)) {
    let Some((name, setting)) = dependency(entry) else { return };
    if entry.value.split('"').skip(1).step_by(2).any(|text| text.contains('*')) {
        refuse(entry.line, format!("`{name}` may be any version; name the oldest that works"));
    }
    let is_git = match setting {
        Some(key) => key == "git",
        None => inline_keys(&entry.value).any(|key| key == "git"),
    };
    if is_git {
        refuse(entry.line, format!("`{name}` comes from git; take it from crates.io"));
    }
}

/// The dependency that an entry is about, and which of its settings, if not all of them.
fn dependency(entry: &Entry) -> Option<(&str, Option<&str>)> {
    if entry.table.ends_with("dependencies") {
        return Some(match entry.key.split_once('.') {
            Some((name, setting)) => (name, Some(setting)),
            None => (&entry.key, None),
        });
    }
    let (table, name) = entry.table.rsplit_once('.')?;
    table.ends_with("dependencies").then_some((name, Some(entry.key.as_str())))
}

/// The keys of `{ key = value, key = value }`.
fn inline_keys(value: &str) -> impl Iterator<Item = &str> {
    let parts = value.split(['{', ',']);
    parts.filter_map(|part| part.split_once('=')).map(|(key, _)| key.trim())
}

fn is_inherited(entries: &[Entry], table: &str, key: &str) -> bool {
    value(entries, table, &format!("{key}.workspace")) == Some("true")
        || value(entries, table, key)
            .is_some_and(|value| value.replace(' ', "") == "{workspace=true}")
}

fn value<'a>(entries: &'a [Entry], table: &str, key: &str) -> Option<&'a str> {
    let mut entries = entries.iter().filter(|entry| entry.table == table);
    entries.find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// As much of TOML as manifests use: tables, keys, and values over several lines.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut table = String::new();
    let mut open = 0;
    for (at, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        if open > 0 {
            if let Some(entry) = entries.last_mut() {
                entry.value.push_str(line);
            }
        } else if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).trim().to_owned();
            continue;
        } else if let Some((key, value)) = line.split_once('=') {
            entries.push(Entry {
                table: table.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                line: at + 1,
            });
        }
        open += outside_strings(line).matches(['[', '{']).count();
        open -= outside_strings(line).matches([']', '}']).count().min(open);
    }
    entries
}

fn without_comment(line: &str) -> &str {
    let mut in_string = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => in_string = !in_string,
            '#' if !in_string => return &line[..at],
            _ => {}
        }
    }
    line
}

fn outside_strings(line: &str) -> String {
    line.split('"').step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIDY: &str = "\
[package]
name = \"a\" # A comment.
description = \"About # a [thing.\"
license.workspace = true
edition.workspace = true
rust-version = { workspace = true }

[features]
default = [
    \"json\", # Another.
]

[dependencies]
b = \"1.2\"
c = { version = \"1\", features = [\"git\"] }
d.workspace = true

[dependencies.e]
version = \"1\"

[lints]
workspace = true
";

    fn violations(text: &str) -> Vec<String> {
        let file = File { path: "crates/a/Cargo.toml".to_owned(), text: text.to_owned() };
        let mut violations = Vec::new();
        check(&file, &mut violations);
        violations.iter().map(|it| format!("{}: {}", it.line, it.what)).collect()
    }

    #[test]
    fn a_tidy_manifest_passes() {
        assert_eq!(violations(TIDY), [""; 0]);
        let private = TIDY.replace("description = \"About # a [thing.\"", "publish = false");
        assert_eq!(violations(&private), [""; 0]);
    }

    #[test]
    fn what_the_workspace_decides_is_inherited() {
        for (line, key) in [
            ("license.workspace = true", "license"),
            ("edition.workspace = true", "edition"),
            ("rust-version = { workspace = true }", "rust-version"),
        ] {
            let what =
                format!("1: the package does not inherit `{key}`; add `{key}.workspace = true`");
            assert_eq!(violations(&TIDY.replace(line, &format!("{key} = \"x\""))), [what]);
        }
        let what = "1: the workspace's lints are not on; add `[lints]` with `workspace = true`";
        assert_eq!(violations(&TIDY.replace("[lints]\nworkspace = true\n", "")), [what]);
        let what = "1: the package has no description; add one, or `publish = false`";
        assert_eq!(violations(&TIDY.replace("description", "documentation")), [what]);
    }

    #[test]
    fn the_workspace_forbids_unsafe_code() {
        let root =
            "[workspace]\nmembers = []\n\n[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";
        assert_eq!(violations(root), [""; 0]);
        let what = "1: unsafe code is possible; set `unsafe_code = \"forbid\"` in \
                    `[workspace.lints.rust]`";
        assert_eq!(violations(&root.replace("forbid", "deny")), [what]);
        assert_eq!(violations("[workspace]\nmembers = []\n"), [what]);
    }

    #[test]
    fn dependencies_have_versions_of_the_registry() {
        let star = |line| format!("{line}: `b` may be any version; name the oldest that works");
        let git = |line| format!("{line}: `b` comes from git; take it from crates.io");
        for (text, what) in [
            ("[dependencies]\nb = \"*\"\n", star(2)),
            ("[dev-dependencies]\nb = { version = \"1.*\" }\n", star(2)),
            ("[workspace.dependencies]\nb.version = \"*\"\n", star(2)),
            ("[target.'cfg(unix)'.dependencies.b]\nversion = \"*\"\n", star(2)),
            ("[build-dependencies]\n\nb = { version = \"1\", git = \"https://x\" }\n", git(3)),
            ("[dependencies]\nb.git = \"https://x\"\n", git(2)),
            ("[dependencies.b]\ngit = \"https://x\"\n", git(2)),
            ("[dependencies]\nb = {\n    git = \"https://x\",\n}\n", git(2)),
        ] {
            assert_eq!(violations(text), [what], "{text}");
        }
        assert_eq!(violations("[dependencies]\ngit = \"1\"\n[a]\nb = \"*\"\n"), [""; 0]);
    }
}
