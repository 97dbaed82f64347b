//! The engine in this process. Without a store, what the log in memory retains is all there is.

use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Completion, Durability, Engine, EngineError, Follower, Publication};
use crate::random;
use crate::sync::Mutex;
use crate::wire::Epoch;

/// Numbers publications and applies them at once. Each start is a new epoch. The default engine.
///
/// With a [store](crate::Store) the order goes on where the store ends, and a publication is
/// applied and acknowledged once the store has it.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    follower: Option<Follower>,
    seq: u64,
}

/// Bits of a random epoch: few enough to be short on the wire, and enough to be unique.
const EPOCH_BITS: u64 = (1 << 48) - 1;

impl Memory {
    /// An engine for one manager.
    pub fn new() -> Self {
        Self::default()
    }
}

/// An epoch with a higher number, which says in seconds when it began.
fn next_epoch(last: Epoch) -> Epoch {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    Epoch::new(now.saturating_sub(BEGIN_OF_2020).max(last.get().saturating_add(1)))
}

/// In seconds of Unix time.
const BEGIN_OF_2020: u64 = 1_577_836_800;

impl Engine for Memory {
    fn follow(&self, follower: Follower) {
        let began = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let (epoch, after) = match follower.restored() {
                Some(end) => {
                    state.seq = end.reserved;
                    (next_epoch(end.epoch), end.seq)
                }
                None => (Epoch::new(random::bits() & EPOCH_BITS), state.seq),
            };
            let began = follower.begin_epoch(epoch, after);
            state.follower = Some(follower);
            began
        };
        began.wake();
    }

    fn append(&self, publication: Publication, completion: Completion) -> Result<(), EngineError> {
        if publication.is_ephemeral() {
            let applied = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let follower = state.follower.as_ref().ok_or(EngineError::Unavailable)?;
                follower.apply_ephemeral(publication, completion)
            };
            applied.wake();
            return Ok(());
        }
        let (seq, applied) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let seq = state.seq + 1;
            let follower = state.follower.as_ref().ok_or(EngineError::Unavailable)?;
            let applied = follower.apply(seq, publication);
            state.seq = seq;
            (seq, applied)
        };
        applied.wake();
        completion.acknowledge(seq, Durability::Memory);
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }
}
