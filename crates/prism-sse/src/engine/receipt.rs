//! Receipts: how a publisher learns the outcome of a publication.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::oneshot;

use super::durability::Durability;
use crate::sync::{Mutex, MutexGuard};
use crate::wire::Position;

/// The acknowledgement of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// Its position in the order. An event to one connection has the position of the event before
    /// it.
    pub position: Position,
    /// What it survives.
    pub durability: Durability,
    /// Open connections of this node whose audience it matched, each counted once. 0 if the event
    /// was evicted from the log before the engine acknowledged it.
    pub receivers: usize,
}

/// Why there is no [`Ack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckError {
    /// The engine refused the event; it is not in the order and will not be.
    Failed,
    /// The disk of the store is full; the event is not kept and was shown to nobody.
    StorageFull,
    /// The engine did not answer: the event may be in the order or not.
    Unknown,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the engine did not accept the event",
            Self::StorageFull => "the disk of the store is full",
            Self::Unknown => "the engine did not answer: the event may have been accepted or not",
        })
    }
}

impl std::error::Error for AckError {}

/// The outcome of a publication, from which a publisher's [`Ack`] can be awaited. It may be
/// dropped; the publication is not affected.
///
/// With the [`Memory`](super::Memory) engine it is complete when `publish` returns.
///
/// ```
/// # use prism_sse::Manager;
/// let sse = Manager::new();
/// let _connection = sse.add_connection();
/// let mut receipt = sse.broadcast("hello")?;
/// assert_eq!(receipt.try_ack().unwrap()?.receivers, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Receipt {
    source: ReceiptSource,
    result: Option<Result<Ack, AckError>>,
}

#[derive(Debug)]
enum ReceiptSource {
    /// The publication has this receipt alone.
    One(oneshot::Receiver<Result<Ack, AckError>>),
    /// The publication has an idempotency key, so that several receipts may share its outcome.
    Shared(OutcomeReceiver),
}

impl Receipt {
    /// A receipt and its sender.
    pub(super) fn channel() -> (AckSender, Self) {
        let (sender, receiver) = oneshot::channel();
        let receipt = Self { source: ReceiptSource::One(receiver), result: None };
        (AckSender::One(sender), receipt)
    }

    /// A receipt that shares `outcome`.
    pub(crate) fn of_outcome(outcome: Arc<Outcome>) -> Self {
        let source = ReceiptSource::Shared(OutcomeReceiver { outcome, waiting_key: None });
        Self { source, result: None }
    }

    /// The outcome, if it is known already.
    pub fn try_ack(&mut self) -> Option<Result<Ack, AckError>> {
        if self.result.is_none() {
            self.result = match &mut self.source {
                ReceiptSource::Shared(receiver) => receiver.outcome.result(),
                ReceiptSource::One(receiver) => match receiver.try_recv() {
                    Ok(result) => Some(result),
                    Err(oneshot::error::TryRecvError::Closed) => Some(Err(AckError::Unknown)),
                    Err(oneshot::error::TryRecvError::Empty) => None,
                },
            };
        }
        self.result
    }
}

impl Future for Receipt {
    type Output = Result<Ack, AckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.result {
            return Poll::Ready(result);
        }
        let polled = match &mut self.source {
            ReceiptSource::Shared(receiver) => receiver.poll(cx),
            ReceiptSource::One(receiver) => {
                let received = Pin::new(receiver).poll(cx);
                received.map(|received| received.unwrap_or(Err(AckError::Unknown)))
            }
        };
        if let Poll::Ready(result) = polled {
            self.result = Some(result);
        }
        polled
    }
}

/// The sending end of a receipt, or of all receipts that share an outcome.
#[derive(Debug)]
pub(crate) enum AckSender {
    One(oneshot::Sender<Result<Ack, AckError>>),
    Shared(OutcomeSender),
}

impl AckSender {
    pub(super) fn of_outcome(outcome: Arc<Outcome>) -> Self {
        Self::Shared(OutcomeSender(outcome))
    }

    pub(super) fn send(self, result: Result<Ack, AckError>) {
        match self {
            // A publisher may have dropped its receipt.
            Self::One(sender) => drop(sender.send(result)),
            Self::Shared(sender) => sender.0.resolve(result),
        }
    }
}

/// The outcome of a publication with an idempotency key, which several receipts may share.
#[derive(Debug)]
pub(crate) struct Outcome(Mutex<OutcomeState>);

#[derive(Debug, Default)]
struct OutcomeState {
    result: Option<Result<Ack, AckError>>,
    waiting: Slab<Waker>,
}

impl Outcome {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(OutcomeState::default())))
    }

    /// Sets the result and wakes the receipts that wait for it. The first result counts.
    pub(crate) fn resolve(&self, result: Result<Ack, AckError>) {
        let waiting = {
            let mut state = self.lock();
            state.result.get_or_insert(result);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The result, if it is set.
    pub(crate) fn result(&self) -> Option<Result<Ack, AckError>> {
        self.lock().result
    }

    fn lock(&self) -> MutexGuard<'_, OutcomeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's end of an [`Outcome`]. Dropping it resolves the outcome as unknown.
#[derive(Debug)]
pub(crate) struct OutcomeSender(Arc<Outcome>);

impl Drop for OutcomeSender {
    fn drop(&mut self) {
        self.0.resolve(Err(AckError::Unknown));
    }
}

/// A receipt's end of an [`Outcome`].
#[derive(Debug)]
struct OutcomeReceiver {
    outcome: Arc<Outcome>,
    /// The key of its waker among those that wait.
    waiting_key: Option<usize>,
}

impl OutcomeReceiver {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Ack, AckError>> {
        let mut state = self.outcome.lock();
        if let Some(result) = state.result {
            // Setting the result has removed all wakers.
            self.waiting_key = None;
            return Poll::Ready(result);
        }
        let waker = cx.waker().clone();
        let replaced = match self.waiting_key {
            Some(key) => Some(std::mem::replace(&mut state.waiting[key], waker)),
            None => {
                self.waiting_key = Some(state.waiting.insert(waker));
                None
            }
        };
        // Dropping a waker may run code that is not ours, so that it is done without the lock.
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for OutcomeReceiver {
    fn drop(&mut self) {
        let Some(key) = self.waiting_key else { return };
        let mut state = self.outcome.lock();
        let removed = state.waiting.try_remove(key);
        drop(state);
        drop(removed);
    }
}
