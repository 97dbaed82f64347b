//! Random numbers for epochs, connection ids and jitter.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Bits from the operating system, or from the seed of the process where that fails.
pub(crate) fn bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| RandomState::new().build_hasher().finish())
}
