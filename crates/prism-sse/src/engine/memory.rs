//! The engine that stores nothing: what the log in memory retains is all there is.

use std::sync::PoisonError;

use super::{Completion, Durability, Engine, EngineError, Follower, Publication};
use crate::random;
use crate::sync::Mutex;
use crate::wire::Epoch;

/// Numbers publications and applies them at once. Each start is a new epoch. The default engine.
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

impl Engine for Memory {
    fn follow(&self, follower: Follower) {
        let began = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let began = follower.begin_epoch(Epoch::new(random::bits() & EPOCH_BITS), state.seq);
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
