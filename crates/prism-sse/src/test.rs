//! Tools for tests, of this library's users and its own: feature `test-util`.
//!
//! [`Client`] reads an event stream from any tower service, without a socket. [`Delayed`] is an
//! engine whose every step the test decides, failures included. [`conformance`] is the suite that
//! every engine must pass. [`ScriptedStore`] is a store in memory that fails as it is told. An
//! [`Oracle`] checks what readers received against what was published.
//! With the feature `serve`, `Served` serves as `serve` does, in memory.

mod client;
pub mod conformance;
mod delayed;
mod oracle;
#[cfg(feature = "serve")]
mod pipe;
mod scripted_store;
#[cfg(feature = "serve")]
mod served;
#[cfg(feature = "serve")]
mod shard;

pub use client::{Client, Refused};
pub use delayed::Delayed;
pub use oracle::{Fault, Oracle};
pub use scripted_store::ScriptedStore;
#[cfg(feature = "serve")]
pub use served::{Received, Served};
#[cfg(feature = "serve")]
pub use shard::Shard;

/// The most steps that this thread took under a manager's lock, while it held it once, since the
/// last call. A step is a constant amount of work.
pub fn take_longest_hold() -> u64 {
    crate::steps::take_longest()
}
