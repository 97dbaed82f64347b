//! The ceiling: one thread that writes the same bytes to one socket after another.
//!
//! It parses just enough of HTTP to take subscribers and events, so that nearly all of its cost is
//! the kernel's. With history its events have ids, and a subscriber that reconnects with one is
//! sent the bytes after it, from one buffer in writes of 16 KiB.

mod replay_log;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use self::replay_log::ReplayLog;
use super::contract::{PUBLISH_PATH, SUBSCRIBE_PATH, print_ready};

const LISTENER: Token = Token(usize::MAX);
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const HEADERS_MAX: usize = 32;

/// Most bytes of one write of a replay.
const REPLAY_BYTES: usize = 16 * 1024;

struct RawServer {
    connections: Slab<Connection>,
    registry: Registry,
    history: Option<ReplayLog>,
}

struct Connection {
    stream: TcpStream,
    phase: Phase,
}

enum Phase {
    /// It sends requests; these are the bytes of the next one so far.
    Request(Vec<u8>),
    /// It has a stream; these bytes, mostly none, had no room in its socket yet.
    Stream(Vec<u8>),
    /// It is sent the events it missed, from this offset of the history on.
    Replay(usize),
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Incomplete,
    Subscribe { after: Option<String> },
    Publish { text: Vec<u8>, len: usize },
    Unknown,
}

pub(super) fn serve(address: SocketAddr, history: Option<usize>) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let registry = poll.registry().try_clone()?;
    let mut server = RawServer {
        connections: Slab::new(),
        registry,
        history: history.map(|_| ReplayLog::new()),
    };
    print_ready(listener.local_addr()?)?;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                server.accept(&listener)?;
                continue;
            }
            let key = event.token().0;
            if !server.connections.contains(key) {
                continue;
            }
            let alive = (!event.is_writable() || server.flush(key).is_ok())
                && (!event.is_readable() || server.read(key).is_ok());
            if !alive {
                server.connections.remove(key);
            }
        }
    }
}

impl RawServer {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client closed it before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("no connection can be accepted"),
            };
            // Setting the option fails only on a closed socket, which the next read reports.
            drop(stream.set_nodelay(true));
            let entry = self.connections.vacant_entry();
            self.registry.register(&mut stream, Token(entry.key()), Interest::READABLE)?;
            entry.insert(Connection { stream, phase: Phase::Request(Vec::new()) });
        }
    }

    /// Reads requests until the socket is empty, and answers them. An error ends the connection.
    fn read(&mut self, key: usize) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let connection = &mut self.connections[key];
            let len = match connection.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Phase::Request(received) = &mut connection.phase {
                received.extend_from_slice(&buffer[..len]);
            }
            while self.answer(key)? {}
        }
    }

    /// Answers one request, if one is complete.
    fn answer(&mut self, key: usize) -> io::Result<bool> {
        let connection = &mut self.connections[key];
        let Phase::Request(received) = &mut connection.phase else { return Ok(false) };
        match parse(received)? {
            Request::Incomplete => return Ok(false),
            Request::Subscribe { after } => {
                let missed = after.zip(self.history.as_ref());
                let place = missed.and_then(|(id, history)| history.after(&id));
                connection.phase = place.map_or(Phase::Stream(Vec::new()), Phase::Replay);
                connection.stream.write_all(STREAM_HEAD)?;
                if place.is_some() {
                    // The replay may be longer than the socket has room.
                    self.wait_for_room(key);
                    self.flush(key)?;
                }
            }
            Request::Publish { text, len } => {
                received.drain(..len);
                self.publish(&text);
                self.connections[key].stream.write_all(NO_CONTENT)?;
            }
            Request::Unknown => {
                received.clear();
                connection.stream.write_all(NOT_FOUND)?;
            }
        }
        Ok(true)
    }

    fn publish(&mut self, text: &[u8]) {
        let framed;
        let event = match &mut self.history {
            Some(history) => history.append(text),
            None => {
                framed = frame(text);
                &framed
            }
        };
        let mut full = Vec::new();
        for (key, connection) in &mut self.connections {
            let Phase::Stream(rest) = &mut connection.phase else { continue };
            if !rest.is_empty() {
                rest.extend_from_slice(event);
                continue;
            }
            let written = match connection.stream.write(event) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                // The next read reports the error.
                Err(_) => continue,
            };
            if written < event.len() {
                rest.extend_from_slice(&event[written..]);
                full.push(key);
            }
        }
        for key in full {
            self.wait_for_room(key);
        }
    }

    fn wait_for_room(&mut self, key: usize) {
        let both = Interest::READABLE | Interest::WRITABLE;
        // If this fails, the connection stalls, which the client reports.
        drop(self.registry.reregister(&mut self.connections[key].stream, Token(key), both));
    }

    /// Writes what the socket had no room for before.
    fn flush(&mut self, key: usize) -> io::Result<()> {
        let Connection { stream, phase } = &mut self.connections[key];
        loop {
            let rest = match (&*phase, &self.history) {
                (Phase::Stream(rest), _) => rest,
                (Phase::Replay(at), Some(history)) => history.from(*at),
                _ => return Ok(()),
            };
            if rest.is_empty() {
                *phase = Phase::Stream(Vec::new());
                return Ok(());
            }
            let most = if matches!(phase, Phase::Replay(_)) { REPLAY_BYTES } else { usize::MAX };
            let written = match stream.write(&rest[..rest.len().min(most)]) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            match phase {
                Phase::Stream(rest) => drop(rest.drain(..written)),
                Phase::Replay(at) => *at += written,
                Phase::Request(_) => {}
            }
        }
    }
}

