//! Publishing JSON: one document (`application/json`), or one per line (`application/x-ndjson`).

use std::borrow::Cow;

use prism_sse::{Ack, Durability};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::item::PublishItem;
use crate::limits;
use crate::problem::Problem;

/// An event as JSON. Without `topic` it is a broadcast; `null` as a topic is refused, since it is
/// more likely a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishDocument<'a> {
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

/// The acknowledgement of an event.
#[derive(Serialize)]
struct PublishResult<'a> {
    id: &'a str,
    position: String,
    receivers: usize,
    durability: &'static str,
}

/// Parses one document.
pub(super) fn parse(content: &[u8]) -> Result<PublishItem, Problem> {
    let document: PublishDocument<'_> =
        serde_json::from_slice(content).map_err(|error| json_problem(&error))?;
    let topics = match document.topic {
        None => Vec::new(),
        Some(Topics::One(topic)) => vec![topic],
        Some(Topics::Several(topics)) if topics.is_empty() => {
            return Err(Problem::bad_request("`topic` must not be an empty array."));
        }
        Some(Topics::Several(topics)) => topics,
    };
    Ok(PublishItem {
        topics,
        data: document.data.map(data_text).transpose()?.unwrap_or_default(),
        event: document.event,
        id: document.id,
        retry: document.retry,
        private: document.private,
        key: document.key,
    })
}

/// Splits a body into its documents, one per line. Empty lines are skipped.
pub(super) fn split_lines(content: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<_> =
        lines.filter(|line| !line.is_empty()).take(limits::EVENTS_PER_PUBLISH_MAX + 1).collect();
    if lines.len() > limits::EVENTS_PER_PUBLISH_MAX {
        let sentence =
            format!("At most {} events are published at a time.", limits::EVENTS_PER_PUBLISH_MAX);
        return Err(Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(lines)
}

/// The result of an acknowledged event, as JSON.
pub(super) fn result(id: &str, ack: &Ack) -> String {
    let durability = match ack.durability {
        Durability::Memory => "memory",
        Durability::Os => "os",
        Durability::Fsync => "fsync",
        _ => "replicated",
    };
    let position = ack.position.to_string();
    let result = PublishResult { id, position, receivers: ack.receivers, durability };
    // Serializing strings and numbers cannot fail; an empty object would still be valid JSON.
    serde_json::to_string(&result).unwrap_or_else(|_| "{}".to_owned())
}

/// The data of an event: the content of a JSON string, or the JSON text of any other value without
/// insignificant whitespace. Numbers keep their digits.
pub(super) fn data_text(value: &RawValue) -> Result<String, Problem> {
    let raw = value.get();
    if raw.starts_with('"') {
        let text: Cow<'_, str> = serde_json::from_str(raw).map_err(|error| json_problem(&error))?;
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

pub(super) fn json_problem(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("The JSON is not as it must be: {error}."))
}

/// For an optional member whose `null` is a value, and not the same as a missing member.
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
    fn data_is_the_content_of_a_string_or_the_compact_text_of_any_other_value() {
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
            let item = parse(format!(r#"{{"topic":"t","data":{json}}}"#).as_bytes()).unwrap();
            assert_eq!(item.data, data, "{json}");
        }
        assert_eq!(parse(br#"{"topic":["a","b"]}"#).unwrap().data, "");
    }

    #[test]
    fn what_is_not_understood_is_json_problem() {
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
            assert!(parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
