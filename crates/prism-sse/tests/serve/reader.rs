//! A reader on a real socket. It parses the head, the chunks and the events strictly, and tells how
//! the stream ended.

use std::collections::VecDeque;
use std::net::SocketAddr;

use prism_sse::wire::{Parsed, ParsedEvent, Parser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::within_deadline;

/// A request for events whose answer is handed over.
pub(crate) const LISTEN: &str = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the last chunk, or where a stream without chunks may end.
    Clean,
    /// In the middle of a stream.
    Cut,
}

pub(crate) struct Reader {
    pub(crate) stream: TcpStream,
    /// The response's head, in lower case.
    pub(crate) head: String,
    chunks: Option<Chunks>,
    parser: Parser,
    parsed: VecDeque<ParsedEvent>,
    /// Everything that was received after the head, without chunked coding.
    pub(crate) text: Vec<u8>,
    pub(crate) end: Option<End>,
}

impl Reader {
    /// Requests `/events`.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::request(address, LISTEN).await
    }

    /// Requests `/events` with this last id.
    pub(crate) async fn resume(address: SocketAddr, id: &str) -> Self {
        Self::request(address, &resume_request("/events", id)).await
    }

    /// Sends `request`, and reads the head of the answer.
    pub(crate) async fn request(address: SocketAddr, request: &str) -> Self {
        Self::request_on(connect(address).await, request).await
    }

    /// The same with a receive buffer as small as the system makes them.
    pub(crate) async fn request_with_smallest_buffer(address: SocketAddr, request: &str) -> Self {
        Self::request_with_buffer(1, address, request).await
    }

    /// The same with a receive buffer of this size.
    pub(crate) async fn request_with_buffer(
        bytes: u32,
        address: SocketAddr,
        request: &str,
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        Self::request_on(within_deadline(socket.connect(address)).await.unwrap(), request).await
    }

    /// Sends `request` on this connection, and reads the head of the answer.
    pub(crate) async fn request_on(mut stream: TcpStream, request: &str) -> Self {
        stream.write_all(request.as_bytes()).await.unwrap();
        Self::read_head(stream).await
    }

    /// Reads the head of the answer to a request that was sent already.
    pub(crate) async fn read_head(mut stream: TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match within_deadline(stream.read_u8()).await {
                Ok(byte) => head.push(byte),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let chunked = head.contains("transfer-encoding: chunked");
        Self {
            stream,
            head,
            chunks: chunked.then(Chunks::default),
            parser: Parser::new(),
            parsed: VecDeque::new(),
            text: Vec::new(),
            end: None,
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The next event, or how the stream ended.
    pub(crate) async fn next(&mut self) -> Result<ParsedEvent, End> {
        loop {
            if let Some(event) = self.parsed.pop_front() {
                return Ok(event);
            }
            if let Some(end) = self.end {
                return Err(end);
            }
            self.read(64 * 1024).await;
        }
    }

    /// The data of the next event that is not the manager's own.
    pub(crate) async fn data(&mut self) -> String {
        loop {
            match self.next().await {
                Ok(event) if event.name.starts_with("prism.") => {}
                Ok(event) => return event.data,
                Err(end) => panic!("the stream ended ({end:?})"),
            }
        }
    }

    /// The next event of this name.
    pub(crate) async fn named(&mut self, name: &str) -> ParsedEvent {
        loop {
            match self.next().await {
                Ok(event) if event.name == name => return event,
                Ok(_) => {}
                Err(end) => panic!("the stream ended ({end:?}) before {name:?}"),
            }
        }
    }

    /// Waits until the stream contains `what`.
    pub(crate) async fn wait_for_text(&mut self, what: &str) {
        while !contains(&self.text, what.as_bytes()) {
            let text = String::from_utf8_lossy(&self.text);
            assert_eq!(self.end, None, "the stream ended before {what:?}: {text:?}");
            self.read(64 * 1024).await;
        }
    }

    /// All events up to the end, and how the stream ended.
    pub(crate) async fn read_to_end(&mut self) -> (Vec<ParsedEvent>, End) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Ok(event) => events.push(event),
                Err(end) => return (events, end),
            }
        }
    }

    /// How the stream ends.
    pub(crate) async fn end(&mut self) -> End {
        self.read_to_end().await.1
    }

    /// The events that were read and not returned yet.
    pub(crate) fn take_parsed(&mut self) -> impl Iterator<Item = ParsedEvent> {
        self.parsed.drain(..)
    }

    /// The id that it would resume with.
    pub(crate) fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// Reads at most `most` bytes, and parses them.
    pub(crate) async fn read(&mut self, most: usize) {
        let mut room = vec![0; most];
        let read = within_deadline(self.stream.read(&mut room)).await;
        let bytes = match &read {
            Ok(0) | Err(_) => {
                let mid = self.chunks.as_ref().is_some_and(|chunks| chunks.at != At::Done);
                self.end = Some(if mid || read.is_err() { End::Cut } else { End::Clean });
                return;
            }
            Ok(len) => &room[..*len],
        };
        let text = match &mut self.chunks {
            Some(chunks) => chunks.take(bytes),
            None => bytes.to_vec(),
        };
        let mut rest = &text[..];
        while let Some(parsed) = self.parser.next(&mut rest) {
            if let Parsed::Event(event) = parsed {
                self.parsed.push_back(event);
            }
        }
        self.text.extend(text);
        if self.chunks.as_ref().is_some_and(|chunks| chunks.at == At::Done) {
            // The connection may stay open for another request.
            self.end = Some(End::Clean);
        }
    }
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    within_deadline(TcpStream::connect(address)).await.unwrap()
}

/// A request with a last id.
pub(crate) fn resume_request(path: &str, id: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {id}\r\n\r\n")
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// A strict parser of the chunked coding (RFC 9112, section 7.1).
#[derive(Default)]
struct Chunks {
    at: At,
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Data(usize),
    /// The line break after a chunk.
    After,
    /// The empty line after the last chunk.
    Last,
    Done,
}

impl Chunks {
    fn take(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        while !bytes.is_empty() {
            if let At::Data(left) = &mut self.at {
                let len = bytes.len().min(*left);
                text.extend_from_slice(&bytes[..len]);
                bytes = &bytes[len..];
                *left -= len;
                if *left == 0 {
                    self.at = At::After;
                }
                continue;
            }
            self.line.push(bytes[0]);
            bytes = &bytes[1..];
            if !self.line.ends_with(b"\r\n") {
                assert!(self.line.len() < 20, "no chunk: {:?}", self.line);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
            self.at = match self.at {
                At::Size => match usize::from_str_radix(line, 16).unwrap() {
                    0 => At::Last,
                    size => At::Data(size),
                },
                At::After if line.is_empty() => At::Size,
                At::Last if line.is_empty() => At::Done,
                at => panic!("{line:?} at {at:?}"),
            };
        }
        text
    }
}
