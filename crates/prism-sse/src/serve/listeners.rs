//! The listeners of one server: accepted from in turn, and each paused alone after an error.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

use crate::limits;

/// Accepts connections: a TCP listener, or in tests one that fails on demand.
pub(super) trait PollAccept {
    type Connection;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Connection>>;
}

impl PollAccept for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Connection>> {
        Self::poll_accept(self, cx)
    }
}

/// All listeners of a server, in the order in which they are asked for the next connection.
pub(super) struct Listeners<L>(Vec<PausableListener<L>>);

struct PausableListener<L> {
    listener: L,
    /// Set after an error of the listener itself, for example when no more files can be opened.
    /// Trying again at once would only spin.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<L: PollAccept> Listeners<L> {
    pub(super) fn new(listeners: Vec<L>) -> Self {
        let pausable = |listener| PausableListener { listener, pause: None };
        Self(listeners.into_iter().map(pausable).collect())
    }

    /// The next connection at any listener.
    pub(super) async fn accept(&mut self) -> L::Connection {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<L::Connection> {
        for index in 0..self.0.len() {
            if let Poll::Ready(connection) = self.0[index].poll_accept(cx) {
                // It is asked last the next time, so that a busy listener does not starve others.
                self.0[index..].rotate_left(1);
                return Poll::Ready(connection);
            }
        }
        Poll::Pending
    }
}

impl<L: PollAccept> PausableListener<L> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<L::Connection> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok(connection) => return Poll::Ready(connection),
                Err(error) if concerns_one_connection(&error) => {}
                Err(_) => self.pause = Some(Box::pin(sleep(limits::ACCEPT_PAUSE))),
            }
        }
    }
}

/// Whether only the connection failed that was to be accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::ErrorKind;
    use std::time::Duration;

    use tokio::time::{Instant, advance, timeout};

    use super::*;

    /// A listener that fails a few times, and then always has a connection or never has one.
    struct ScriptedListener {
        name: &'static str,
        error: ErrorKind,
        failures_left: Cell<usize>,
        has_connections: bool,
        polls: Cell<usize>,
    }

    impl PollAccept for ScriptedListener {
        type Connection = &'static str;

        fn poll_accept(&self, _: &mut Context<'_>) -> Poll<io::Result<&'static str>> {
            self.polls.set(self.polls.get() + 1);
            if let Some(left) = self.failures_left.get().checked_sub(1) {
                self.failures_left.set(left);
                return Poll::Ready(Err(self.error.into()));
            }
            if self.has_connections { Poll::Ready(Ok(self.name)) } else { Poll::Pending }
        }
    }

    fn scripted(name: &'static str, error: ErrorKind, failures: usize) -> ScriptedListener {
        let (failures_left, polls) = (Cell::new(failures), Cell::new(0));
        ScriptedListener { name, error, failures_left, has_connections: true, polls }
    }

    fn healthy(name: &'static str) -> ScriptedListener {
        scripted(name, ErrorKind::Other, 0)
    }

    /// The name of the listener with the next connection, which must come soon.
    async fn accept(listeners: &mut Listeners<ScriptedListener>) -> &'static str {
        timeout(10 * limits::ACCEPT_PAUSE, listeners.accept()).await.unwrap()
    }

    fn polls_of(listeners: &Listeners<ScriptedListener>, name: &str) -> usize {
        let named = listeners.0.iter().find(|entry| entry.listener.name == name);
        named.unwrap().listener.polls.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_fails_pauses_alone() {
        let failing = scripted("failing", ErrorKind::OutOfMemory, 50);
        let mut listeners = Listeners::new(vec![failing, healthy("healthy")]);
        let begin = Instant::now();
        for _ in 0..10 {
            assert_eq!(accept(&mut listeners).await, "healthy");
        }
        assert_eq!(begin.elapsed(), Duration::ZERO, "the healthy listener did not wait");
        assert_eq!(polls_of(&listeners, "failing"), 1, "it is not tried again within its pause");
        advance(limits::ACCEPT_PAUSE).await;
        assert_eq!(accept(&mut listeners).await, "healthy");
        assert_eq!(polls_of(&listeners, "failing"), 2, "it is tried again after its pause");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_failed_is_accepted_from_after_its_pause() {
        let idle = ScriptedListener { has_connections: false, ..healthy("idle") };
        let failing = scripted("failing", ErrorKind::OutOfMemory, 1);
        let mut listeners = Listeners::new(vec![failing, idle]);
        let begin = Instant::now();
        assert_eq!(accept(&mut listeners).await, "failing");
        assert_eq!(begin.elapsed(), limits::ACCEPT_PAUSE, "its own timer wakes the accept loop");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_failed_before_it_was_accepted_pauses_no_listener() {
        let aborted = scripted("aborted", ErrorKind::ConnectionAborted, 3);
        let mut listeners = Listeners::new(vec![aborted]);
        let begin = Instant::now();
        assert_eq!(accept(&mut listeners).await, "aborted");
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn listeners_that_are_all_busy_take_turns() {
        let mut listeners = Listeners::new(vec![healthy("a"), healthy("b"), healthy("c")]);
        let mut accepted = Vec::new();
        for _ in 0..6 {
            accepted.push(accept(&mut listeners).await);
        }
        assert_eq!(accepted, ["a", "b", "c", "a", "b", "c"]);
    }
}
