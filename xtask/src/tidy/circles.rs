//! No two files of a crate need each other, directly or through others: whoever reads one has read
//! what it is made of before.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::modules::{Modules, Uses};
use super::rust::Source;
use super::violation::Violation;

/// So many lines of one file are named at most.
const LINES_MAX: usize = 4;

/// Checks each crate of the workspace.
pub(super) fn check(sources: &[Source<'_>], violations: &mut Vec<Violation>) {
    let mut crates: Vec<&str> = sources.iter().filter_map(|source| src(source.path)).collect();
    crates.dedup();
    for src in crates {
        let modules = Modules::new(src, sources);
        let mut uses: Vec<_> = (0..modules.len()).map(|file| modules.uses(file)).collect();
        // A circle that was found is opened, so that the next one is another.
        while let Some(circle) = shortest_circle(&uses) {
            let what = describe(src, &modules, &uses, &circle);
            let (first, second) = (circle[0], circle[1 % circle.len()]);
            let line = uses[first][&second].lines[0];
            violations.push(Violation::new(modules.file(first), line, what));
            for (from, to) in edges(&circle) {
                uses[from].remove(&to);
            }
        }
    }
}

/// The directory of sources that a file lies in, with a slash at the end.
fn src(path: &str) -> Option<&str> {
    let is_crate = path.starts_with("crates/") || path.starts_with("xtask/");
    let end = path.find("/src/")? + "/src/".len();
    is_crate.then_some(&path[..end])
}

/// The files of the shortest circle, from the one that comes first in the tree on.
fn shortest_circle(uses: &[BTreeMap<usize, Uses<'_>>]) -> Option<Vec<usize>> {
    let circles = (0..uses.len()).filter_map(|file| shortest_circle_through(file, uses));
    circles.min_by_key(Vec::len)
}

fn shortest_circle_through(start: usize, uses: &[BTreeMap<usize, Uses<'_>>]) -> Option<Vec<usize>> {
    let mut came_from = HashMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(file) = next.pop_front() {
        if uses[file].contains_key(&start) {
            let mut circle = vec![file];
            while let Some(&before) = circle.last().filter(|file| **file != start) {
                circle.push(came_from[&before]);
            }
            circle.reverse();
            return Some(circle);
        }
        for &used in uses[file].keys() {
            if used != start && !came_from.contains_key(&used) {
                came_from.insert(used, file);
                next.push_back(used);
            }
        }
    }
    None
}

/// Each file of a circle, and the one after it.
fn edges(circle: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    circle.iter().copied().zip(circle.iter().copied().cycle().skip(1))
}

fn describe(
    src: &str,
    modules: &Modules<'_>,
    uses: &[BTreeMap<usize, Uses<'_>>],
    circle: &[usize],
) -> String {
    let below = |file| modules.file(file).strip_prefix(src).unwrap_or_default();
    let steps = edges(circle).map(|(from, to)| {
        let Uses { names, lines } = &uses[from][&to];
        let mut lines: Vec<String> = lines.iter().map(usize::to_string).collect();
        if lines.len() > LINES_MAX {
            lines.truncate(LINES_MAX);
            lines.push("..".to_owned());
        }
        let (from, to) = (below(from), below(to));
        format!("{from}:{} uses `{}` of {to}", lines.join(","), names.join("`, `"))
    });
    format!(
        "files need each other: {}; move what both need into a file below them",
        steps.collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::rust;
    use super::*;
    use crate::tree::File;

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File {
            path: format!("crates/{path}"),
            text: (*text).to_owned(),
        };
        let files: Vec<File> = files.iter().map(file).collect();
        let mut violations = Vec::new();
        check(&rust::sources(&files), &mut violations);
        violations.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn a_tree_without_circles_passes() {
        let files = [
            ("x/src/lib.rs", "mod a;\nmod b;\npub use a::A;\n"),
            ("x/src/a.rs", "mod child;\npub use child::Child;\npub struct A;\n"),
            // The parent hands its child on, but does not use it.
            ("x/src/a/child.rs", "use super::A;\npub struct Child;\n"),
            ("x/src/b.rs", "use crate::a::{A, Child};\n"),
            // Each crate is looked at for itself.
            ("y/src/lib.rs", "mod a;\nuse a::A;\n"),
            ("y/src/a.rs", "pub struct A;\n"),
            // Tests may need what they test, and that may have them as a module.
            ("y/src/a/tests.rs", "use super::A;\npub struct T;\n"),
            ("z/src/lib.rs", "pub struct A;\n#[cfg(test)]\nmod tests;\nfn f(a: tests::T) {}\n"),
            ("z/src/tests.rs", "use super::A;\npub struct T;\n"),
        ];
        assert_eq!(violations(&files), [""; 0]);
    }

    #[test]
    fn a_child_and_its_parent_do_not_need_each_other() {
        let files = [
            ("x/src/a.rs", "mod child;\npub struct A;\n\nfn f(c: child::Child) {}\n"),
            ("x/src/a/child.rs", "\nuse super::A;\npub struct Child;\nfn f(a: A) {}\n"),
        ];
        assert_eq!(
            violations(&files),
            ["crates/x/src/a.rs:4: files need each other: a.rs:4 uses `Child` of a/child.rs, \
              a/child.rs:2,4 uses `A` of a.rs; move what both need into a file below them"]
        );
    }

    #[test]
    fn a_circle_of_many_is_told_file_by_file() {
        let files = [
            ("x/src/lib.rs", "mod a;\n"),
            ("x/src/a.rs", "use crate::b::B;\npub struct A;\n"),
            ("x/src/b.rs", "use crate::c::{C, D};\npub struct B;\n"),
            ("x/src/c.rs", "pub struct C;\npub struct D;\nfn f() { crate::a::A; }\n"),
            // What only uses a circle is not of it.
            ("x/src/d.rs", "use crate::{a::A, b::B, c::C};\n"),
        ];
        assert_eq!(
            violations(&files),
            ["crates/x/src/a.rs:1: files need each other: a.rs:1 uses `B` of b.rs, b.rs:1 uses \
              `C`, `D` of c.rs, c.rs:3 uses `A` of a.rs; move what both need into a file below \
              them"]
        );
    }

    #[test]
    fn each_circle_is_told_the_shortest_first() {
        let files = [
            ("x/src/lib.rs", "mod a;\n"),
            ("x/src/a.rs", "use crate::b::B;\npub struct A;\n"),
            ("x/src/b.rs", "use crate::c::C;\npub struct B;\n"),
            ("x/src/c.rs", "use crate::{a::A, b::B};\npub struct C;\n"),
            ("x/src/d.rs", "use crate::e::E;\npub struct D;\n"),
            ("x/src/e.rs", "use crate::d::D;\npub struct E;\n"),
        ];
        let found: Vec<String> =
            violations(&files).iter().map(|it| it.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(found, ["crates/x/src/b.rs", "crates/x/src/d.rs"]);
    }
}
