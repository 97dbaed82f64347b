//! Tests of the whole module, through [`Authority`](super::Authority).
//!
//! - `mercure_drafts`: what the two drafts demand of tokens
//! - `keys`: what is accepted as a key
//! - `key_algorithms`: the one algorithm of each key
//! - `token_attacks`, `claim_attacks`, `authorization_attacks`, `token_cache_attacks`: hostile
//!   input
//! - `fixture`: keys, tokens and requests for all of them

mod authorization_attacks;
mod claim_attacks;
pub(crate) mod fixture;
mod key_algorithms;
mod keys;
mod mercure_drafts;
mod token_attacks;
mod token_cache_attacks;
