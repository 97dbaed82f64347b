//! What a manager hands to its engine, and the engine hands back once it has a place.

use std::fmt;

use crate::limits;
use crate::selector::{InvalidTopic, OneOrMany, Topic, collect};
use crate::wire::{ConnectionId, Event};

/// An event on its way into the order, with those it is for.
///
/// ```
/// use prism_sse::{Event, Manager, Publication};
///
/// let sse = Manager::new();
/// let payslip = Publication::new("users/7/payslips", Event::new("october"))?.private();
/// sse.append(payslip)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    target: Target,
    private: bool,
    publisher: Option<String>,
    event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Everyone,
    Topics(Box<[Topic]>),
    Connection(ConnectionId),
}

impl Publication {
    /// An event about these topics.
    ///
    /// # Errors
    ///
    /// [`InvalidTopic`] for a topic that is not valid, for none, and for more than
    /// [`limits::TOPICS_PER_EVENT_MAX`].
    pub fn new(
        topics: impl OneOrMany<Topic>,
        event: impl Into<Event>,
    ) -> Result<Self, InvalidTopic> {
        let topics = collect(topics, limits::TOPICS_PER_EVENT_MAX)?;
        Ok(Self::to(Target::Topics(topics), event))
    }

    /// An event for everyone.
    pub fn broadcast(event: impl Into<Event>) -> Self {
        Self::to(Target::Everyone, event)
    }

    pub(crate) fn to(target: Target, event: impl Into<Event>) -> Self {
        Self { target, private: false, publisher: None, event: event.into() }
    }

    /// Keeps the event from audiences that are not granted one of its topics.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Names who published the event. Readers do not see it; the engine keeps it.
    ///
    /// # Errors
    ///
    /// [`InvalidPublisher`] if the name has more than [`limits::PUBLISHER_BYTES_MAX`] bytes.
    pub fn publisher(mut self, publisher: impl Into<String>) -> Result<Self, InvalidPublisher> {
        let publisher = publisher.into();
        if publisher.len() > limits::PUBLISHER_BYTES_MAX {
            return Err(InvalidPublisher { len: publisher.len() });
        }
        self.publisher = Some(publisher);
        Ok(self)
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Its topics; empty for a broadcast and for an event to one connection.
    pub fn topics(&self) -> &[Topic] {
        match &self.target {
            Target::Topics(topics) => topics,
            Target::Everyone | Target::Connection(_) => &[],
        }
    }

    /// Whether only granted audiences may read it.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Who published it, if that was said.
    pub fn published_by(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// Whether it is for one connection and is not kept.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self.target, Target::Connection(_))
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

/// The name of a publisher is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPublisher {
    len: usize,
}

impl fmt::Display for InvalidPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = limits::PUBLISHER_BYTES_MAX;
        write!(f, "a publisher's name has {} bytes; at most {max} are allowed", self.len)
    }
}

impl std::error::Error for InvalidPublisher {}
