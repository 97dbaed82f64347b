//! Tests of the shard's state machine, without sockets and threads.
//!
//! - `generated`: generated histories, checked by the oracle
//! - `edge_cases`: what generated histories seldom reach
//! - `pauses`: the pause between two passes of a group
//! - `harness`: what they share

mod edge_cases;
mod generated;
mod harness;
mod pauses;
