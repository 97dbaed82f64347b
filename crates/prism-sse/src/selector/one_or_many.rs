//! What functions take that accept one topic or selector, or several.

use super::{InvalidTopic, Selector, Topic};

/// One topic or selector, or several: text, arrays, slices and vectors of them.
///
/// ```
/// # use prism_sse::{Event, Manager};
/// let sse = Manager::new();
/// sse.publish("orders", Event::new("one topic"))?;
/// sse.publish(["orders", "users/7"], Event::new("two topics"))?;
/// # Ok::<(), prism_sse::PublishError>(())
/// ```
pub trait OneOrMany<T> {
    /// Appends what was named to `out`.
    ///
    /// # Errors
    ///
    /// The first name that is not valid.
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic>;
}

impl<T: for<'a> TryFrom<&'a str, Error = InvalidTopic>> OneOrMany<T> for &str {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        out.push(T::try_from(self)?);
        Ok(())
    }
}

impl<T: for<'a> TryFrom<&'a str, Error = InvalidTopic>> OneOrMany<T> for String {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.as_str().append_to(out)
    }
}

impl<T: for<'a> TryFrom<&'a str, Error = InvalidTopic>> OneOrMany<T> for &String {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.as_str().append_to(out)
    }
}

impl<T: From<Self>> OneOrMany<T> for Topic {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        out.push(self.into());
        Ok(())
    }
}

impl OneOrMany<Self> for Selector {
    fn append_to(self, out: &mut Vec<Self>) -> Result<(), InvalidTopic> {
        out.push(self);
        Ok(())
    }
}

impl<T, X: OneOrMany<T>, const N: usize> OneOrMany<T> for [X; N] {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.into_iter().try_for_each(|one| one.append_to(out))
    }
}

impl<T, X: OneOrMany<T>> OneOrMany<T> for Vec<X> {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.into_iter().try_for_each(|one| one.append_to(out))
    }
}

impl<T, X: OneOrMany<T> + Clone> OneOrMany<T> for &[X] {
    fn append_to(self, out: &mut Vec<T>) -> Result<(), InvalidTopic> {
        self.iter().cloned().try_for_each(|one| one.append_to(out))
    }
}

/// Collects at most `max` distinct names, sorted.
pub(crate) fn collect<T: Ord>(
    names: impl OneOrMany<T>,
    max: usize,
) -> Result<Box<[T]>, InvalidTopic> {
    let mut all = Vec::new();
    names.append_to(&mut all)?;
    if all.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    all.sort_unstable();
    all.dedup();
    if all.len() > max {
        return Err(InvalidTopic::TooMany { count: all.len(), max });
    }
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn more_topics_than_the_limit_are_refused() {
        let names: Vec<String> =
            (0..=limits::TOPICS_PER_EVENT_MAX).map(|n| n.to_string()).collect();
        let error = collect::<Topic>(&names[..], limits::TOPICS_PER_EVENT_MAX).unwrap_err();
        assert_eq!(error.to_string(), "101 topics were named; at most 100 are allowed");
        assert!(collect::<Topic>(&names[1..], limits::TOPICS_PER_EVENT_MAX).is_ok());
    }
}
