//! Connections that are never read from: what a page in a suspended laptop looks like to a server.

use std::io::ErrorKind;

use anyhow::{Context, Result, ensure};
use mio::Token;
use mio::net::TcpStream;

use super::{Client, OPEN_TIMEOUT, OPENING_MAX, subscriber, wait};

impl Client {
    /// Opens connections that ask for a stream, wait until it begins, and never read from it. Their
    /// receive buffers are of `buffer` bytes, which the system doubles.
    pub(crate) fn connect_non_reading(&mut self, count: usize, buffer: usize) -> Result<()> {
        let mut connections: Vec<(TcpStream, bool)> = Vec::with_capacity(count);
        let mut opened = 0;
        while opened < count {
            while connections.len() < count.min(opened + OPENING_MAX) {
                let index = connections.len();
                let address = self.endpoint.address;
                let set_buffer = |socket: &socket2::Socket| socket.set_recv_buffer_size(buffer);
                let stream = self.connector.open_with(address, Token(index), index, set_buffer)?;
                connections.push((stream, false));
            }
            let is_ready = wait(&mut self.poll, &mut self.ready, OPEN_TIMEOUT)?;
            ensure!(is_ready, "only {opened} of {count} connections that never read opened");
            for event in &self.ready {
                let index = event.token().0;
                let (stream, is_sent) = &mut connections[index];
                if !*is_sent {
                    *is_sent = subscriber::send(stream, self.request.text(index)?)
                        .context("a connection does not open")?;
                } else if has_response(stream)? {
                    self.connector.forget(stream)?;
                    opened += 1;
                }
            }
        }
        self.non_reading.extend(connections.into_iter().map(|(stream, _)| stream));
        Ok(())
    }
}

/// Whether the response has begun. Its bytes stay in the socket.
fn has_response(stream: &TcpStream) -> Result<bool> {
    match stream.peek(&mut [0]) {
        Ok(len) => {
            ensure!(len > 0, "the server closed a stream");
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error).context("a stream broke"),
    }
}
