//! Which file of a crate names what another one defines.
//!
//! A path is followed to the file that defines what it names, through the imports of its own file
//! and through those by which other files hand it on: `super::Record` is of `log/ring.rs` if the
//! parent re-exports it from there. Re-exports themselves and test code count for nothing. What a
//! method belongs to is not seen, because no path says it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rust::{NamedPath, Role, Source};

/// Imports may name imports; more than this in a row name each other.
const IMPORTS_MAX: usize = 8;

/// The files of one crate, by the modules they are.
#[derive(Debug)]
pub(super) struct Modules<'a> {
    files: Vec<Module<'a>>,
    by_path: HashMap<Vec<&'a str>, usize>,
}

#[derive(Debug)]
struct Module<'a> {
    file: &'a str,
    path: Vec<&'a str>,
    /// What the file defines, modules in braces among it.
    items: HashSet<&'a str>,
    /// From the name that an import has in this file to what it names, as written.
    imports: HashMap<&'a str, Vec<&'a str>>,
    /// The modules of which everything is imported, as written.
    globs: Vec<Vec<&'a str>>,
    /// The paths by which the file may use something of another.
    uses: Vec<NamedPath<'a>>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'a> {
    Item { file: usize, name: &'a str },
    Module { file: usize },
}

/// What a file names of another file, and where.
#[derive(Debug, Default)]
pub(super) struct Uses<'a> {
    pub(super) names: Vec<&'a str>,
    pub(super) lines: Vec<usize>,
}

/// The module that a file below `src` is, as a path from the crate's root.
pub(super) fn module_of(path: &str) -> Vec<&str> {
    let mut module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
        module.pop();
    }
    module
}

impl<'a> Modules<'a> {
    /// The modules of the crate whose sources lie below `src`, which ends in a slash.
    pub(super) fn new(src: &str, sources: &[Source<'a>]) -> Self {
        let mut files = Vec::new();
        let mut by_path = HashMap::new();
        for source in sources {
            let Some(below) = source.path.strip_prefix(src) else { continue };
            let path = module_of(below);
            // A program beside a library is a crate of its own.
            if below == "main.rs" && by_path.contains_key(&path) {
                continue;
            }
            by_path.insert(path.clone(), files.len());
            files.push(Module::new(source, path));
        }
        Self { files, by_path }
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Where a file lies.
    pub(super) fn file(&self, at: usize) -> &'a str {
        self.files[at].file
    }

    /// The other files of which this one uses something.
    pub(super) fn uses(&self, at: usize) -> BTreeMap<usize, Uses<'a>> {
        let mut uses: BTreeMap<usize, Uses<'a>> = BTreeMap::new();
        for path in &self.files[at].uses {
            let (file, name) = match path.segments.as_slice() {
                [module @ .., "*"] => match self.resolve(at, module, 0) {
                    Some(Target::Item { file, .. } | Target::Module { file }) => (file, "*"),
                    None => continue,
                },
                whole => match self.resolve(at, whole, 0) {
                    Some(Target::Item { file, name }) => (file, name),
                    // What is used of a module that is imported as a whole, other paths tell.
                    Some(Target::Module { .. }) | None => continue,
                },
            };
            if file == at {
                continue;
            }
            let them = uses.entry(file).or_default();
            if !them.names.contains(&name) {
                them.names.push(name);
            }
            if !them.lines.contains(&path.line) {
                them.lines.push(path.line);
            }
        }
        uses
    }

