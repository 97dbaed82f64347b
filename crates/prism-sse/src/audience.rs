//! Audiences: what a subscription selects, and what it may read.
//!
//! Selectors match topics. Grants make private records readable: a private record reaches an
//! audience that selects one of its topics and is granted one of them, not necessarily the same
//! one. Subscriptions with equal selectors and grants share one audience.

use std::cmp::Ordering;

use crate::limits;
use crate::selector::{InvalidTopic, OneOrMany, Selector, Topic, TopicSize, collect};

/// Selectors and grants of a subscription.
///
/// ```
/// use prism_sse::Audience;
///
/// let everything_public = Audience::everything();
/// let one_user = Audience::select(["news", "users/7"])?.grant("users/7")?;
/// assert_ne!(everything_public, one_user);
/// # Ok::<(), prism_sse::InvalidTopic>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience {
    /// Sorted and without repetition, so that equal audiences are equal values.
    selectors: Box<[Selector]>,
    grants: Box<[Selector]>,
    broadcasts: bool,
    control_events: bool,
}

impl Audience {
    /// Everything public: each topic, and what is broadcast.
    pub fn everything() -> Self {
        Self::of([Selector::Any].into())
    }

    /// The topics that these selectors match, and what is broadcast.
    ///
    /// # Errors
    ///
    /// [`InvalidTopic`] for a name that is not valid, for none, and for more than
    /// [`limits::SELECTORS_MAX`].
    pub fn select(selectors: impl OneOrMany<Selector>) -> Result<Self, InvalidTopic> {
        let selectors = collect(selectors, limits::SELECTORS_MAX)?;
        Ok(Self::of(selectors))
    }

    fn of(selectors: Box<[Selector]>) -> Self {
        Self { selectors, grants: Box::default(), broadcasts: true, control_events: true }
    }

    /// Lets the audience read private records of topics that `grants` match, too. `*` grants
    /// everything, private broadcasts included.
    ///
    /// # Errors
    ///
    /// As [`select`](Self::select), counting all grants.
    pub fn grant(mut self, grants: impl OneOrMany<Selector>) -> Result<Self, InvalidTopic> {
        let mut all = self.grants.into_vec();
        grants.append_to(&mut all)?;
        self.grants = collect(all, limits::SELECTORS_MAX)?;
        Ok(self)
    }

    /// Whether the audience receives broadcasts. It does by default.
    #[must_use]
    pub fn broadcasts(mut self, enabled: bool) -> Self {
        self.broadcasts = enabled;
        self
    }

    /// Whether the audience receives control events, if the manager sends any. It does by default;
    /// see [`control_events`](crate::ManagerBuilder::control_events) for what happens without them.
    #[must_use]
    pub fn control_events(mut self, enabled: bool) -> Self {
        self.control_events = enabled;
        self
    }

    /// The selectors, sorted.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The grants, sorted.
    pub fn grants(&self) -> &[Selector] {
        &self.grants
    }

    /// The patterns that need an index: none, if every topic is selected anyway.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &Selector> {
        let selectors = if self.selects_any() { &[] } else { &*self.selectors };
        selectors.iter().filter(|selector| selector.is_pattern())
    }

    /// Whether one of the selectors matches every topic.
    pub(crate) fn selects_any(&self) -> bool {
        // Selectors are sorted, and `*` comes first.
        self.selectors.first() == Some(&Selector::Any)
    }

    pub(crate) fn wants_broadcasts(&self) -> bool {
        self.broadcasts
    }

    pub(crate) fn wants_control_events(&self) -> bool {
        self.control_events
    }

    /// Whether one grant is `*`, which opens every private record, broadcasts included.
    pub(crate) fn grants_everything(&self) -> bool {
        // Selectors are sorted, and `*` comes first.
        self.grants.first() == Some(&Selector::Any)
    }

    /// The grants that are patterns: none, if everything is granted anyway.
    pub(crate) fn grant_patterns(&self) -> impl Iterator<Item = &Selector> {
        let grants = if self.grants_everything() { &[] } else { &*self.grants };
        grants.iter().filter(|grant| grant.is_pattern())
    }

    pub(crate) fn has_grant_patterns(&self) -> bool {
        self.grant_patterns().next().is_some()
    }

    /// The topics that are granted by name: none, if everything is granted anyway.
    pub(crate) fn granted_topics(&self) -> impl Iterator<Item = &Topic> {
        let grants = if self.grants_everything() { &[] } else { &*self.grants };
        grants.iter().filter_map(|grant| match grant {
            Selector::Exact(topic) => Some(topic),
            _ => None,
        })
    }

    /// Whether `*` or a grant by name opens a private record of one of these topics. A private
    /// broadcast has no topics.
    pub(crate) fn is_granted_by_name<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a Topic>,
    ) -> bool {
        self.grants_everything()
            || (!self.grants.is_empty()
                && topics.into_iter().any(|topic| has_exact(&self.grants, topic)))
    }

    /// Whether a private record of a topic is open to the audience. Patterns that are matched are
    /// paid for from `budget`.
    pub(crate) fn is_granted(&self, topic: &Topic, budget: &mut u64) -> bool {
        self.grants_everything()
            || has_exact(&self.grants, topic)
            || matches_any(self.grant_patterns(), topic, budget)
    }

    /// Whether the audience selects a topic. Patterns that are matched are paid for from `budget`.
    pub(crate) fn selects(&self, topic: &Topic, budget: &mut u64) -> bool {
        self.selects_any()
            || has_exact(&self.selectors, topic)
            || matches_any(self.patterns(), topic, budget)
    }
}

/// Whether one of these sorted selectors is the topic's name.
fn has_exact(selectors: &[Selector], topic: &Topic) -> bool {
    let order = |selector: &Selector| match selector {
        Selector::Any => Ordering::Less,
        Selector::Exact(other) => other.cmp(topic),
        _ => Ordering::Greater,
    };
    selectors.binary_search_by(order).is_ok()
}

fn matches_any<'a>(
    mut patterns: impl Iterator<Item = &'a Selector>,
    topic: &Topic,
    budget: &mut u64,
) -> bool {
    let size = TopicSize::of(topic.as_str());
    patterns.any(|pattern| {
        *budget = budget.saturating_sub(pattern.match_cost(size));
        pattern.matches(topic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences_with_equal_selectors_and_grants_are_equal() {
        let one = Audience::select(["b", "a", "b"]).unwrap();
        let other = Audience::select(vec!["a", "b"]).unwrap();
        assert_eq!(one, other);
        assert_ne!(one, other.grant("a").unwrap());
    }

    #[test]
    fn a_grant_is_for_its_topic_alone() {
        let audience = Audience::select("a").unwrap().grant("secret").unwrap();
        let [a, secret] = ["a", "secret"].map(|name| Topic::try_from(name).unwrap());
        assert!(!audience.is_granted_by_name([&a]));
        assert!(audience.is_granted_by_name([&a, &secret]));
        let all = audience.clone().grant("*").unwrap();
        assert!(all.is_granted_by_name([&a]) && all.is_granted_by_name([]));
        assert!(!audience.is_granted_by_name([]));
        let both = audience.grant("a").unwrap();
        assert!(
            both.is_granted_by_name([&a]) && both.is_granted_by_name([&secret]),
            "grants accumulate"
        );
    }

    #[test]
    fn an_audience_without_selectors_is_refused() {
        let none: [&str; 0] = [];
        assert_eq!(Audience::select(none), Err(InvalidTopic::Empty));
    }
}
