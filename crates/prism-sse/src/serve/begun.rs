//! A connection that has begun to speak.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::open::Held;
use crate::limits;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection of which the first bytes were read.
pub(super) struct Begun<T> {
    ahead: Bytes,
    pub(super) io: T,
    /// It was flushed since it was last written to.
    pub(super) flushed: Arc<AtomicBool>,
    /// Its place among the server's connections, which an upgrade does not end.
    pub(super) held: Held,
}

impl<T: AsyncRead + Unpin> Begun<T> {
    /// Reads until it is clear which protocol is spoken.
    pub(super) async fn read(mut io: T, held: Held) -> io::Result<Self> {
        let mut ahead = BytesMut::new();
        loop {
            let known = ahead.len().min(PREFACE.len());
            if ahead[..known] != PREFACE[..known] || known == PREFACE.len() {
                let flushed = Arc::new(AtomicBool::new(true));
                return Ok(Self { ahead: ahead.freeze(), io, flushed, held });
            }
            let known = ahead.len();
            poll_fn(|cx| {
                // On the stack, so that who waits for a first byte holds no buffer for it.
                let mut room = [0; limits::FIRST_READ_BYTES];
                let mut read = ReadBuf::new(&mut room);
                ready!(Pin::new(&mut io).poll_read(cx, &mut read))?;
                ahead.extend_from_slice(read.filled());
                Poll::Ready(io::Result::Ok(()))
            })
            .await?;
            if ahead.len() == known {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        self.ahead.starts_with(PREFACE)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let len = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(len));
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
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
