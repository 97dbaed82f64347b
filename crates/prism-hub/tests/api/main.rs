//! The hub's HTTP API, over its router and over sockets.
//!
//! - `subscribe_07`, `publish_07`, `presence_07`: cases of draft-07 of the Mercure protocol
//! - `subscribe_08`, `publish_08`, `presence_08`: cases of draft-08
//! - `documents_07`, `documents_08`: what is told of subscriptions, member for member
//! - `matchers_08`, `origins_08`: single cases of draft-08
//! - `native`: what only this hub has: JSON, lines, CloudEvents, keys, broadcasts, where to begin
//! - `framing`: what is posted and what a decoder of the standard reads
//! - `isolation`: what must not leak, in streams, headers and errors
//! - `token_attacks`: attacks on tokens and rights, at every door
//! - `token_life`: keys and tokens that come and go
//! - `pages`: what pages of other origins may do, and metadata
//! - `limits`: what there is too much of
//! - `program`: the real program, read by a browser's rules

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that panics has failed")]

mod documents_07;
mod documents_08;
mod fixture;
mod framing;
mod isolation;
mod limits;
mod matchers_08;
mod native;
mod origins_08;
mod pages;
mod presence_07;
mod presence_08;
mod program;
mod publish_07;
mod publish_08;
mod subscribe_07;
mod subscribe_08;
mod token_attacks;
mod token_life;
