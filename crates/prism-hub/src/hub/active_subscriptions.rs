//! Active subscriptions (Mercure): which connection subscribes to what, for the subscription API
//! and for subscription events.
//!
//! Each topic matcher of a connection is one subscription with a document of its own. While the
//! connection is open the subscription API lists the document; when the connection opens and when
//! it closes, the document is published as a private event whose topic is the document's path. The
//! document has the form of the dialect in which the request was written.
//!
//! Subscription events are transient, so that connections that open and close evict nothing from
//! the history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prism_sse::{Event, EventName, InvalidTopic, Manager, Publication, Topic};
use serde_json::{Value, json};
use uuid::Uuid;

use super::topic_matcher::{MatchType, TopicMatcher};
use crate::auth::{Dialect, Subscriber};

/// The JSON-LD context of draft-07's documents.
pub(crate) const DRAFT_07_CONTEXT: &str = "https://mercure.rocks/";

/// The event name of draft-08's subscription events.
const MERCURE: EventName = EventName::from_static("mercure");

/// The characters that are percent-encoded: all but the unreserved ones (RFC 6570, section 3.2.2).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The subscriptions of all open connections.
#[derive(Debug)]
pub(crate) struct ActiveSubscriptions {
    manager: Manager,
    /// Path of the hub in its public URL.
    hub_path: String,
    by_subscriber: Mutex<BTreeMap<Uuid, Arc<Vec<Subscription>>>>,
}

/// The subscriptions of one connection.
pub(crate) struct ConnectionSubscriptions {
    registry: Arc<ActiveSubscriptions>,
    /// Identifies the connection. It is random, so that nobody can choose or guess it.
    subscriber: Uuid,
    subscriptions: Arc<Vec<Subscription>>,
}

/// One topic matcher of one connection.
#[derive(Debug)]
struct Subscription {
    dialect: Dialect,
    match_type: MatchType,
    text: Box<str>,
    /// The connection's UUID as a URN.
    subscriber: String,
    /// Path of the document, and topic of its events.
    topic: Topic,
    payload: Option<Value>,
}

/// Which subscriptions a request to the subscription API selects. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionFilter {
    /// Match type and text of the topic matcher.
    pub(crate) matcher: Option<(MatchType, String)>,
    pub(crate) subscriber: Option<String>,
}

impl ActiveSubscriptions {
    pub(crate) fn new(manager: Manager, hub_path: &str) -> Self {
        Self { manager, hub_path: hub_path.to_owned(), by_subscriber: Mutex::default() }
    }

    /// The documents of at most `max` selected subscriptions, and the id of the last event before
    /// them: a client that subscribes after this id misses no later change.
    pub(crate) fn list(
        &self,
        dialect: Dialect,
        filter: &SubscriptionFilter,
        max: usize,
    ) -> (Vec<Value>, String) {
        let by_subscriber = self.lock();
        // Taken under the lock: a connection publishes its events after it changed the map, so
        // that a change that the documents lack comes after this position.
        let last = self.manager.position();
        let all = by_subscriber.values().flat_map(|subscriptions| subscriptions.iter());
        let selected = all.filter(|it| it.dialect == dialect && filter.selects(it)).take(max);
        let documents = selected.map(|subscription| subscription.document(true)).collect();
        (documents, last.map_or_else(|| "earliest".to_owned(), |last| last.to_string()))
    }

