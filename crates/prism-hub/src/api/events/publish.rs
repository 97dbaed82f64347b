//! Publishing: `POST` with one event, or with several JSON documents.
//!
//! The content type says how the body is parsed: a form of the Mercure protocol, one JSON document,
//! one CloudEvent, or up to [`EVENTS_PER_PUBLISH_MAX`](crate::limits::EVENTS_PER_PUBLISH_MAX) JSON
//! documents, one per line. All give [`PublishItem`]s, which pass the same validation.

mod cloud_event;
mod form;
mod item;
mod json;
mod reserved_topics;
mod validator;

use std::fmt::Write as _;
use std::future::Future;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prism_sse::{Ack, AckError, PublishError, Receipt};
use tokio::time::{Instant, timeout};

use super::endpoint::EventsEndpoint;
use crate::api::auth_problem::auth_problem;
use crate::api::text::as_sentence;
use crate::api::{
    body::{self, BodyError, RequestBody},
    host,
};
use crate::auth::Publisher;
use crate::hub::Hub;
use crate::limits;
use crate::problem::Problem;
use item::PublishItem;
use validator::PublishValidator;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How the body is parsed and the response is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PublishFormat {
    CloudEvent,
    Json,
    JsonLines,
    MercureForm,
}

/// What the head of a publish request gives, once it is authorized.
struct PublishHead {
    publisher: Publisher,
    format: PublishFormat,
    idempotency_key: Option<String>,
}

/// An event that was handed to the engine.
struct AppendedEvent {
    /// The id that the publisher chose.
    publisher_id: Option<String>,
    receipt: Receipt,
}

/// Publishes the events in the body and answers when all are acknowledged.
pub(super) async fn publish(
    hub: &Hub,
    endpoint: EventsEndpoint,
    request: Request,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let (head, body) = PublishHead::read(hub, request)?;
    let content = body.await?;
    let validator = PublishValidator { config: hub.config(), endpoint, publisher: &head.publisher };
    let key = head.idempotency_key;
    let result = match head.format {
        PublishFormat::JsonLines => {
            Box::pin(publish_lines(hub, &validator, &content, key.as_deref())).await
        }
        format => publish_one(hub, &validator, format, &content, key).await,
    };
    hub.metrics().count_publish(began.elapsed());
    result
}

impl PublishHead {
    /// Checks the head of a request, and returns the body as a future that reads it.
    fn read(
        hub: &Hub,
        request: Request,
    ) -> Result<(Self, impl Future<Output = Result<RequestBody, BodyError>> + use<>), Problem> {
        if !hub.is_ready() {
            let sentence = "The hub is ending.";
            return Err(Problem::unavailable("drain", sentence, limits::DRAIN_RETRY_AFTER));
        }
        let rules = hub.rules().current();
        let (parts, content) = request.into_parts();
        let publisher = rules.authority.publisher(&parts).map_err(auth_problem)?;
        if publisher.dialect().is_none() {
            host::check_publish_origin(hub.config(), &parts.headers)?;
        }
        let format = PublishFormat::of(&parts.headers)?;
        let idempotency_key = idempotency_key(&parts.headers)?;
        let request = Request::from_parts(parts, content);
        let body = body::read(request, rules.limits.max_body, hub.publish_bodies());
        Ok((Self { publisher, format, idempotency_key }, body))
    }
}

async fn publish_one(
    hub: &Hub,
    validator: &PublishValidator<'_>,
    format: PublishFormat,
    content: &[u8],
    key: Option<String>,
) -> Result<Response, Problem> {
    let mut item = match format {
        PublishFormat::MercureForm => form::parse(content)?,
        PublishFormat::CloudEvent => cloud_event::parse(content)?,
        PublishFormat::Json | PublishFormat::JsonLines => json::parse(content)?,
    };
    if item.key.is_some() && key.is_some() && item.key != key {
        let sentence = "The header Idempotency-Key and the member `key` name different keys.";
        return Err(Problem::bad_request(sentence));
    }
    item.key = item.key.or(key);
    let (id, ack) = append(hub, validator, item)?.acknowledged().await?;
    Ok(match format {
        PublishFormat::MercureForm => private_response("text/plain; charset=utf-8", id),
        _ => private_response("application/json", json::result(&id, &ack)),
    })
}

