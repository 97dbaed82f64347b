//! A connection in memory, with room for little.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::serve::Transport;

/// Bytes under way in one direction. Little, so that a reader that does not read is felt at once.
const ROOM: usize = 128;

/// One end. Dropping it hangs up.
#[derive(Debug)]
pub(crate) struct Pipe {
    shared: Arc<Mutex<[Way; 2]>>,
    /// The way this end reads from; it writes to the other.
    reads: usize,
}

/// The end that a shard has.
#[derive(Debug)]
pub(crate) struct PipeSocket(Pipe);

#[derive(Debug, Default)]
struct Way {
    bytes: VecDeque<u8>,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// Two ends.
    pub(crate) fn pair() -> (Self, Self) {
        let shared = Arc::<Mutex<[Way; 2]>>::default();
        (Self { shared: Arc::clone(&shared), reads: 0 }, Self { shared, reads: 1 })
    }

    fn ways(&self) -> MutexGuard<'_, [Way; 2]> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, room: &mut [u8], waker: Option<&Waker>) -> Poll<io::Result<usize>> {
        let way = &mut self.ways()[self.reads];
        if way.bytes.is_empty() && !way.closed {
            if let Some(waker) = waker {
                way.reader = Some(waker.clone());
            }
            return Poll::Pending;
        }
        let len = way.bytes.len().min(room.len());
        for (to, from) in room.iter_mut().zip(way.bytes.drain(..len)) {
            *to = from;
        }
        wake(&mut way.writer);
        Poll::Ready(Ok(len))
    }

    fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Poll<io::Result<usize>> {
        let way = &mut self.ways()[1 - self.reads];
        if way.closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let len = bytes.len().min(ROOM - way.bytes.len());
        if len == 0 {
            if let Some(waker) = waker {
                way.writer = Some(waker.clone());
            }
            return Poll::Pending;
        }
        way.bytes.extend(&bytes[..len]);
        wake(&mut way.reader);
        Poll::Ready(Ok(len))
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake_by_ref();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for way in self.ways().iter_mut() {
            way.closed = true;
            wake(&mut way.reader);
            wake(&mut way.writer);
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = std::task::ready!(self.read(buf.initialize_unfilled(), Some(cx.waker())))?;
        buf.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(bytes, Some(cx.waker()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let way = &mut self.ways()[1 - self.reads];
        way.closed = true;
        wake(&mut way.reader);
        Poll::Ready(Ok(()))
    }
}

impl Transport for Pipe {
    type Socket = PipeSocket;

    fn into_socket(self) -> io::Result<PipeSocket> {
        Ok(PipeSocket(self))
    }
}

impl PipeSocket {
    /// Wakes `waker` whenever the socket may have become readable or writable.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut ways = self.0.ways();
        ways[self.0.reads].reader = Some(waker.clone());
        ways[1 - self.0.reads].writer = Some(waker.clone());
    }
}

fn or_would_block<T>(done: Poll<io::Result<T>>) -> io::Result<T> {
    match done {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl Read for PipeSocket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        or_would_block(self.0.read(room, None))
    }
}

impl Write for PipeSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.0.write(bytes, None))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
