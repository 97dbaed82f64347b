//! Matching the topics of a publication with the patterns in use, without the manager's lock.
//!
//! A [`PatternQuery`] is taken under the lock, for a few references. It is answered with the lock
//! released, by the publisher, and the answer is handed in with the publication. Patterns that came
//! into use meanwhile are few; the answer is brought up to date with those alone, and patterns that
//! went out of use are taken out of it.

use super::keys::PatternKey;
use crate::selector::{PatternSnapshot, Selector, Topic};

/// Which patterns match the topics of a publication, as of a generation of the index.
#[derive(Clone, Debug)]
pub(crate) struct PatternMatches {
    /// The table of patterns whose keys these are.
    pub(super) table: u64,
    pub(super) generation: u64,
    /// For each topic, in the order of the publication.
    pub(super) topics: Vec<Vec<PatternKey>>,
}

/// What has to be matched.
#[derive(Debug)]
pub(crate) struct PatternQuery {
    pub(super) table: u64,
    pub(super) snapshot: PatternSnapshot<PatternKey>,
    pub(super) topics: Vec<TopicQuery>,
}

/// What has to be matched with one topic.
#[derive(Debug)]
pub(super) enum TopicQuery {
    /// All patterns in use.
    All,
    /// These patterns, beside those that are known to match.
    Added { known: Vec<PatternKey>, added: Vec<(Selector, PatternKey)> },
}

/// Patterns that are about to come into use.
#[derive(Debug)]
pub(crate) struct NewPatterns {
    pub(super) snapshot: PatternSnapshot<PatternKey>,
    pub(super) patterns: Vec<Selector>,
}

impl NewPatterns {
    /// The steps that they add to the most that matching a topic takes.
    pub(crate) fn added_cost(mut self) -> u64 {
        let before = self.snapshot.match_cost();
        for pattern in &self.patterns {
            self.snapshot.add(pattern, PatternKey::of_slot(0));
        }
        self.snapshot.match_cost().saturating_sub(before)
    }
}

impl PatternQuery {
    /// Matches `topics`, those that the query was made for. Takes at most
    /// [`PATTERNS_STEPS_MAX`](crate::limits::PATTERNS_STEPS_MAX) steps for each.
    pub(crate) fn answer(self, topics: &[Topic]) -> PatternMatches {
        let answer = |(query, topic): (TopicQuery, &Topic)| {
            let mut keys = match query {
                TopicQuery::All => {
                    let mut found = Vec::new();
                    self.snapshot.matching(topic, &mut found);
                    found
                }
                TopicQuery::Added { mut known, added } => {
                    let matching = added.iter().filter(|(selector, _)| selector.matches(topic));
                    known.extend(matching.map(|&(_, key)| key));
                    known
                }
            };
            keys.sort_unstable();
            keys.dedup();
            keys
        };
        PatternMatches {
            table: self.table,
            generation: self.snapshot.generation(),
            topics: self.topics.into_iter().zip(topics).map(answer).collect(),
        }
    }
}