    fn publish_event(&self, subscription: &Subscription, is_active: bool) {
        let event = Event::new(subscription.event_document(is_active).to_string());
        let event = match subscription.dialect {
            Dialect::Draft07 => Ok(event),
            Dialect::Draft08 => event.event(MERCURE),
        };
        let published = event.map_err(|error| error.to_string()).and_then(|event| {
            let publication = Publication::new(subscription.topic.clone(), event);
            let publication = publication.map_err(|error| error.to_string())?.private().transient();
            self.manager.append(publication).map_err(|error| error.to_string())
        });
        if let Err(error) = published {
            tracing::warn!("a subscription event was not published: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Arc<Vec<Subscription>>>> {
        self.by_subscriber.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSubscriptions {
    /// The subscriptions of a connection that is about to open. Nothing is registered yet.
    ///
    /// # Errors
    ///
    /// A matcher is too long for the path of its document.
    pub(crate) fn new(
        registry: &Arc<ActiveSubscriptions>,
        dialect: Dialect,
        matchers: &[TopicMatcher],
        subscriber: &Subscriber,
    ) -> Result<Self, InvalidTopic> {
        let id = Uuid::new_v4();
        let subscription = |matcher: &TopicMatcher| {
            let payload = subscriber.payload(&matcher.text).cloned();
            Subscription::new(&registry.hub_path, dialect, matcher, id, payload)
        };
        let subscriptions = matchers.iter().map(subscription).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            registry: Arc::clone(registry),
            subscriber: id,
            subscriptions: Arc::new(subscriptions),
        })
    }

    /// Registers the subscriptions and publishes that they are active.
    pub(super) fn activate(&self) {
        self.registry.lock().insert(self.subscriber, Arc::clone(&self.subscriptions));
        self.publish_events(true);
    }

    /// Removes the subscriptions and publishes that they are no longer active.
    pub(super) fn deactivate(&self) {
        self.registry.lock().remove(&self.subscriber);
        self.publish_events(false);
    }

    fn publish_events(&self, is_active: bool) {
        for subscription in self.subscriptions.iter() {
            self.registry.publish_event(subscription, is_active);
        }
    }
}

impl Subscription {
    fn new(
        hub_path: &str,
        dialect: Dialect,
        matcher: &TopicMatcher,
        subscriber: Uuid,
        payload: Option<Value>,
    ) -> Result<Self, InvalidTopic> {
        let match_type = matcher.match_type;
        let subscriber = subscriber.urn().to_string();
        let type_segment = match dialect {
            Dialect::Draft07 => String::new(),
            Dialect::Draft08 => format!("{}/", match_type.as_str()),
        };
        let [text, id] = [&*matcher.text, &subscriber].map(percent_encode);
        let topic = format!("{hub_path}/subscriptions/{type_segment}{text}/{id}");
        let topic = Topic::try_from(topic.as_str())?;
        let text = matcher.text.clone();
        Ok(Self { dialect, match_type, text, subscriber, topic, payload })
    }

    /// The document as a member of a collection.
    fn document(&self, is_active: bool) -> Value {
        let mut document = match self.dialect {
            Dialect::Draft07 => json!({"type": "Subscription", "topic": self.text}),
            Dialect::Draft08 => json!({
                "type": "subscription",
                "match_type": self.match_type.as_str(),
                "match": self.text,
            }),
        };
        document["id"] = self.topic.as_str().into();
        document["subscriber"] = self.subscriber.as_str().into();
        document["active"] = is_active.into();
        if let Some(payload) = &self.payload {
            document["payload"] = payload.clone();
        }
        document
    }

    /// The document as the data of an event, which names its context itself in draft-07.
    fn event_document(&self, is_active: bool) -> Value {
        let mut document = self.document(is_active);
        if self.dialect == Dialect::Draft07 {
            document["@context"] = DRAFT_07_CONTEXT.into();
        }
        document
    }
}

impl SubscriptionFilter {
    fn selects(&self, subscription: &Subscription) -> bool {
        let is_matcher = |(match_type, text): &(MatchType, String)| {
            match_type.as_str() == subscription.match_type.as_str() && **text == *subscription.text
        };
        let is_subscriber = |subscriber: &String| *subscriber == subscription.subscriber;
        self.matcher.as_ref().is_none_or(is_matcher)
            && self.subscriber.as_ref().is_none_or(is_subscriber)
    }
}

fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
