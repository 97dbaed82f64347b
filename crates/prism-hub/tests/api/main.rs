//! The hub's HTTP API, over its router and over sockets.
//!
//! - `subscribe_07`, `publish_07`, `subscription_events_07`: cases of draft-07 of the Mercure
//!   protocol
//! - `subscribe_08`, `publish_08`, `subscription_events_08`: cases of draft-08
//! - `subscription_documents_07`, `subscription_documents_08`: the documents of subscriptions,
//!   member by member
//! - `matchers_08`, `cors_08`: further cases of draft-08, one test each
//! - `native`: what the Mercure protocol does not have: JSON, JSON lines, CloudEvents, idempotency
//!   keys, broadcasts, and where a stream starts
//! - `sse_encoding`: posted text against a decoder of the HTML standard
//! - `isolation`: data that must not leak in streams, headers and errors
//! - `token_attacks`: attacks on tokens and rights, at every endpoint
//! - `token_lifetime`: rotated keys and expiring tokens
//! - `cors`: the CORS policy, cookies, and the resource metadata
//! - `limits`: requests and connections beyond the limits
//! - `program`: the real program, read by the rules of a browser

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that panics has failed")]

mod cors;
mod cors_08;
mod fixture;
mod isolation;
mod limits;
mod matchers_08;
mod native;
mod program;
mod publish_07;
mod publish_08;
mod sse_encoding;
mod subscribe_07;
mod subscribe_08;
mod subscription_documents_07;
mod subscription_documents_08;
mod subscription_events_07;
mod subscription_events_08;
mod token_attacks;
mod token_lifetime;
