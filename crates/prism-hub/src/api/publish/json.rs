//! Events as JSON: one document, or one a line.

use std::borrow::Cow;

use prism_sse::{Ack, Durability};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::item::Item;
use crate::limits;
use crate::problem::Problem;

/// A document. `topic` may be missing, which is a broadcast, but not `null`, which is a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(default, deserialize_with = "present")]
    topic: Option<Topics>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    event: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
    #[serde(default)]
    private: bool,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`topic` must be text, or an array of texts")]
enum Topics {
    One(String),
    Several(Vec<String>),
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    position: String,
    receivers: usize,
    durability: &'static str,
}

/// Reads a document.
pub(super) fn read(content: &[u8]) -> Result<Item, Problem> {
    let document: Document<'_> =
        serde_json::from_slice(content).map_err(|error| refused(&error))?;
    let topics = match document.topic {
        None => Vec::new(),
        Some(Topics::One(topic)) => vec![topic],
        Some(Topics::Several(topics)) if topics.is_empty() => {
            return Err(Problem::bad_request("`topic` must not be an empty array."));
        }
        Some(Topics::Several(topics)) => topics,
    };
    Ok(Item {
        topics,
        data: document.data.map(text_of).transpose()?.unwrap_or_default(),
        event: document.event,
        id: document.id,
        retry: document.retry,
        private: document.private,
        key: document.key,
    })
}

/// The lines of a body, without those that are empty.
pub(super) fn lines(content: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).take(limits::LINES_MAX + 1).collect();
    if lines.len() > limits::LINES_MAX {
        let sentence = format!("At most {} events are published at a time.", limits::LINES_MAX);
        return Err(Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(lines)
}

/// What is told of an event that was accepted.
pub(super) fn answer(id: &str, ack: &Ack) -> String {
    let durability = match ack.durability {
        Durability::Memory => "memory",
        Durability::Os => "os",
        Durability::Fsync => "fsync",
        _ => "replicated",
    };
    let position = ack.position.to_string();
    let answer = Answer { id, position, receivers: ack.receivers, durability };
    // Text and a number cannot fail to be written; an empty object is a document too.
    serde_json::to_string(&answer).unwrap_or_else(|_| "{}".to_owned())
}

/// A string as it reads, any other value as it stands, without the space between its parts.
pub(super) fn text_of(value: &RawValue) -> Result<String, Problem> {
    let raw = value.get();
    if raw.starts_with('"') {
        let text: Cow<'_, str> = serde_json::from_str(raw).map_err(|error| refused(&error))?;
        return Ok(text.into_owned());
    }
    let mut compact = String::with_capacity(raw.len());
    let (mut in_string, mut escaped) = (false, false);
    for char in raw.chars() {
        if in_string || !char.is_ascii_whitespace() {
            compact.push(char);
        }
        in_string ^= char == '"' && !escaped;
        escaped = in_string && char == '\\' && !escaped;
    }
    Ok(compact)
}

pub(super) fn refused(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("The JSON is not as it must be: {error}."))
}

/// A member that may be missing; `null` is a value where it stands.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_a_string_as_it_reads_or_any_other_value_without_space() {
        let cases = [
            (r#""a\n\"b\"\u00e9""#, "a\n\"b\"é"),
            (
                r#"{ "b" : [ 1.50, "x \" y\\" ],  "a" : 12345678901234567890 }"#,
                r#"{"b":[1.50,"x \" y\\"],"a":12345678901234567890}"#,
            ),
            ("null", "null"),
            (" [ ] ", "[]"),
            ("\"\"", ""),
        ];
        for (json, data) in cases {
            let item = read(format!(r#"{{"topic":"t","data":{json}}}"#).as_bytes()).unwrap();
            assert_eq!(item.data, data, "{json}");
        }
        assert_eq!(read(br#"{"topic":["a","b"]}"#).unwrap().data, "");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for json in [
            "",
            "[]",
            "{",
            r#"{"topic":null}"#,
            r#"{"topic":[]}"#,
            r#"{"topic":1}"#,
            r#"{"topics":"a"}"#,
            r#"{"topic":"a","topic":"b"}"#,
            r#"{"topic":"a","retry":-1}"#,
            r#"{"topic":"a","retry":"5"}"#,
            r#"{"topic":"a","private":"on"}"#,
            r#"{"topic":"a"} x"#,
            "{\"topic\":\"\\ud800\"}",
        ] {
            assert!(read(json.as_bytes()).is_err(), "{json}");
        }
    }
}
