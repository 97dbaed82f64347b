//! Tests of key sets that are fetched, against a server of their own.
//!
//! - `refresh`: from the first fetch over rotations and reloads to a stale set
//! - `endpoint_attacks`: servers that misbehave, and tokens that ask for a fetch
//! - `fixture`: the server, and a hub that fetches from it

mod endpoint_attacks;
mod fixture;
mod refresh;
