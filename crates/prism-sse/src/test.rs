//! Tools for tests, of this library's users and its own: feature `test-util`.
//!
//! [`Client`] reads from any tower service without a socket. [`Delayed`] is an engine that does
//! what it is told when it is told, and misbehaves on demand. [`conformance`] is what every engine
//! must pass. An [`Oracle`] judges what readers saw.

mod client;
pub mod conformance;
mod delayed;
mod oracle;

pub use client::{Client, Refused};
pub use delayed::Delayed;
pub use oracle::{Fault, Oracle};
