//! Connections that are closed as soon as their stream has begun, and opened again.

use anyhow::Result;
use mio::Token;

use super::connector::Connector;
use super::subscribe_request::SubscribeRequest;
use super::subscriber::Subscriber;
use crate::cli::Endpoint;

/// The first token of these connections; those of subscribers and publishers are far below.
pub(super) const FIRST_TOKEN: usize = usize::MAX / 4;

/// The connections that are closed and reopened all the time.
#[derive(Debug)]
pub(super) struct ChurningConnections {
    connections: Vec<Subscriber>,
    is_active: bool,
    /// How often a stream began.
    pub(super) opened: u64,
}

impl ChurningConnections {
    /// No connections.
    pub(super) fn none() -> Self {
        Self { connections: Vec::new(), is_active: false, opened: 0 }
    }

    /// Opens `count` connections.
    pub(super) fn begin(
        &mut self,
        count: usize,
        endpoint: &Endpoint,
        connector: &Connector,
    ) -> Result<()> {
        self.is_active = true;
        for index in 0..count {
            self.connections.push(open(index, endpoint, connector)?);
        }
        Ok(())
    }

    /// Keeps the connections open from now on.
    pub(super) fn end(&mut self) {
        self.is_active = false;
    }

    /// Reads and writes what the connection of this token is ready for.
    pub(super) fn handle_ready(
        &mut self,
        token: usize,
        endpoint: &Endpoint,
        connector: &Connector,
        request: &mut SubscribeRequest,
        buffer: &mut [u8],
    ) -> Result<()> {
        let index = token - FIRST_TOKEN;
        let connection = &mut self.connections[index];
        if !connection.send(request, index)? {
            return Ok(());
        }
        connection.read(buffer, || 0, |_, _, _| ())?;
        if self.is_active && connection.is_open()? {
            self.opened += 1;
            *connection = open(index, endpoint, connector)?;
        }
        Ok(())
    }
}

fn open(index: usize, endpoint: &Endpoint, connector: &Connector) -> Result<Subscriber> {
    let stream = connector.open(endpoint.address, Token(FIRST_TOKEN + index), index)?;
    Ok(Subscriber::new(stream))
}
