//! Keys of topics and patterns in the log's tables.

/// A topic's key, valid while the topic has a record or an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicKey(u32);

/// The topic of broadcasts. It has no name, so that nobody can publish to it by name.
pub(crate) const EVERYONE: TopicKey = TopicKey(0);

/// A pattern's key, valid while an audience has the pattern as a selector or as a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PatternKey(u32);

impl TopicKey {
    pub(super) fn of_slot(slot: usize) -> Self {
        Self(u32::try_from(slot).expect("more topics than memory can hold"))
    }

    pub(super) fn slot(self) -> usize {
        self.0 as usize
    }
}

impl PatternKey {
    pub(super) fn of_slot(slot: usize) -> Self {
        Self(u32::try_from(slot).expect("more patterns than memory can hold"))
    }

    pub(super) fn slot(self) -> usize {
        self.0 as usize
    }
}
