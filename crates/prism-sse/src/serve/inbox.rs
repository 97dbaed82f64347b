//! How a shard is given connections, and told to end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::delivery::{HandOver, drop_foreign};

/// Where a shard is told what to do.
pub(crate) struct Inbox<S> {
    orders: Mutex<Vec<Order<S>>>,
    /// Nobody takes orders any more.
    closed: AtomicBool,
    waker: Waker,
    /// Connections that were given to it and are not gone.
    load: AtomicUsize,
}

pub(crate) enum Order<S> {
    Adopt(HandOver<S>),
    Drain(Duration),
    Stop,
}

impl<S> Inbox<S> {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            orders: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            waker,
            load: AtomicUsize::new(0),
        }
    }

    /// Gives the shard a connection, of which it learns when it is [woken](Self::wake).
    pub(crate) fn adopt(&self, hand_over: HandOver<S>) {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.push(Order::Adopt(hand_over));
    }

    /// Tells the shard what to do, at once.
    pub(crate) fn order(&self, order: Order<S>) {
        self.push(order);
        self.waker.wake_by_ref();
    }

    /// Lets the shard do what it was given, if it was given something.
    pub(crate) fn wake(&self) {
        let empty = self.orders.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !empty {
            self.waker.wake_by_ref();
        }
    }

    /// Says that the shard has ended: what it was given is dropped, and what it is still given.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.take().into_iter().for_each(drop_foreign);
    }

    /// Whether the shard has not ended.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    fn push(&self, order: Order<S>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: what is pushed before the shard closes is taken then.
        if self.is_open() {
            orders.push(order);
        } else {
            drop(orders);
            drop_foreign(order);
        }
    }

    /// How many connections the shard has.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> Vec<Order<S>> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn say_load(&self, connections: usize) {
        self.load.store(connections, Ordering::Relaxed);
    }
}
