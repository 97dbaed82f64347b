//! Connections that are closed as soon as their stream has begun, and opened again.

use anyhow::Result;
use mio::Token;

use super::opener::Opener;
use super::subscriber::{Question, Subscriber};
use crate::cli::Endpoint;

/// The first token of those that come and go; subscribers and publishers are far below.
pub(super) const FIRST_TOKEN: usize = usize::MAX / 4;

/// Those that come and go.
#[derive(Debug)]
pub(super) struct Churn {
    peers: Vec<Subscriber>,
    goes_on: bool,
    /// How often a stream began.
    pub(super) opened: u64,
}

impl Churn {
    /// Nobody.
    pub(super) fn none() -> Self {
        Self { peers: Vec::new(), goes_on: false, opened: 0 }
    }

    /// Begins so many connections.
    pub(super) fn begin(&mut self, count: usize, to: &Endpoint, opener: &Opener) -> Result<()> {
        self.goes_on = true;
        for at in 0..count {
            self.peers.push(open(at, to, opener)?);
        }
        Ok(())
    }

    /// Those whose stream begins stay from now on.
    pub(super) fn settle(&mut self) {
        self.goes_on = false;
    }

    /// Does what the connection of this token is ready for.
    pub(super) fn go_on(
        &mut self,
        token: usize,
        to: &Endpoint,
        opener: &Opener,
        question: &mut Question,
        buffer: &mut [u8],
    ) -> Result<()> {
        let at = token - FIRST_TOKEN;
        let peer = &mut self.peers[at];
        if !peer.ask(question, at)? {
            return Ok(());
        }
        peer.read(buffer, || 0, |_, _, _| ())?;
        if self.goes_on && peer.is_open()? {
            self.opened += 1;
            *peer = open(at, to, opener)?;
        }
        Ok(())
    }
}

fn open(at: usize, to: &Endpoint, opener: &Opener) -> Result<Subscriber> {
    Ok(Subscriber::new(opener.open(to.address, Token(FIRST_TOKEN + at), at)?))
}
