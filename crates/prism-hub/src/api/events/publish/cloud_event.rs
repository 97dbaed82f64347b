//! Publishing a CloudEvent in structured mode (`application/cloudevents+json`, CloudEvents 1.0).
//!
//! The topic is its subject, or its source if it has none.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::item::PublishItem;
use super::json::{data_text, json_problem};
use crate::problem::Problem;

#[derive(Deserialize)]
struct CloudEvent<'a> {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<IgnoredAny>,
}

/// Parses a CloudEvent. Unknown attributes are ignored.
pub(super) fn parse(content: &[u8]) -> Result<PublishItem, Problem> {
    let event: CloudEvent<'_> =
        serde_json::from_slice(content).map_err(|error| json_problem(&error))?;
    if event.specversion != "1.0" {
        return Err(Problem::bad_request("`specversion` must be `1.0`."));
    }
    if event.data_base64.is_some() {
        return Err(Problem::bad_request("An event has text; `data_base64` is none."));
    }
    Ok(PublishItem {
        topics: vec![event.subject.unwrap_or(event.source)],
        data: event.data.map(data_text).transpose()?.unwrap_or_default(),
        event: Some(event.event_type),
        id: Some(event.id),
        ..PublishItem::default()
    })
}
