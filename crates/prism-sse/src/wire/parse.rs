//! A parser of event streams that follows the standard, never fails, and uses bounded memory.
//!
//! WHATWG HTML, section 9.2.6: bytes that are not UTF-8 read as U+FFFD, one leading byte order
//! mark is dropped, lines end in LF, CR or CRLF, unknown fields are ignored, an id that contains
//! NUL is ignored, an id stays in force until another replaces it, and a block that the stream's
//! end cuts off is dropped.

use std::time::Duration;

use crate::limits;

/// Parses bytes, divided in any way, into events.
///
/// ```
/// use prism_sse::wire::{Parsed, Parser};
///
/// let mut parser = Parser::new();
/// let mut seen = Vec::new();
/// for mut piece in [&b"id: 7\r\nda"[..], b"ta: a\r", b"\ndata: b\n\n"] {
///     while let Some(parsed) = parser.next(&mut piece) {
///         seen.push(parsed);
///     }
/// }
/// let Parsed::Event(event) = &seen[0] else { panic!() };
/// assert_eq!((event.name.as_str(), event.data.as_str()), ("message", "a\nb"));
/// assert_eq!(parser.last_event_id(), "7");
/// ```
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    bom: ByteOrderMark,
    /// The last line ended in CR, so that an LF that follows belongs to it.
    after_cr: bool,
    line: Vec<u8>,
    /// The line exceeded the limit and its rest is skipped.
    line_cut: bool,
    data: Vec<u8>,
    name: Vec<u8>,
    id: String,
    last_event_id: String,
    /// A line of the block exceeded the limit.
    block_cut: bool,
}

/// The state of skipping a byte order mark at the beginning of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrderMark {
    /// The stream began with this many bytes of one.
    Matched(usize),
    /// It was skipped, or there is none.
    Done,
}

/// What a parser returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parsed {
    /// A block was larger than the limit and was dropped. The stream continues after it.
    Discarded,
    /// An event that a page would receive.
    Event(ParsedEvent),
    /// The stream set its reconnection time.
    Retry(Duration),
}

/// An event as a page receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsedEvent {
    /// The last event id in force when the event was dispatched; empty if there is none.
    pub id: String,
    /// The name; `message` if the stream gave none.
    pub name: String,
    /// The data, its lines joined by LF.
    pub data: String,
}

const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

impl Parser {
    /// A parser that buffers at most [`limits::PARSER_BYTES_MAX`] of one event.
    pub fn new() -> Self {
        Self::with_limit(limits::PARSER_BYTES_MAX)
    }

    /// A parser that drops an event with a line, or with data, above `limit` bytes, of which there
    /// is at least one.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            // The first byte of a line that is cut shows whether it is a comment.
            limit: limit.max(1),
            bom: ByteOrderMark::Matched(0),
            after_cr: false,
            line: Vec::new(),
            line_cut: false,
            data: Vec::new(),
            name: Vec::new(),
            id: String::new(),
            last_event_id: String::new(),
            block_cut: false,
        }
    }

    /// Consumes `input` up to the end of the next item, or to its end.
    ///
    /// Call it until it returns `None`, then with the next piece.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Parsed> {
        self.skip_byte_order_mark(input);
        while !input.is_empty() {
            if std::mem::take(&mut self.after_cr) && input[0] == b'\n' {
                *input = &input[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\r', b'\n', input) else {
                self.extend_line(input);
                *input = &[];
                return None;
            };
            self.extend_line(&input[..end]);
            self.after_cr = input[end] == b'\r';
            *input = &input[end + 1..];
            if let Some(parsed) = self.end_line() {
                return Some(parsed);
            }
        }
        None
    }

    /// The id that a client would send if it reconnected now; empty if there is none.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Begins the next response of the same stream: an incomplete block is dropped, the last event
    /// id is kept.
    pub fn reconnected(&mut self) {
        let id = std::mem::take(&mut self.last_event_id);
        *self = Self::with_limit(self.limit);
        self.id.clone_from(&id);
        self.last_event_id = id;
    }

    /// Bytes buffered of an incomplete event.
    pub fn buffered(&self) -> usize {
        self.line.len() + self.data.len() + self.name.len() + self.id.len()
    }

    fn skip_byte_order_mark(&mut self, input: &mut &[u8]) {
        while let ByteOrderMark::Matched(seen) = self.bom {
            let Some((first, rest)) = input.split_first() else { return };
            if *first == MARK[seen] {
                *input = rest;
                self.bom = if seen + 1 == MARK.len() {
                    ByteOrderMark::Done
                } else {
                    ByteOrderMark::Matched(seen + 1)
                };
            } else {
                self.bom = ByteOrderMark::Done;
                self.extend_line(&MARK[..seen]);
            }
        }
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.line.len());
        if bytes.len() > room {
            self.line_cut = true;
        }
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) -> Option<Parsed> {
        let line = std::mem::take(&mut self.line);
        let parsed = if std::mem::take(&mut self.line_cut) {
            // A comment has no effect, however long it is.
            self.block_cut |= line.first() != Some(&b':');
            None
        } else if line.is_empty() {
            self.dispatch()
        } else {
            self.field(&line)
        };
        self.line = line;
        self.line.clear();
        parsed
    }

    fn field(&mut self, line: &[u8]) -> Option<Parsed> {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" if self.data.len() + value.len() + 1 > self.limit => self.block_cut = true,
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => self.name = value.to_vec(),
            b"id" if !value.contains(&0) => self.id = String::from_utf8_lossy(value).into_owned(),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let millis = value.iter().fold(0_u64, |number, digit| {
                    number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
                });
                return Some(Parsed::Retry(Duration::from_millis(millis)));
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Parsed> {
        if self.last_event_id != self.id {
            self.last_event_id.clone_from(&self.id);
        }
        let mut data = std::mem::take(&mut self.data);
        let name = std::mem::take(&mut self.name);
        if std::mem::take(&mut self.block_cut) {
            return Some(Parsed::Discarded);
        }
        // The last line's LF is not part of the data; without any line there is no event.
        data.pop()?;
        Some(Parsed::Event(ParsedEvent {
            id: self.last_event_id.clone(),
            name: if name.is_empty() { "message".to_owned() } else { text(name) },
            data: text(data),
        }))
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
