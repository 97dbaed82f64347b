//! A connection in memory, with small buffers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::serve::Transport;

/// Bytes that one direction holds. They are few, so that a reader that does not read blocks its
/// writer soon.
const ROOM: usize = 128;

/// One end of the connection. Dropping it closes both directions.
#[derive(Debug)]
pub(crate) struct Pipe {
    shared: Arc<Mutex<[PipeDirection; 2]>>,
    /// The direction that this end reads from; it writes to the other.
    reads: usize,
}

/// An end as a non-blocking socket, for a shard.
#[derive(Debug)]
pub(crate) struct PipeSocket(Pipe);

/// The bytes on their way in one direction.
#[derive(Debug, Default)]
struct PipeDirection {
    bytes: VecDeque<u8>,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// Both ends of a new connection.
    pub(crate) fn pair() -> (Self, Self) {
        let shared = Arc::<Mutex<[PipeDirection; 2]>>::default();
        (Self { shared: Arc::clone(&shared), reads: 0 }, Self { shared, reads: 1 })
    }

    fn directions(&self) -> MutexGuard<'_, [PipeDirection; 2]> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, room: &mut [u8], waker: Option<&Waker>) -> Poll<io::Result<usize>> {
        let direction = &mut self.directions()[self.reads];
        if direction.bytes.is_empty() && !direction.closed {
            if let Some(waker) = waker {
                direction.reader = Some(waker.clone());
            }
            return Poll::Pending;
        }
        let len = direction.bytes.len().min(room.len());
        for (to, from) in room.iter_mut().zip(direction.bytes.drain(..len)) {
            *to = from;
        }
        wake(&mut direction.writer);
        Poll::Ready(Ok(len))
    }

    fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Poll<io::Result<usize>> {
        let direction = &mut self.directions()[1 - self.reads];
        if direction.closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let len = bytes.len().min(ROOM - direction.bytes.len());
        if len == 0 {
            if let Some(waker) = waker {
                direction.writer = Some(waker.clone());
            }
            return Poll::Pending;
        }
        direction.bytes.extend(&bytes[..len]);
        wake(&mut direction.reader);
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
        for direction in self.directions().iter_mut() {
            direction.closed = true;
            wake(&mut direction.reader);
            wake(&mut direction.writer);
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
        let direction = &mut self.directions()[1 - self.reads];
        direction.closed = true;
        wake(&mut direction.reader);
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
        let mut directions = self.0.directions();
        directions[self.0.reads].reader = Some(waker.clone());
        directions[1 - self.0.reads].writer = Some(waker.clone());
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
