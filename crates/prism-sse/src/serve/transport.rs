//! The byte streams that connections use: TCP, or in tests a pipe in memory.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, SockRef, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::accepted_socket::AcceptedSocket;
use crate::limits;

/// A byte stream that hyper can use, and that can be turned into a non-blocking socket.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The socket without a runtime.
    type Socket: Read + Write + Send + 'static;

    /// Whether what is read and written is what the socket carries.
    const IS_SOCKET: bool = true;

    /// Takes the socket from the runtime.
    fn into_socket(self) -> io::Result<Self::Socket>;
}

impl Transport for AcceptedSocket {
    type Socket = StdTcpStream;

    fn into_socket(self) -> io::Result<StdTcpStream> {
        self.into_std()
    }
}

/// What a handshake made of an accepted connection, for example a TLS stream. All of its event
/// streams stay with hyper.
pub(super) struct HandshakenStream(pub(super) Box<dyn DuplexStream>);

/// A byte stream in both directions.
pub(super) trait DuplexStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> DuplexStream for T {}

impl Transport for HandshakenStream {
    type Socket = StdTcpStream;

    const IS_SOCKET: bool = false;

    fn into_socket(self) -> io::Result<StdTcpStream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsyncRead for HandshakenStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for HandshakenStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
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

/// Bounds what the system holds for a peer that takes nothing. It is not left to the listener,
/// because the system may have made a connection before its listener had the options.
pub(super) fn bound_send_buffer(connection: &TcpStream) -> io::Result<()> {
    let options = SockRef::from(connection);
    options.set_send_buffer_size(limits::SEND_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    options.set_tcp_notsent_lowat(limits::UNSENT_BYTES as u32)?;
    Ok(())
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
