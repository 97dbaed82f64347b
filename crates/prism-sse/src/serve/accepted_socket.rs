//! An accepted TCP connection.

use std::io;
use std::net::TcpStream as StdTcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::task_abort::TaskAbort;

/// A TCP connection that [`serve`](crate::serve()) accepted, for the handshake that
/// [`Serve::with_handshake`](super::Serve::with_handshake) sets.
///
/// When the server aborts the connection, for example because its reader takes nothing any more,
/// dropping this resets it, so that the system keeps nothing of what was not sent.
#[derive(Debug)]
pub struct AcceptedSocket {
    /// `None` once it was taken out.
    tcp: Option<TcpStream>,
    abort: Arc<TaskAbort>,
}

impl AcceptedSocket {
    pub(super) fn new(tcp: TcpStream, abort: Arc<TaskAbort>) -> Self {
        Self { tcp: Some(tcp), abort }
    }

    /// Takes the socket from the runtime.
    pub(super) fn into_std(mut self) -> io::Result<StdTcpStream> {
        self.tcp.take().ok_or(io::ErrorKind::NotConnected)?.into_std()
    }

    fn tcp(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        let tcp = self.get_mut().tcp.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(tcp))
    }
}

impl Drop for AcceptedSocket {
    fn drop(&mut self) {
        if let Some(tcp) = &self.tcp
            && self.abort.is_aborted()
        {
            // Without it the system would go on offering the unsent bytes to the peer.
            drop(SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO)));
        }
    }
}

impl AsyncRead for AcceptedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.tcp()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for AcceptedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tcp()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tcp()?.poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.as_ref().is_some_and(TcpStream::is_write_vectored)
    }
}
