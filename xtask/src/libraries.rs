//! The EventSource libraries of other languages that the tests of the hub read with.
//!
//! They are installed into `target/clients`, each at the version and with the checksum that a file
//! beside the tests names, and nothing of what they bring is run on the way. What is there already
//! is left alone, so that this needs a network once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

const TESTS: &str = "crates/prism-hub/tests/clients";

/// What is installed remembers what it was made of in a file of this name.
const STAMP: &str = "installed";

/// How the libraries of one language are installed.
struct Language {
    name: &'static str,
    /// Files beside the tests. The last one has the versions and the checksums.
    files: &'static [&'static str],
    program: &'static str,
    /// The arguments, for a program that runs in the directory with the files.
    arguments: &'static [&'static str],
}

const LANGUAGES: &[Language] = &[
    Language {
        name: "python",
        files: &["requirements.txt"],
        program: "python3",
        arguments: &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--target=.",
            "--requirement=requirements.txt",
        ],
    },
    Language {
        name: "node",
        files: &["package.json", "package-lock.json"],
        program: "npm",
        arguments: &["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"],
    },
];

/// Installs what is not there yet.
pub(crate) fn install(root: &Path) -> Result<(), String> {
    for language in LANGUAGES {
        let directory = target(root).join("clients").join(language.name);
        language.install(&root.join(TESTS), &directory).map_err(|error| {
            let name = language.name;
            format!(
                "the EventSource library of {name} is not installed: {error}; leave the tests that \
                 need it out with `cargo xtask test --no-browser`"
            )
        })?;
    }
    Ok(())
}

impl Language {
    fn install(&self, tests: &Path, directory: &Path) -> Result<(), String> {
        let mut wanted = String::new();
        for file in self.files {
            wanted += &fs::read_to_string(tests.join(file)).map_err(said(tests))?;
        }
        let stamp = directory.join(STAMP);
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(said(directory))?;
        }
        fs::create_dir_all(directory).map_err(said(directory))?;
        for file in self.files {
            fs::copy(tests.join(file), directory.join(file)).map_err(said(directory))?;
        }
        process::run(Command::new(self.program).args(self.arguments).current_dir(directory))?;
        fs::write(&stamp, wanted).map_err(said(&stamp))
    }
}

fn said(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Where cargo puts what it builds.
fn target(root: &Path) -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR");
    root.join(named.map_or_else(|| PathBuf::from("target"), PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_checksum() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(TESTS);
        let read = |name| fs::read_to_string(tests.join(name)).unwrap();
        let python = read("requirements.txt");
        for line in python.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.contains("==") && line.contains(" --hash=sha256:"), "{line}");
        }
        let node = read("package-lock.json");
        let count = |what| node.matches(what).count();
        assert_eq!(count("\"version\": "), count("\"integrity\": \"sha512-"));
        assert_eq!(count("\"node_modules/"), count("\"integrity\": "));
        assert_eq!(count("\"resolved\""), 0, "packages come from where this machine gets them");
    }

    #[test]
    fn what_is_installed_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("prism-xtask-{}", std::process::id()));
        let (tests, installed) = (directory.join("tests"), directory.join("installed"));
        fs::create_dir_all(&tests).unwrap();
        fs::write(tests.join("versions"), "1").unwrap();
        let language = |program| Language {
            name: "none",
            files: &["versions"],
            program,
            arguments: &["--version"],
        };
        language("no-such-program-anywhere").install(&tests, &installed).unwrap_err();
        language("cargo").install(&tests, &installed).unwrap();
        language("no-such-program-anywhere").install(&tests, &installed).unwrap();
        fs::write(tests.join("versions"), "2").unwrap();
        language("no-such-program-anywhere").install(&tests, &installed).unwrap_err();
        fs::remove_dir_all(&directory).unwrap();
    }
}
