//! An event is decoded by the independent decoder as it was built, or was refused for a stated
//! reason.

use std::time::Duration;

use prism_sse::{Event, Field, InvalidEvent, limits};
use proptest::option;
use proptest::prelude::*;

use crate::hostile;
use crate::independent::{self, Seen};
use crate::parser::parse_whole;

/// The fields that a publisher may set.
#[derive(Clone, Debug)]
struct Fields {
    id: Option<String>,
    name: Option<String>,
    /// The data, or a comment's text.
    text: String,
    retry: Option<Duration>,
    is_comment: bool,
}

fn fields() -> impl Strategy<Value = Fields> {
    let retry = prop_oneof![
        (0..10_000_u64).prop_map(Duration::from_millis),
        (2_147_483_640..2_147_483_655_u64).prop_map(Duration::from_millis),
        (0..5_000_000_u64).prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_nanos),
        Just(Duration::MAX),
    ];
    let [id, name] = [option::of(hostile::text()), option::of(hostile::text())];
    (id, name, hostile::text(), option::weighted(0.3, retry), prop::bool::weighted(0.2)).prop_map(
        |(id, name, text, retry, is_comment)| Fields { id, name, text, retry, is_comment },
    )
}

fn build(fields: &Fields) -> Result<Event, InvalidEvent> {
    let text = fields.text.as_str();
    let mut event = if fields.is_comment { Event::comment(text)? } else { Event::new(text) };
    if let Some(id) = &fields.id {
        event = event.id(id.as_str())?;
    }
    if let Some(name) = &fields.name {
        event = event.event(name.as_str())?;
    }
    if let Some(retry) = fields.retry {
        event = event.retry(retry)?;
    }
    Ok(event)
}

/// Whether these fields are refused according to the documentation.
fn must_be_refused(fields: &Fields) -> bool {
    let breaks = |text: &str| text.contains(['\r', '\n']);
    let token = |text: &Option<String>| {
        text.as_ref().is_some_and(|text| {
            fields.is_comment
                || breaks(text)
                || text.contains('\0')
                || text.is_empty()
                || text.len() > 255
        })
    };
    let retry = fields.retry.is_some_and(|retry| {
        retry > Duration::from_millis(2_147_483_647) || retry.subsec_nanos() % 1_000_000 != 0
    });
    let id = fields.id.as_deref().is_some_and(is_changed_by_a_header);
    (fields.is_comment && breaks(&fields.text))
        || token(&fields.id)
        || token(&fields.name)
        || id
        || retry
}

/// Whether the id would be different after its way through a request header.
fn is_changed_by_a_header(id: &str) -> bool {
    id.trim_matches([' ', '\t']) != id
        || id.chars().any(|char| char < ' ' && char != '\t' || char == '\x7f')
}

/// Whether the reason of a refusal applies to these fields.
fn is_justified(reason: &InvalidEvent, fields: &Fields) -> bool {
    let text = |field: &Field| match field {
        Field::Comment => Some(fields.text.as_str()).filter(|_| fields.is_comment),
        Field::Id => fields.id.as_deref(),
        Field::Name => fields.name.as_deref(),
        _ => None,
    };
    let says = |field, check: &dyn Fn(&str) -> bool| text(field).is_some_and(check);
    match reason {
        InvalidEvent::Empty { field } => says(field, &str::is_empty),
        InvalidEvent::LineBreak { field } => says(field, &|text| text.contains(['\r', '\n'])),
        InvalidEvent::NotHeaderText { field } => says(field, &is_changed_by_a_header),
        InvalidEvent::Nul { field } => says(field, &|text| text.contains('\0')),
        InvalidEvent::NoData { field } => fields.is_comment && says(field, &|_| true),
        InvalidEvent::RetryFraction => {
            fields.retry.is_some_and(|retry| retry.subsec_nanos() % 1_000_000 != 0)
        }
        InvalidEvent::RetryTooLong { millis } => {
            *millis > u128::from(limits::RETRY_MS_MAX)
                && fields.retry.is_some_and(|retry| retry.as_millis() == *millis)
        }
        InvalidEvent::TooLong { field, len, max } => {
            len > max && *max == 255 && says(field, &|text| text.len() == *len)
        }
        _ => false,
    }
}

