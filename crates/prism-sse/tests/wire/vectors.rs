//! Streams in `tests/data`, each with what the standard says about it.
//!
//! `NAME.sse` is a stream, byte for byte. `NAME.txt` beside it has one line for each thing to be
//! decoded: `event ID NAME DATA`, `retry MILLISECONDS`, and at the end `last ID` for the id a
//! reader would send back; strings as in JSON. Lines that begin with `//` say which rule it is
//! about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use prism_sse::wire::Parsed;

use crate::independent;
use crate::parser::{Decoded, parse_whole};

/// A stream and what is expected of it.
#[derive(Debug)]
pub(crate) struct Vector {
    name: String,
    pub(crate) stream: Vec<u8>,
    expect: String,
}

/// All vectors, by name.
pub(crate) fn all() -> Vec<Vector> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let names = |extension: &str| -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(&dir).expect("the directory of vectors is readable");
        let paths = entries.map(|entry| entry.expect("the directory is readable").path());
        paths
            .filter(|path| path.extension().is_some_and(|it| it == extension))
            .map(|path| path.with_extension(""))
            .collect()
    };
    let streams = names("sse");
    assert_eq!(streams, names("txt"), "each stream has its expectation, and the reverse");
    let read = |path: PathBuf| Vector {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        stream: fs::read(path.with_extension("sse")).expect("the stream is readable"),
        expect: fs::read_to_string(path.with_extension("txt")).expect("it is readable text"),
    };
    streams.into_iter().map(read).collect()
}

/// What was decoded, as an expectation is written.
fn describe(decoded: &Decoded) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("text is JSON");
    let mut lines: Vec<String> = decoded
        .items
        .iter()
        .map(|item| match item {
            Parsed::Event(event) => {
                let [id, name, data] = [&event.id, &event.name, &event.data].map(|it| quoted(it));
                format!("event {id} {name} {data}")
            }
            Parsed::Retry(after) => format!("retry {}", after.as_millis()),
            other => format!("{other:?}"),
        })
        .collect();
    lines.push(format!("last {}", quoted(&decoded.last_event_id)));
    lines.join("\n")
}

/// An expectation in the form that [`describe`] writes.
fn canonical(expect: &str) -> String {
    let lines = expect.lines().filter(|line| !line.starts_with("//") && !line.is_empty());
    let rewrite = |line: &str| {
        let (kind, rest) = line.split_once(' ').expect("a line has a kind and a rest");
        let values = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
        let values = values.map(|value| value.expect("JSON").to_string());
        [kind.to_owned()].into_iter().chain(values).collect::<Vec<_>>().join(" ")
    };
    lines.map(rewrite).collect::<Vec<_>>().join("\n")
}

fn check(input: &[u8], expect: &str, name: &str) {
    let expect = canonical(expect);
    assert_eq!(describe(&parse_whole(input)), expect, "{name}");
    // The expectation itself may be wrong: it is checked with the independent decoder.
    let kinds = |kind: &'static str| {
        let line = move |line: &&str| line.starts_with(kind);
        expect.lines().filter(line).map(str::to_owned).collect::<Vec<_>>()
    };
    let events = independent::events(input).into_iter().map(|it| {
        let quoted = [it.id, it.name, it.data].map(|it| serde_json::Value::from(it).to_string());
        format!("event {}", quoted.join(" "))
    });
    assert_eq!(events.collect::<Vec<_>>(), kinds("event"), "{name}, independent reader");
    let retries = independent::retries(input).into_iter().map(|ms| format!("retry {ms}"));
    assert_eq!(retries.collect::<Vec<_>>(), kinds("retry"), "{name}, independent reader");
}

#[test]
fn every_vector_is_read_as_the_standard_says() {
    let vectors = all();
    assert!(vectors.len() >= 40, "vectors are missing: {}", vectors.len());
    for vector in vectors {
        check(&vector.stream, &vector.expect, &vector.name);
    }
}
