//! An incremental parser of HTTP/1.1 responses, with just what a client of streams needs.
//!
//! A body comes out without its framing: chunked, with a length, or up to the end of the
//! connection. Nothing is allocated after the head.

use anyhow::{Context, Result, bail, ensure};

/// Longest head of a response.
const HEAD_BYTES_MAX: usize = 64 * 1024;

const HEADERS_MAX: usize = 64;

/// Parses one response.
#[derive(Debug)]
pub(crate) struct ResponseParser {
    /// The incomplete head; empty once the head is complete.
    head: Vec<u8>,
    status: u16,
    framing: BodyFraming,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyFraming {
    Head,
    Length(u64),
    Chunked(ChunkState),
    UntilClosed,
    Complete,
}

/// Where in a chunked body the parser is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// In the size of a chunk: its value so far, if it has a digit yet.
    Size(Option<u64>),
    /// Between the size and the end of its line.
    Extension(u64),
    /// In the data of a chunk, of which this many bytes are missing.
    Data(u64),
    /// Between the data and the end of its line.
    AfterData,
    /// In the lines after the last chunk, of which the current one may be empty so far.
    Trailer { empty: bool },
}

impl ResponseParser {
    /// A parser at the beginning of a response.
    pub(crate) fn new() -> Self {
        Self { head: Vec::new(), status: 0, framing: BodyFraming::Head }
    }

    /// The status, once the head is complete.
    pub(crate) fn status(&self) -> Option<u16> {
        (self.framing != BodyFraming::Head).then_some(self.status)
    }

    /// Whether head and body are complete.
    pub(crate) fn is_complete(&self) -> bool {
        self.framing == BodyFraming::Complete
    }

    /// Parses the next bytes, and calls `body` for each piece of the body in them.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<()> {
        if self.framing != BodyFraming::Head {
            return self.feed_body(bytes, &mut body);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(len) = self.parse_head()? else {
            ensure!(self.head.len() <= HEAD_BYTES_MAX, "the head of a response is too long");
            return Ok(());
        };
        self.head = Vec::new();
        self.feed_body(&bytes[len - before..], &mut body)
    }

    /// Parses the head if it is complete, and returns its length.
    fn parse_head(&mut self) -> Result<Option<usize>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.head).context("a response is no HTTP")?;
        let httparse::Status::Complete(len) = parsed else { return Ok(None) };
        let value = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
        };
        self.status = head.code.unwrap_or_default();
        self.framing = if self.status == 204 {
            BodyFraming::Complete
        } else if value("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
            BodyFraming::Chunked(ChunkState::Size(None))
        } else if let Some(length) = value("content-length") {
            match length.parse().context("the length of a response is no number")? {
                0 => BodyFraming::Complete,
                length => BodyFraming::Length(length),
            }
        } else {
            BodyFraming::UntilClosed
        };
        Ok(Some(len))
    }

    fn feed_body(&mut self, mut bytes: &[u8], body: &mut impl FnMut(&[u8])) -> Result<()> {
        while !bytes.is_empty() {
            match &mut self.framing {
                BodyFraming::UntilClosed => {
                    body(bytes);
                    return Ok(());
                }
                BodyFraming::Length(missing) => {
                    let (data, rest) = split(bytes, *missing);
                    body(data);
                    *missing -= data.len() as u64;
                    if *missing == 0 {
                        self.framing = BodyFraming::Complete;
                    }
                    bytes = rest;
                }
                BodyFraming::Chunked(chunk) => {
                    let (next, rest) = chunk.step(bytes, body)?;
                    self.framing = next.map_or(BodyFraming::Complete, BodyFraming::Chunked);
                    bytes = rest;
                }
                BodyFraming::Head | BodyFraming::Complete => {
                    bail!("bytes follow the end of a response")
                }
            }
        }
        Ok(())
    }
}

impl ChunkState {
    /// Consumes at least one byte. Returns where the parser is then, or `None` at the body's end.
    fn step<'b>(
        self,
        bytes: &'b [u8],
        body: &mut impl FnMut(&[u8]),
    ) -> Result<(Option<Self>, &'b [u8])> {
        let (byte, rest) = (bytes[0], &bytes[1..]);
        let next = match self {
            Self::Data(missing) => {
                let (data, rest) = split(bytes, missing);
                body(data);
                let missing = missing - data.len() as u64;
                let next = if missing == 0 { Self::AfterData } else { Self::Data(missing) };
                return Ok((Some(next), rest));
            }
            Self::Size(size) => match char::from(byte).to_digit(16) {
                Some(digit) => {
                    let size = size.unwrap_or(0);
                    ensure!(size < 1 << 56, "the size of a chunk is too large");
                    Self::Size(Some(size << 4 | u64::from(digit)))
                }
                None => {
                    let size = size.context("the size of a chunk is no number")?;
                    match byte {
                        b'\n' => Self::after_size(size),
                        b'\r' | b';' | b' ' => Self::Extension(size),
                        _ => bail!("the size of a chunk is no number"),
                    }
                }
            },
            Self::Extension(size) if byte == b'\n' => Self::after_size(size),
            Self::Extension(size) => Self::Extension(size),
            Self::AfterData => match byte {
                b'\r' => self,
                b'\n' => Self::Size(None),
                _ => bail!("a chunk is longer than its size"),
            },
            Self::Trailer { empty: true } if byte == b'\n' => return Ok((None, rest)),
            Self::Trailer { empty } => {
                Self::Trailer { empty: byte == b'\n' || (empty && byte == b'\r') }
            }
        };
        Ok((Some(next), rest))
    }

    fn after_size(size: u64) -> Self {
        if size == 0 { Self::Trailer { empty: true } } else { Self::Data(size) }
    }
}

fn split(bytes: &[u8], most: u64) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a response in pieces of every length, and returns its body.
    fn read(text: &str) -> Vec<u8> {
        let mut bodies = (1..=text.len()).map(|len| {
            let (mut response, mut read) = (ResponseParser::new(), Vec::new());
            for piece in text.as_bytes().chunks(len) {
                response.feed(piece, |bytes| read.extend_from_slice(bytes)).unwrap();
            }
            assert_eq!(response.status(), Some(200));
            (response.is_complete(), read)
        });
        let (complete, body) = bodies.next().unwrap();
        assert_eq!(complete, !text.contains("event-stream"));
        for other in bodies {
            assert_eq!(other, (complete, body.clone()));
        }
        body
    }

    #[test]
    fn a_body_comes_out_without_its_framing() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
                       5;x=y\r\nhello\r\n00d\r\n \nworld, you\n\r\n0\r\nA: b\r\n\r\n";
        assert_eq!(read(chunked), b"hello \nworld, you\n");
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), b"hello");
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), b"");
        assert_eq!(read("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\na\n"), b"a\n");
    }

    #[test]
    fn a_malformed_response_is_refused() {
        for text in [
            "SSH-2.0-server\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
        ] {
            assert!(ResponseParser::new().feed(text.as_bytes(), |_| ()).is_err(), "{text:?}");
        }
    }
}
