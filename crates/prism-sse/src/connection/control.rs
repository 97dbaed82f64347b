//! Control events: what the manager itself sends in a stream.
//!
//! They are part of the stream, but no records of the log. `prism.open` comes first and carries a
//! position, so that a reader that is cut off before its first event can resume. `prism.mark` moves
//! the last event id of a reader whose topics are quiet. `prism.gap` reports that events are
//! missing, and the position after which the stream is complete.

use std::fmt::Write;

use crate::limits;
use crate::log::{Gap, Log};
use crate::manager::ManagerSettings;
use crate::subscription::Start;
use crate::wire::{ConnectionId, Event, EventName, Position, block, retry_line};

const OPEN: EventName = EventName::from_static("prism.open");
const MARK: EventName = EventName::from_static("prism.mark");
const GAP: EventName = EventName::from_static("prism.gap");

/// The first bytes of a stream: `prism.open`, and `prism.gap` if there is a gap; without `controls`
/// a `retry:` line. They are never empty, so that clients see at once that the response has begun.
pub(super) fn opening(
    settings: &ManagerSettings,
    log: &Log,
    id: ConnectionId,
    last_sent: u64,
    gap: Option<Gap>,
    start: &Start,
    controls: bool,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let retry_ms = settings.retry_ms(id.jitter());
    if !controls {
        retry_line(retry_ms, &mut bytes);
        return bytes;
    }
    let position = log.position(last_sent);
    let data = format!(r#"{{"connection":"{id}"}}"#);
    // A reader that is cut off between the two events must resume before the gap, which was not
    // reported to it. So the id stands in `prism.gap` alone.
    let open_at = if gap.is_some() { None } else { position };
    block(&Event::control(OPEN, Some(retry_ms), data), open_at, &mut bytes);
    if let Some(reason) = gap {
        let asked = match start {
            Start::After(asked) if asked.len() <= limits::EVENT_ID_BYTES_MAX => {
                Some(asked.as_str())
            }
            _ => None,
        };
        block(&gap_event(reason, asked, position), position, &mut bytes);
    }
    bytes
}

/// A `prism.gap` event in an open stream. Without history it carries no ids.
pub(super) fn gap(
    settings: &ManagerSettings,
    reason: Gap,
    after: Option<Position>,
    resumed_at: Option<Position>,
) -> Vec<u8> {
    let [after, resumed_at] = [after, resumed_at].map(|at| at.filter(|_| settings.has_history()));
    let after = after.map(|position| position.to_string());
    let mut bytes = Vec::new();
    block(&gap_event(reason, after.as_deref(), resumed_at), resumed_at, &mut bytes);
    bytes
}

/// A `prism.mark` event: nothing is missing up to `position`. Optionally with the time to
/// reconnect.
pub(super) fn mark(position: Option<Position>, retry_ms: Option<u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    block(&Event::control(MARK, retry_ms, String::new()), position, &mut bytes);
    bytes
}

/// A `retry:` line, for streams without control events.
pub(super) fn retry(retry_ms: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    retry_line(retry_ms, &mut bytes);
    bytes
}

fn gap_event(reason: Gap, after: Option<&str>, resumed_at: Option<Position>) -> Event {
    let mut data = format!(r#"{{"reason":"{}","after":"#, reason.as_str());
    json_string(after, &mut data);
    data.push_str(r#","resumed_at":"#);
    let resumed_at = resumed_at.map(|position| position.to_string());
    json_string(resumed_at.as_deref(), &mut data);
    data.push('}');
    Event::control(GAP, None, data)
}

/// Appends a JSON string (RFC 8259, section 7), or `null`. The text may be anything, because
/// `Last-Event-ID` is the client's.
fn json_string(text: Option<&str>, out: &mut String) {
    let Some(text) = text else {
        out.push_str("null");
        return;
    };
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
                write!(out, "\\u{:04x}", u32::from(char)).expect("writing to memory does not fail");
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Epoch;

    #[test]
    fn a_hostile_last_event_id_is_returned_as_valid_json() {
        let position = Some(Position { epoch: Epoch::new(0x5f), seq: 3 });
        let event = gap_event(Gap::Unknown, Some("a\"\\\n\u{2028}é"), position);
        let after = "\"a\\\"\\\\\\u000a\u{2028}é\"";
        let data = format!("{{\"reason\":\"unknown\",\"after\":{after},\"resumed_at\":\"#5f.3\"}}");
        assert_eq!(event.data(), Some(&*data));
    }
}
