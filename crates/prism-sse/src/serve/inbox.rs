//! How other threads give connections to a shard and tell it to end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::hand_over::{HandedOverConnection, drop_catching_panics};

/// The commands that a shard has not taken yet, and how busy it is.
pub(crate) struct Inbox<S> {
    commands: Mutex<Vec<ShardCommand<S>>>,
    /// The shard has ended and takes no commands any more.
    closed: AtomicBool,
    waker: Waker,
    /// Connections that the shard was given and that have not ended.
    load: AtomicUsize,
}

pub(crate) enum ShardCommand<S> {
    Adopt(HandedOverConnection<S>),
    Drain(Duration),
    Stop,
}

impl<S> Inbox<S> {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            commands: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            waker,
            load: AtomicUsize::new(0),
        }
    }

    /// Gives the shard a connection without waking it, so that one [`wake`](Self::wake) serves
    /// several connections.
    pub(crate) fn adopt(&self, connection: HandedOverConnection<S>) {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.push(ShardCommand::Adopt(connection));
    }

    /// Gives the shard a command and wakes it.
    pub(crate) fn send(&self, command: ShardCommand<S>) {
        self.push(command);
        self.waker.wake_by_ref();
    }

    /// Wakes the shard if it has commands to take.
    pub(crate) fn wake(&self) {
        let empty = self.commands.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !empty {
            self.waker.wake_by_ref();
        }
    }

    /// Declares the shard ended. Commands that it has not taken are dropped, and so are later ones.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.take().into_iter().for_each(drop_catching_panics);
    }

    /// Whether the shard has not ended.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    fn push(&self, command: ShardCommand<S>) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock, so that `close` takes whatever was pushed before it.
        if self.is_open() {
            commands.push(command);
        } else {
            drop(commands);
            drop_catching_panics(command);
        }
    }

    /// How many connections the shard has.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> Vec<ShardCommand<S>> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_load(&self, connections: usize) {
        self.load.store(connections, Ordering::Relaxed);
    }
}
