//! Test code stands apart from the code that a newcomer reads.

use super::rust::Source;
use super::violation::Violation;

/// Names that only test code has.
const TEST_NAMES: &[&str] = &["attacks", "fixture"];

/// Checks one file of a crate: one that is for tests only lies in a folder `tests`, or is the
/// module of that name.
pub(super) fn check(source: &Source<'_>, violations: &mut Vec<Violation>) {
    let Some((_, path)) = source.path.split_once("/src/") else { return };
    let mut parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if parts.contains(&"tests") {
        return;
    }
    let name = parts.pop().unwrap_or_default();
    let is_test = !source.tokens.is_empty() && source.tokens.iter().all(|token| token.test);
    let has_test_name = TEST_NAMES.iter().any(|it| name.starts_with(it));
    if is_test || has_test_name {
        let what = format!(
            "`{name}.rs` is for tests only; move it to the folder `tests` of the module it tests"
        );
        violations.push(Violation::new(source.path, 1, what));
    }
}

#[cfg(test)]
mod tests {
    use super::super::rust;
    use super::*;
    use crate::tree::File;

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        let files: Vec<File> = files.iter().map(file).collect();
        let mut violations = Vec::new();
        for source in rust::sources(&files) {
            check(&source, &mut violations);
        }
        violations.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn test_code_has_its_own_folder() {
        let files = [
            ("a/src/b.rs", "struct B;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod t {}\n"),
            ("a/src/b/tests.rs", "mod fixture;\n"),
            ("a/src/b/tests/fixture.rs", "struct Fixture;\n"),
            ("a/src/c.rs", "#[cfg(test)]\nmod tests {\n    mod attacks;\n}\nstruct C;\n"),
            ("a/src/c/tests/attacks.rs", "fn f() {}\n"),
            ("a/src/empty.rs", "// Nothing yet.\n"),
            ("a/tests/it/fixture.rs", "struct Fixture;\n"),
        ];
        assert_eq!(violations(&files), [""; 0]);
    }

    #[test]
    fn test_code_beside_other_code_is_refused() {
        let what = |path: &str, name: &str| {
            format!(
                "{path}:1: `{name}.rs` is for tests only; move it to the folder `tests` of the \
                 module it tests"
            )
        };
        let declared = [
            ("a/src/b.rs", "struct B;\n#[cfg(test)]\nmod laws;\n"),
            ("a/src/b/laws.rs", "mod deep;\n"),
            ("a/src/b/laws/deep.rs", "fn f() {}\n"),
        ];
        assert_eq!(
            violations(&declared),
            [what("a/src/b/laws.rs", "laws"), what("a/src/b/laws/deep.rs", "deep")]
        );
        for (path, name) in
            [("a/src/b/fixture.rs", "fixture"), ("a/src/attacks_on_b.rs", "attacks_on_b")]
        {
            assert_eq!(violations(&[(path, "struct B;")]), [what(path, name)]);
        }
        let whole = "#![cfg(test)]\nstruct B;\n";
        assert_eq!(violations(&[("a/src/laws.rs", whole)]), [what("a/src/laws.rs", "laws")]);
    }
}
