//! What a subscriber reads: events found in lines, and checked against what was published.
//!
//! Each published payload begins with a [`Stamp`]. A subscriber needs no more of the format of
//! events than that a line beginning with `data:` has the stamp near its beginning, so that any
//! server's streams can be checked, whatever else it sends.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;

use serde::Serialize;

/// Begins a stamp. It and what follows need no quoting in JSON, forms or URLs.
const MARKER: &[u8] = b"PB~";

/// Bytes of a stamp: the marker, three numbers in hexadecimal digits, and an end.
pub(crate) const STAMP_BYTES: usize = MARKER.len() + 2 + 8 + 16 + 1;

/// How much of a line's beginning is looked at.
const BEGINNING_BYTES: usize = 64;

/// What the payload of an event says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The connection that published it.
    pub(crate) publisher: u8,
    /// Its place among what that connection published.
    pub(crate) seq: u32,
    /// When it was due, in nanoseconds since the measurement began.
    pub(crate) due: u64,
}

impl Stamp {
    /// Appends a payload of `len` bytes that begins with the stamp.
    pub(crate) fn write(self, len: usize, payload: &mut Vec<u8>) {
        let Self { publisher, seq, due } = self;
        let begin = payload.len();
        payload.extend_from_slice(MARKER);
        // A vector takes everything.
        drop(write!(payload, "{publisher:02x}{seq:08x}{due:016x}~"));
        payload.resize(begin + len.max(STAMP_BYTES), b'x');
    }

    /// The stamp at the beginning of `text`.
    fn read(text: &[u8]) -> Option<Self> {
        let digits = text.get(..STAMP_BYTES)?.strip_prefix(MARKER)?.strip_suffix(b"~")?;
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0, |number, &digit| {
                Some(number << 4 | u64::from(char::from(digit).to_digit(16)?))
            })
        };
        Some(Self {
            publisher: number(&digits[..2])? as u8,
            seq: number(&digits[2..10])? as u32,
            due: number(&digits[10..])?,
        })
    }
}

/// The lines of one stream, of which the last may have come in part.
#[derive(Debug)]
pub(crate) struct Lines {
    beginning: [u8; BEGINNING_BYTES],
    /// How much of the line came so far.
    len: u32,
}

impl Lines {
    /// A stream of which nothing has come.
    pub(crate) fn new() -> Self {
        Self { beginning: [0; BEGINNING_BYTES], len: 0 }
    }

    /// Takes what has come and calls `found` for each stamp in it, with the length of the text
    /// from the stamp to the end of its line.
    pub(crate) fn take(&mut self, mut bytes: &[u8], mut found: impl FnMut(Stamp, usize)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let stamp = if self.len == 0 {
                stamp_of(&bytes[..end.min(BEGINNING_BYTES)], end)
            } else {
                self.keep(&bytes[..end]);
                let len = std::mem::take(&mut self.len) as usize;
                stamp_of(&self.beginning[..len.min(BEGINNING_BYTES)], len)
            };
            if let Some((stamp, len)) = stamp {
                found(stamp, len);
            }
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(room) = self.beginning.get_mut(self.len as usize..) {
            let len = bytes.len().min(room.len());
            room[..len].copy_from_slice(&bytes[..len]);
        }
        self.len = self.len.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
}

/// The stamp in a line of `len` bytes that begins like this, and how much follows from it on.
fn stamp_of(beginning: &[u8], len: usize) -> Option<(Stamp, usize)> {
    let text = beginning.strip_prefix(b"data:")?;
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let text = match Stamp::read(text) {
        Some(_) => text,
        None => &text[memchr::memmem::find(text, MARKER)?..],
    };
    let before = beginning.len() - text.len();
    Stamp::read(text).map(|stamp| (stamp, len - before))
}

/// What is wrong with what subscribers received. All zero is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// Events that a subscriber never received.
    pub(crate) lost: u64,
    /// Events that a subscriber received once more.
    pub(crate) doubled: u64,
    /// Events that a subscriber received after a later one.
    pub(crate) reordered: u64,
    /// Events with less text than was published, or with text that never was.
    pub(crate) damaged: u64,
}

impl Faults {
    /// Whether anything is wrong.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Checks that every subscriber receives every event once and in its publisher's order.
#[derive(Debug)]
pub(crate) struct Checker {
    subscribers: usize,
    payload: usize,
    /// How many events each publisher published.
    published: Vec<u32>,
    /// What each subscriber waits for next from each publisher.
    next: Vec<u32>,
    /// What was skipped, by place in `next`. Empty as long as all goes well.
    skipped: HashMap<usize, BTreeSet<u32>>,
    faults: Faults,
}

impl Checker {
    /// A checker of events of `payload` bytes.
    pub(crate) fn new(subscribers: usize, publishers: usize, payload: usize) -> Self {
        Self {
            subscribers,
            payload: payload.max(STAMP_BYTES),
            published: vec![0; publishers],
            next: vec![0; subscribers * publishers],
            skipped: HashMap::new(),
            faults: Faults::default(),
        }
    }

    /// The number of the event that `publisher` publishes now.
    pub(crate) fn publish(&mut self, publisher: u8) -> u32 {
        let published = &mut self.published[usize::from(publisher)];
        *published += 1;
        *published - 1
    }

