//! One event that somebody wants to publish, and whether it may be.
//!
//! What is wrong with an event comes before what its publisher may do: a topic that nobody may
//! publish to is refused as such, whatever the token says.

use std::time::Duration;

use http::StatusCode;
use prism_sse::{Event, InvalidEvent, InvalidTopic, Publication, Topic};

use super::super::Endpoint;
use super::super::text::{check_visible, sentence};
use super::reserved;
use crate::auth::{Dialect, Publisher};
use crate::config::Config;
use crate::problem::Problem;

/// What a request says of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) topics: Vec<String>,
    pub(super) data: String,
    pub(super) event: Option<String>,
    pub(super) id: Option<String>,
    pub(super) retry: Option<u64>,
    pub(super) private: bool,
    pub(super) key: Option<String>,
}

/// What is remembered of an item once it was handed over.
pub(super) struct Accepted {
    /// The id its publisher chose.
    pub(super) id: Option<String>,
}

/// By what items are judged.
pub(super) struct Judge<'a> {
    pub(super) config: &'a Config,
    pub(super) endpoint: Endpoint,
    pub(super) publisher: &'a Publisher,
}

impl Judge<'_> {
    /// The publication that an item is, if everything about it is allowed.
    pub(super) fn accept(&self, mut item: Item) -> Result<(Publication, Accepted), Problem> {
        let topics = self.topics(&item.topics)?;
        let (private, key, id) = (item.private, item.key.take(), item.id.clone());
        let event = event(item)?;
        if !self.publisher.may_publish(&topics) {
            return Err(self.publisher.forbidden().into());
        }
        let mut publication = if topics.is_empty() {
            Publication::broadcast(event)
        } else {
            Publication::new(topics, event).map_err(topic_refused)?
        };
        if private {
            publication = publication.private();
        }
        if let Some(key) = key {
            publication = self.with_key(publication, key)?;
        }
        Ok((publication, Accepted { id }))
    }

    fn topics(&self, texts: &[String]) -> Result<Vec<Topic>, Problem> {
        if texts.is_empty() && self.endpoint == Endpoint::Mercure {
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
        let topic = Topic::try_from(text).map_err(topic_refused)?;
        if reserved::is_reserved(text, &self.config.hub_url) {
            let status = match self.publisher.dialect() {
                Some(Dialect::Draft07) => StatusCode::FORBIDDEN,
                _ => StatusCode::BAD_REQUEST,
            };
            return Err(Problem::new(status, "A topic below the hub's own path is reserved."));
        }
        Ok(topic)
    }

    /// Keys of publishers with different rights are apart, so that none can learn of, or stand in
    /// the way of, what another one published.
    fn with_key(&self, publication: Publication, key: String) -> Result<Publication, Problem> {
        if self.config.idempotency_window.is_none() {
            let sentence = "This hub remembers no idempotency keys.";
            return Err(Problem::bad_request(sentence));
        }
        check_visible("An idempotency key", &key)?;
        let refuse = |error: &dyn std::fmt::Display| Problem::bad_request(sentence(error));
        let publication = publication.idempotency_key(key).map_err(|error| refuse(&error))?;
        publication.publisher(self.publisher.scope()).map_err(|error| refuse(&error))
    }
}

fn event(item: Item) -> Result<Event, Problem> {
    let mut event = Event::new(item.data);
    if let Some(id) = item.id {
        check_visible("An id", &id)?;
        if id.starts_with('#') || id == "earliest" {
            let sentence = "An id must not begin with `#` and must not be `earliest`.";
            return Err(Problem::bad_request(sentence));
        }
        event = event.id(id).map_err(event_refused)?;
    }
    if let Some(name) = item.event {
        check_visible("The name of an event", &name)?;
        if name == "mercure" || name.starts_with("prism.") {
            let sentence = "The name `mercure` and names that begin with `prism.` are reserved.";
            return Err(Problem::bad_request(sentence));
        }
        event = event.event(name).map_err(event_refused)?;
    }
    if let Some(millis) = item.retry {
        event = event.retry(Duration::from_millis(millis)).map_err(event_refused)?;
    }
    Ok(event)
}

fn event_refused(error: InvalidEvent) -> Problem {
    let status = match error {
        InvalidEvent::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, sentence(error))
}

fn topic_refused(error: InvalidTopic) -> Problem {
    let status = match error {
        InvalidTopic::TooLong { .. } | InvalidTopic::TooMany { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, sentence(error))
}

/// Milliseconds as digits: no sign, no fraction, no other script's digits.
pub(super) fn retry(text: &str) -> Result<u64, Problem> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.filter(|millis| *millis <= u64::from(prism_sse::limits::RETRY_MS_MAX)).ok_or_else(|| {
        let max = prism_sse::limits::RETRY_MS_MAX;
        Problem::bad_request(format!("`retry` must be milliseconds as digits, at most {max}."))
    })
}
