//! What a client connects to, and what it expects there.

use crate::check::Sequences;
use crate::cli::Endpoint;

/// The configuration of a client.
#[derive(Debug)]
pub(crate) struct ClientConfig<'a> {
    /// Where subscribers connect to.
    pub(crate) endpoint: &'a Endpoint,
    /// Headers of the subscribers' requests, without line ends.
    pub(crate) headers: &'a [String],
    /// Whether each subscriber sends a token for its topic.
    pub(crate) subscriber_tokens: bool,
    /// Number of subscribers.
    pub(crate) subscribers: usize,
    pub(crate) sequences: Sequences,
    /// Bytes of each event's data.
    pub(crate) payload: usize,
    /// The number of this process among those of the client, which decides on the addresses that it
    /// connects from.
    pub(crate) process: u8,
}
