//! The record: an event in the log.

use super::class::Class;
use super::keys::TopicKey;
use crate::wire::{EventId, Framed};

/// A record: an event with its index in the log, in the bytes that every reader receives.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its number in the log; [`Log::append`](super::Log::append) sets it.
    pub(crate) index: u64,
    pub(crate) seq: u64,
    /// When it was applied, in milliseconds of the manager's clock.
    pub(crate) at: u64,
    /// Keys of its topics, each once.
    pub(crate) topics: Box<[TopicKey]>,
    pub(crate) class: Class,
    pub(crate) private: bool,
    /// Sent to one connection: not part of the order, and dropped with the connection.
    pub(crate) ephemeral: bool,
    /// Whether its bytes carry an id that a reader can resume after. Comments and ephemeral records
    /// do not.
    pub(crate) sends_position: bool,
    /// The id its publisher chose.
    pub(crate) id: Option<EventId>,
    pub(crate) framed: Framed,
    /// Connections of this node whose audience matched when it was applied.
    pub(crate) receivers: u32,
    /// Bytes appended to the log before it; [`Log::append`](super::Log::append) sets it.
    pub(crate) offset: u64,
}