    /// What a path that stands in a file leads to, unless it is of another crate.
    fn resolve(&self, at: usize, path: &[&'a str], imports: usize) -> Option<Target<'a>> {
        let this = &self.files[at];
        let ups = path.iter().take_while(|segment| **segment == "super").count();
        match path {
            _ if imports > IMPORTS_MAX => None,
            ["crate" | "$crate", rest @ ..] => self.descend(&[], rest, imports),
            ["self", rest @ ..] => self.descend(&this.path, rest, imports),
            ["super", ..] => {
                // More of them than the file is deep are those that leave modules in braces.
                let depth = this.path.len().saturating_sub(ups);
                self.descend(&this.path[..depth], &path[ups..], imports)
            }
            [first, ..] if this.has(first) => self.descend(&this.path, path, imports),
            [first, ..] => {
                let is_child = self.by_path.contains_key(&child(&this.path, first));
                let is_known = is_child || self.glob(at, first, imports).is_some();
                is_known.then(|| self.descend(&this.path, path, imports)).flatten()
            }
            [] => Some(Target::Module { file: at }),
        }
    }

    /// What a path leads to from a module on.
    fn descend(&self, from: &[&'a str], path: &[&'a str], imports: usize) -> Option<Target<'a>> {
        let &file = self.by_path.get(from)?;
        let this = &self.files[file];
        let [first, rest @ ..] = path else { return Some(Target::Module { file }) };
        let child = child(from, first);
        if *first == "self" {
            Some(Target::Module { file })
        } else if self.by_path.contains_key(&child) {
            // A function may have the name of a module, and then is taken for it.
            self.descend(&child, rest, imports)
        } else if this.items.contains(first) {
            Some(Target::Item { file, name: first })
        } else if let Some(import) = this.imports.get(first) {
            let whole = [import.as_slice(), rest].concat();
            self.resolve(file, &whole, imports + 1)
        } else if let Some(glob) = self.glob(file, first, imports) {
            let whole = [glob, path].concat();
            self.resolve(file, &whole, imports + 1)
        } else {
            // Macros make items too. What the root has but does not define is of other crates.
            (!from.is_empty()).then_some(Target::Item { file, name: first })
        }
    }

    /// The module of which a file imports everything, among it this name.
    fn glob(&self, at: usize, name: &str, imports: usize) -> Option<&[&'a str]> {
        let has = |glob: &[&'a str]| match self.resolve(at, glob, imports + 1) {
            Some(Target::Module { file }) => self.files[file].has(name),
            _ => false,
        };
        self.files[at].globs.iter().map(Vec::as_slice).find(|glob| has(glob))
    }
}

impl<'a> Module<'a> {
    fn new(source: &Source<'a>, path: Vec<&'a str>) -> Self {
        let variants = variants(source);
        let mut paths = source.paths();
        paths.retain(|path| !path.test && !variants.contains(&path.at));
        let mut this = Self {
            file: source.path,
            path,
            items: items(source),
            imports: HashMap::new(),
            globs: Vec::new(),
            uses: Vec::new(),
        };
        for path in paths {
            match path.segments.as_slice() {
                [module @ .., "*"] if path.role != Role::Code => this.globs.push(module.to_vec()),
                [whole @ .., "self"] | whole if path.role != Role::Code => {
                    this.imports.insert(path.name, whole.to_vec());
                }
                _ => {}
            }
            if path.role == Role::Import || (path.role == Role::Code && is_use(source, &path)) {
                this.uses.push(path);
            }
        }
        this
    }

    fn has(&self, name: &str) -> bool {
        self.items.contains(name) || self.imports.contains_key(name)
    }
}

fn child<'a>(module: &[&'a str], name: &'a str) -> Vec<&'a str> {
    [module, &[name]].concat()
}

/// Words that a name follows where it is defined.
const DEFINING: &[&str] =
    &["const", "enum", "fn", "macro_rules", "mod", "static", "struct", "trait", "type", "union"];

/// What a file defines, in modules in braces too, but not in functions, blocks and tests.
fn items<'a>(source: &Source<'a>) -> HashSet<&'a str> {
    let mut items = HashSet::new();
    let mut open: usize = 0;
    for at in 0..source.tokens.len() {
        let token = &source.tokens[at];
        match token.text {
            "{" => open += 1,
            "}" => open = open.saturating_sub(1),
            _ => {}
        }
        let before = |back: usize| at.checked_sub(back).map_or("", |index| source.at(index));
        let is_macro = before(1) == "!" && before(2) == "macro_rules";
        let is_defined = is_macro || DEFINING.contains(&before(1));
        // A module without braces is another file.
        let is_file = before(1) == "mod" && source.at(at + 1) == ";";
        if is_defined && !is_file && !token.test && open == token.inline_modules {
            items.insert(token.text);
        }
    }
    items
}

/// Where the variants of enumerations are named, which may have names of other things.
fn variants(source: &Source<'_>) -> HashSet<usize> {
    let mut variants = HashSet::new();
    let enums = (0..source.tokens.len()).filter(|at| source.at(*at) == "enum");
    for start in enums {
        let mut open = 0;
        for at in start..source.tokens.len() {
            match source.at(at) {
                "{" | "(" | "[" => open += 1,
                "}" | ")" | "]" => open -= 1,
                ";" if open == 0 => break,
                _ if open == 1 && matches!(source.at(at - 1), "{" | "," | "]") => {
                    variants.insert(at);
                }
                _ => {}
            }
            if open == 0 && source.at(at) == "}" {
                break;
            }
        }
    }
    variants
}

/// Whether a path in code can stand for something of another file. A lone name in lower case is a
/// variable or a field, unless it is called.
fn is_use(source: &Source<'_>, path: &NamedPath<'_>) -> bool {
    let is_defined = path.at > 0 && DEFINING.contains(&source.at(path.at - 1));
    let is_called = matches!(source.at(path.at + 1), "(" | "!");
    let is_upper = path.name.starts_with(char::is_uppercase);
    !is_defined && (path.segments.len() > 1 || is_called || is_upper)
}

