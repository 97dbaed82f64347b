//! The text format: what is encoded is parsed back, and any input is parsed without a panic.

use std::time::Duration;

use bolero::check;
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{Epoch, Event, InvalidEvent, Position};

/// Pieces that have a meaning in the format. Each byte of a fuzzer's input selects one of them.
const FRAGMENTS: [&[u8]; 32] = [
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"\r\r",
    b"\0",
    b":",
    b" ",
    b"data",
    b"data:",
    b"data: a\n",
    b"event",
    b"event: e\n",
    b"id",
    b"id: 7\n",
    b"retry",
    b"retry: 10\n",
    b"unknown: x\n",
    b"a",
    b"0",
    b"#1.1",
    b"prism.",
    b"\"",
    b"\\",
    b"\t",
    b"\xef\xbb\xbf",
    b"\xef\xbb",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\xa6\x80",
    b"long enough to be above a small limit",
];

fn fragments(input: &[u8]) -> Vec<u8> {
    input.iter().flat_map(|&byte| FRAGMENTS[usize::from(byte) % FRAGMENTS.len()]).copied().collect()
}

/// Fragments as text; those that are cut short become U+FFFD.
fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(&fragments(input)).into_owned()
}

type Fields = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Option<u32>);

fn build((data, id, name, retry): &Fields) -> Result<Event, InvalidEvent> {
    let mut event = Event::new(text(data));
    if let Some(id) = id {
        event = event.id(text(id))?;
    }
    if let Some(name) = name {
        event = event.event(text(name))?;
    }
    if let Some(retry) = *retry {
        event = event.retry(Duration::from_millis(retry.into()))?;
    }
    Ok(event)
}

/// All that is parsed from these pieces, the last id, and the most bytes that were buffered.
fn parse<'a>(
    limit: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Parsed>, String, usize) {
    let mut parser = Parser::with_limit(limit);
    let mut all = Vec::new();
    let mut held = 0;
    for mut piece in pieces {
        while let Some(parsed) = parser.next(&mut piece) {
            all.push(parsed);
            held = held.max(parser.buffered());
        }
        held = held.max(parser.buffered());
        assert!(piece.is_empty());
    }
    (all, parser.last_event_id().to_owned(), held)
}

#[test]
fn sse_roundtrip() {
    check!().with_type::<Fields>().for_each(|fields| {
        let (data, id, name, retry) = fields;
        let breaks = |text: &Vec<u8>| self::text(text).contains(['\r', '\n', '\0']);
        let event = match build(fields) {
            Ok(event) => event,
            Err(InvalidEvent::Empty { .. }) => {
                assert!([id, name].into_iter().flatten().any(|it| text(it).is_empty()));
                return;
            }
            Err(InvalidEvent::LineBreak { .. } | InvalidEvent::Nul { .. }) => {
                assert!([id, name].into_iter().flatten().any(breaks));
                return;
            }
            Err(InvalidEvent::NotHeaderText { .. }) => {
                let id = text(id.as_ref().expect("an id was refused"));
                let outer = id.trim_matches([' ', '\t']) != id;
                assert!(outer || id.chars().any(|char| char.is_ascii_control()));
                return;
            }
            Err(InvalidEvent::TooLong { len, max, .. }) => {
                assert!(len > max);
                assert!([id, name].into_iter().flatten().any(|it| text(it).len() == len));
                return;
            }
            Err(InvalidEvent::RetryTooLong { millis }) => {
                assert_eq!(Some(millis), retry.map(u128::from));
                assert!(millis > 2_147_483_647);
                return;
            }
            Err(other) => unreachable!("{other}"),
        };
        assert!(![id, name].into_iter().flatten().any(breaks));

        let stream = [&event.encode()[..], b"data: after\n\n"].concat();
        let (parsed, last_event_id, _) = parse(usize::MAX, [&stream[..]]);
        let mut parsed = parsed.into_iter();
        if let Some(retry) = *retry {
            let retry = Duration::from_millis(retry.into());
            assert_eq!(parsed.next(), Some(Parsed::Retry(retry)));
        }
        let id = id.as_deref().map_or_else(String::new, text);
        let name = name.as_deref().map_or_else(|| "message".to_owned(), text);
        let data = text(data).replace("\r\n", "\n").replace('\r', "\n");
        for (name, data) in [(name.as_str(), data.as_str()), ("message", "after")] {
            let Some(Parsed::Event(event)) = parsed.next() else { unreachable!("an event") };
            let told = [event.id.as_str(), event.name.as_str(), event.data.as_str()];
            assert_eq!(told, [id.as_str(), name, data]);
        }
        assert_eq!(parsed.next(), None);
        assert_eq!(last_event_id, id);
    });
}

#[test]
fn sse_parse() {
    check!().for_each(|input: &[u8]| {
        // The first bytes say where to cut and how much to hold.
        let [at, limit, rest @ ..] = input else { return };
        for stream in [rest.to_vec(), fragments(rest)] {
            let (head, tail) = stream.split_at(usize::from(*at) % (stream.len() + 1));
            for limit in [usize::MAX, 1 + usize::from(*limit % 32)] {
                let whole = parse(limit, [&stream[..]]);
                let halves = parse(limit, [head, tail]);
                let bytes = parse(limit, stream.chunks(1));
                assert_eq!((&whole.0, &whole.1), (&halves.0, &halves.1));
                assert_eq!((&whole.0, &whole.1), (&bytes.0, &bytes.1));
                for held in [whole.2, halves.2, bytes.2] {
                    // A line, data and a name; and an id, three times as long in U+FFFD.
                    assert!(held <= limit.saturating_mul(6));
                }
                let cut = whole.0.iter().any(|it| matches!(it, Parsed::Discarded));
                assert!(!cut || stream.len() > limit);
            }
        }
    });
}

#[test]
fn position_parse() {
    const DIGITS: &[u8] = b"0123456789abcdefABF#.+- 0123456";
    check!().with_type::<(Vec<u8>, Vec<u8>, u64, u64)>().for_each(|(left, right, epoch, seq)| {
        let digits = |input: &[u8]| -> String {
            let digit = |&byte: &u8| char::from(DIGITS[usize::from(byte) % DIGITS.len()]);
            input.iter().take(24).map(digit).collect()
        };
        let texts = [
            format!("#{}.{}", digits(left), digits(right)),
            format!("#{}.{seq}", digits(left)),
            format!("#{epoch:x}.{}", digits(right)),
            digits(left),
            text(left),
            String::from_utf8_lossy(left).into_owned(),
        ];
        for text in texts {
            if let Ok(position) = text.parse::<Position>() {
                assert_eq!(position.to_string(), text);
            }
        }
        let position = Position { epoch: Epoch::new(*epoch), seq: *seq };
        assert_eq!(position.to_string().parse(), Ok(position));
    });
}
