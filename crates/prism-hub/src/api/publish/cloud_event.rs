//! A CloudEvent in structured mode (CloudEvents 1.0): its subject, else its source, is the topic.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::item::Item;
use super::json::{refused, text_of};
use crate::problem::Problem;

#[derive(Deserialize)]
struct CloudEvent<'a> {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<IgnoredAny>,
}

/// Reads a CloudEvent. Attributes that nobody knows are left alone.
pub(super) fn read(content: &[u8]) -> Result<Item, Problem> {
    let event: CloudEvent<'_> = serde_json::from_slice(content).map_err(|error| refused(&error))?;
    if event.specversion != "1.0" {
        return Err(Problem::bad_request("`specversion` must be `1.0`."));
    }
    if event.data_base64.is_some() {
        return Err(Problem::bad_request("An event has text; `data_base64` is none."));
    }
    Ok(Item {
        topics: vec![event.subject.unwrap_or(event.source)],
        data: event.data.map(text_of).transpose()?.unwrap_or_default(),
        event: Some(event.kind),
        id: Some(event.id),
        ..Item::default()
    })
}
