//! Validation of events to publish: the same rules for all content types.
//!
//! The event itself is checked before the rights of its publisher: a reserved topic is refused as
//! such, whatever the token grants.

use std::time::Duration;

use http::StatusCode;
use prism_sse::{Event, InvalidEvent, InvalidTopic, Publication, Topic};

use super::item::PublishItem;
use super::reserved_topics::is_reserved;
use crate::api::events::endpoint::EventsEndpoint;
use crate::api::text::{as_sentence, check_visible};
use crate::auth::{Dialect, Publisher};
use crate::config::Config;
use crate::problem::Problem;

/// Turns the items of one publish request into publications.
pub(super) struct PublishValidator<'a> {
    pub(super) config: &'a Config,
    pub(super) endpoint: EventsEndpoint,
    pub(super) publisher: &'a Publisher,
}

impl PublishValidator<'_> {
    /// The publication of an item, if the item is valid and its publisher has the right.
    pub(super) fn validate(&self, mut item: PublishItem) -> Result<Publication, Problem> {
        let topics = self.topics(&item.topics)?;
        let (private, key) = (item.private, item.key.take());
        let event = event(item)?;
        if !self.publisher.may_publish(&topics) {
            return Err(self.publisher.forbidden().into());
        }
        let mut publication = if topics.is_empty() {
            Publication::broadcast(event)
        } else {
            Publication::new(topics, event).map_err(topic_problem)?
        };
        if private {
            publication = publication.private();
        }
        match key {
            Some(key) => self.with_idempotency_key(publication, key),
            None => Ok(publication),
        }
    }

    fn topics(&self, texts: &[String]) -> Result<Vec<Topic>, Problem> {
        if texts.is_empty() && self.endpoint == EventsEndpoint::Mercure {
            return Err(Problem::bad_request("A publish needs at least one topic."));
        }
        let max = prism_sse::limits::TOPICS_PER_EVENT_MAX;
        if texts.len() > max {
            let sentence = format!("An event has at most {max} topics.");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence));
        }
        texts.iter().map(|text| self.topic(text)).collect()
    }

    fn topic(&self, text: &str) -> Result<Topic, Problem> {
        check_visible("A topic", text)?;
        let topic = Topic::try_from(text).map_err(topic_problem)?;
        if is_reserved(text, &self.config.hub_url) {
            let status = match self.publisher.dialect() {
                Some(Dialect::Draft07) => StatusCode::FORBIDDEN,
                _ => StatusCode::BAD_REQUEST,
            };
            return Err(Problem::new(status, "A topic below the hub's own path is reserved."));
        }
        Ok(topic)
    }

    /// Idempotency keys are scoped to publishers with the same rights, so that no other publisher
    /// can read the result of a publish by its key, or block it by using the key first.
    fn with_idempotency_key(
        &self,
        publication: Publication,
        key: String,
    ) -> Result<Publication, Problem> {
        if self.config.idempotency_window.is_none() {
            let sentence = "This hub remembers no idempotency keys.";
            return Err(Problem::bad_request(sentence));
        }
        check_visible("An idempotency key", &key)?;
        let refuse = |error: &dyn std::fmt::Display| Problem::bad_request(as_sentence(error));
        let publication = publication.idempotency_key(key).map_err(|error| refuse(&error))?;
        publication.publisher(self.publisher.scope()).map_err(|error| refuse(&error))
    }
}

fn event(item: PublishItem) -> Result<Event, Problem> {
    let mut event = Event::new(item.data);
    if let Some(id) = item.id {
        check_visible("An id", &id)?;
        if id.starts_with('#') || id == "earliest" {
            let sentence = "An id must not begin with `#` and must not be `earliest`.";
            return Err(Problem::bad_request(sentence));
        }
        event = event.id(id).map_err(event_problem)?;
    }
    if let Some(name) = item.event {
        check_visible("The name of an event", &name)?;
        if name == "mercure" || name.starts_with("prism.") {
            let sentence = "The name `mercure` and names that begin with `prism.` are reserved.";
            return Err(Problem::bad_request(sentence));
        }
        event = event.event(name).map_err(event_problem)?;
    }
    if let Some(millis) = item.retry {
        event = event.retry(Duration::from_millis(millis)).map_err(event_problem)?;
    }
    Ok(event)
}

fn event_problem(error: InvalidEvent) -> Problem {
    let status = match error {
        InvalidEvent::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, as_sentence(error))
}

fn topic_problem(error: InvalidTopic) -> Problem {
    let status = match error {
        InvalidTopic::TooLong { .. } | InvalidTopic::TooMany { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, as_sentence(error))
}
