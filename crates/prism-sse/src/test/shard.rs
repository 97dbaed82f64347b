//! A delivery shard that is driven by hand, for models.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http_body::Body;
use tokio::io::AsyncReadExt;

use super::pipe::{Pipe, PipeSocket};
use crate::connection::{Connection, first_frame};
use crate::limits;
use crate::serve::{
    ConnectionCount, ConnectionGuard, DeliveryShard, HandedOverConnection, NextTurn, Transport,
};
use crate::wire::Framed;

/// A shard without a thread, over connections in memory. Nothing happens between two calls.
pub struct Shard {
    delivery: DeliveryShard<PipeSocket>,
    open: Arc<ConnectionCount>,
    readers: Vec<Pipe>,
    turns: u64,
}

impl Shard {
    /// A shard that is woken through `waker` when it has something to do.
    pub fn new(waker: Waker) -> Self {
        let delivery = DeliveryShard::new(waker, limits::STALLED_BYTES);
        Self { delivery, open: Arc::default(), readers: Vec::new(), turns: 0 }
    }

    /// Adopts a connection that was not polled yet, and returns the reader's number.
    ///
    /// # Panics
    ///
    /// If the connection was polled before.
    pub fn adopt(&mut self, connection: Connection) -> usize {
        let mut body = Box::pin(connection);
        let mut cx = Context::from_waker(Waker::noop());
        let (_, offered) = first_frame::capture(|| body.as_mut().poll_frame(&mut cx));
        let offered = offered.expect("a connection that was not polled offers itself");
        let (near, far) = Pipe::pair();
        let handed_over = HandedOverConnection {
            socket: far.into_socket().expect("a pipe is a socket"),
            shared: offered.manager,
            slot: offered.slot,
            id: offered.id,
            reading: offered.subscription,
            unwritten: Framed::from_block(&offered.opening).chunk(),
            body,
            guard: ConnectionGuard::new(&self.open),
        };
        self.delivery.adopt(handed_over, self.turns);
        self.readers.push(near);
        self.readers.len() - 1
    }

    /// One turn, a millisecond after the last. `true` if there is more to do in the next.
    pub fn turn(&mut self) -> bool {
        self.turns += 1;
        match self.delivery.turn(self.turns) {
            NextTurn::Now | NextTurn::AfterYield => true,
            NextTurn::At(at) => at <= self.turns + 1,
            NextTurn::WhenWoken => false,
        }
    }

    /// What was written to a reader since the last call, at most 256 bytes.
    pub fn read(&mut self, reader: usize) -> Vec<u8> {
        let mut room = [0; 256];
        let mut cx = Context::from_waker(Waker::noop());
        let read = pin!(self.readers[reader].read(&mut room)).poll(&mut cx);
        match read {
            Poll::Ready(Ok(len)) => room[..len].to_vec(),
            Poll::Ready(Err(_)) | Poll::Pending => Vec::new(),
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("connections", &self.delivery.len()).finish_non_exhaustive()
    }
}
