//! What tests of a shard are made of: sockets in memory, an engine whose wake-ups can be late, and
//! connections offered to a shard.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::panic, reason = "a test that panics has failed")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use http_body::Body;

use super::{Delivery, HandOver, Held, Turn};
use crate::audience::Audience;
use crate::connection::first_frame;
use crate::engine::{Completion, Durability, Engine, EngineError, Follower, Publication, Wakes};
use crate::manager::Manager;
use crate::serve::open::Open;
use crate::subscription::Start;
use crate::wire::{ConnectionId, Epoch, Framed};

/// More than any stream here has.
pub(super) const ROOM: usize = 1 << 20;

/// A shard, and the clock it is driven by.
pub(super) struct Bench {
    pub(super) shard: Delivery<Socket>,
    pub(super) open: Arc<Open>,
    pub(super) now: u64,
}

/// A connection of the shard, and the other end of its socket.
pub(super) struct Reader {
    pub(super) id: ConnectionId,
    pub(super) key: u32,
    pub(super) wire: Wire,
}

impl Bench {
    /// A shard with room for this many bytes of half-written events.
    pub(super) fn new(stalled_bytes: usize) -> Self {
        let shard = Delivery::new(Waker::noop().clone(), stalled_bytes);
        Self { shard, open: Arc::default(), now: 0 }
    }

    pub(super) fn offer(&self, sse: &Manager, wire: &Wire) -> HandOver<Socket> {
        offered(sse, Audience::everything(), Start::Now, wire, &self.open)
    }

    pub(super) fn adopt(&mut self, sse: &Manager) -> Reader {
        self.adopt_for(sse, Audience::everything(), ROOM)
    }

    pub(super) fn adopt_for(&mut self, sse: &Manager, audience: Audience, room: usize) -> Reader {
        let wire = Wire::new(room);
        let hand_over = offered(sse, audience, Start::Now, &wire, &self.open);
        let reader = Reader { id: hand_over.id, key: self.shard.next_key(), wire };
        self.shard.adopt(hand_over, self.now);
        reader
    }

    /// Lets the shard work until it rests. Answers in how many turns.
    pub(super) fn work(&mut self) -> usize {
        for turns in 1..100_000 {
            if !self.turn() {
                return turns;
            }
        }
        panic!("the shard never rests");
    }

    /// One turn, a millisecond after the last. `true` if there is more to do in the next.
    pub(super) fn turn(&mut self) -> bool {
        self.now += 1;
        match self.shard.turn(self.now) {
            Turn::Again | Turn::Soon => true,
            Turn::At(at) => at <= self.now + 1,
            Turn::Never => false,
        }
    }

    pub(super) fn wait(&mut self, millis: u64) {
        self.now += millis;
        self.work();
    }

    pub(super) fn hang_up(&mut self, reader: &Reader) {
        reader.wire.hang_up();
        self.shard.socket_is(reader.key, true, false);
    }
}

impl Reader {
    /// What came since the last time.
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.wire.read(usize::MAX)).unwrap()
    }
}

/// What a socket took and its reader has not read.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<Ends>>);

struct Ends {
    bytes: VecDeque<u8>,
    room: usize,
    /// The reader hung up.
    gone: bool,
    /// The shard closed it.
    closed: bool,
}

impl Wire {
    /// Room for this many bytes that are not read yet.
    pub(super) fn new(room: usize) -> Self {
        let ends = Ends { bytes: VecDeque::new(), room, gone: false, closed: false };
        Self(Arc::new(Mutex::new(ends)))
    }

    /// Reads at most so many bytes.
    pub(super) fn read(&self, bytes: usize) -> Vec<u8> {
        let mut ends = self.ends();
        let len = bytes.min(ends.bytes.len());
        ends.bytes.drain(..len).collect()
    }

    pub(super) fn hang_up(&self) {
        self.ends().gone = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.ends().closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends().bytes.is_empty()
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap()
    }
}

/// The shard's end of a wire.
pub(super) struct Socket(Wire);

impl Read for Socket {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        if self.0.ends().gone { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.ends();
        if ends.gone {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(ends.room - ends.bytes.len());
        ends.bytes.extend(&bytes[..len]);
        if len == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.ends().closed = true;
    }
}

/// A connection that a server would hand over.
pub(super) fn offered(
    sse: &Manager,
    audience: Audience,
    start: Start,
    wire: &Wire,
    open: &Arc<Open>,
) -> HandOver<Socket> {
    let mut body = Box::pin(sse.subscribe(audience, start).unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    let (first, offered) = first_frame::capture(|| body.as_mut().poll_frame(&mut cx));
    assert!(matches!(first, Poll::Ready(Some(Ok(_)))));
    let offered = offered.unwrap();
    HandOver {
        socket: Socket(wire.clone()),
        shared: offered.manager,
        slot: offered.slot,
        id: offered.id,
        reading: offered.subscription,
        rest: Framed::from_block(&offered.opening).chunk(),
        body,
        held: Held::new(open),
    }
}

/// An engine that applies at once, and wakes for a whole batch when it is told, as one does that
/// applies what it read from a store in one go.
#[derive(Clone, Debug, Default)]
pub(super) struct Batching(Arc<Mutex<Batch>>);

#[derive(Debug, Default)]
struct Batch {
    follower: Option<Follower>,
    seq: u64,
    epochs: u64,
    holds: bool,
    held: Wakes,
}

impl Batching {
    /// Wakes nobody from now on.
    pub(super) fn hold(&self) {
        self.batch().holds = true;
    }

    /// Wakes those that were not woken, and from now on wakes at once.
    pub(super) fn wake(&self) {
        let mut batch = self.batch();
        batch.holds = false;
        let held = batch.take(Wakes::default());
        drop(batch);
        held.wake();
    }

    /// Begins another epoch, after places that nobody saw.
    pub(super) fn begin_epoch(&self) {
        let mut batch = self.batch();
        batch.seq += 5;
        batch.epochs += 1;
        let follower = batch.follower.clone().unwrap();
        let began = follower.begin_epoch(Epoch::new(batch.epochs), batch.seq);
        let wakes = batch.take(began);
        drop(batch);
        wakes.wake();
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.0.lock().unwrap()
    }
}

impl Batch {
    /// Whom to wake now, of those and of these.
    fn take(&mut self, more: Wakes) -> Wakes {
        let all = std::mem::take(&mut self.held).and(more);
        if self.holds {
            self.held = all;
            return Wakes::default();
        }
        all
    }
}

impl Engine for Batching {
    fn follow(&self, follower: Follower) {
        self.batch().follower = Some(follower);
        self.begin_epoch();
    }

    fn append(&self, publication: Publication, completion: Completion) -> Result<(), EngineError> {
        let mut batch = self.batch();
        let follower = batch.follower.clone().unwrap();
        let mut acknowledged = None;
        let applied = if publication.is_ephemeral() {
            follower.apply_ephemeral(publication, completion)
        } else {
            batch.seq += 1;
            acknowledged = Some((batch.seq, completion));
            follower.apply(batch.seq, publication)
        };
        let wakes = batch.take(applied);
        drop(batch);
        wakes.wake();
        if let Some((seq, completion)) = acknowledged {
            completion.acknowledge(seq, Durability::Memory);
        }
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }
}
