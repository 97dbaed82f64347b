//! What bytes travel on: a TCP connection, or in tests a pipe in memory.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as Socket};

use socket2::{Domain, SockRef, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::limits;

/// A connection that hyper can use, and that can be made a socket that never blocks.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The socket without a runtime.
    type Socket: Read + Write + Send + 'static;

    /// Takes it from the runtime.
    fn into_socket(self) -> io::Result<Self::Socket>;
}

impl Transport for TcpStream {
    type Socket = Socket;

    fn into_socket(self) -> io::Result<Socket> {
        let socket = self.into_std()?;
        let options = SockRef::from(&socket);
        options.set_send_buffer_size(limits::SEND_BUFFER_BYTES)?;
        #[cfg(target_os = "linux")]
        options.set_tcp_notsent_lowat(limits::UNSENT_BYTES as u32)?;
        Ok(socket)
    }
}

/// A listener that other processes may share: the system spreads connections over all that listen
/// at `address` this way.
///
/// # Errors
///
/// What the system says, for instance that another process has the address for itself.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn bind_reuse_port(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Elsewhere the first of these would let others take the address away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets what accepted connections inherit: no waiting for full packets, and an end for peers that
/// vanish.
///
/// Probes begin after a heartbeat would have come, so that there are none where there are
/// heartbeats. Several fit into the time after which the system gives up, so that one that is lost
/// ends nothing.
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
