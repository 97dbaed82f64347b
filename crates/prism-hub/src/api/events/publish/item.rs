//! One event to publish, as a request wrote it and before any check.

/// The fields of an event. Each content type has its own parser, and all give this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PublishItem {
    pub(super) topics: Vec<String>,
    pub(super) data: String,
    /// The event name.
    pub(super) event: Option<String>,
    pub(super) id: Option<String>,
    /// Milliseconds.
    pub(super) retry: Option<u64>,
    pub(super) private: bool,
    /// The idempotency key.
    pub(super) key: Option<String>,
}