    /// Takes note of an event. Answers whether it counts as delivered: not if it was received
    /// before, or was never published.
    pub(crate) fn receive(&mut self, subscriber: usize, stamp: Stamp, len: usize) -> bool {
        let publisher = usize::from(stamp.publisher);
        if self.published.get(publisher).is_none_or(|&published| stamp.seq >= published) {
            self.faults.damaged += 1;
            return false;
        }
        self.faults.damaged += u64::from(len < self.payload);
        let place = subscriber * self.published.len() + publisher;
        let next = &mut self.next[place];
        if stamp.seq >= *next {
            if stamp.seq > *next {
                self.skipped.entry(place).or_default().extend(*next..stamp.seq);
            }
            *next = stamp.seq + 1;
            return true;
        }
        let late = self.skipped.get_mut(&place).is_some_and(|them| them.remove(&stamp.seq));
        let fault = if late { &mut self.faults.reordered } else { &mut self.faults.doubled };
        *fault += 1;
        late
    }

    /// What was wrong so far, with everything counted as lost that has not come yet.
    pub(crate) fn faults(&self) -> Faults {
        let publishers = self.published.len();
        let skipped: usize = self.skipped.values().map(BTreeSet::len).sum();
        let tails = (0..self.subscribers * publishers)
            .map(|place| u64::from(self.published[place % publishers] - self.next[place]));
        Faults { lost: skipped as u64 + tails.sum::<u64>(), ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(seq: u32) -> String {
        let mut payload = Vec::new();
        Stamp { publisher: 3, seq, due: 77 + u64::from(seq) }.write(100, &mut payload);
        String::from_utf8(payload).unwrap()
    }

    /// The stamps' numbers and lengths in a text that comes in pieces of `len` bytes.
    fn found(text: &str, len: usize) -> Vec<(u32, usize)> {
        let (mut lines, mut all) = (Lines::new(), Vec::new());
        for piece in text.as_bytes().chunks(len) {
            lines.take(piece, |stamp, len| {
                assert_eq!((stamp.publisher, stamp.due), (3, 77 + u64::from(stamp.seq)));
                all.push((stamp.seq, len));
            });
        }
        all
    }

    #[test]
    fn a_payload_has_the_length_asked_for_and_room_for_its_stamp() {
        assert_eq!(payload(1).len(), 100);
        let mut short = Vec::new();
        Stamp { publisher: 0, seq: 0, due: 0 }.write(1, &mut short);
        assert_eq!(short.len(), STAMP_BYTES);
    }

    #[test]
    fn stamps_are_found_wherever_the_stream_is_cut() {
        let (a, b, c) = (payload(1), payload(2), payload(0xABCD_EF01));
        let text = format!(
            ": hello\n\nretry: 3000\n\nid: {a}\nevent: x\ndata: {a}\n\ndata:{b}\r\n\r\n\
             data: {{\"text\":\"{c}\"}}\n\ndata: other\n\n:\nPB~\n"
        );
        for len in 1..=text.len() {
            assert_eq!(found(&text, len), [(1, 100), (2, 101), (0xABCD_EF01, 102)], "{len}");
        }
    }

    #[test]
    fn a_line_without_its_end_is_no_event() {
        assert_eq!(found(&format!("data: {}", payload(1)), 7), []);
    }

    #[test]
    fn what_looks_like_a_stamp_is_none() {
        for line in ["data: PB~", "data: PB~03000000010000000000000000", "data: PB~zz", "data"] {
            assert_eq!(found(&format!("{line}\n\n"), 5), [], "{line}");
        }
    }

    /// The faults of a subscriber that received these of `published` events.
    fn faults(published: u32, received: &[u32]) -> Faults {
        let mut checker = Checker::new(2, 1, 100);
        for seq in 0..published {
            assert_eq!(checker.publish(0), seq);
            assert!(checker.receive(0, Stamp { publisher: 0, seq, due: 0 }, 100));
        }
        for &seq in received {
            checker.receive(1, Stamp { publisher: 0, seq, due: 0 }, 100);
        }
        checker.faults()
    }

    #[test]
    fn every_event_once_and_in_order_is_right() {
        assert!(!faults(4, &[0, 1, 2, 3]).any());
        assert!(!faults(0, &[]).any());
    }

    #[test]
    fn lost_events_are_seen() {
        assert_eq!(faults(4, &[0, 1, 2]), Faults { lost: 1, ..Faults::default() });
        assert_eq!(faults(4, &[0, 3]), Faults { lost: 2, ..Faults::default() });
        assert_eq!(faults(4, &[]), Faults { lost: 4, ..Faults::default() });
    }

    #[test]
    fn doubled_events_are_seen() {
        assert_eq!(faults(3, &[0, 1, 1, 2, 0]), Faults { doubled: 2, ..Faults::default() });
    }

    #[test]
    fn reordered_events_are_seen_and_are_not_lost() {
        assert_eq!(faults(3, &[0, 2, 1]), Faults { reordered: 1, ..Faults::default() });
        let both = Faults { reordered: 1, doubled: 1, ..Faults::default() };
        assert_eq!(faults(3, &[0, 2, 1, 1]), both);
    }

    #[test]
    fn damaged_events_are_seen() {
        assert_eq!(faults(1, &[0, 1]), Faults { damaged: 1, ..Faults::default() });
        let mut checker = Checker::new(1, 1, 100);
        checker.publish(0);
        assert!(checker.receive(0, Stamp { publisher: 0, seq: 0, due: 0 }, 99));
        assert!(!checker.receive(0, Stamp { publisher: 9, seq: 0, due: 0 }, 100));
        assert_eq!(checker.faults(), Faults { damaged: 2, ..Faults::default() });
    }

    #[test]
    fn order_is_each_publishers_own() {
        let mut checker = Checker::new(1, 2, 100);
        for publisher in [0, 0, 1] {
            checker.publish(publisher);
        }
        for (publisher, seq) in [(0, 0), (1, 0), (0, 1)] {
            assert!(checker.receive(0, Stamp { publisher, seq, due: 0 }, 100));
        }
        assert!(!checker.faults().any());
    }
}
