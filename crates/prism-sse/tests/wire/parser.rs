//! Our parser compared with the independent decoder, with any division of the input, and on
//! arbitrary bytes.

use prism_sse::wire::{Parsed, ParsedEvent, Parser};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::hostile::stream_text;
use crate::{independent, vectors};

/// Everything that a parser returned, and the last event id at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) items: Vec<Parsed>,
    pub(crate) last_event_id: String,
}

impl Decoded {
    pub(crate) fn events(&self) -> Vec<&ParsedEvent> {
        let items = self.items.iter();
        items
            .filter_map(|item| if let Parsed::Event(it) = item { Some(it) } else { None })
            .collect()
    }

    pub(crate) fn retries(&self) -> Vec<u64> {
        let retry = |item: &Parsed| match item {
            Parsed::Retry(after) => Some(u64::try_from(after.as_millis()).expect("from a u64")),
            _ => None,
        };
        self.items.iter().filter_map(retry).collect()
    }

    fn discarded(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Parsed::Discarded)).count()
    }
}

/// The most that a parser buffers, in multiples of its limit: a line, data and a name, and an id in
/// which each byte that is not UTF-8 became the three bytes of U+FFFD.
const HELD_MAX: usize = 6;

pub(crate) fn parse<'a>(mut parser: Parser, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut items = Vec::new();
    for mut piece in pieces {
        while let Some(parsed) = parser.next(&mut piece) {
            items.push(parsed);
        }
        assert!(piece.is_empty(), "the parser stopped before the end of its input");
    }
    Decoded { items, last_event_id: parser.last_event_id().to_owned() }
}

pub(crate) fn parse_whole(bytes: &[u8]) -> Decoded {
    parse(Parser::new(), [bytes])
}

/// Compares the parser with the independent decoder.
fn check_against_the_independent(bytes: &[u8]) {
    let decoded = parse_whole(bytes);
    let ours: Vec<_> = decoded
        .events()
        .iter()
        .map(|it| (it.id.clone(), it.name.clone(), it.data.clone()))
        .collect();
    let theirs: Vec<_> =
        independent::events(bytes).into_iter().map(|it| (it.id, it.name, it.data)).collect();
    assert_eq!(ours, theirs, "{}", bytes.escape_ascii());
    assert_eq!(decoded.retries(), independent::retries(bytes), "{}", bytes.escape_ascii());
    assert_eq!(decoded.discarded(), 0);
}

/// Checks that every division into two pieces, and into single bytes, is decoded like the whole.
fn check_in_pieces(bytes: &[u8]) {
    let whole = parse_whole(bytes);
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(parse(Parser::new(), [head, tail]), whole, "cut at {at}");
    }
    assert_eq!(parse(Parser::new(), bytes.chunks(1)), whole, "byte by byte");
    let with_nothing_between = bytes.chunks(1).flat_map(|byte| [&[][..], byte]);
    assert_eq!(parse(Parser::new(), with_nothing_between), whole, "with empty pieces");
}

/// Cuts bytes at offsets that may be beyond their end.
fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|at| at % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_stream_text_is_decoded_as_by_the_independent_decoder(noise in stream_text()) {
        check_against_the_independent(&noise);
        // This ends whatever is still open, and the event has the last event id.
        check_against_the_independent(&[&noise, &b"\n\ndata: probe\n\n"[..]].concat());
    }

    #[test]
    fn random_stream_text_is_decoded_alike_in_any_pieces(
        noise in stream_text(),
        places in vec(any::<usize>(), 0..12),
        limit in prop_oneof![Just(usize::MAX), 1..40_usize],
    ) {
        let whole = parse(Parser::with_limit(limit), [&noise[..]]);
        prop_assert_eq!(parse(Parser::with_limit(limit), cut(&noise, &places)), whole);
    }

    #[test]
    fn any_bytes_are_parsed_within_the_memory_limit(
        noise in prop_oneof![stream_text(), vec(any::<u8>(), 0..200)],
        places in vec(any::<usize>(), 0..12),
        limit in 1..40_usize,
    ) {
        let mut parser = Parser::with_limit(limit);
        for mut piece in cut(&noise, &places) {
            while parser.next(&mut piece).is_some() {
                prop_assert!(parser.buffered() <= HELD_MAX * limit);
            }
            prop_assert!(parser.buffered() <= HELD_MAX * limit, "{}", parser.buffered());
        }
    }

    #[test]
    fn with_a_limit_an_event_is_complete_or_discarded(
        noise in stream_text(),
        limit in 1..40_usize,
    ) {
        let all = parse_whole(&noise);
        let limited = parse(Parser::with_limit(limit), [&noise[..]]);
        let mut rest = all.events().into_iter();
        for event in limited.events() {
            // The id may be an older one, if the line with a newer one was too long.
            let same = |it: &&ParsedEvent| (&it.name, &it.data) == (&event.name, &event.data);
            prop_assert!(rest.any(|it| same(&it)), "shortened or invented: {event:?}");
        }
        let missing = all.events().len() - limited.events().len();
        prop_assert!(limited.discarded() >= missing);
    }

    #[test]
    fn an_event_is_parsed_whatever_bytes_precede_it(
        noise in prop_oneof![stream_text(), vec(any::<u8>(), 0..200)],
        limit in 8..40_usize,
    ) {
        let stream = [&noise, &b"\n\nevent: e\ndata: ok\n\n"[..]].concat();
        let decoded = parse(Parser::with_limit(limit), [&stream[..]]);
        let Some(Parsed::Event(event)) = decoded.items.last() else {
            return Err(TestCaseError::fail(format!("the event is lost: {decoded:?}")));
        };
        prop_assert_eq!((event.name.as_str(), event.data.as_str()), ("e", "ok"));
    }
}

