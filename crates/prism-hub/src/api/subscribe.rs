//! `GET`, `HEAD` and `QUERY`: an event stream.
//!
//! On [`EVENTS_PATH`](super::EVENTS_PATH) a request without topics reads everything public, what is
//! broadcast reaches everybody, and control events are sent. At the path of the Mercure protocol a
//! topic is needed, broadcasts reach those who read `*`, and control events are sent to those who
//! ask for them, so that its readers see what they know.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use prism_sse::SseRequest;

use super::presence::Subscriptions;
use super::reader::Reader;
use super::refusal::Refusal;
use super::wanted::{Reading, Wanted};
use super::{Endpoint, body, denied};
use crate::auth::Subscriber;
use crate::problem::Problem;
use crate::serve::Hub;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const MERCURE_LAST_EVENT_ID: HeaderName = HeaderName::from_static("mercure-last-event-id");
const PRISM_GAP: HeaderName = HeaderName::from_static("prism-gap");
const EARLIEST: &str = "earliest";
const FORM: &str = "application/x-www-form-urlencoded";

/// Answers with a stream.
pub(super) async fn subscribe(
    hub: &Hub,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Problem> {
    let rules = hub.live().rules();
    let (parts, content) = request.into_parts();
    let subscriber = match rules.authority.subscriber(&parts) {
        Ok(subscriber) => subscriber,
        Err(error) if error.is_unavailable() => {
            let request = SseRequest::new(&parts.method, &parts.headers);
            let is_soft = request.is_ok_and(|request| request.names_event_stream());
            return Ok(Refusal::Keys.into_response(hub, is_soft));
        }
        Err(error) => return Err(denied(error)),
    };
    let request = SseRequest::new(&parts.method, &parts.headers).map_err(|_| not_acceptable())?;
    let content = if parts.method.as_str() == "QUERY" {
        let request = Request::from_parts(parts.clone(), content);
        form_body(request, rules.limits.max_body).await?
    } else {
        Bytes::new()
    };
    let reading = Reading {
        endpoint,
        knows_draft_07: rules.auth.compat_draft_07,
        hub_url: hub.config().hub_url.as_str(),
    };
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let wanted = Wanted::read(reading, query, &content)?;
    let audience = wanted.audience(endpoint, subscriber.grants())?;

    let is_soft = request.names_event_stream();
    if !hub.is_ready() {
        return Ok(Refusal::Drain.into_response(hub, is_soft));
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let seat = match hub.seats().take(peer, &rules.limits) {
        Ok(seat) => seat,
        Err(full) => return Ok(Refusal::Limit(full).into_response(hub, is_soft)),
    };
    let presence = hub.presence();
    let subscriptions = presence.map(|it| Subscriptions::new(it, &wanted, &subscriber));
    let subscriptions = subscriptions.transpose()?;
    let asked = asked(&parts.headers, &wanted).filter(|_| parts.method != Method::HEAD);
    let reader = Reader {
        _seat: seat,
        lasts: lasts(&subscriber),
        ends: hub.ends().clone(),
        metrics: hub.metrics().clone(),
        subscriptions,
        end: Mutex::default(),
    };
    let request = request.audience(audience).start(wanted.start).state(reader);
    let mut response = match hub.events().try_respond(request) {
        Ok(response) => response.map(Body::new),
        Err(error) => return Ok(Refusal::from(error).into_response(hub, is_soft)),
    };
    tell_place(&mut response, asked.as_deref());
    if !subscriber.is_anonymous() {
        // What a token opens is nobody else's.
        let value = HeaderValue::from_static("private, no-cache, no-transform");
        response.headers_mut().insert(CACHE_CONTROL, value);
    }
    Ok(response)
}

/// The parameters in the body of a QUERY.
async fn form_body(request: Request, max: u64) -> Result<Bytes, Problem> {
    match body::media_type(request.headers()).as_deref() {
        Some(FORM) => body::read(request, max).await,
        None if request.headers().get(http::header::CONTENT_TYPE).is_none() => Ok(Bytes::new()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("The body of a QUERY is {FORM}, in UTF-8."),
        )),
    }
}

/// The last id that was asked for, as text that an answer can repeat. The header wins; an empty one
/// says nothing where a parameter says something.
fn asked(headers: &http::HeaderMap, wanted: &Wanted) -> Option<Vec<u8>> {
    let header = headers.get(LAST_EVENT_ID).map(|value| value.as_bytes().to_vec());
    let parameter = || wanted.last_id.as_ref().map(|id| id.as_bytes().to_vec());
    match header {
        Some(id) if !id.is_empty() => Some(id),
        empty => parameter().or(empty),
    }
}

/// Repeats the id that was asked for, if the stream begins after it. No other id is ever told, not
/// even that of the event before the first one sent, which its reader may not be allowed to know.
fn tell_place<B>(response: &mut http::Response<B>, asked: Option<&[u8]>) {
    let Some(asked) = asked.filter(|_| response.status() == StatusCode::OK) else { return };
    let is_found = !asked.is_empty() && !response.headers().contains_key(PRISM_GAP);
    let told = is_found.then(|| HeaderValue::from_bytes(asked).ok()).flatten();
    let told = told.unwrap_or(HeaderValue::from_static(EARLIEST));
    response.headers_mut().insert(LAST_EVENT_ID, told.clone());
    response.headers_mut().insert(MERCURE_LAST_EVENT_ID, told);
}

/// How long the token lasts from now.
fn lasts(subscriber: &Subscriber) -> Option<Duration> {
    let end = subscriber.expires_at()?;
    // A token that ended since it was judged ends its stream at once.
    Some(end.duration_since(SystemTime::now()).unwrap_or_default())
}

fn not_acceptable() -> Problem {
    let sentence = "This is text/event-stream, which the header Accept excludes.";
    Problem::new(StatusCode::NOT_ACCEPTABLE, sentence)
}
