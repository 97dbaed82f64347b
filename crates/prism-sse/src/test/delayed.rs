//! An engine whose every step the test decides.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{Completion, Durability, Engine, EngineError, Follower, Publication, Wakes};
use crate::wire::Epoch;

/// An engine that orders publications and then waits for the test.
///
/// Its clones are the same engine: one goes to the manager, another stays with the test. A
/// publication is *applied* when it is given to the follower and *acknowledged* when its receipt is
/// filled, in whichever order the test chooses.
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
    state: Arc<Mutex<DelayedState>>,
}

#[derive(Debug)]
struct DelayedState {
    follower: Option<Follower>,
    epochs: u64,
    seq: u64,
    appended: usize,
    /// The number of the append to refuse.
    failing: Option<usize>,
    capacity: usize,
    automatic: Option<AutomaticOrder>,
    unapplied: VecDeque<UnappliedPublication>,
    unacknowledged: VecDeque<(u64, Durability, Completion)>,
}

#[derive(Debug)]
enum UnappliedPublication {
    Ordered(u64, Publication),
    Ephemeral(Publication, Completion),
}

/// The order of steps of an engine that runs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AutomaticOrder {
    AcknowledgesFirst,
    AppliesFirst,
}

impl Default for DelayedState {
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
    /// An engine that does nothing until the test calls for it.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine that runs by itself, on the runtime, and acknowledges before it applies. It
    /// acknowledges in the reverse order of publishing.
    pub fn acknowledging_first() -> Self {
        Self::automatic(AutomaticOrder::AcknowledgesFirst)
    }

    /// An engine that runs by itself, on the runtime, and applies before it acknowledges. It
    /// acknowledges in the reverse order of publishing.
    pub fn applying_first() -> Self {
        Self::automatic(AutomaticOrder::AppliesFirst)
    }

    fn automatic(order: AutomaticOrder) -> Self {
        let engine = Self::new();
        engine.lock().automatic = Some(order);
        engine
    }

    /// Refuses the `nth` append from now on, counted from 1.
    pub fn fail_append(&self, nth: usize) {
        let mut state = self.lock();
        state.failing = Some(state.appended + nth);
    }

    /// Refuses appends while this many wait to be acknowledged.
    pub fn set_capacity(&self, publications: usize) {
        self.lock().capacity = publications;
    }

    /// Applies the oldest publication that was not applied. `false` if there is none.
    pub fn apply(&self) -> bool {
        let applied = {
            let mut state = self.lock();
            let next = state.unapplied.pop_front();
            state.follower.clone().zip(next).map(|(follower, next)| match next {
                UnappliedPublication::Ordered(seq, publication) => follower.apply(seq, publication),
                UnappliedPublication::Ephemeral(publication, completion) => {
                    follower.apply_ephemeral(publication, completion)
                }
            })
        };
        applied.map(Wakes::wake).is_some()
    }

    /// Applies a sequence number again, as an engine does that reconnected to its source.
    pub fn apply_again(&self, seq: u64, publication: Publication) {
        let follower = self.lock().follower.clone();
        if let Some(follower) = follower {
            follower.apply(seq, publication).wake();
        }
    }

    /// Acknowledges the oldest publication that was not acknowledged. `false` if there is none.
    pub fn acknowledge_first(&self) -> bool {
        let first = self.lock().unacknowledged.pop_front();
        first.map(|(seq, durable, completion)| completion.acknowledge(seq, durable)).is_some()
    }

    /// Acknowledges the newest publication that was not acknowledged. `false` if there is none.
    pub fn acknowledge_last(&self) -> bool {
        let last = self.lock().unacknowledged.pop_back();
        last.map(|(seq, durable, completion)| completion.acknowledge(seq, durable)).is_some()
    }

    /// Drops the completion of the oldest publication that was not acknowledged. `false` if there
    /// is none.
    pub fn forget_first(&self) -> bool {
        let first = self.lock().unacknowledged.pop_front();
        first.map(drop).is_some()
    }

    /// Fails the oldest publication that was not acknowledged. If it was not applied either, it
    /// never will be. `false` if there is none.
    pub fn fail_first(&self) -> bool {
        let failed = {
            let mut state = self.lock();
            let first = state.unacknowledged.pop_front();
            if let Some((failed, ..)) = &first {
                state.unapplied.retain(|unapplied| match unapplied {
                    UnappliedPublication::Ordered(seq, _) => seq != failed,
                    UnappliedPublication::Ephemeral(..) => true,
                });
            }
            first
        };
        failed.map(|(.., completion)| completion.fail()).is_some()
    }

    /// Begins another epoch behind sequence number `after`, as an engine does whose store was
    /// reopened or replaced. Publications that were not applied are dropped.
    pub fn begin_epoch(&self, after: u64) {
        self.lock().epochs += 1;
        self.begin_epoch_again(after);
    }

    /// Begins the last epoch again behind sequence number `after`, as an engine does that lost its
    /// newest publications and does not know it. Publications that were not applied are dropped.
    pub fn begin_epoch_again(&self, after: u64) {
        let began = {
            let mut state = self.lock();
            state.seq = after;
            state.unapplied.clear();
            let epoch = Epoch::new(state.epochs);
            state.follower.as_ref().map(|follower| follower.begin_epoch(epoch, after))
        };
        began.unwrap_or_default().wake();
    }

    fn lock(&self) -> MutexGuard<'_, DelayedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, order: AutomaticOrder) {
        let engine = self.clone();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            if order == AutomaticOrder::AcknowledgesFirst {
                engine.acknowledge_last();
            }
            tokio::task::yield_now().await;
            engine.apply();
            if order == AutomaticOrder::AppliesFirst {
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
            let mut state = self.lock();
            state.appended += 1;
            if state.failing == Some(state.appended) {
                return Err(EngineError::Unavailable);
            }
            if state.unacknowledged.len() >= state.capacity {
                return Err(EngineError::Overloaded);
            }
            if publication.is_ephemeral() {
                state.unapplied.push_back(UnappliedPublication::Ephemeral(publication, completion));
            } else {
                state.seq += 1;
                let seq = state.seq;
                let durable =
                    if publication.is_transient() { Durability::Memory } else { Durability::Fsync };
                state.unapplied.push_back(UnappliedPublication::Ordered(seq, publication));
                state.unacknowledged.push_back((seq, durable, completion));
            }
            state.automatic
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