fn parse(received: &[u8]) -> io::Result<Request> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(received) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(Request::Incomplete),
        Err(_) => return Err(ErrorKind::InvalidData.into()),
    };
    let length = request.headers.iter().find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|it| std::str::from_utf8(it.value).ok()?.trim().parse().ok());
    let len = head + length.unwrap_or(0usize);
    let after = request.headers.iter().find(|it| it.name.eq_ignore_ascii_case("last-event-id"));
    let after = after.map(|it| String::from_utf8_lossy(it.value).into_owned());
    Ok(match (request.method, request.path) {
        (Some("GET"), Some(SUBSCRIBE_PATH)) => Request::Subscribe { after },
        (Some("POST"), Some(PUBLISH_PATH)) => match received.get(head..len) {
            Some(text) => Request::Publish { text: text.to_vec(), len },
            None => Request::Incomplete,
        },
        _ => Request::Unknown,
    })
}

/// The event as one HTTP chunk.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut event = format!("{:x}\r\ndata: ", text.len() + 8).into_bytes();
    event.extend_from_slice(text);
    event.extend_from_slice(b"\n\n\r\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_chunk() {
        assert_eq!(frame(b"0123456789"), b"12\r\ndata: 0123456789\n\n\r\n");
    }

    #[test]
    fn a_request_is_parsed_once_it_is_complete() {
        let text = b"POST /publish HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
        for len in 0..text.len() {
            assert!(matches!(parse(&text[..len]).unwrap(), Request::Incomplete), "{len}");
        }
        let published = Request::Publish { text: b"hi".to_vec(), len: text.len() };
        assert_eq!(parse(text).unwrap(), published);
        let ask = |path| parse(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(ask(SUBSCRIBE_PATH), Request::Subscribe { after: None });
        assert_eq!(ask("/"), Request::Unknown);
        let back = b"GET /events HTTP/1.1\r\nLast-Event-ID: #1.7\r\n\r\n";
        assert_eq!(parse(back).unwrap(), Request::Subscribe { after: Some("#1.7".to_owned()) });
        assert!(parse(b"hello there\r\n\r\n").is_err());
    }
}
