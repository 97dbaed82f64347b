//! Audiences: what a subscription selects, and what it may read.
//!
//! Selectors match topics. Grants make private records readable: a private record reaches an audience that
//! selects one of its topics and is granted one of them, not necessarily the same one.
//! Subscriptions with equal selectors and grants share one audience.

use crate::limits;
use crate::selector::{InvalidTopic, OneOrMany, Selector, Topic, collect};

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

    /// Whether the audience receives control events, if the manager sends any. It does by default; see
    /// [`control_events`](crate::ManagerBuilder::control_events) for what happens without them.
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
        self.selectors.contains(&Selector::Any)
    }

    pub(crate) fn wants_broadcasts(&self) -> bool {
        self.broadcasts
    }

    pub(crate) fn wants_control_events(&self) -> bool {
        self.control_events
    }

    /// Whether the audience may read a private record of these topics. A private broadcast has none.
    pub(crate) fn is_granted<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) -> bool {
        if self.grants.is_empty() {
            return false;
        }
        if self.grants.contains(&Selector::Any) {
            return true;
        }
        topics.into_iter().any(|topic| self.grants.iter().any(|grant| grant.matches(topic)))
    }
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
        assert!(!audience.is_granted([&a]));
        assert!(audience.is_granted([&a, &secret]));
        let all = audience.clone().grant("*").unwrap();
        assert!(all.is_granted([&a]) && all.is_granted([]));
        assert!(!audience.is_granted([]));
        let both = audience.grant("a").unwrap();
        assert!(both.is_granted([&a]) && both.is_granted([&secret]), "grants accumulate");
    }

    #[test]
    fn an_audience_without_selectors_is_refused() {
        let none: [&str; 0] = [];
        assert_eq!(Audience::select(none), Err(InvalidTopic::Empty));
    }
}