#[cfg(test)]
mod tests {
    use super::super::rust;
    use super::*;
    use crate::tree::File;

    /// What each file uses of which other, as `from:lines names to`.
    fn uses(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File {
            path: format!("src/{path}"),
            text: (*text).to_owned(),
        };
        let files: Vec<File> = files.iter().map(file).collect();
        let sources = rust::sources(&files);
        let modules = Modules::new("src/", &sources);
        let mut all = Vec::new();
        for from in 0..modules.len() {
            for (to, Uses { names, lines }) in modules.uses(from) {
                let [from, to] = [from, to].map(|file| &modules.file(file)["src/".len()..]);
                let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
                all.push(format!("{from}:{} {} {to}", lines.join(","), names.join("+")));
            }
        }
        all
    }

    const A: (&str, &str) = ("a.rs", "mod deep;\npub struct A;\npub fn make() {}\n");
    const DEEP: (&str, &str) = ("a/deep.rs", "pub struct Deep;\nmacro! { pub struct Made; }\n");
    const LIB: (&str, &str) = ("lib.rs", "mod a;\nmod b;\n");

    #[test]
    fn a_use_is_followed_to_the_file_that_defines() {
        for (text, expected) in [
            ("use crate::a::A;", "b.rs:1 A a.rs"),
            ("use super::a::{A as Other, make};", "b.rs:1 A+make a.rs"),
            ("use crate::a;\n\nfn f() -> a::A { a::make() }", "b.rs:3 A+make a.rs"),
            ("use crate::a::deep::{self, Deep};\n", "b.rs:1 Deep a/deep.rs"),
            ("fn f(a: crate::a::deep::Made) {}", "b.rs:1 Made a/deep.rs"),
            ("use crate::a::*;", "b.rs:1 * a.rs"),
            ("mod inner { use super::super::a::A; }", "b.rs:1 A a.rs"),
        ] {
            assert_eq!(uses(&[LIB, A, DEEP, ("b.rs", text)]), [expected], "{text}");
        }
    }

    #[test]
    fn a_name_that_is_handed_on_is_of_the_file_that_defines_it() {
        let parent =
            ("a.rs", "mod deep;\nmod low;\npub use deep::Deep as Known;\npub use low::*;\n");
        let low = ("a/low.rs", "pub fn below() {}\n");
        let user = ("b.rs", "use crate::a::{Known, below};\n");
        assert_eq!(
            uses(&[LIB, parent, DEEP, low, user]),
            ["b.rs:1 Deep a/deep.rs", "b.rs:1 below a/low.rs"]
        );
        let sibling = ("a/low.rs", "use super::Known;\n");
        assert_eq!(uses(&[LIB, parent, DEEP, sibling]), ["a/low.rs:1 Deep a/deep.rs"]);
    }

    #[test]
    fn to_hand_a_name_on_is_no_use_of_it_but_to_use_it_is() {
        let export = "mod deep;\npub(crate) use deep::Deep;\n";
        assert_eq!(uses(&[("a.rs", export), DEEP]), [""; 0]);
        let user = format!("{export}fn f(a: Deep) {{}}\n");
        assert_eq!(uses(&[("a.rs", &user), DEEP]), ["a.rs:3 Deep a/deep.rs"]);
    }

    #[test]
    fn what_only_looks_like_a_use_is_none() {
        for text in [
            "use std::a::A; use http::A;",
            "use crate::a;",
            "pub(in crate::a) fn f() {}",
            "#[cfg(test)] mod tests { use crate::a::A; }",
            "// crate::a::A\nconst T: &str = \"crate::a::A\";",
            "pub use crate::a::make; fn f(make: u8) { x.make(); let y = make; }",
            "pub use crate::a::A; enum E { B, A } fn f() { E::A; }",
            "use crate::unknown;",
            "pub use first::X; use second::X as first; use first as second; fn f(x: X) {}",
        ] {
            assert_eq!(uses(&[LIB, A, DEEP, ("b.rs", text)]), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_program_beside_a_library_is_another_crate() {
        let library = ("lib.rs", "pub struct Shared;\n");
        let program = ("main.rs", "pub struct Shared;\nuse crate::Shared;\n");
        assert_eq!(
            uses(&[library, program, ("b.rs", "use crate::Shared;")]),
            ["b.rs:1 Shared lib.rs"]
        );
        assert_eq!(uses(&[program, ("b.rs", "use crate::Shared;")]), ["b.rs:1 Shared main.rs"]);
    }
}
