//! Publications: what is appended to an engine, and applied once it has a sequence number.

use std::fmt;

use crate::limits;
use crate::log::{Class, PatternMatches};
use crate::selector::{InvalidTopic, OneOrMany, Topic, collect};
use crate::wire::{ConnectionId, Event, Framed};

/// An event to publish: its topics, who may read it, and how it is stored.
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
    matches: MatchedPatterns,
}

/// Which patterns match the topics, if the manager has found that out already. It says nothing
/// about the event, and two publications are equal whatever it is.
#[derive(Clone, Debug, Default)]
struct MatchedPatterns(Option<PatternMatches>);

impl PartialEq for MatchedPatterns {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for MatchedPatterns {}

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
            matches: MatchedPatterns::default(),
        }
    }

    /// Makes the event readable only for audiences that are granted one of its topics.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Makes the event transient, for what matters only now, such as presence or typing indicators.
    /// It is kept apart from other events and evicts none of them, for a [shorter
    /// time](crate::ManagerBuilder::transient), and, whatever the engine, in memory only.
    ///
    /// It has a position in the one order, and readers receive it like any other event. A
    /// subscription that begins with the newest event of each topic receives the newest transient
    /// event and the newest other event.
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

    /// Sets the publisher's id. Readers do not see it; the engine stores it.
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

    /// Sets an idempotency key, with which a publisher can try again without publishing twice.
    ///
    /// Within the manager's [window](crate::ManagerBuilder::idempotency_window) the same key with
    /// the same content gets the first acknowledgement again, and with other content it is refused.
    /// Each publisher has its own keys; so have publications without a publisher.
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

    /// Whether it is transient. An engine does not store it, but applies it like others, with a
    /// sequence number.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The publisher's id, if it was set.
    pub fn published_by(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// The idempotency key, if it was set. An engine that several managers share passes it on with
    /// the publication.
    pub fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Whether it is for one connection, and so is not stored.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self.target, Target::Connection(_))
    }

    /// Writes what a second publication with the same key has to be equal in, part by part.
    pub(crate) fn write_content(&self, mut write: impl FnMut(&[u8])) {
        let to_all = matches!(self.target, Target::Everyone);
        write(&[u8::from(to_all), u8::from(self.private), u8::from(self.transient)]);
        self.topics().iter().for_each(|topic| write(topic.as_str().as_bytes()));
        write(Framed::encode(&self.event, None).as_block());
    }

    /// Its retention class.
    pub(crate) fn class(&self) -> Class {
        if self.transient { Class::Transient } else { Class::History }
    }

    /// Keeps what was found out about the topics on the way through the engine.
    pub(crate) fn set_matches(&mut self, matches: Option<PatternMatches>) {
        self.matches = MatchedPatterns(matches);
    }

    pub(crate) fn take_matches(&mut self) -> Option<PatternMatches> {
        self.matches.0.take()
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
