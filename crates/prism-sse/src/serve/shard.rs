//! A shard's thread: it waits for its sockets, its inbox and its timers, and lets the state machine
//! work.

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

use super::delivery::{Delivery, HandOver, Turn, drop_foreign};
use super::inbox::{Inbox, Order};
use crate::limits;

/// The token of the shard's own waker; connections have their keys.
const WAKE: Token = Token(usize::MAX);

struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        // It fails only if the poll is gone, and with it whoever would wake.
        drop(self.0.wake());
    }
}

/// Starts a shard. The thread knows the runtime, so that what layers drop there can use it.
pub(super) fn start(
    number: usize,
    pinned_bytes: usize,
    runtime: tokio::runtime::Handle,
) -> io::Result<(Arc<Inbox<TcpStream>>, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Waker::from(Arc::new(PollWaker(mio::Waker::new(poll.registry(), WAKE)?)));
    let inbox = Arc::new(Inbox::new(waker.clone()));
    let delivery = Delivery::new(waker, pinned_bytes);
    let shard = Shard { poll, inbox: Arc::clone(&inbox), delivery, began: Instant::now() };
    let thread = thread::Builder::new().name(format!("prism-shard-{number}")).spawn(move || {
        let _context = runtime.enter();
        let inbox = Arc::clone(&shard.inbox);
        // Whatever ends it, nobody is to wait for it.
        run_to_its_end(shard);
        inbox.close();
    })?;
    Ok((inbox, thread))
}

/// Runs a shard to its end. A panic was reported by the panic hook; its connections end with it.
fn run_to_its_end(mut shard: Shard) {
    drop(catch_unwind(AssertUnwindSafe(|| shard.run())));
    drop_foreign(shard);
}

struct Shard {
    poll: Poll,
    inbox: Arc<Inbox<TcpStream>>,
    delivery: Delivery<TcpStream>,
    began: Instant,
}

impl Shard {
    fn run(&mut self) {
        let mut events = Events::with_capacity(limits::SHARD_EVENTS);
        let mut turn = Turn::Again;
        loop {
            let wait = match turn {
                Turn::Again => Some(Duration::ZERO),
                Turn::Soon => {
                    thread::yield_now();
                    Some(Duration::ZERO)
                }
                Turn::At(at) => Some(Duration::from_millis(at.saturating_sub(self.now()))),
                Turn::Never => None,
            };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
            for event in &events {
                if event.token() == WAKE {
                    if turn == Turn::Again {
                        continue;
                    }
                    // Whoever rang may share the processor, and be about to publish more, which
                    // then goes out in the same pass.
                    thread::yield_now();
                } else {
                    let readable = event.is_readable() || event.is_read_closed();
                    let key = event.token().0 as u32;
                    self.delivery.socket_is(key, readable || event.is_error(), event.is_writable());
                }
            }
            let now = self.now();
            if !self.follow_orders(now) {
                break;
            }
            turn = self.delivery.turn(now);
        }
        self.delivery.drop_all();
    }

    /// `false` if it is to stop.
    fn follow_orders(&mut self, now: u64) -> bool {
        for order in self.inbox.take() {
            match order {
                Order::Adopt(hand_over) => self.adopt(hand_over, now),
                Order::Drain(window) => self.delivery.drain(now, window),
                Order::Stop => return false,
            }
        }
        self.inbox.say_load(self.delivery.len());
        true
    }

    fn adopt(&mut self, hand_over: HandOver<TcpStream>, now: u64) {
        let key = self.delivery.next_key();
        // A connection that the system will not watch is dropped, and with it its socket.
        match register(self.poll.registry(), &hand_over.socket, key) {
            Ok(()) => self.delivery.adopt(hand_over, now),
            Err(_) => drop_foreign(hand_over),
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

/// Watches a socket for good: the system tells each change once, and forgets it when it is closed.
fn register(registry: &Registry, socket: &TcpStream, key: u32) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(key as usize), interest)
}
