//! Opens connections to a server, from many local addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Number of loopback addresses that one process connects from, so that no address runs out of
/// ports.
const SOURCES: usize = 64;

/// Opens connections to one server.
#[derive(Debug)]
pub(super) struct Connector {
    registry: Registry,
    /// The number of this process, which is a part of the addresses that it connects from.
    process: u8,
}

impl Connector {
    /// A connector that registers its connections in `registry`.
    pub(super) fn new(registry: &Registry, process: u8) -> Result<Self> {
        Ok(Self { registry: registry.try_clone()?, process })
    }

    /// Begins to open a connection. Dropping it resets it, so that its port is free at once.
    pub(super) fn open(&self, to: SocketAddr, token: Token, number: usize) -> Result<TcpStream> {
        self.open_with(to, token, number, |_| Ok(()))
    }

    /// As [`open`](Self::open); `set_up` sets options of the socket first.
    pub(super) fn open_with(
        &self,
        to: SocketAddr,
        token: Token,
        number: usize,
        set_up: impl FnOnce(&Socket) -> std::io::Result<()>,
    ) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))
            .context("no further connection can be opened")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        set_up(&socket)?;
        if to.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let source = Ipv4Addr::new(127, 0, self.process, (number % SOURCES) as u8 + 1);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&to.into()) {
            Err(error) if !is_in_progress(&error) => {
                return Err(error).with_context(|| format!("{to} does not accept connections"));
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, token, interest)?;
        Ok(stream)
    }

    /// Deregisters a connection, which stays open.
    pub(super) fn forget(&self, stream: &mut TcpStream) -> Result<()> {
        Ok(self.registry.deregister(stream)?)
    }
}

fn is_in_progress(error: &std::io::Error) -> bool {
    let in_progress = Errno::INPROGRESS.raw_os_error();
    error.kind() == std::io::ErrorKind::WouldBlock || error.raw_os_error() == Some(in_progress)
}
