//! The thread of a shard: it waits for its sockets, its inbox and its timers, and runs the state
//! machine of [`delivery`](super::delivery).

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use super::delivery::{DeliveryShard, NextTurn};
use super::hand_over::{HandedOverConnection, drop_catching_panics};
use super::inbox::{Inbox, ShardCommand};
use crate::limits;

/// The token of the shard's own waker. The token of a connection is its key.
const WAKER_TOKEN: Token = Token(usize::MAX);

struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        // Waking fails only if the `Poll` was dropped, and then no thread waits any more.
        drop(self.0.wake());
    }
}

/// Starts a shard. Its thread enters the runtime, because values that layers keep in a body are
/// dropped there and may use it.
pub(super) fn start(
    number: usize,
    pinned_bytes: usize,
    runtime: tokio::runtime::Handle,
) -> io::Result<(Arc<Inbox<TcpStream>>, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Waker::from(Arc::new(PollWaker(mio::Waker::new(poll.registry(), WAKER_TOKEN)?)));
    let inbox = Arc::new(Inbox::new(waker.clone()));
    let delivery = DeliveryShard::new(waker, pinned_bytes);
    let shard = ShardLoop { poll, inbox: Arc::clone(&inbox), delivery, started: Instant::now() };
    let thread = thread::Builder::new().name(format!("prism-shard-{number}")).spawn(move || {
        let _context = runtime.enter();
        let inbox = Arc::clone(&shard.inbox);
        // The inbox is closed after a panic too, so that no connection waits for this shard.
        run_catching_panics(shard);
        inbox.close();
    })?;
    Ok((inbox, thread))
}

/// Runs a shard until it stops or panics. The panic hook has reported a panic by then; the shard's
/// connections end with it.
fn run_catching_panics(mut shard: ShardLoop) {
    drop(catch_unwind(AssertUnwindSafe(|| shard.run())));
    drop_catching_panics(shard);
}

struct ShardLoop {
    poll: Poll,
    inbox: Arc<Inbox<TcpStream>>,
    delivery: DeliveryShard<TcpStream>,
    started: Instant,
}

impl ShardLoop {
    fn run(&mut self) {
        let mut events = Events::with_capacity(limits::SHARD_EVENTS);
        let mut next = NextTurn::Now;
        loop {
            let wait = match next {
                NextTurn::Now => Some(Duration::ZERO),
                NextTurn::AfterYield => {
                    thread::yield_now();
                    Some(Duration::ZERO)
                }
                NextTurn::At(at) => Some(Duration::from_millis(at.saturating_sub(self.now()))),
                NextTurn::WhenWoken => None,
            };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
            for event in &events {
                if event.token() == WAKER_TOKEN {
                    if next == NextTurn::Now {
                        continue;
                    }
                    // The publisher that woke this shard may run on the same processor and be about
                    // to publish more, which then goes out in the same pass.
                    thread::yield_now();
                } else {
                    let readable = event.is_readable() || event.is_read_closed();
                    let key = event.token().0 as u32;
                    self.delivery.socket_ready(
                        key,
                        readable || event.is_error(),
                        event.is_writable(),
                    );
                }
            }
            let now = self.now();
            if !self.run_commands(now) {
                break;
            }
            next = self.delivery.turn(now);
        }
        self.delivery.drop_all();
    }

    /// Runs the commands in the inbox. Returns `false` if the shard is to stop.
    fn run_commands(&mut self, now: u64) -> bool {
        for command in self.inbox.take() {
            match command {
                ShardCommand::Adopt(connection) => self.adopt(connection, now),
                ShardCommand::Drain(window) => self.delivery.drain(now, window),
                ShardCommand::Stop => return false,
            }
        }
        self.inbox.set_load(self.delivery.len());
        true
    }

    fn adopt(&mut self, connection: HandedOverConnection<TcpStream>, now: u64) {
        let key = self.delivery.next_key();
        // A socket that the system does not watch could never be served, so that it is closed.
        match register(self.poll.registry(), &connection.socket, key) {
            Ok(()) => self.delivery.adopt(connection, now),
            Err(_) => drop_catching_panics(connection),
        }
    }

    /// Milliseconds since the shard started.
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// Watches a socket until it is closed. Readiness is edge-triggered: each change is reported once.
fn register(registry: &Registry, socket: &TcpStream, key: u32) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(key as usize), interest)
}
