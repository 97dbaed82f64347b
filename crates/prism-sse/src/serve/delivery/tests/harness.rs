//! What the tests of a delivery shard share: sockets in memory, an engine that can hold wake-ups
//! back, and connections that are handed over.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::panic, reason = "a test that panics has failed")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use http_body::Body;

use super::super::{DeliveryShard, NextTurn};
use crate::audience::Audience;
use crate::connection::first_frame;
use crate::engine::{Completion, Durability, Engine, EngineError, Follower, Publication, Wakes};
use crate::manager::Manager;
use crate::serve::connection_count::{ConnectionCount, ConnectionGuard};
use crate::serve::hand_over::HandedOverConnection;
use crate::subscription::Start;
use crate::wire::{ConnectionId, Epoch, Framed};

/// A socket's buffer that no stream in these tests fills.
pub(super) const ROOM: usize = 1 << 20;

/// A shard, and its clock in milliseconds.
pub(super) struct ShardHarness {
    pub(super) shard: DeliveryShard<MemorySocket>,
    pub(super) open: Arc<ConnectionCount>,
    pub(super) now: u64,
}

/// A reader of the shard, with the other end of its connection's socket.
pub(super) struct ShardReader {
    pub(super) id: ConnectionId,
    pub(super) key: u32,
    pub(super) peer: SocketPeer,
}

impl ShardHarness {
    /// A shard with room for this many bytes of half-written events.
    pub(super) fn new(stalled_bytes: usize) -> Self {
        let shard = DeliveryShard::new(Waker::noop().clone(), stalled_bytes);
        Self { shard, open: Arc::default(), now: 0 }
    }

    /// A connection that is handed over, and that the shard has not adopted yet.
    pub(super) fn hand_over(
        &self,
        sse: &Manager,
        peer: &SocketPeer,
    ) -> HandedOverConnection<MemorySocket> {
        hand_over(sse, Audience::everything(), Start::Now, peer, &self.open)
    }

    pub(super) fn adopt(&mut self, sse: &Manager) -> ShardReader {
        self.adopt_for(sse, Audience::everything(), ROOM)
    }

    pub(super) fn adopt_for(
        &mut self,
        sse: &Manager,
        audience: Audience,
        room: usize,
    ) -> ShardReader {
        let peer = SocketPeer::new(room);
        let connection = hand_over(sse, audience, Start::Now, &peer, &self.open);
        let reader = ShardReader { id: connection.id, key: self.shard.next_key(), peer };
        self.shard.adopt(connection, self.now);
        reader
    }

    /// Gives the shard turns until it has nothing to do. Returns how many.
    pub(super) fn run_until_idle(&mut self) -> usize {
        for turns in 1..100_000 {
            if !self.turn() {
                return turns;
            }
        }
        panic!("the shard never becomes idle");
    }

    /// One turn, a millisecond after the last. `true` if there is more to do in the next.
    pub(super) fn turn(&mut self) -> bool {
        self.now += 1;
        match self.shard.turn(self.now) {
            NextTurn::Now | NextTurn::AfterYield => true,
            NextTurn::At(at) => at <= self.now + 1,
            NextTurn::WhenWoken => false,
        }
    }

    /// Lets this time pass, and then gives the shard turns.
    pub(super) fn wait(&mut self, millis: u64) {
        self.now += millis;
        self.run_until_idle();
    }

    pub(super) fn hang_up(&mut self, reader: &ShardReader) {
        reader.peer.hang_up();
        self.shard.socket_ready(reader.key, true, false);
    }
}

impl ShardReader {
    /// What was received since the last call.
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.peer.read(usize::MAX)).unwrap()
    }
}

/// The reader's end of a socket in memory.
#[derive(Clone)]
pub(super) struct SocketPeer(Arc<Mutex<SocketState>>);

struct SocketState {
    /// What the shard wrote and the reader has not read.
    bytes: VecDeque<u8>,
    room: usize,
    /// The reader hung up.
    hung_up: bool,
    /// The shard closed the socket.
    closed: bool,
}

