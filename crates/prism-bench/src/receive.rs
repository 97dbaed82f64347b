//! What a subscriber reads: events found in lines.
//!
//! Each published payload begins with a [`Stamp`]. A subscriber needs no more of the format of
//! events than that a line beginning with `data:` has the stamp near its beginning, so that any
//! server's streams can be checked, whatever else it sends.

use std::io::Write;

/// Begins a stamp. It and what follows need no quoting in JSON, forms or URLs.
const MARKER: &[u8] = b"PB~";

/// Bytes of a stamp: the marker, three numbers in hexadecimal digits, and an end.
pub(crate) const STAMP_BYTES: usize = MARKER.len() + 6 + 8 + 16 + 1;

/// How much of a line's beginning is looked at.
const BEGINNING_BYTES: usize = 64;

/// What the payload of an event says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The order that it has a place in: of a connection that publishes, or of a topic.
    pub(crate) lane: u32,
    /// Its place in that order.
    pub(crate) seq: u32,
    /// When it was due, in nanoseconds since the measurement began.
    pub(crate) due: u64,
}

impl Stamp {
    /// Appends a payload of `len` bytes that begins with the stamp.
    pub(crate) fn write(self, len: usize, payload: &mut Vec<u8>) {
        let Self { lane, seq, due } = self;
        let begin = payload.len();
        payload.extend_from_slice(MARKER);
        // A vector takes everything.
        drop(write!(payload, "{lane:06x}{seq:08x}{due:016x}~"));
        payload.resize(begin + len.max(STAMP_BYTES), b'x');
    }

    /// The stamp at the beginning of `text`.
    fn read(text: &[u8]) -> Option<Self> {
        let digits = text.get(..STAMP_BYTES)?.strip_prefix(MARKER)?.strip_suffix(b"~")?;
        Some(Self {
            lane: number(&digits[..6])? as u32,
            seq: number(&digits[6..14])? as u32,
            due: number(&digits[14..])?,
        })
    }
}

/// Up to sixteen hexadecimal digits. Every digit of every event is read: a table is the fast way.
fn number(digits: &[u8]) -> Option<u64> {
    let (mut number, mut wrong) = (0, 0);
    for &digit in digits {
        let value = DIGITS[usize::from(digit)];
        wrong |= value;
        number = number << 4 | u64::from(value & 0xF);
    }
    (wrong < NO_DIGIT).then_some(number)
}

const NO_DIGIT: u8 = 0x10;

/// The values of hexadecimal digits.
const DIGITS: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let digits = *b"0123456789abcdef";
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values
};

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

/// The id that a reader of a stream would come back with.
#[derive(Debug, Default)]
pub(crate) struct LastId {
    line: Vec<u8>,
    id: String,
}

impl LastId {
    /// The id that was read last; empty as long as there was none.
    pub(crate) fn get(&self) -> &str {
        &self.id
    }

    /// Takes what has come.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            if let Some(id) = line.strip_prefix(b"id:") {
                let id = id.strip_prefix(b" ").unwrap_or(id);
                self.id = String::from_utf8_lossy(id).into_owned();
            }
            self.line.clear();
            bytes = &bytes[end + 1..];
        }
        self.line.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(seq: u32) -> String {
        let mut payload = Vec::new();
        Stamp { lane: 3, seq, due: 77 + u64::from(seq) }.write(100, &mut payload);
        String::from_utf8(payload).unwrap()
    }

    /// The stamps' numbers and lengths in a text that comes in pieces of `len` bytes.
    fn found(text: &str, len: usize) -> Vec<(u32, usize)> {
        let (mut lines, mut all) = (Lines::new(), Vec::new());
        for piece in text.as_bytes().chunks(len) {
            lines.take(piece, |stamp, len| {
                assert_eq!((stamp.lane, stamp.due), (3, 77 + u64::from(stamp.seq)));
                all.push((stamp.seq, len));
            });
        }
        all
    }

    #[test]
    fn a_payload_has_the_length_asked_for_and_room_for_its_stamp() {
        assert_eq!(payload(1).len(), 100);
        let mut short = Vec::new();
        Stamp { lane: 0, seq: 0, due: 0 }.write(1, &mut short);
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
        for line in ["data: PB~", "data: PB~000003000000010000000000000000", "data: PB~zz", "data"]
        {
            assert_eq!(found(&format!("{line}\n\n"), 5), [], "{line}");
        }
    }

    #[test]
    fn digits_are_small_and_hexadecimal() {
        assert_eq!(number(b"00ff"), Some(255));
        assert_eq!(number(b"fedcba9876543210"), Some(0xFEDC_BA98_7654_3210));
        for text in [&b"0G"[..], b"FF", b" 1", b"-1"] {
            assert_eq!(number(text), None);
        }
    }

    #[test]
    fn the_last_id_is_known_wherever_the_stream_is_cut() {
        let text = b"id: #5.1\ndata: id: x\n\nid:two\r\n:id: 3\nids: 4\nid: unfini";
        for len in 1..=text.len() {
            let mut last = LastId::default();
            for piece in text.chunks(len) {
                last.take(piece);
            }
            assert_eq!(last.get(), "two");
        }
    }
}
