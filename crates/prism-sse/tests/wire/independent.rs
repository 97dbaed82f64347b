//! A decoder that shares no code with ours: the crate `sseer`, corrected where it deviates from the
//! standard.
//!
//! It deviates in four points. It fails on bytes that are not UTF-8, so it gets text in which they
//! were replaced. It ignores `event` without a colon, which sets the name to nothing, so it gets
//! `event:`. It forgets a reconnection time in a block without data, and takes `+5` for a number,
//! so [`retries`] uses no more of it than its division into lines.

use std::convert::Infallible;

use futures_util::{FutureExt, StreamExt, stream};
use sseer::EventStream;
use sseer::parser::{RawEventLine, parse_line};

/// An event as a client sees it, and the reconnection time its block set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) retry_ms: Option<u128>,
}

/// The events of a whole stream.
pub(crate) fn events(bytes: &[u8]) -> Vec<Seen> {
    let text = with_colons(String::from_utf8_lossy(bytes).as_bytes());
    let chunks = stream::iter([Ok::<_, Infallible>(text)]);
    let seen = EventStream::new(chunks).map(|event| {
        let event = event.expect("the text is UTF-8 and there is no transport");
        Seen {
            id: event.id.to_string(),
            name: event.event.to_string(),
            data: event.data.to_string(),
            retry_ms: event.retry.map(|retry| retry.as_millis()),
        }
    });
    seen.collect().now_or_never().expect("the chunks are there")
}

/// The names of the events of a whole stream.
pub(crate) fn names(bytes: &[u8]) -> Vec<String> {
    events(bytes).into_iter().map(|event| event.name).collect()
}

/// Every reconnection time a whole stream sets, in milliseconds.
pub(crate) fn retries(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let mut retries = Vec::new();
    for_each_line(text.strip_prefix('\u{feff}').unwrap_or(&text).as_bytes(), |_, line| {
        let RawEventLine::Field { field_name: b"retry", field_value: Some(digits) } = line else {
            return;
        };
        if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
            // The standard has no limit; what does not fit becomes the largest number.
            let number = String::from_utf8_lossy(digits).parse().unwrap_or(u64::MAX);
            retries.push(number);
        }
    });
    retries
}

fn with_colons(text: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let (mark, lines) = match text.strip_prefix(MARK) {
        Some(lines) => (MARK, lines),
        None => (&[][..], text),
    };
    let mut out = mark.to_vec();
    for_each_line(lines, |raw, line| match line {
        RawEventLine::Field { field_name: b"event", field_value: None } => {
            out.extend_from_slice(b"event:");
            out.extend_from_slice(&raw[b"event".len()..]);
        }
        _ => out.extend_from_slice(raw),
    });
    out
}

/// Calls `line` for each complete line, with its bytes. A line without an end is dropped, as the
/// standard says.
fn for_each_line(text: &[u8], mut line: impl FnMut(&[u8], RawEventLine<'_>)) {
    // After a last CR the decoder waits for an LF. A CR alone ends the line.
    let mut owned = text.to_vec();
    if text.ends_with(b"\r") {
        owned.push(b'\n');
    }
    let mut rest = owned.as_slice();
    while let Some((parsed, tail)) = parse_line(rest) {
        line(&rest[..rest.len() - tail.len()], parsed);
        rest = tail;
    }
}

#[test]
fn the_corrected_decoder_follows_the_standard() {
    let stream = b"\xef\xbb\xbfevent: x\nevent\ndata: \xff\n\nretry: 7\n\nretry: +5\nretry: 8\r";
    let seen = events(stream);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].name.as_str(), seen[0].data.as_str()), ("message", "\u{fffd}"));
    assert_eq!(retries(stream), [7, 8]);
}
