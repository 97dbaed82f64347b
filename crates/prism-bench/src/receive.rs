//! Finds published events in the streams that subscribers read.
//!
//! Each published payload begins with a [`Stamp`]. All that is assumed of a server's stream is that
//! a line beginning with `data:` has the stamp near its beginning, so that the streams of any
//! server can be checked, whatever else they contain.

use std::io::Write;

/// The prefix of a stamp. All of a stamp's characters are literal in JSON, forms and URLs.
const MARKER: &[u8] = b"PB~";

/// Length of a stamp: the marker, three hexadecimal numbers, and an end.
pub(crate) const STAMP_BYTES: usize = MARKER.len() + 6 + 8 + 16 + 1;

/// Length of a line's beginning in which a stamp is looked for.
const BEGINNING_BYTES: usize = 64;

/// What the payload of an event says about the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its sequence: that of a connection that publishes, or of a topic.
    pub(crate) sequence: u32,
    /// Its number in that sequence.
    pub(crate) number: u32,
    /// When it was due, in nanoseconds since the measurement began.
    pub(crate) due: u64,
}

impl Stamp {
    /// Appends a payload of `len` bytes that begins with the stamp.
    pub(crate) fn write(self, len: usize, payload: &mut Vec<u8>) {
        let Self { sequence, number, due } = self;
        let begin = payload.len();
        payload.extend_from_slice(MARKER);
        // Writing to a vector cannot fail.
        drop(write!(payload, "{sequence:06x}{number:08x}{due:016x}~"));
        payload.resize(begin + len.max(STAMP_BYTES), b'x');
    }

    /// Parses the stamp at the beginning of `text`.
    fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.get(..STAMP_BYTES)?.strip_prefix(MARKER)?.strip_suffix(b"~")?;
        Some(Self {
            sequence: hexadecimal(&digits[..6])? as u32,
            number: hexadecimal(&digits[6..14])? as u32,
            due: hexadecimal(&digits[14..])?,
        })
    }
}

/// Parses up to sixteen hexadecimal digits. A table is the fast way, and every digit of every event
/// is parsed.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
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

/// Finds the stamps in one stream, of which the last line may be incomplete.
#[derive(Debug)]
pub(crate) struct StampScanner {
    beginning: [u8; BEGINNING_BYTES],
    /// Bytes of the last line so far.
    len: u32,
}

impl StampScanner {
    /// A scanner at the beginning of a stream.
    pub(crate) fn new() -> Self {
        Self { beginning: [0; BEGINNING_BYTES], len: 0 }
    }

    /// Scans the next bytes of the stream. Calls `found` for each stamp that they complete, with
    /// the length of the text from the stamp to the end of its line.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Stamp, usize)) {
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

/// The stamp in a line of `len` bytes with this beginning, and the length of the line from it on.
fn stamp_of(beginning: &[u8], len: usize) -> Option<(Stamp, usize)> {
    let text = beginning.strip_prefix(b"data:")?;
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let text = match Stamp::parse(text) {
        Some(_) => text,
        None => &text[memchr::memmem::find(text, MARKER)?..],
    };
    let before = beginning.len() - text.len();
    Stamp::parse(text).map(|stamp| (stamp, len - before))
}

/// The id that a subscriber of a stream would reconnect with.
#[derive(Debug, Default)]
pub(crate) struct LastEventId {
    line: Vec<u8>,
    id: String,
}

impl LastEventId {
    /// The last id of the stream; empty if there was none.
    pub(crate) fn get(&self) -> &str {
        &self.id
    }

    /// Scans the next bytes of the stream.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
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

    fn payload(number: u32) -> String {
        let mut payload = Vec::new();
        Stamp { sequence: 3, number, due: 77 + u64::from(number) }.write(100, &mut payload);
        String::from_utf8(payload).unwrap()
    }

    /// The stamps' numbers and lengths in a text that comes in pieces of `len` bytes.
    fn found(text: &str, len: usize) -> Vec<(u32, usize)> {
        let (mut scanner, mut all) = (StampScanner::new(), Vec::new());
        for piece in text.as_bytes().chunks(len) {
            scanner.feed(piece, |stamp, len| {
                assert_eq!((stamp.sequence, stamp.due), (3, 77 + u64::from(stamp.number)));
                all.push((stamp.number, len));
            });
        }
        all
    }

    #[test]
    fn a_payload_has_the_given_length_or_that_of_its_stamp() {
        assert_eq!(payload(1).len(), 100);
        let mut short = Vec::new();
        Stamp { sequence: 0, number: 0, due: 0 }.write(1, &mut short);
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
    fn an_incomplete_line_is_no_event() {
        assert_eq!(found(&format!("data: {}", payload(1)), 7), []);
    }

    #[test]
    fn a_malformed_stamp_is_ignored() {
        for line in ["data: PB~", "data: PB~000003000000010000000000000000", "data: PB~zz", "data"]
        {
            assert_eq!(found(&format!("{line}\n\n"), 5), [], "{line}");
        }
    }

    #[test]
    fn digits_are_lower_case_and_hexadecimal() {
        assert_eq!(hexadecimal(b"00ff"), Some(255));
        assert_eq!(hexadecimal(b"fedcba9876543210"), Some(0xFEDC_BA98_7654_3210));
        for text in [&b"0G"[..], b"FF", b" 1", b"-1"] {
            assert_eq!(hexadecimal(text), None);
        }
    }

    #[test]
    fn the_last_id_is_found_wherever_the_stream_is_cut() {
        let text = b"id: #5.1\ndata: id: x\n\nid:two\r\n:id: 3\nids: 4\nid: unfini";
        for len in 1..=text.len() {
            let mut last = LastEventId::default();
            for piece in text.chunks(len) {
                last.feed(piece);
            }
            assert_eq!(last.get(), "two");
        }
    }
}
