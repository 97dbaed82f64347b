//! What the cost of matching a topic depends on.

use crate::limits;

/// How long a topic is, and whether parsing it as a URL converts a domain name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicSize {
    pub(super) len: usize,
    #[cfg_attr(
        not(feature = "patterns"),
        expect(dead_code, reason = "URLs alone have domain names to convert")
    )]
    pub(super) is_ascii: bool,
}

impl TopicSize {
    /// Of the topic that costs most.
    pub(super) const MAX: Self = Self { len: limits::TOPIC_BYTES_MAX, is_ascii: false };

    pub(crate) fn of(topic: &str) -> Self {
        Self { len: topic.len(), is_ascii: topic.is_ascii() }
    }
}
