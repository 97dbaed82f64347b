//! Whether every case of the Mercure drafts is tested: `protocol_coverage.txt` lists the tests of
//! each case, and this target compares the list with the sources.
//!
//! Draft-07 has 78 cases, draft-08 has 206. The name of a test begins with the numbers of its
//! cases: `m07_050_and_051_and_052_..`. Where the hub differs from a draft on purpose, the list has
//! the word `design`, and `docs/design.md` gives the reason under the same number.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LIST: &str = include_str!("protocol_coverage.txt");
const DESIGN: &str = include_str!("../../../docs/design.md");
const DRAFTS: [(&str, usize); 2] = [("m07", 78), ("m08", 206)];

/// A case of the list.
#[derive(Debug, Default)]
struct Case {
    is_by_design: bool,
    tests: BTreeSet<String>,
}

fn listed() -> BTreeMap<String, Case> {
    let mut cases = BTreeMap::new();
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let mut words = line.split(' ').map(str::to_owned);
        let id = words.next().unwrap();
        let (marks, tests): (BTreeSet<_>, _) = words.partition(|word| word == "design");
        let case = Case { is_by_design: !marks.is_empty(), tests };
        assert!(cases.insert(id.clone(), case).is_none(), "{id} is listed twice");
    }
    cases
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests of the workspace's crates that are not ignored.
fn tests() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    sources(crates, &mut files);
    let mut tests = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(function) = function {
                let name = function.split(['(', '<']).next().unwrap();
                if is_test {
                    tests.insert(name.to_owned());
                }
                is_test = false;
            } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if line.starts_with("#[ignore") || !line.starts_with("#[") {
                is_test = false;
            }
        }
    }
    tests
}

/// The cases in the name of a test.
fn cases_of(test: &str) -> BTreeSet<String> {
    let mut draft = None;
    let mut cases = BTreeSet::new();
    for word in test.split('_') {
        match word {
            "m07" | "m08" => draft = Some(word),
            "and" | "to" => {}
            number if number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                cases.extend(draft.map(|draft| format!("{draft}_{number}")));
            }
            _ => break,
        }
    }
    cases
}

#[test]
fn every_case_is_listed() {
    let listed: Vec<String> = listed().into_keys().collect();
    let numbers = |(draft, count): (&'static str, usize)| {
        (1..=count).map(move |number| format!("{draft}_{number:03}"))
    };
    let all: Vec<String> = DRAFTS.into_iter().flat_map(numbers).collect();
    assert_eq!(listed, all);
}

#[test]
fn every_case_is_tested_or_differs_by_design() {
    let tests = tests();
    for (id, case) in listed() {
        assert!(case.is_by_design || !case.tests.is_empty(), "{id} has no test");
        for test in &case.tests {
            assert!(cases_of(test).contains(&id), "{test} is not named after {id}");
            assert!(tests.contains(test), "{test}, of {id}, does not exist or is ignored");
        }
    }
}

#[test]
fn every_test_of_a_case_is_listed() {
    let listed = listed();
    for test in tests() {
        for id in cases_of(&test) {
            let case = listed.get(&id).unwrap_or_else(|| panic!("{test}: {id} is not in the list"));
            assert!(
                case.tests.contains(&test),
                "{test} is missing at {id} in protocol_coverage.txt"
            );
        }
    }
}

#[test]
fn every_difference_is_explained() {
    let spelled = |id: &str| id.to_ascii_uppercase().replace('_', "-");
    for (id, case) in listed() {
        let id = spelled(&id);
        assert_eq!(case.is_by_design, DESIGN.contains(&id), "{id} in the list and docs/design.md");
    }
}

#[test]
fn the_numbers_in_a_name_are_its_cases() {
    let read = |name: &str| cases_of(name).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(read("m07_001_the_hub_has_one_path"), "m07_001");
    assert_eq!(read("m07_076_to_078_and_m08_195_x_001"), "m07_076 m07_078 m08_195");
    assert_eq!(read("t_jwt_001"), "");
}
