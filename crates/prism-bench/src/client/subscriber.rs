//! A connection that asks for a stream and reads it.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;

use super::subscribe_request::SubscribeRequest;
use crate::receive::StampScanner;
use crate::response_parser::ResponseParser;

/// A connection that asks for a stream and reads it.
#[derive(Debug)]
pub(super) struct Subscriber {
    stream: TcpStream,
    is_sent: bool,
    response: ResponseParser,
    scanner: StampScanner,
}

impl Subscriber {
    /// A subscriber on an open, or opening, connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        let (response, scanner) = (ResponseParser::new(), StampScanner::new());
        Self { stream, is_sent: false, response, scanner }
    }

    /// Sends the request of the subscriber with this index, unless it was sent before. `false` if
    /// the connection is not open yet.
    pub(super) fn send(&mut self, request: &mut SubscribeRequest, index: usize) -> Result<bool> {
        if !self.is_sent {
            self.is_sent = send(&mut self.stream, request.text(index)?)?;
        }
        Ok(self.is_sent)
    }

    /// Whether the stream has begun. A response that is no stream is an error.
    pub(super) fn is_open(&self) -> Result<bool> {
        match self.response.status() {
            None => Ok(false),
            Some(200) => Ok(true),
            Some(status) => bail!("a subscriber was answered with status {status}"),
        }
    }

    /// Reads until the socket is empty, and calls `take` for each piece of the body, with the time
    /// of its read. Returns the number of reads that had data.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        clock: impl Fn() -> u64,
        mut take: impl FnMut(&mut StampScanner, &[u8], u64),
    ) -> Result<u64> {
        let mut reads = 0;
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a stream"),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(reads),
                Err(error) => return Err(error).context("a stream broke"),
            };
            reads += 1;
            let (scanner, now) = (&mut self.scanner, clock());
            self.response.feed(&buffer[..len], |text| take(scanner, text, now))?;
            ensure!(!self.response.is_complete(), "the server ended a stream");
            // A read that leaves room in the buffer left nothing in the socket.
            if len < buffer.len() {
                return Ok(reads);
            }
        }
    }
}

/// Sends a request. `false` if the connection is not open yet.
pub(super) fn send(stream: &mut TcpStream, request: &[u8]) -> Result<bool> {
    match stream.write(request) {
        // The first write to a socket always has room for a head.
        Ok(written) => ensure!(written == request.len(), "a request was cut short"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}
