//! The ceiling: one thread that writes the same bytes to one socket after another.
//!
//! It understands just enough of HTTP to be asked for a stream and to be handed an event. What it
//! costs is what the kernel costs. With history its events have ids, and who comes back with one
//! gets the bytes that followed it, as they were, from one buffer in writes of 16 KiB.

mod log;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use self::log::Log;
use super::{PUBLISH_PATH, SUBSCRIBE_PATH, say_ready};

const LISTENER: Token = Token(usize::MAX);
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const HEADERS_MAX: usize = 32;

/// Most bytes of a replay that are written at once.
const REPLAY_BYTES: usize = 16 * 1024;

struct Raw {
    peers: Slab<Peer>,
    registry: Registry,
    history: Option<Log>,
}

struct Peer {
    stream: TcpStream,
    role: Role,
}

enum Role {
    /// It asks, and this has come of its next request.
    Asks(Vec<u8>),
    /// It listens, and this, mostly nothing, is what its socket had no room for.
    Listens(Vec<u8>),
    /// It is given what it missed, and this is where in the history it is.
    Resumes(usize),
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
    let mut raw = Raw { peers: Slab::new(), registry, history: history.map(|_| Log::new()) };
    say_ready(listener.local_addr()?)?;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                raw.accept(&listener)?;
                continue;
            }
            let key = event.token().0;
            if !raw.peers.contains(key) {
                continue;
            }
            let alive = (!event.is_writable() || raw.flush(key).is_ok())
                && (!event.is_readable() || raw.read(key).is_ok());
            if !alive {
                raw.peers.remove(key);
            }
        }
    }
}

impl Raw {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // It was gone before it was looked at.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("no connection can be accepted"),
            };
            // One that refuses the option is gone, which reading tells.
            drop(stream.set_nodelay(true));
            let entry = self.peers.vacant_entry();
            self.registry.register(&mut stream, Token(entry.key()), Interest::READABLE)?;
            entry.insert(Peer { stream, role: Role::Asks(Vec::new()) });
        }
    }

    /// Reads what has come, and does what is asked. An error is the connection's end.
    fn read(&mut self, key: usize) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let peer = &mut self.peers[key];
            let len = match peer.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Role::Asks(received) = &mut peer.role {
                received.extend_from_slice(&buffer[..len]);
            }
            while self.answer(key)? {}
        }
    }

    /// Answers one request, if it is there.
    fn answer(&mut self, key: usize) -> io::Result<bool> {
        let peer = &mut self.peers[key];
        let Role::Asks(received) = &mut peer.role else { return Ok(false) };
        match parse(received)? {
            Request::Incomplete => return Ok(false),
            Request::Subscribe { after } => {
                let missed = after.zip(self.history.as_ref());
                let place = missed.and_then(|(id, history)| history.after(&id));
                peer.role = place.map_or(Role::Listens(Vec::new()), Role::Resumes);
                peer.stream.write_all(STREAM_HEAD)?;
                if place.is_some() {
                    // It may take more than its socket has room for now.
                    self.wait_for_room(key);
                    self.flush(key)?;
                }
            }
            Request::Publish { text, len } => {
                received.drain(..len);
                self.publish(&text);
                self.peers[key].stream.write_all(NO_CONTENT)?;
            }
            Request::Unknown => {
                received.clear();
                peer.stream.write_all(NOT_FOUND)?;
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
        for (key, peer) in &mut self.peers {
            let Role::Listens(rest) = &mut peer.role else { continue };
            if !rest.is_empty() {
                rest.extend_from_slice(event);
                continue;
            }
            let written = match peer.stream.write(event) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                // Reading will tell that it ended.
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
        // Where this fails the connection is stuck, which the checks at the other end tell.
        drop(self.registry.reregister(&mut self.peers[key].stream, Token(key), both));
    }

    /// Writes what its socket had no room for before.
    fn flush(&mut self, key: usize) -> io::Result<()> {
        let Peer { stream, role } = &mut self.peers[key];
        loop {
            let rest = match (&*role, &self.history) {
                (Role::Listens(rest), _) => rest,
                (Role::Resumes(at), Some(history)) => history.from(*at),
                _ => return Ok(()),
            };
            if rest.is_empty() {
                *role = Role::Listens(Vec::new());
                return Ok(());
            }
            let most = if matches!(role, Role::Resumes(_)) { REPLAY_BYTES } else { usize::MAX };
            let written = match stream.write(&rest[..rest.len().min(most)]) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            match role {
                Role::Listens(rest) => drop(rest.drain(..written)),
                Role::Resumes(at) => *at += written,
                Role::Asks(_) => {}
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

/// The event as one chunk of a stream.
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
    fn a_request_is_understood_once_it_is_complete() {
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
