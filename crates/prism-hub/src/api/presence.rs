//! Who is subscribed to what, for those who may know it.
//!
//! Each subscription of a connection is a document. It is published, in private, when the
//! connection began and again when it ended, about a topic that is the document's own address; and
//! it is kept while the connection is open, for the subscription API. A document has the form of
//! the dialect in which its subscription was asked for.
//!
//! These events are transient, so that connections that come and go push nothing out that was
//! published.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prism_sse::{Event, EventName, Manager, Publication, Topic};
use serde_json::{Value, json};
use uuid::Uuid;

use super::wanted::{MatchKind, Matcher, Wanted};
use crate::auth::{Dialect, Subscriber};
use crate::problem::Problem;

const MERCURE: EventName = EventName::from_static("mercure");

/// What is written as it is (RFC 6570, section 3.2.2): unreserved characters alone.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// All that are open.
#[derive(Debug)]
pub(crate) struct Presence {
    manager: Manager,
    /// Path of the hub, as its readers know it.
    path: String,
    open: Mutex<BTreeMap<Uuid, Arc<Vec<Subscription>>>>,
}

/// The subscriptions of one connection.
pub(super) struct Subscriptions {
    presence: Arc<Presence>,
    subscriber: Uuid,
    all: Arc<Vec<Subscription>>,
}

/// One matcher of one connection.
#[derive(Debug)]
pub(super) struct Subscription {
    dialect: Dialect,
    kind: MatchKind,
    text: Box<str>,
    subscriber: String,
    /// Its address, and what its events are about.
    topic: Topic,
    payload: Option<Value>,
}

/// Which subscriptions are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// The type and the text of the matcher.
    pub(super) matcher: Option<(MatchKind, String)>,
    pub(super) subscriber: Option<String>,
}

impl Presence {
    pub(crate) fn new(manager: Manager, path: &str) -> Self {
        Self { manager, path: path.to_owned(), open: Mutex::default() }
    }

    /// At most `max` of those that are open and asked for, as documents, and the id after which
    /// they are what was published.
    pub(super) fn list(
        &self,
        dialect: Dialect,
        filter: &Filter,
        max: usize,
    ) -> (Vec<Value>, String) {
        let open = self.lock();
        // What is published later is in no document yet, and so after the id.
        let last = self.manager.position();
        let all = open.values().flat_map(|all| all.iter());
        let chosen = all.filter(|it| it.dialect == dialect && filter.chooses(it)).take(max);
        let documents = chosen.map(|subscription| subscription.document(true)).collect();
        (documents, last.map_or_else(|| "earliest".to_owned(), |last| last.to_string()))
    }

    fn publish(&self, subscription: &Subscription, is_active: bool) {
        let event = Event::new(subscription.with_context(is_active).to_string());
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
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriptions {
    /// What a connection is about to subscribe to, under a name that nobody can choose or guess.
    pub(super) fn new(
        presence: &Arc<Presence>,
        wanted: &Wanted,
        subscriber: &Subscriber,
    ) -> Result<Self, Problem> {
        let name = Uuid::new_v4();
        let subscription = |matcher: &Matcher| {
            let payload = subscriber.payload(&matcher.text).cloned();
            Subscription::new(&presence.path, wanted.dialect, matcher, name, payload)
        };
        let all = wanted.matchers.iter().map(subscription).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { presence: Arc::clone(presence), subscriber: name, all: Arc::new(all) })
    }

    /// Tells that the connection began.
    pub(super) fn begin(&self) {
        self.presence.lock().insert(self.subscriber, Arc::clone(&self.all));
        self.all.iter().for_each(|subscription| self.presence.publish(subscription, true));
    }

    /// Tells that the connection ended.
    pub(super) fn end(&self) {
        self.presence.lock().remove(&self.subscriber);
        self.all.iter().for_each(|subscription| self.presence.publish(subscription, false));
    }
}

impl Subscription {
    fn new(
        hub: &str,
        dialect: Dialect,
        matcher: &Matcher,
        subscriber: Uuid,
        payload: Option<Value>,
    ) -> Result<Self, Problem> {
        let subscriber = subscriber.urn().to_string();
        let kind = match dialect {
            Dialect::Draft07 => String::new(),
            Dialect::Draft08 => format!("{}/", matcher.kind.as_str()),
        };
        let [text, name] = [&*matcher.text, &subscriber].map(encode);
        let topic = format!("{hub}/subscriptions/{kind}{text}/{name}");
        let topic = Topic::try_from(topic.as_str()).map_err(|_| {
            let sentence = "The topic or pattern is too long for the subscriptions of this hub.";
            Problem::bad_request(sentence)
        })?;
        let text = matcher.text.clone();
        Ok(Self { dialect, kind: matcher.kind, text, subscriber, topic, payload })
    }

    /// As it stands in a collection.
    fn document(&self, is_active: bool) -> Value {
        let mut document = match self.dialect {
            Dialect::Draft07 => json!({"type": "Subscription", "topic": self.text}),
            Dialect::Draft08 => json!({
                "type": "subscription",
                "match_type": self.kind.as_str(),
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

    /// As it stands alone.
    fn with_context(&self, is_active: bool) -> Value {
        let mut document = self.document(is_active);
        if self.dialect == Dialect::Draft07 {
            document["@context"] = CONTEXT.into();
        }
        document
    }
}

/// The context of documents of draft-07.
pub(super) const CONTEXT: &str = "https://mercure.rocks/";

impl Filter {
    fn chooses(&self, subscription: &Subscription) -> bool {
        let has_name = |name: &String| *name == subscription.subscriber;
        let is_matcher = |(kind, text): &(MatchKind, String)| {
            kind.as_str() == subscription.kind.as_str() && **text == *subscription.text
        };
        self.matcher.as_ref().is_none_or(is_matcher)
            && self.subscriber.as_ref().is_none_or(has_name)
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
