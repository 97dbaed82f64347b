//! Readers that never read: what a page in a suspended laptop looks like to a server.

use std::io::ErrorKind;

use anyhow::{Context, Result, ensure};
use mio::Token;
use mio::net::TcpStream;

use super::{Client, OPENING, OPENING_PATIENCE, subscriber, wait};

impl Client {
    /// Opens connections that ask for a stream, wait until it begins, and never read from it.
    /// The system keeps `buffer` bytes for each, and twice that at most.
    pub(crate) fn connect_silent(&mut self, count: usize, buffer: usize) -> Result<()> {
        let mut all: Vec<(TcpStream, bool)> = Vec::with_capacity(count);
        let mut opened = 0;
        while opened < count {
            while all.len() < count.min(opened + OPENING) {
                let at = all.len();
                let to = self.endpoint.address;
                let small = |socket: &socket2::Socket| socket.set_recv_buffer_size(buffer);
                all.push((self.opener.open_with(to, Token(at), at, small)?, false));
            }
            let woken = wait(&mut self.poll, &mut self.ready, OPENING_PATIENCE)?;
            ensure!(woken, "only {opened} of {count} connections that never read opened");
            for event in &self.ready {
                let at = event.token().0;
                let (stream, asked) = &mut all[at];
                if !*asked {
                    *asked = subscriber::ask(stream, self.question.of(at)?)
                        .context("a connection does not open")?;
                    continue;
                }
                if has_answer(stream)? {
                    self.opener.forget(stream)?;
                    opened += 1;
                }
            }
        }
        self.silent.extend(all.into_iter().map(|(stream, _)| stream));
        Ok(())
    }
}

/// Whether the answer has begun. It stays where it is.
fn has_answer(stream: &TcpStream) -> Result<bool> {
    match stream.peek(&mut [0]) {
        Ok(len) => {
            ensure!(len > 0, "the server closed a stream");
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error).context("a stream broke"),
    }
}