/// Publishes each line by itself: an invalid line does not keep the others from being published.
async fn publish_lines(
    hub: &Hub,
    validator: &PublishValidator<'_>,
    content: &[u8],
    key: Option<&str>,
) -> Result<Response, Problem> {
    if key.is_some() {
        let sentence = "Of several events each has its own member `key`, and the request has none.";
        return Err(Problem::bad_request(sentence));
    }
    // All are appended before the first acknowledgement is awaited, so that they share one commit.
    let appended: Vec<_> = json::split_lines(content)?
        .into_iter()
        .map(|line| json::parse(line).and_then(|item| append(hub, validator, item)))
        .collect();
    let mut results = String::new();
    for event in appended {
        let result = match event {
            Ok(event) => event.acknowledged().await.map(|(id, ack)| json::result(&id, &ack)),
            Err(problem) => Err(problem),
        };
        // Writing to a String cannot fail.
        _ = writeln!(results, "{}", result.unwrap_or_else(|problem| problem.to_json()));
    }
    Ok(private_response("application/x-ndjson", results))
}

/// Validates an item and hands it to the engine.
fn append(
    hub: &Hub,
    validator: &PublishValidator<'_>,
    item: PublishItem,
) -> Result<AppendedEvent, Problem> {
    let (bytes, publisher_id) = (item.data.len(), item.id.clone());
    let publication = validator.validate(item)?;
    let receipt = hub.events().append(publication).map_err(publish_problem)?;
    hub.metrics().count_published(bytes);
    Ok(AppendedEvent { publisher_id, receipt })
}

impl AppendedEvent {
    /// Waits for the acknowledgement. Returns the id that subscribers see, and the acknowledgement.
    async fn acknowledged(self) -> Result<(String, Ack), Problem> {
        match timeout(limits::ACK_TIMEOUT, self.receipt).await {
            Ok(Ok(ack)) => {
                let id = self.publisher_id.unwrap_or_else(|| ack.position.to_string());
                Ok((id, ack))
            }
            Ok(Err(AckError::StorageFull)) => {
                let sentence = "The disk of the hub is full; the event was not published.";
                Err(Problem::unavailable("storage-full", sentence, 1))
            }
            Ok(Err(AckError::Failed)) => {
                Err(Problem::unavailable("engine", "The engine did not accept the event.", 1))
            }
            Ok(Err(_)) | Err(_) => {
                let sentence =
                    "The engine did not answer; the event may have been accepted or not.";
                Err(Problem::unavailable("unknown", sentence, 1))
            }
        }
    }
}

fn publish_problem(error: PublishError) -> Problem {
    let status = match error {
        PublishError::Engine(_) | PublishError::TooManyKeys { .. } => {
            return Problem::unavailable("overloaded", as_sentence(error), 1);
        }
        PublishError::KeyReused => StatusCode::CONFLICT,
        PublishError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, as_sentence(error))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let refuse = || Problem::bad_request("The header Idempotency-Key must be there once, as text.");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|key| Some(key.to_owned())).map_err(|_| refuse()),
        _ => Err(refuse()),
    }
}

impl PublishFormat {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match body::media_type(headers).as_deref() {
            Some("application/x-www-form-urlencoded") => Ok(Self::MercureForm),
            Some("application/json") => Ok(Self::Json),
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => {
                Ok(Self::JsonLines)
            }
            Some("application/cloudevents+json") => Ok(Self::CloudEvent),
            _ => {
                let sentence = "A publish is application/x-www-form-urlencoded, application/json, \
                                application/x-ndjson or application/cloudevents+json, in UTF-8.";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence))
            }
        }
    }
}

/// A response that no cache may store.
fn private_response(content_type: &'static str, content: String) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}
