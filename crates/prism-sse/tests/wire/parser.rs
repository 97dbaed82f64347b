//! Our parser against the independent one, in any pieces, and on input that is no stream at all.

use prism_sse::wire::{Parsed, ParsedEvent, Parser};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::hostile::line_noise;
use crate::{independent, vectors};

/// Everything a parser tells, and the id a reader would send at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) items: Vec<Parsed>,
    pub(crate) last_event_id: String,
}

impl Told {
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

/// Most that a parser holds, in multiples of its limit: a line, data and a name, and an id in which
/// each byte that is not UTF-8 became the three of U+FFFD.
const HELD_MAX: usize = 6;

pub(crate) fn parse<'a>(mut parser: Parser, pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut items = Vec::new();
    for mut piece in pieces {
        while let Some(parsed) = parser.next(&mut piece) {
            items.push(parsed);
        }
        assert!(piece.is_empty(), "the parser stopped before the end of its input");
    }
    Told { items, last_event_id: parser.last_event_id().to_owned() }
}

pub(crate) fn parse_whole(bytes: &[u8]) -> Told {
    parse(Parser::new(), [bytes])
}

/// Compares with the independent decoder.
fn check_against_the_independent(bytes: &[u8]) {
    let told = parse_whole(bytes);
    let ours: Vec<_> =
        told.events().iter().map(|it| (it.id.clone(), it.name.clone(), it.data.clone())).collect();
    let theirs: Vec<_> =
        independent::events(bytes).into_iter().map(|it| (it.id, it.name, it.data)).collect();
    assert_eq!(ours, theirs, "{}", bytes.escape_ascii());
    assert_eq!(told.retries(), independent::retries(bytes), "{}", bytes.escape_ascii());
    assert_eq!(told.discarded(), 0);
}

/// Compares every division into two pieces, and into single bytes, with the whole.
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

/// Cuts bytes at places that may be beyond their end.
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
    fn line_noise_means_the_same_to_an_independent_reader(noise in line_noise()) {
        check_against_the_independent(&noise);
        // Whatever the noise left open ends here, and the event shows the id in force.
        check_against_the_independent(&[&noise, &b"\n\ndata: probe\n\n"[..]].concat());
    }

    #[test]
    fn pieces_of_line_noise_mean_what_the_whole_means(
        noise in line_noise(),
        places in vec(any::<usize>(), 0..12),
        limit in prop_oneof![Just(usize::MAX), 1..40_usize],
    ) {
        let whole = parse(Parser::with_limit(limit), [&noise[..]]);
        prop_assert_eq!(parse(Parser::with_limit(limit), cut(&noise, &places)), whole);
    }

    #[test]
    fn any_bytes_are_read_without_harm_and_within_the_limit(
        noise in prop_oneof![line_noise(), vec(any::<u8>(), 0..200)],
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
    fn with_a_limit_an_event_is_whole_or_discarded(
        noise in line_noise(),
        limit in 1..40_usize,
    ) {
        let all = parse_whole(&noise);
        let limited = parse(Parser::with_limit(limit), [&noise[..]]);
        let mut rest = all.events().into_iter();
        for event in limited.events() {
            // The id may be an older one, if the line that set a newer one was too long.
            let same = |it: &&ParsedEvent| (&it.name, &it.data) == (&event.name, &event.data);
            prop_assert!(rest.any(|it| same(&it)), "shortened or invented: {event:?}");
        }
        let missing = all.events().len() - limited.events().len();
        prop_assert!(limited.discarded() >= missing);
    }

    #[test]
    fn after_whatever_came_before_the_next_event_is_read(
        noise in prop_oneof![line_noise(), vec(any::<u8>(), 0..200)],
        limit in 8..40_usize,
    ) {
        let stream = [&noise, &b"\n\nevent: e\ndata: ok\n\n"[..]].concat();
        let told = parse(Parser::with_limit(limit), [&stream[..]]);
        let Some(Parsed::Event(event)) = told.items.last() else {
            return Err(TestCaseError::fail(format!("the event is lost: {told:?}")));
        };
        prop_assert_eq!((event.name.as_str(), event.data.as_str()), ("e", "ok"));
    }
}

#[test]
fn vectors_mean_the_same_at_every_chunk_boundary() {
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
fn what_is_too_large_is_discarded_and_the_stream_goes_on() {
    let long = "x".repeat(17);
    for (before, discarded) in [
        (format!("data: {long}\n\n"), 1),
        (format!("{}\n", "data: 12345\n".repeat(3)), 1),
        (format!("data: a\nevent: {long}\n\n"), 1),
        (format!("id: {long}\ndata: a\n\n"), 1),
        (format!("{long}: a\ndata: a\n\n"), 1),
        (format!("data: {long}\n\ndata: {long}\r\n\r\n"), 2),
        // A comment may be as long as it likes, and an event of just the limit is no larger.
        (format!(": {long}\n"), 0),
        (format!("data: {}\n\n", "x".repeat(10)), 0),
        (format!("{}\n", "data: 123\n".repeat(4)), 0),
    ] {
        let stream = format!("{before}id: 7\ndata: next\n\n");
        for size in [1, 2, 7, stream.len()] {
            let told = parse(Parser::with_limit(16), stream.as_bytes().chunks(size));
            assert_eq!(told.discarded(), discarded, "{before:?}");
            let last = told.events().last().copied().cloned();
            let next = ["7", "message", "next"].map(str::to_owned);
            assert_eq!(last.map(|it| [it.id, it.name, it.data]), Some(next), "{before:?}");
        }
    }
}

#[test]
fn a_flood_without_an_end_is_held_within_the_limit() {
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
fn nothing_is_kept_of_an_event_that_was_discarded() {
    let stream = b"event: old\ndata: 0123456789abcdef\n\ndata: b\n\n";
    let told = parse(Parser::with_limit(16), [&stream[..]]);
    assert_eq!(told.discarded(), 1);
    let events = told.events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].name.as_str(), events[0].data.as_str()), ("message", "b"));
}
