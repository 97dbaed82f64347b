//! Hostile text as the last event id of a reader that reconnects.

use http::{HeaderMap, HeaderValue, Method};
use prism_sse::{Audience, Event, Manager, SseRequest, Start};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::hostile;
use crate::independent::{self, Seen};
use crate::parser::parse_whole;
use crate::stream::{GAP, MARK, OPEN, read, read_body, with_history};

/// A manager with history and three events in it.
fn with_three_events() -> Manager {
    let sse = with_history();
    for data in ["one", "two\n\nthree", ""] {
        sse.broadcast(data).expect("it is valid");
    }
    sse
}

/// The value as a header, if it is a valid one.
fn headers(last_event_id: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(last_event_id).ok()?;
    Some(HeaderMap::from_iter([(http::HeaderName::from_static("last-event-id"), value)]))
}

/// The gap in the response's header, and the response's bytes.
fn reconnect(sse: &Manager, headers: &HeaderMap) -> (Option<String>, Vec<u8>) {
    let request = SseRequest::new(&Method::GET, headers).expect("there is no Accept");
    let response = sse.respond(request);
    let gap = response.headers().get("prism-gap");
    let gap = gap.map(|gap| gap.to_str().expect("a word").to_owned());
    (gap, read_body(sse, response.into_body()))
}

/// Checks a stream that begins with a gap and continues with all three events.
fn check_gap(bytes: &[u8], asked: &str) -> Value {
    let seen = independent::events(bytes);
    let names: Vec<_> = seen.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, [OPEN, GAP, "message", "message", "message", MARK], "{asked:?}");
    let data: Vec<_> = seen[2..5].iter().map(|event| event.data.as_str()).collect();
    assert_eq!(data, ["one", "two\n\nthree", ""]);

    let Seen { id, data, .. } = &seen[1];
    assert_eq!(seen[0].id, "", "the position is sent with the gap, and not before it");
    let decoded: Value = serde_json::from_str(data).expect("the data of a gap is JSON");
    let after = if asked.len() <= 255 { Value::from(asked) } else { Value::Null };
    let expected = json!({ "reason": decoded["reason"], "after": after, "resumed_at": id });
    assert_eq!(decoded, expected);
    assert_eq!(parse_whole(bytes).events().len(), seen.len());
    // A closed manager sends the time to reconnect once more.
    assert!((1..=2).contains(&independent::retries(bytes).len()));
    decoded["reason"].clone()
}

/// Checks that the gap for this header repeats it.
fn check_header(last_event_id: &[u8]) {
    let Some(headers) = headers(last_event_id) else { return };
    let asked = String::from_utf8_lossy(last_event_id);
    if asked.is_empty() || asked == "earliest" {
        return;
    }
    let (gap, bytes) = reconnect(&with_three_events(), &headers);
    let reason = check_gap(&bytes, &asked);
    assert_eq!(gap.as_deref(), reason.as_str(), "header and event differ: {asked:?}");
}

#[test]
fn a_hostile_last_event_id_is_repeated_exactly_and_has_no_other_effect() {
    for value in hostile::values() {
        check_header(value.as_bytes());
    }
    for bytes in [&b"\xff"[..], b"\xef\xbb\xbf", b"\xc3\x28", b"\xe2\x80\xa8\"", b"\\u0022\xf0\x9f"]
    {
        check_header(bytes);
    }
    // The longest id that is repeated, one byte more, and one that grows when it is made valid
    // UTF-8.
    for len in [255, 256, 10_000] {
        check_header(&vec![b'"'; len]);
    }
    check_header(&[0xff; 100]);
}

