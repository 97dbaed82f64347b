//! What became of a publication.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::oneshot;

use super::{Apply, Durability, Wakes};
use crate::sync::{Mutex, MutexGuard};
use crate::wire::Position;

/// An accepted event: its place, what it survives, and how many it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// Its place in the order. An event to one connection has the place of the event before it.
    pub position: Position,
    /// What it survives.
    pub durability: Durability,
    /// Open connections of this node whose audience it matched, each counted once. 0 if the event
    /// had left the log before the engine acknowledged it.
    pub receivers: usize,
}

/// Why there is no [`Ack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckError {
    /// The engine refused the event; it is not in the order and will not be.
    Failed,
    /// The engine did not answer: the event may be in the order or not.
    Unknown,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the engine did not accept the event",
            Self::Unknown => "the engine did not answer: the event may have been accepted or not",
        })
    }
}

impl std::error::Error for AckError {}

/// Where what became of a publication is state.
#[derive(Debug)]
pub(crate) enum AckSender {
    /// To the one receipt there is.
    One(oneshot::Sender<Result<Ack, AckError>>),
    /// To whoever handed it over under the same key.
    Several(OutcomeSender),
}

impl AckSender {
    pub(super) fn send(self, result: Result<Ack, AckError>) {
        match self {
            // A publisher that dropped its receipt does not want to know.
            Self::One(sender) => drop(sender.send(result)),
            Self::Several(sender) => sender.0.resolve(result),
        }
    }
}

/// What became of a publication that several receipts tell of.
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

    /// Tells it, if it was not state before.
    pub(crate) fn resolve(&self, result: Result<Ack, AckError>) {
        let waiting = {
            let mut state = self.lock();
            state.result.get_or_insert(result);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// What was state.
    pub(crate) fn result(&self) -> Option<Result<Ack, AckError>> {
        self.lock().result
    }

    fn lock(&self) -> MutexGuard<'_, OutcomeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's end of an [`Outcome`]. Dropping it says that the outcome is unknown.
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
    /// Its place among those who wait.
    place: Option<usize>,
}

impl OutcomeReceiver {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Ack, AckError>> {
        let mut state = self.outcome.lock();
        if let Some(result) = state.result {
            // Whoever waited was taken out.
            self.place = None;
            return Poll::Ready(result);
        }
        let waker = cx.waker().clone();
        let replaced = match self.place {
            Some(place) => Some(std::mem::replace(&mut state.waiting[place], waker)),
            None => {
                self.place = Some(state.waiting.insert(waker));
                None
            }
        };
        // Dropping a waker may run foreign code.
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for OutcomeReceiver {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut state = self.outcome.lock();
        let left = state.waiting.try_remove(place);
        drop(state);
        drop(left);
    }
}

/// Tells what became of a publication. It may be dropped; the publication goes its way.
///
/// With the [`Memory`](super::Memory) engine it is filled when `publish` returns.
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
    answered: Option<Result<Ack, AckError>>,
}

#[derive(Debug)]
enum ReceiptSource {
    One(oneshot::Receiver<Result<Ack, AckError>>),
    Several(OutcomeReceiver),
}

impl Receipt {
    /// One more receipt of a publication that was handed over before.
    pub(crate) fn of_outcome(outcome: Arc<Outcome>) -> Self {
        let source = ReceiptSource::Several(OutcomeReceiver { outcome, place: None });
        Self { source, answered: None }
    }

    /// The answer, if there is one yet.
    pub fn try_ack(&mut self) -> Option<Result<Ack, AckError>> {
        if self.answered.is_none() {
            self.answered = match &mut self.source {
                ReceiptSource::Several(receiver) => receiver.outcome.result(),
                ReceiptSource::One(receiver) => match receiver.try_recv() {
                    Ok(answer) => Some(answer),
                    Err(oneshot::error::TryRecvError::Closed) => Some(Err(AckError::Unknown)),
                    Err(oneshot::error::TryRecvError::Empty) => None,
                },
            };
        }
        self.answered
    }
}

impl Future for Receipt {
    type Output = Result<Ack, AckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = self.answered {
            return Poll::Ready(answer);
        }
        let polled = match &mut self.source {
            ReceiptSource::Several(receiver) => receiver.poll(cx),
            ReceiptSource::One(receiver) => {
                let sent = Pin::new(receiver).poll(cx);
                sent.map(|sent| sent.unwrap_or(Err(AckError::Unknown)))
            }
        };
        if let Poll::Ready(answer) = polled {
            self.answered = Some(answer);
        }
        polled
    }
}

/// The engine's end of a [`Receipt`]. Dropping it says that the outcome is unknown.
#[derive(Debug)]
pub struct Completion {
    apply: Weak<dyn Apply>,
    answer: AckSender,
}

impl Completion {
    /// Says that the publication has this sequence number and is this durable. The receipt is
    /// filled once this node has applied it.
    ///
    /// It wakes the publisher: call it with no lock held.
    pub fn acknowledge(self, seq: u64, durability: Durability) {
        if let Some(apply) = self.apply.upgrade() {
            apply.acknowledge(seq, durability, self.answer).wake();
        }
    }

    /// Says that the publication is not in the order and will not be. Call it with no lock held.
    pub fn fail(self) {
        Wakes::ack(self.answer, Err(AckError::Failed)).wake();
    }

    pub(super) fn into_answer(self) -> AckSender {
        self.answer
    }
}

/// Both ends of the answer to one publication.
pub(crate) fn receipt(apply: Weak<dyn Apply>) -> (Completion, Receipt) {
    let (sender, receiver) = oneshot::channel();
    let receipt = Receipt { source: ReceiptSource::One(receiver), answered: None };
    (Completion { apply, answer: AckSender::One(sender) }, receipt)
}

/// Both ends of the answer to a publication that may be handed over again.
pub(crate) fn shared_receipt(
    apply: Weak<dyn Apply>,
    outcome: Arc<Outcome>,
) -> (Completion, Receipt) {
    let answer = AckSender::Several(OutcomeSender(Arc::clone(&outcome)));
    (Completion { apply, answer }, Receipt::of_outcome(outcome))
}
