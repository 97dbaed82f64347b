//! A byte stream whose first bytes were read to tell HTTP/1.1 and HTTP/2 apart.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_count::ConnectionGuard;
use crate::limits;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that gives the bytes that were read ahead first, and then those of `io`.
pub(super) struct SniffedStream<T> {
    read_ahead: Bytes,
    pub(super) io: T,
    /// Whether it was flushed since it was last written to.
    pub(super) flushed: Arc<AtomicBool>,
    /// Counts the connection. It is kept here because this is what an upgraded connection keeps.
    pub(super) guard: ConnectionGuard,
}

impl<T: AsyncRead + Unpin> SniffedStream<T> {
    /// Reads until it is clear which protocol the peer speaks.
    pub(super) async fn read(mut io: T, guard: ConnectionGuard) -> io::Result<Self> {
        let mut read_ahead = BytesMut::new();
        loop {
            let compared = read_ahead.len().min(PREFACE.len());
            if read_ahead[..compared] != PREFACE[..compared] || compared == PREFACE.len() {
                let flushed = Arc::new(AtomicBool::new(true));
                return Ok(Self { read_ahead: read_ahead.freeze(), io, flushed, guard });
            }
            let len = read_ahead.len();
            poll_fn(|cx| {
                // The buffer is on the stack, so that a connection that waits for its first byte
                // holds no memory for it.
                let mut room = [0; limits::FIRST_READ_BYTES];
                let mut read = ReadBuf::new(&mut room);
                ready!(Pin::new(&mut io).poll_read(cx, &mut read))?;
                read_ahead.extend_from_slice(read.filled());
                Poll::Ready(io::Result::Ok(()))
            })
            .await?;
            if read_ahead.len() == len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        self.read_ahead.starts_with(PREFACE)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for SniffedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let len = self.read_ahead.len().min(buf.remaining());
        buf.put_slice(&self.read_ahead.split_to(len));
        if self.read_ahead.is_empty() {
            // An empty slice would keep its buffer.
            self.read_ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for SniffedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
