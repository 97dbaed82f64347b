//! What became of a publication.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{Apply, Durability, Wakes};
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

pub(crate) type Answer = oneshot::Sender<Result<Ack, AckError>>;

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
    answer: oneshot::Receiver<Result<Ack, AckError>>,
    answered: Option<Result<Ack, AckError>>,
}

impl Receipt {
    /// The answer, if there is one yet.
    pub fn try_ack(&mut self) -> Option<Result<Ack, AckError>> {
        if self.answered.is_none() {
            self.answered = match self.answer.try_recv() {
                Ok(answer) => Some(answer),
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(AckError::Unknown)),
                Err(oneshot::error::TryRecvError::Empty) => None,
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
        Pin::new(&mut self.answer).poll(cx).map(|sent| {
            let answer = sent.unwrap_or(Err(AckError::Unknown));
            self.answered = Some(answer);
            answer
        })
    }
}

/// The engine's end of a [`Receipt`]. Dropping it says that the outcome is unknown.
#[derive(Debug)]
pub struct Completion {
    apply: Weak<dyn Apply>,
    answer: Answer,
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
        Wakes::answer(self.answer, Err(AckError::Failed)).wake();
    }

    pub(super) fn into_answer(self) -> Answer {
        self.answer
    }
}

/// Both ends of the answer to one publication.
pub(crate) fn receipt(apply: Weak<dyn Apply>) -> (Completion, Receipt) {
    let (sender, receiver) = oneshot::channel();
    (Completion { apply, answer: sender }, Receipt { answer: receiver, answered: None })
}
