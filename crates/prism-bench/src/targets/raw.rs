//! The ceiling: one thread that writes the same bytes to one socket after another.
//!
//! It understands just enough of HTTP to be asked for a stream and to be handed an event. What it
//! costs is what the kernel costs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use super::{PUBLISH_PATH, SUBSCRIBE_PATH, say_ready};

const LISTENER: Token = Token(usize::MAX);
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const HEADERS_MAX: usize = 32;

struct Peer {
    stream: TcpStream,
    role: Role,
}

enum Role {
    /// It asks, and this has come of its next request.
    Asks(Vec<u8>),
    /// It listens, and this, mostly nothing, is what its socket had no room for.
    Listens(Vec<u8>),
}

enum Request {
    Incomplete,
    Subscribe,
    Publish { event: Vec<u8>, len: usize },
    Unknown,
}

pub(super) fn serve(address: SocketAddr) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    say_ready(listener.local_addr()?)?;
    let mut peers = Slab::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, poll.registry(), &mut peers)?;
                continue;
            }
            let key = event.token().0;
            let writable = event.is_writable();
            let Some(peer) = peers.get_mut(key) else { continue };
            let alive = (!writable || peer.flush().is_ok())
                && (!event.is_readable() || read(key, &mut peers, poll.registry()).is_ok());
            if !alive {
                peers.remove(key);
            }
        }
    }
}

fn accept(listener: &TcpListener, registry: &Registry, peers: &mut Slab<Peer>) -> Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("no connection can be accepted"),
        };
        stream.set_nodelay(true)?;
        let entry = peers.vacant_entry();
        registry.register(&mut stream, Token(entry.key()), Interest::READABLE)?;
        entry.insert(Peer { stream, role: Role::Asks(Vec::new()) });
    }
}

/// Reads what has come, and does what is asked. An error is the connection's end.
fn read(key: usize, peers: &mut Slab<Peer>, registry: &Registry) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let peer = &mut peers[key];
        let len = match peer.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Role::Asks(received) = &mut peer.role {
            received.extend_from_slice(&buffer[..len]);
        }
        while answer(key, peers, registry)? {}
    }
}

/// Answers one request, if it is there.
fn answer(key: usize, peers: &mut Slab<Peer>, registry: &Registry) -> io::Result<bool> {
    let peer = &mut peers[key];
    let Role::Asks(received) = &mut peer.role else { return Ok(false) };
    let answer = match parse(received)? {
        Request::Incomplete => return Ok(false),
        Request::Subscribe => {
            peer.role = Role::Listens(Vec::new());
            STREAM_HEAD
        }
        Request::Publish { event, len } => {
            received.drain(..len);
            publish(&event, peers, registry);
            NO_CONTENT
        }
        Request::Unknown => {
            received.clear();
            NOT_FOUND
        }
    };
    peers[key].stream.write_all(answer)?;
    Ok(true)
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
    Ok(match (request.method, request.path) {
        (Some("GET"), Some(SUBSCRIBE_PATH)) => Request::Subscribe,
        (Some("POST"), Some(PUBLISH_PATH)) => match received.get(head..len) {
            Some(text) => Request::Publish { event: frame(text), len },
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

fn publish(event: &[u8], peers: &mut Slab<Peer>, registry: &Registry) {
    for (key, peer) in peers.iter_mut() {
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
            let both = Interest::READABLE | Interest::WRITABLE;
            // Where this fails the connection is stuck, which the checks at the other end tell.
            drop(registry.reregister(&mut peer.stream, Token(key), both));
        }
    }
}

impl Peer {
    /// Writes what its socket had no room for before.
    fn flush(&mut self) -> io::Result<()> {
        let Role::Listens(rest) = &mut self.role else { return Ok(()) };
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => {
                    rest.drain(..written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
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
        let Request::Publish { event, len } = parse(text).unwrap() else { panic!("no publish") };
        assert_eq!((event.as_slice(), len), (&b"a\r\ndata: hi\n\n\r\n"[..], text.len()));
        let ask = |path| parse(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        assert!(matches!(ask(SUBSCRIBE_PATH), Request::Subscribe));
        assert!(matches!(ask("/"), Request::Unknown));
        assert!(parse(b"hello there\r\n\r\n").is_err());
    }
}