#[test]
fn vectors_are_decoded_alike_at_every_chunk_boundary() {
    for vector in vectors::all() {
        check_in_pieces(&vector.stream);
    }
}

#[test]
fn a_line_break_cut_in_two_is_one_line_break() {
    for stream in [
        &b"data: a\r\ndata: b\r\n\r\n"[..],
        b"data: a\r\n\ndata: b\r\n\n",
        b"data: a\r\rdata: b\n\r",
        b"\r\n\r\nid: 1\r\n\r\n\r\ndata\r\n\r\n",
        b"\xef\xbb\xbf\r\ndata: a\r\n\r\n",
        b"\xef\xbbdata: a\n\ndata: b\n\n",
        b"\xef\xef\xbb\xbfdata: a\n\ndata: b\n\n",
    ] {
        check_in_pieces(stream);
        check_against_the_independent(stream);
    }
}

#[test]
fn an_oversized_event_is_discarded_and_the_stream_continues() {
    let long = "x".repeat(17);
    for (before, discarded) in [
        (format!("data: {long}\n\n"), 1),
        (format!("{}\n", "data: 12345\n".repeat(3)), 1),
        (format!("data: a\nevent: {long}\n\n"), 1),
        (format!("id: {long}\ndata: a\n\n"), 1),
        (format!("{long}: a\ndata: a\n\n"), 1),
        (format!("data: {long}\n\ndata: {long}\r\n\r\n"), 2),
        // A comment may have any length, and an event of exactly the limit is accepted.
        (format!(": {long}\n"), 0),
        (format!("data: {}\n\n", "x".repeat(10)), 0),
        (format!("{}\n", "data: 123\n".repeat(4)), 0),
    ] {
        let stream = format!("{before}id: 7\ndata: next\n\n");
        for size in [1, 2, 7, stream.len()] {
            let decoded = parse(Parser::with_limit(16), stream.as_bytes().chunks(size));
            assert_eq!(decoded.discarded(), discarded, "{before:?}");
            let last = decoded.events().last().copied().cloned();
            let next = ["7", "message", "next"].map(str::to_owned);
            assert_eq!(last.map(|it| [it.id, it.name, it.data]), Some(next), "{before:?}");
        }
    }
}

#[test]
fn an_endless_line_stays_within_the_memory_limit() {
    const LIMIT: usize = 64;
    for unit in [
        &b"data: x\n"[..],
        b"data\n",
        b"data: 0123456789abcdef\r\n",
        b"x",
        b"event: xx",
        b"event: xx\n",
        b"id: \xff\xff\n",
        b"id: \xff",
        b": comment",
        b": comment\r",
        b"\xef\xbb\xbf",
    ] {
        let mut parser = Parser::with_limit(LIMIT);
        for _ in 0..10_000 {
            for mut piece in unit.chunks(5) {
                assert_eq!(parser.next(&mut piece), None);
                assert!(parser.buffered() <= HELD_MAX * LIMIT, "{}", unit.escape_ascii());
            }
        }
    }
}

#[test]
fn a_discarded_event_leaves_no_fields_for_the_next() {
    let stream = b"event: old\ndata: 0123456789abcdef\n\ndata: b\n\n";
    let decoded = parse(Parser::with_limit(16), [&stream[..]]);
    assert_eq!(decoded.discarded(), 1);
    let events = decoded.events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].name.as_str(), events[0].data.as_str()), ("message", "b"));
}