impl SocketPeer {
    /// A socket that takes this many bytes before any are read.
    pub(super) fn new(room: usize) -> Self {
        let state = SocketState { bytes: VecDeque::new(), room, hung_up: false, closed: false };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Reads at most this many bytes.
    pub(super) fn read(&self, bytes: usize) -> Vec<u8> {
        let mut state = self.state();
        let len = bytes.min(state.bytes.len());
        state.bytes.drain(..len).collect()
    }

    pub(super) fn hang_up(&self) {
        self.state().hung_up = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().bytes.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, SocketState> {
        self.0.lock().unwrap()
    }
}

/// The shard's end of a socket in memory.
pub(super) struct MemorySocket(SocketPeer);

impl Read for MemorySocket {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        if self.0.state().hung_up { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl Write for MemorySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        if state.hung_up {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(state.room - state.bytes.len());
        state.bytes.extend(&bytes[..len]);
        if len == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.0.state().closed = true;
    }
}

/// A connection as a server hands it over.
pub(super) fn hand_over(
    sse: &Manager,
    audience: Audience,
    start: Start,
    peer: &SocketPeer,
    open: &Arc<ConnectionCount>,
) -> HandedOverConnection<MemorySocket> {
    let mut body = Box::pin(sse.subscribe(audience, start).unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    let (first, offered) = first_frame::capture(|| body.as_mut().poll_frame(&mut cx));
    assert!(matches!(first, Poll::Ready(Some(Ok(_)))));
    let offered = offered.unwrap();
    HandedOverConnection {
        socket: MemorySocket(peer.clone()),
        shared: offered.manager,
        slot: offered.slot,
        id: offered.id,
        reading: offered.subscription,
        unwritten: Framed::from_block(&offered.opening).chunk(),
        body,
        guard: ConnectionGuard::new(open),
    }
}

/// An engine that applies at once and can hold wake-ups back, as an engine does that applies a
/// batch of what it read from a store and then wakes once.
#[derive(Clone, Debug, Default)]
pub(super) struct BatchingEngine(Arc<Mutex<BatchingState>>);

#[derive(Debug, Default)]
struct BatchingState {
    follower: Option<Follower>,
    seq: u64,
    epochs: u64,
    holds_wakes: bool,
    held_wakes: Wakes,
}

impl BatchingEngine {
    /// Holds all wake-ups back from now on.
    pub(super) fn hold_wakes(&self) {
        self.state().holds_wakes = true;
    }

    /// Gives the wake-ups that were held back, and later ones at once.
    pub(super) fn release_wakes(&self) {
        let mut state = self.state();
        state.holds_wakes = false;
        let held = state.due(Wakes::default());
        drop(state);
        held.wake();
    }

    /// Begins another epoch, and skips a few sequence numbers.
    pub(super) fn begin_epoch(&self) {
        let mut state = self.state();
        state.seq += 5;
        state.epochs += 1;
        let follower = state.follower.clone().unwrap();
        let began = follower.begin_epoch(Epoch::new(state.epochs), state.seq);
        let wakes = state.due(began);
        drop(state);
        wakes.wake();
    }

    fn state(&self) -> MutexGuard<'_, BatchingState> {
        self.0.lock().unwrap()
    }
}

impl BatchingState {
    /// The wake-ups to give now: none while they are held back, else all.
    fn due(&mut self, more: Wakes) -> Wakes {
        let all = std::mem::take(&mut self.held_wakes).and(more);
        if self.holds_wakes {
            self.held_wakes = all;
            return Wakes::default();
        }
        all
    }
}

impl Engine for BatchingEngine {
    fn follow(&self, follower: Follower) {
        self.state().follower = Some(follower);
        self.begin_epoch();
    }

    fn append(&self, publication: Publication, completion: Completion) -> Result<(), EngineError> {
        let mut state = self.state();
        let follower = state.follower.clone().unwrap();
        let mut acknowledged = None;
        let applied = if publication.is_ephemeral() {
            follower.apply_ephemeral(publication, completion)
        } else {
            state.seq += 1;
            acknowledged = Some((state.seq, completion));
            follower.apply(state.seq, publication)
        };
        let wakes = state.due(applied);
        drop(state);
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
