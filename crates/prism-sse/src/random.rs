//! Random numbers for epochs, connection ids and jitter.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Bits from the operating system, or from the seed of the process where that fails.
pub(crate) fn bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| seeded())
}

/// 96 random bits, with one system call.
pub(crate) fn more_bits() -> (u64, u32) {
    let mut bytes = [0; 12];
    if getrandom::fill(&mut bytes).is_err() {
        return (seeded(), seeded() as u32);
    }
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    (u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u32::from_ne_bytes(rest))
}

fn seeded() -> u64 {
    RandomState::new().build_hasher().finish()
}