/// The one change the format makes.
fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Decodes the event between two others, which must be unchanged.
fn decode_between(encoded: &[u8]) -> Vec<Seen> {
    let stream = [b"data: before\n\n", encoded, b"data: after\n\n"].concat();
    let mut seen = independent::events(&stream);
    let after = seen.pop().expect("the event after it");
    let before = seen.remove(0);
    assert_eq!((before.name.as_str(), before.data.as_str()), ("message", "before"));
    assert_eq!((after.name.as_str(), after.data.as_str()), ("message", "after"));
    seen
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_event_is_refused_for_the_right_reason_or_decoded_exactly(fields in fields()) {
        let event = match build(&fields) {
            Ok(event) => event,
            Err(reason) => {
                prop_assert!(must_be_refused(&fields), "refused without need: {reason}");
                prop_assert!(is_justified(&reason, &fields), "the reason does not apply: {reason}");
                return Ok(());
            }
        };
        prop_assert!(!must_be_refused(&fields));
        let encoded = event.encode();
        let seen = decode_between(&encoded);
        let retry_ms = fields.retry.map(|retry| retry.as_millis());
        if fields.is_comment {
            prop_assert_eq!(seen, []);
            let retry_line = retry_ms.map(|ms| format!("retry: {ms}\n")).unwrap_or_default();
            prop_assert_eq!(encoded, format!(": {}\n{retry_line}", fields.text));
            return Ok(());
        }
        let expected = Seen {
            id: fields.id.clone().unwrap_or_default(),
            name: fields.name.clone().unwrap_or_else(|| "message".to_owned()),
            data: with_line_feeds(&fields.text),
            retry_ms,
        };
        prop_assert_eq!(seen, [expected]);
    }

    #[test]
    fn an_event_returns_the_values_it_was_built_with(fields in fields()) {
        let Ok(event) = build(&fields) else { return Ok(()) };
        let [data, comment] = if fields.is_comment {
            [None, Some(fields.text.as_str())]
        } else {
            [Some(fields.text.as_str()), None]
        };
        prop_assert_eq!(event.data(), data);
        prop_assert_eq!(event.comment_text(), comment);
        prop_assert_eq!(event.event_id().map(|id| id.as_str()), fields.id.as_deref());
        prop_assert_eq!(event.name().map(|name| name.as_str()), fields.name.as_deref());
        prop_assert_eq!(event.retry_after(), fields.retry);
    }

    #[test]
    fn encoded_events_are_utf8_with_lf_alone(fields in fields()) {
        let Ok(event) = build(&fields) else { return Ok(()) };
        let encoded = event.encode();
        prop_assert!(std::str::from_utf8(&encoded).is_ok());
        prop_assert!(!encoded.contains(&b'\r'));
        let mark = "\u{feff}".as_bytes();
        prop_assert!(!encoded.starts_with(mark));
        // A block has one blank line, at its end; a comment has none.
        let blank = encoded.windows(2).filter(|pair| pair == b"\n\n").count();
        prop_assert_eq!(blank, usize::from(!fields.is_comment));
        prop_assert_eq!(encoded.ends_with(b"\n\n"), !fields.is_comment);
    }
}

#[test]
fn a_reconnection_time_is_whole_and_fits_or_is_refused() {
    let longest = Duration::from_millis(2_147_483_647);
    let fraction = Err(InvalidEvent::RetryFraction);
    let too_long = |millis| Err(InvalidEvent::RetryTooLong { millis });
    for (after, expected) in [
        (Duration::ZERO, Ok(0)),
        (Duration::from_millis(1), Ok(1)),
        (Duration::from_secs(3), Ok(3000)),
        (longest, Ok(2_147_483_647)),
        (Duration::from_nanos(1), fraction.clone()),
        (Duration::from_micros(1_999), fraction.clone()),
        (longest + Duration::from_nanos(999_999), fraction),
        (longest + Duration::from_millis(1), too_long(2_147_483_648)),
        (Duration::from_secs(4_294_967_296), too_long(4_294_967_296_000)),
        (Duration::MAX, too_long(Duration::MAX.as_millis())),
    ] {
        let event = Event::new("x").retry(after);
        let decoded = event.map(|event| independent::retries(&event.encode()));
        assert_eq!(decoded, expected.map(|ms| vec![ms]), "{after:?}");
    }
}

#[test]
fn a_megabyte_of_hostile_text_is_decoded_exactly() {
    const MEGABYTE: usize = 1024 * 1024;
    let hostile: String = hostile::FRAGMENTS.concat();
    let mut mixed = hostile.repeat(MEGABYTE / hostile.len());
    mixed.extend(std::iter::repeat_n('.', MEGABYTE - mixed.len()));
    for text in [mixed, "x".repeat(MEGABYTE), "\n".repeat(MEGABYTE), "\r\n".repeat(MEGABYTE / 2)] {
        assert_eq!(text.len(), MEGABYTE);
        let seen = decode_between(&Event::new(text.as_str()).encode());
        assert_eq!(seen.len(), 1);
        // Not `assert_eq`, which would print it.
        assert!(seen[0].data == with_line_feeds(&text));
        let decoded = parse_whole(&Event::new(text.as_str()).encode());
        assert!(decoded.events()[0].data == seen[0].data);
    }
}

#[cfg(feature = "json")]
#[test]
fn text_in_json_is_decoded_exactly() {
    for value in hostile::values() {
        let event = Event::json(&[&value]).unwrap();
        let seen = decode_between(&event.encode());
        assert_eq!(seen.len(), 1, "{value:?}");
        let [decoded]: [String; 1] = serde_json::from_str(&seen[0].data).unwrap();
        assert_eq!(decoded, value);
    }
}

#[cfg(feature = "json")]
#[test]
fn a_value_that_does_not_serialise_is_refused() {
    let keys_are_no_text = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = Event::json(&keys_are_no_text).unwrap_err();
    assert!(matches!(error, InvalidEvent::Json { .. }), "{error}");
}
