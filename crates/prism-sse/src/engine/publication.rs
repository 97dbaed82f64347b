//! What a manager hands to its engine, and the engine hands back once it has a place.

use std::fmt;

use crate::limits;
use crate::log::Class;
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
    transient: bool,
    publisher: Option<String>,
    idempotency_key: Option<String>,
    event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        Self {
            target,
            private: false,
            transient: false,
            publisher: None,
            idempotency_key: None,
            event: event.into(),
        }
    }

    /// Keeps the event from audiences that are not granted one of its topics.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Says that the event is about the present moment, such as who is there or who types. It is
    /// kept apart from other events, and pushes none of them out; for a [shorter
    /// time](crate::ManagerBuilder::transient); and, whatever the engine, in memory alone.
    ///
    /// It has its place in the one order, and readers get it like any other event. Who begins with
    /// the newest event of each topic gets the newest of each kind.
    ///
    /// ```
    /// use prism_sse::{Event, Manager, Publication, Retention};
    ///
    /// let sse = Manager::builder().history(Retention::default().count(1)).build()?;
    /// sse.publish("rooms/7", Event::new("a message"))?;
    /// for name in ["ada", "ben"] {
    ///     let typing = Publication::new("rooms/7/typing", Event::new(name))?.transient();
    ///     sse.append(typing)?;
    /// }
    /// let stats = sse.stats();
    /// assert_eq!((stats.records, stats.transient), (1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
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

    /// Names the publication, so that it can be handed over again without being published again.
    ///
    /// Within the manager's [window](crate::ManagerBuilder::idempotency_window) the same key with
    /// the same content gets the first acknowledgement again, and with other content it is refused.
    /// Keys of different publishers, and those without a publisher, are apart.
    ///
    /// ```
    /// use prism_sse::{Event, Manager, Publication};
    ///
    /// let sse = Manager::new();
    /// let order = Publication::new("orders", Event::new("one"))?.idempotency_key("order-1")?;
    /// let first = sse.append(order.clone())?.try_ack();
    /// assert_eq!(sse.append(order)?.try_ack(), first);
    /// assert_eq!(sse.stats().published, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidIdempotencyKey`] if the key is empty or has more than
    /// [`limits::IDEMPOTENCY_KEY_BYTES_MAX`] bytes.
    pub fn idempotency_key(
        mut self,
        key: impl Into<String>,
    ) -> Result<Self, InvalidIdempotencyKey> {
        let key = key.into();
        if key.is_empty() || key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(InvalidIdempotencyKey { len: key.len() });
        }
        self.idempotency_key = Some(key);
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

    /// Whether it is about the present moment. An engine keeps it in memory alone, if at all, and
    /// hands it on like others, with its place.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Who published it, if that was said.
    pub fn published_by(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// The key under which it was handed over, if it has one. An engine that spreads publications
    /// over several managers hands it on with them.
    pub fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Whether it is for one connection and is not kept.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self.target, Target::Connection(_))
    }

    /// What is published, without who says so and under which key.
    pub(crate) fn content(&self) -> impl std::hash::Hash {
        (&self.target, self.private, self.transient, &self.event)
    }

    /// What it is kept with.
    pub(crate) fn class(&self) -> Class {
        if self.transient { Class::Transient } else { Class::History }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

/// An idempotency key is empty or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIdempotencyKey {
    len: usize,
}

impl fmt::Display for InvalidIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = limits::IDEMPOTENCY_KEY_BYTES_MAX;
        write!(f, "an idempotency key has {} bytes; 1 to {max} are allowed", self.len)
    }
}

impl std::error::Error for InvalidIdempotencyKey {}

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
