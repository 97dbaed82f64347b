//! Tools for tests, of this library's users and its own: feature `test-util`.
//!
//! [`Client`] reads from any tower service without a socket. [`Delayed`] is an engine that does
//! what it is told when it is told, and misbehaves on demand. [`conformance`] is what every engine
//! must pass. An [`Oracle`] judges what readers saw. With the feature `serve`, `Served` serves as
//! `serve` does, in memory.

mod client;
pub mod conformance;
mod delayed;
mod oracle;
#[cfg(feature = "serve")]
mod pipe;
#[cfg(feature = "serve")]
mod served;
#[cfg(feature = "serve")]
mod shard;

pub use client::{Client, Refused};
pub use delayed::Delayed;
pub use oracle::{Fault, Oracle};
#[cfg(feature = "serve")]
pub use served::{Received, Served};
#[cfg(feature = "serve")]
pub use shard::Shard;
