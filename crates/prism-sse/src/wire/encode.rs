//! The encoder. All bytes of all streams are written here.
//!
//! Fields are in the order id, event, retry, data; lines end in LF alone; the bytes are always
//! UTF-8 without a byte order mark. A block is framed as one HTTP/1.1 chunk when it is encoded, so
//! that a socket is written the whole buffer and a response body the block inside it, without a
//! copy.

use bytes::Bytes;
use std::fmt::{self, Write};

use super::event::Event;
use super::id::Position;

/// A heartbeat: an empty comment, which keeps proxies from closing a quiet stream.
///
/// It is a line and not a block: a blank line after it makes some clients see an empty event.
pub(crate) const HEARTBEAT: &[u8] = b":\n";

/// A heartbeat as a chunk.
pub(crate) const HEARTBEAT_CHUNK: &[u8] = b"2\r\n:\n\r\n";

/// The last chunk, which ends a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Longest chunk size line: sixteen hexadecimal digits, CR and LF.
const CHUNK_HEAD_MAX: usize = 18;

/// An encoded event, framed as an HTTP/1.1 chunk (RFC 9112, section 7.1).
#[derive(Clone, Debug)]
pub(crate) struct Framed {
    chunk: Bytes,
    /// Bytes of the chunk's size line, with its CRLF.
    head: u8,
}

impl Event {
    /// The event as it is written in a stream.
    ///
    /// A [`Manager`](crate::Manager) with history adds an id where the event has none of its own.
    pub fn encode(&self) -> Bytes {
        Framed::encode(self, None).block()
    }
}

impl Framed {
    /// Encodes `event`. Its own id has precedence over `position`; without either there is no
    /// `id:`.
    pub(crate) fn encode(event: &Event, position: Option<Position>) -> Self {
        let mut buffer = Buffer::with_capacity(CHUNK_HEAD_MAX + encoded_len(event) + 2);
        buffer.0.extend_from_slice(&[0; CHUNK_HEAD_MAX]);
        write_block(&mut buffer, event, position);
        Self::frame(buffer.0)
    }

    /// Frames `block` as a chunk.
    pub(crate) fn from_block(block: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(CHUNK_HEAD_MAX + block.len() + 2);
        buffer.extend_from_slice(&[0; CHUNK_HEAD_MAX]);
        buffer.extend_from_slice(block);
        Self::frame(buffer)
    }

    /// Frames a buffer that begins with space for the size line.
    /// A chunk that was encoded before. `None` if it is none.
    pub(crate) fn from_chunk(chunk: Bytes) -> Option<Self> {
        let head = chunk.windows(2).take(CHUNK_HEAD_MAX).position(|end| end == b"\r\n")? + 2;
        let len = std::str::from_utf8(&chunk[..head - 2]).ok()?;
        let len = usize::from_str_radix(len, 16).ok()?;
        let is_whole = head.checked_add(len)?.checked_add(2)? == chunk.len();
        (is_whole && chunk.ends_with(b"\r\n")).then_some(Self { chunk, head: head as u8 })
    }

    fn frame(mut buffer: Vec<u8>) -> Self {
        let len = buffer.len() - CHUNK_HEAD_MAX;
        buffer.extend_from_slice(b"\r\n");

        let size_line = format!("{len:x}\r\n");
        let start = CHUNK_HEAD_MAX - size_line.len();
        buffer[start..CHUNK_HEAD_MAX].copy_from_slice(size_line.as_bytes());
        Self { chunk: Bytes::from(buffer).slice(start..), head: size_line.len() as u8 }
    }

    /// The whole chunk, sharing its memory.
    pub(crate) fn chunk(&self) -> Bytes {
        self.chunk.clone()
    }

    /// The whole chunk, borrowed.
    pub(crate) fn as_chunk(&self) -> &[u8] {
        &self.chunk
    }

    /// The event's block, sharing the chunk's memory.
    pub(crate) fn block(&self) -> Bytes {
        self.chunk.slice(self.head as usize..self.chunk.len() - 2)
    }

    /// The event's block, borrowed.
    pub(crate) fn as_block(&self) -> &[u8] {
        &self.chunk[self.head as usize..self.chunk.len() - 2]
    }

    /// Bytes held in memory for the chunk.
    pub(crate) fn len(&self) -> usize {
        self.chunk.len()
    }
}

/// The first line of a stream that has no control events.
pub(crate) fn retry_line(retry_ms: u32, out: &mut Vec<u8>) {
    let mut buffer = Buffer(std::mem::take(out));
    buffer.field("retry", retry_ms);
    *out = buffer.0;
}

