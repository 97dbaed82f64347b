//! An engine whose every step the test decides.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{Completion, Durability, Engine, EngineError, Follower, Publication, Wakes};
use crate::wire::Epoch;

/// An engine that orders publications and then waits to be told.
///
/// Its clones are the same engine: one goes to the manager, another stays with the test. A
/// publication is *applied* when the follower sees it and *acknowledged* when its publisher is
/// told, in whichever order the test chooses.
///
/// ```
/// use prism_sse::{Manager, test::Delayed};
///
/// let engine = Delayed::new();
/// let sse = Manager::builder().engine(engine.clone()).build()?;
///
/// let mut receipt = sse.broadcast("hello")?;
/// engine.acknowledge_first();
/// assert!(receipt.try_ack().is_none(), "this node has not applied it");
/// engine.apply();
/// assert!(receipt.try_ack().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Delayed {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug)]
struct Queue {
    follower: Option<Follower>,
    epochs: u64,
    seq: u64,
    appended: usize,
    failing: Option<usize>,
    capacity: usize,
    automatic: Option<Automatic>,
    unapplied: VecDeque<Unapplied>,
    unacknowledged: VecDeque<(u64, Durability, Completion)>,
}

#[derive(Debug)]
enum Unapplied {
    Ordered(u64, Publication),
    Ephemeral(Publication, Completion),
}

/// The order in which an engine that runs by itself takes its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Automatic {
    AcknowledgesFirst,
    AppliesFirst,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            follower: None,
            epochs: 0,
            seq: 0,
            appended: 0,
            failing: None,
            capacity: usize::MAX,
            automatic: None,
            unapplied: VecDeque::new(),
            unacknowledged: VecDeque::new(),
        }
    }
}

impl Delayed {
    /// An engine that waits to be told.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine that runs by itself, on the runtime, and tells publishers before it applies. It
    /// acknowledges in the reverse of the order.
    pub fn acknowledging_first() -> Self {
        Self::automatic(Automatic::AcknowledgesFirst)
    }

    /// An engine that runs by itself, on the runtime, and applies before it tells publishers. It
    /// acknowledges in the reverse of the order.
    pub fn applying_first() -> Self {
        Self::automatic(Automatic::AppliesFirst)
    }

    fn automatic(order: Automatic) -> Self {
        let engine = Self::new();
        engine.lock().automatic = Some(order);
        engine
    }

    /// Refuses the `nth` append from now on, counted from 1.
    pub fn fail_append(&self, nth: usize) {
        let mut queue = self.lock();
        queue.failing = Some(queue.appended + nth);
    }

    /// Refuses appends while this many wait to be acknowledged.
    pub fn set_capacity(&self, publications: usize) {
        self.lock().capacity = publications;
    }

    /// Applies the oldest publication that was not. `false` if there is none.
    pub fn apply(&self) -> bool {
        let applied = {
            let mut queue = self.lock();
            let next = queue.unapplied.pop_front();
            queue.follower.clone().zip(next).map(|(follower, next)| match next {
                Unapplied::Ordered(seq, publication) => follower.apply(seq, publication),
                Unapplied::Ephemeral(publication, completion) => {
                    follower.apply_ephemeral(publication, completion)
                }
            })
        };
        applied.map(Wakes::wake).is_some()
    }

    /// Applies a place in the order again, as a follower does after it lost its connection.
    pub fn apply_again(&self, seq: u64, publication: Publication) {
        let follower = self.lock().follower.clone();
        if let Some(follower) = follower {
            follower.apply(seq, publication).wake();
        }
    }

    /// Acknowledges the oldest publication that was not. `false` if there is none.
    pub fn acknowledge_first(&self) -> bool {
        let first = self.lock().unacknowledged.pop_front();
        first.map(|(seq, durable, completion)| completion.acknowledge(seq, durable)).is_some()
    }

    /// Acknowledges the newest publication that was not. `false` if there is none.
    pub fn acknowledge_last(&self) -> bool {
        let last = self.lock().unacknowledged.pop_back();
        last.map(|(seq, durable, completion)| completion.acknowledge(seq, durable)).is_some()
    }

    /// Gives up on the oldest publication that was not acknowledged, without a word.
    pub fn forget_first(&self) -> bool {
        let first = self.lock().unacknowledged.pop_front();
        first.map(drop).is_some()
    }

    /// Tells the publisher of the oldest publication that was not acknowledged that it failed. If
    /// it was not applied either, it never will be.
    pub fn fail_first(&self) -> bool {
        let failed = {
            let mut queue = self.lock();
            let first = queue.unacknowledged.pop_front();
            if let Some((failed, ..)) = &first {
                queue.unapplied.retain(
                    |waiting| !matches!(waiting, Unapplied::Ordered(seq, _) if seq == failed),
                );
            }
            first
        };
        failed.map(|(.., completion)| completion.fail()).is_some()
    }

    /// Begins another epoch after `after`, as an engine does whose store was reopened or replaced.
    /// What was not applied is gone.
    pub fn begin_epoch(&self, after: u64) {
        let began = {
            let mut queue = self.lock();
            queue.epochs += 1;
            queue.seq = after;
            queue.unapplied.clear();
            let epoch = Epoch::new(queue.epochs);
            queue.follower.as_ref().map(|follower| follower.begin_epoch(epoch, after))
        };
        began.unwrap_or_default().wake();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, order: Automatic) {
        let engine = self.clone();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            if order == Automatic::AcknowledgesFirst {
                engine.acknowledge_last();
            }
            tokio::task::yield_now().await;
            engine.apply();
            if order == Automatic::AppliesFirst {
                tokio::task::yield_now().await;
                engine.acknowledge_last();
            }
        });
    }
}

impl Engine for Delayed {
    fn follow(&self, follower: Follower) {
        self.lock().follower = Some(follower);
        self.begin_epoch(0);
    }

    fn append(&self, publication: Publication, completion: Completion) -> Result<(), EngineError> {
        let automatic = {
            let mut queue = self.lock();
            queue.appended += 1;
            if queue.failing == Some(queue.appended) {
                return Err(EngineError::Unavailable);
            }
            if queue.unacknowledged.len() >= queue.capacity {
                return Err(EngineError::Overloaded);
            }
            if publication.is_ephemeral() {
                queue.unapplied.push_back(Unapplied::Ephemeral(publication, completion));
            } else {
                queue.seq += 1;
                let seq = queue.seq;
                let durable =
                    if publication.is_transient() { Durability::Memory } else { Durability::Fsync };
                queue.unapplied.push_back(Unapplied::Ordered(seq, publication));
                queue.unacknowledged.push_back((seq, durable, completion));
            }
            queue.automatic
        };
        if let Some(order) = automatic {
            self.run(order);
        }
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::Fsync
    }
}