#[test]
fn a_header_carries_no_line_break_and_no_nul() {
    for value in hostile::values() {
        if value.contains(['\n', '\r', '\0']) {
            assert_eq!(headers(value.as_bytes()), None, "{value:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_last_event_id_is_repeated_exactly(
        id in prop_oneof![
            hostile::text().prop_map(String::into_bytes),
            vec(prop_oneof![Just(b'\t'), 0x20..=0xff_u8], 0..300),
            ("#", vec(select_digit(), 0..20)).prop_map(|(mark, digits)| {
                [mark.as_bytes(), &digits].concat()
            }),
        ],
    ) {
        check_header(&id);
    }

    #[test]
    fn any_start_is_repeated_exactly(id in hostile::text()) {
        check_start(&id);
    }
}

fn select_digit() -> impl Strategy<Value = u8> {
    proptest::sample::select(&b"0123456789abcdefABCDEF.#+- "[..])
}

/// An application may pass an id that no header could carry.
fn check_start(id: &str) {
    if id == "earliest" {
        return;
    }
    let sse = with_three_events();
    let connection =
        sse.subscribe(Audience::everything(), Start::After(id.to_owned())).expect("it is valid");
    let gap = connection.gap().expect("there is no such id");
    let reason = check_gap(&read(&sse, connection), id);
    assert_eq!(reason, gap.as_str());
}

#[test]
fn a_hostile_start_is_repeated_exactly_and_has_no_other_effect() {
    for value in hostile::values() {
        check_start(&value);
    }
}

#[test]
fn without_history_a_last_event_id_changes_nothing() {
    for headers in hostile::values().iter().filter_map(|value| headers(value.as_bytes())) {
        let sse = Manager::new();
        sse.broadcast("before").unwrap();
        let (gap, bytes) = reconnect(&sse, &headers);
        assert_eq!(gap, None);
        assert_eq!(independent::events(&bytes), []);
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 2, "two lines of retry");
    }
}

#[test]
fn without_a_last_event_id_there_is_no_gap() {
    for headers in [HeaderMap::new(), headers(b"").unwrap()] {
        let (gap, bytes) = reconnect(&with_three_events(), &headers);
        assert_eq!(gap, None);
        assert_eq!(independent::names(&bytes), [OPEN, MARK]);
    }
}

#[test]
fn earliest_replays_everything_without_a_gap() {
    let (gap, bytes) = reconnect(&with_three_events(), &headers(b"earliest").unwrap());
    assert_eq!(gap, None);
    assert_eq!(independent::names(&bytes), [OPEN, "message", "message", "message", MARK]);
}

#[test]
fn a_hostile_publishers_id_can_be_resumed_after() {
    let mut resumed = 0;
    for id in hostile::values() {
        let Ok(event) = Event::new("last seen").id(id.as_str()) else { continue };
        let Some(headers) = headers(id.as_bytes()) else { continue };
        let sse = with_three_events();
        if sse.broadcast(event).is_err() {
            continue;
        }
        sse.broadcast("next\n\nevent: evil\n\n").unwrap();
        let (gap, bytes) = reconnect(&sse, &headers);
        assert_eq!(gap, None, "{id:?}");
        let seen = independent::events(&bytes);
        assert_eq!(independent::names(&bytes), [OPEN, "message", MARK], "{id:?}");
        assert_eq!(seen[1].data, "next\n\nevent: evil\n\n");
        resumed += 1;
    }
    assert!(resumed > 20, "{resumed}");
}

#[test]
fn the_last_event_id_of_a_reader_can_be_resumed_after() {
    let sse = with_three_events();
    let connection = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
    let decoded = parse_whole(&read(&sse, connection));
    sse.broadcast("later").unwrap();
    let (gap, bytes) = reconnect(&sse, &headers(decoded.last_event_id.as_bytes()).unwrap());
    assert_eq!(gap, None);
    let data: Vec<_> = independent::events(&bytes).into_iter().map(|it| it.data).collect();
    assert_eq!(data[1..], ["later", ""]);
}

#[test]
fn a_position_is_resumed_from_exactly_or_is_a_gap() {
    let asks = [
        (".0", Ok(3)),
        (".1", Ok(2)),
        (".2", Ok(1)),
        (".3", Ok(0)),
        (".4", Err("unknown")),
        (".18446744073709551615", Err("unknown")),
        (".18446744073709551616", Err("unknown")),
        (".03", Err("unknown")),
        (".-1", Err("unknown")),
        (".+1", Err("unknown")),
        (".3.3", Err("unknown")),
        ("", Err("unknown")),
        ("0.3", Err("epoch")),
    ];
    for (tail, expected) in asks {
        let sse = with_three_events();
        let opened = read(&sse, sse.add_connection());
        let place = independent::events(&opened)[0].id.clone();
        let epoch = place.strip_suffix(".3").expect("three events were published");
        let asked = format!("{epoch}{tail}");

        let (gap, bytes) = reconnect(&sse, &headers(asked.as_bytes()).unwrap());
        let decoded = independent::names(&bytes).iter().filter(|name| *name == "message").count();
        let outcome = match &gap {
            None => Ok(decoded),
            Some(reason) => Err(reason.as_str()),
        };
        assert_eq!(outcome, expected, "{asked}");
        if let Some(reason) = gap {
            assert_eq!(check_gap(&bytes, &asked), *reason);
        }
    }
}