/// A block of a control event, appended to `out`.
pub(crate) fn block(event: &Event, position: Option<Position>, out: &mut Vec<u8>) {
    let mut buffer = Buffer(std::mem::take(out));
    write_block(&mut buffer, event, position);
    *out = buffer.0;
}

fn write_block(out: &mut Buffer, event: &Event, position: Option<Position>) {
    if let Some(text) = event.comment_text() {
        // An id or a blank line after a comment would have an effect of its own.
        out.line(": ", text);
        if let Some(ms) = event.retry_ms() {
            out.field("retry", ms);
        }
        return;
    }
    match (event.event_id(), position) {
        (Some(id), _) => out.line("id: ", id.as_str()),
        (None, Some(position)) => out.field("id", position),
        (None, None) => {}
    }
    if let Some(name) = event.name() {
        out.line("event: ", name.as_str());
    }
    if let Some(ms) = event.retry_ms() {
        out.field("retry", ms);
    }
    for line in lines(event.data().unwrap_or_default()) {
        out.line(if line.is_empty() { "data:" } else { "data: " }, line);
    }
    out.0.push(b'\n');
}

/// An upper bound of the encoded length.
fn encoded_len(event: &Event) -> usize {
    const LONGEST_FIELD: usize = "retry: 2147483647\n".len();
    const POSITION_LINE: usize = 48;
    let breaks =
        event.data().map_or(0, |data| memchr::memchr2_iter(b'\r', b'\n', data.as_bytes()).count());
    event.size()
        + (breaks + 1) * "data: \n".len()
        + event.event_id().map_or(0, |id| id.as_str().len())
        + event.name().map_or(0, |name| name.as_str().len())
        + 2 * LONGEST_FIELD
        + POSITION_LINE
}

/// The lines of a text: LF, CR and CRLF each end one, and a text that ends in a break has an
/// empty last line, so that the reader's joining with LF gives the text back.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\r', b'\n', text.as_bytes()) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(end);
        rest = Some(tail.strip_prefix("\r\n").unwrap_or(&tail[1..]));
        Some(line)
    })
}

struct Buffer(Vec<u8>);

impl Buffer {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn line(&mut self, prefix: &str, value: &str) {
        self.0.extend_from_slice(prefix.as_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn field(&mut self, name: &str, value: impl fmt::Display) {
        writeln!(self, "{name}: {value}").expect("writing to memory does not fail");
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Epoch;

    #[test]
    fn a_line_break_of_any_kind_is_one_break() {
        let cases: [(&str, &str); 9] = [
            ("", "data:\n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\rb", "data: a\ndata: b\n\n"),
            ("a\r\nb", "data: a\ndata: b\n\n"),
            ("a\n\rb", "data: a\ndata:\ndata: b\n\n"),
            ("a\n", "data: a\ndata:\n\n"),
            ("\n", "data:\ndata:\n\n"),
            ("  a", "data:   a\n\n"),
            (":x", "data: :x\n\n"),
        ];
        for (data, block) in cases {
            assert_eq!(Event::new(data).encode(), block, "{data:?}");
        }
    }

    #[test]
    fn a_position_is_written_unless_the_publisher_chose_an_id() {
        let position = Some(Position { epoch: Epoch::new(0x5f), seq: 7 });
        let plain = Framed::encode(&Event::new("x"), position);
        assert_eq!(plain.block(), "id: #5f.7\ndata: x\n\n");
        let named = Framed::encode(&Event::new("x").id("mine").unwrap(), position);
        assert_eq!(named.block(), "id: mine\ndata: x\n\n");
    }

    #[test]
    fn the_chunk_around_a_block_is_valid_http() {
        let framed = Framed::encode(&Event::new("Hello, World!"), None);
        assert_eq!(framed.chunk, "15\r\ndata: Hello, World!\n\n\r\n");
        assert_eq!(framed.as_block(), framed.block());
    }

    #[test]
    fn a_comment_is_a_line_and_not_a_block() {
        assert_eq!(Event::comment("hi").unwrap().encode(), ": hi\n");
    }

    #[test]
    fn the_buffer_is_never_grown() {
        for data in ["", "a", "\n\n\n", "a\r\nb\r\nc"] {
            let event = Event::new(data)
                .id("i".repeat(255))
                .and_then(|event| event.event("n".repeat(255)))
                .and_then(|event| event.retry(std::time::Duration::from_millis(2_147_483_647)))
                .unwrap();
            let position = Position { epoch: Epoch::new(u64::MAX), seq: u64::MAX };
            let len = Framed::encode(&event, Some(position)).as_block().len();
            assert!(len <= encoded_len(&event), "{data:?}");
        }
    }
}
