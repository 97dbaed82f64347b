//! `POST`: events for those who read their topics.
//!
//! One form of the Mercure protocol, one JSON document, one CloudEvent, or up to
//! [`LINES_MAX`](crate::limits::LINES_MAX) JSON documents a line each. All become items, which are
//! judged by the same rules ([`item`]).

mod cloud_event;
mod form;
mod item;
mod json;
mod reserved;

use std::fmt::Write as _;
use std::future::Future;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prism_sse::{Ack, AckError, PublishError, Receipt};
use tokio::time::{Instant, timeout};

use super::text::sentence;
use super::{Endpoint, body, denied, host};
use crate::auth::Publisher;
use crate::limits;
use crate::problem::Problem;
use crate::serve::Hub;
use item::{Accepted, Item, Judge};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How a request says what it publishes, and how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    CloudEvent,
    Json,
    Lines,
    Mercure,
}

/// What the head of a request says of the events in its body.
struct Head {
    publisher: Publisher,
    form: Form,
    key: Option<String>,
}

/// Publishes what the body says.
pub(super) async fn publish(
    hub: &Hub,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let (head, body) = Head::read(hub, request)?;
    let content = body.await?;
    let judge = Judge { config: hub.config(), endpoint, publisher: &head.publisher };
    let answer = match head.form {
        Form::Lines => Box::pin(publish_lines(hub, &judge, &content, head.key.as_deref())).await,
        form => publish_one(hub, &judge, form, &content, head.key).await,
    };
    hub.metrics().count_publish(began.elapsed());
    answer
}

impl Head {
    /// Judges the head, and takes the body that is to be read then.
    fn read(
        hub: &Hub,
        request: Request,
    ) -> Result<(Self, impl Future<Output = Result<Bytes, Problem>> + use<>), Problem> {
        if !hub.is_ready() {
            let sentence = "The hub is ending.";
            return Err(Problem::unavailable("drain", sentence, limits::DRAIN_RETRY_AFTER));
        }
        let rules = hub.live().rules();
        let (parts, content) = request.into_parts();
        let publisher = rules.authority.publisher(&parts).map_err(denied)?;
        if publisher.dialect().is_none() {
            host::check_page(hub.config(), &parts.headers)?;
        }
        let form = Form::of(&parts.headers)?;
        let key = header_key(&parts.headers)?;
        let request = Request::from_parts(parts, content);
        Ok((Self { publisher, form, key }, body::read(request, rules.limits.max_body)))
    }
}

async fn publish_one(
    hub: &Hub,
    judge: &Judge<'_>,
    form: Form,
    content: &[u8],
    key: Option<String>,
) -> Result<Response, Problem> {
    let mut item = match form {
        Form::Mercure => form::read(content)?,
        Form::CloudEvent => cloud_event::read(content)?,
        Form::Json | Form::Lines => json::read(content)?,
    };
    if item.key.is_some() && key.is_some() && item.key != key {
        let sentence = "The header Idempotency-Key and the member `key` name different keys.";
        return Err(Problem::bad_request(sentence));
    }
    item.key = item.key.or(key);
    let (accepted, receipt) = append(hub, judge, item)?;
    let ack = acknowledged(receipt).await?;
    let id = accepted.id.unwrap_or_else(|| ack.position.to_string());
    Ok(match form {
        Form::Mercure => text("text/plain; charset=utf-8", id),
        _ => text("application/json", json::answer(&id, &ack)),
    })
}

/// Publishes each line for itself: what is wrong with one says nothing of the others.
async fn publish_lines(
    hub: &Hub,
    judge: &Judge<'_>,
    content: &[u8],
    key: Option<&str>,
) -> Result<Response, Problem> {
    if key.is_some() {
        let sentence = "Of several events each has its own member `key`, and the request has none.";
        return Err(Problem::bad_request(sentence));
    }
    let lines = json::lines(content)?;
    let appended: Vec<_> = lines
        .into_iter()
        .map(|line| json::read(line).and_then(|item| append(hub, judge, item)))
        .collect();
    let mut answer = String::new();
    for one in appended {
        let line = match one {
            Ok((accepted, receipt)) => acknowledged(receipt).await.map(|ack| {
                let id = accepted.id.unwrap_or_else(|| ack.position.to_string());
                json::answer(&id, &ack)
            }),
            Err(problem) => Err(problem),
        };
        // Writing to memory does not fail.
        _ = writeln!(answer, "{}", line.unwrap_or_else(|problem| problem.to_json()));
    }
    Ok(text("application/x-ndjson", answer))
}

/// Hands an item over, if it is one that this publisher may publish.
fn append(hub: &Hub, judge: &Judge<'_>, item: Item) -> Result<(Accepted, Receipt), Problem> {
    let bytes = item.data.len();
    let (publication, accepted) = judge.accept(item)?;
    let receipt = hub.events().append(publication).map_err(refused)?;
    hub.metrics().count_published(bytes);
    Ok((accepted, receipt))
}

async fn acknowledged(receipt: Receipt) -> Result<Ack, Problem> {
    match timeout(limits::ACK, receipt).await {
        Ok(Ok(ack)) => Ok(ack),
        Ok(Err(AckError::Failed)) => {
            Err(Problem::unavailable("engine", "The engine did not accept the event.", 1))
        }
        Ok(Err(_)) | Err(_) => {
            let sentence = "The engine did not answer; the event may have been accepted or not.";
            Err(Problem::unavailable("unknown", sentence, 1))
        }
    }
}

fn refused(error: PublishError) -> Problem {
    let status = match error {
        PublishError::Engine(_) | PublishError::TooManyKeys { .. } => {
            return Problem::unavailable("overloaded", sentence(error), 1);
        }
        PublishError::KeyReused => StatusCode::CONFLICT,
        PublishError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, sentence(error))
}

fn header_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let refuse = || Problem::bad_request("The header Idempotency-Key must be there once, as text.");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|key| Some(key.to_owned())).map_err(|_| refuse()),
        _ => Err(refuse()),
    }
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match body::media_type(headers).as_deref() {
            Some("application/x-www-form-urlencoded") => Ok(Self::Mercure),
            Some("application/json") => Ok(Self::Json),
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => {
                Ok(Self::Lines)
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

/// An answer that is the publisher's alone.
fn text(content_type: &'static str, content: String) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}
