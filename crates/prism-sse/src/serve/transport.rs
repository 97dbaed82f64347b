//! The byte streams that connections use: TCP, or in tests a pipe in memory.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};

use socket2::{Domain, SockRef, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::limits;

/// A byte stream that hyper can use, and that can be turned into a non-blocking socket.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The socket without a runtime.
    type Socket: Read + Write + Send + 'static;

    /// Takes the socket from the runtime.
    fn into_socket(self) -> io::Result<Self::Socket>;
}

impl Transport for TcpStream {
    type Socket = StdTcpStream;

    fn into_socket(self) -> io::Result<StdTcpStream> {
        let socket = self.into_std()?;
        let options = SockRef::from(&socket);
        options.set_send_buffer_size(limits::SEND_BUFFER_BYTES)?;
        #[cfg(target_os = "linux")]
        options.set_tcp_notsent_lowat(limits::UNSENT_BYTES as u32)?;
        Ok(socket)
    }
}

/// A listener with `SO_REUSEPORT`: other processes may listen at the same address in the same way,
/// and the system spreads connections over all of them.
///
/// # Errors
///
/// Those of the system, for example that another process listens at `address` exclusively.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn bind_reuse_port(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Only on Unix: on other systems `SO_REUSEADDR` lets other processes take the address away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets the socket options that accepted connections inherit: `TCP_NODELAY`, and keep-alive probes
/// and a user timeout that close the connection of a peer that vanished.
///
/// Probes begin later than a heartbeat is due, so that none are sent where there are heartbeats.
/// Several of them fit into the user timeout, so that one lost probe closes nothing.
pub(super) fn prepare(listener: &TcpListener, keep_alive: bool) -> io::Result<()> {
    let options = SockRef::from(listener);
    options.set_tcp_nodelay(true)?;
    if keep_alive {
        let (time, interval) = (limits::PROBE_AFTER, limits::PROBE_INTERVAL);
        options.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(interval))?;
    }
    #[cfg(target_os = "linux")]
    options.set_tcp_user_timeout(Some(limits::USER_TIMEOUT))?;
    Ok(())
}
