//! Subscribing: `GET`, `HEAD` and `QUERY` answer with an event stream.
//!
//! At the native endpoint a request without topics subscribes to all public events, every stream
//! gets broadcasts, and control events are on. At the endpoint of the Mercure protocol at least one
//! topic is needed, only subscriptions to `*` get broadcasts, and control events are off unless the
//! request asks for them, so that Mercure clients get only what their protocol knows.

mod capacity_refusal;
mod params;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use prism_sse::SseRequest;

use super::endpoint::EventsEndpoint;
use crate::api::auth_problem::auth_problem;
use crate::api::body::{self, BodyError, RequestBody};
use crate::api::client_address::client_address;
use crate::auth::Subscriber;
use crate::hub::{ConnectionPermit, ConnectionState, ConnectionSubscriptions, Hub};
use crate::limits;
use crate::problem::Problem;
use crate::rules::Rules;

use capacity_refusal::CapacityRefusal;
use params::{ParamsContext, SubscribeParams};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const MERCURE_LAST_EVENT_ID: HeaderName = HeaderName::from_static("mercure-last-event-id");
const PRISM_GAP: HeaderName = HeaderName::from_static("prism-gap");
const EARLIEST: &str = "earliest";
const FORM: &str = "application/x-www-form-urlencoded";

/// Why a request gets no stream of events.
enum SubscribeRefusal {
    /// The request itself is refused.
    Problem(Problem),
    /// The hub lacks capacity.
    Capacity(CapacityRefusal),
}

impl From<Problem> for SubscribeRefusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<CapacityRefusal> for SubscribeRefusal {
    fn from(refusal: CapacityRefusal) -> Self {
        Self::Capacity(refusal)
    }
}

impl From<BodyError> for SubscribeRefusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Problem(problem) => Self::Problem(problem),
            BodyError::OverBudget => Self::Capacity(CapacityRefusal::Bodies),
        }
    }
}

/// Answers a subscribe request with an event stream.
pub(super) async fn subscribe(
    hub: &Hub,
    endpoint: EventsEndpoint,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    match open_stream(hub, endpoint, &parts, body).await {
        Ok(response) => Ok(response),
        Err(SubscribeRefusal::Problem(problem)) => Err(problem),
        Err(SubscribeRefusal::Capacity(refusal)) => {
            let request = SseRequest::new(&parts.method, &parts.headers);
            let names_event_stream = request.is_ok_and(|request| request.names_event_stream());
            Ok(refusal.into_response(hub, names_event_stream))
        }
    }
}

async fn open_stream(
    hub: &Hub,
    endpoint: EventsEndpoint,
    parts: &Parts,
    body: Body,
) -> Result<Response, SubscribeRefusal> {
    let rules = hub.rules().current();
    let subscriber = match rules.authority.subscriber(parts) {
        Ok(subscriber) => subscriber,
        Err(error) if error.is_unavailable() => return Err(CapacityRefusal::Keys.into()),
        Err(error) => return Err(auth_problem(error).into()),
    };
    let request = SseRequest::new(&parts.method, &parts.headers).map_err(|_| not_acceptable())?;
    // Only a request with a permit may make the hub read a body.
    let (params, early_permit) = if parts.method.as_str() == "QUERY" {
        let permit = take_permit(hub, &rules, parts)?;
        let body = read_form(hub, &rules, parts, body).await?;
        (read_params(hub, endpoint, &rules, parts, body.as_deref())?, Some(permit))
    } else {
        (read_params(hub, endpoint, &rules, parts, None)?, None)
    };
    let audience = params.audience(endpoint, subscriber.grants())?;
    let last_event_id =
        last_event_id(&parts.headers, &params).filter(|_| parts.method != Method::HEAD);

    let start = params.start.clone();
    let permit = match early_permit {
        Some(permit) => permit,
        None => take_permit(hub, &rules, parts)?,
    };
    let state = connection_state(hub, permit, &params, &subscriber)?;
    let request = request.audience(audience).start(start).state(state);
    let mut response =
        hub.events().try_respond(request).map_err(CapacityRefusal::from)?.map(Body::new);
    add_last_event_id(&mut response, last_event_id.as_deref());
    if !subscriber.is_anonymous() {
        // A stream that a token authorized must not be shared by caches.
        let value = HeaderValue::from_static("private, no-cache, no-transform");
        response.headers_mut().insert(CACHE_CONTROL, value);
    }
    Ok(response)
}

/// Reads the parameters in the query, and those in the body of a QUERY.
fn read_params(
    hub: &Hub,
    endpoint: EventsEndpoint,
    rules: &Rules,
    parts: &Parts,
    body: Option<&[u8]>,
) -> Result<SubscribeParams, Problem> {
    let context = ParamsContext {
        endpoint,
        allows_draft_07: rules.auth.compat_draft_07,
        hub_url: hub.config().hub_url.as_str(),
    };
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    SubscribeParams::parse(context, query, body.unwrap_or_default())
}

/// The body of a QUERY: a form, or nothing.
async fn read_form(
    hub: &Hub,
    rules: &Rules,
    parts: &Parts,
    body: Body,
) -> Result<Option<RequestBody>, BodyError> {
    match body::media_type(&parts.headers).as_deref() {
        Some(FORM) => {
            let max = limits::QUERY_BYTES_MAX.min(rules.limits.max_body);
            let request = Request::from_parts(parts.clone(), body);
            body::read(request, max, hub.query_bodies()).await.map(Some)
        }
        None if !parts.headers.contains_key(CONTENT_TYPE) => Ok(None),
        _ => Err(BodyError::Problem(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("The body of a QUERY is {FORM}, in UTF-8."),
        ))),
    }
}

/// Takes a connection permit, or says what capacity is missing.
fn take_permit(
    hub: &Hub,
    rules: &Rules,
    parts: &Parts,
) -> Result<ConnectionPermit, CapacityRefusal> {
    if !hub.is_ready() {
        return Err(CapacityRefusal::Draining);
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let address = client_address(peer, &parts.headers, &rules.limits.trusted_proxies);
    let permits = hub.connection_permits();
    permits.try_acquire(address, &rules.limits).map_err(CapacityRefusal::Connections)
}

fn connection_state(
    hub: &Hub,
    permit: ConnectionPermit,
    params: &SubscribeParams,
    subscriber: &Subscriber,
) -> Result<ConnectionState, Problem> {
    let subscriptions = hub.active_subscriptions().map(|active| {
        ConnectionSubscriptions::new(active, params.dialect, &params.matchers, subscriber)
    });
    let subscriptions = subscriptions.transpose().map_err(|_| {
        let sentence = "The topic or pattern is too long for the subscriptions of this hub.";
        Problem::bad_request(sentence)
    })?;
    Ok(ConnectionState::new(
        permit,
        token_lifetime(subscriber),
        hub.token_expiry().clone(),
        hub.metrics().clone(),
        subscriptions,
    ))
}

/// The last event id of the request. The header wins over the parameter, unless it is empty and the
/// parameter exists.
fn last_event_id(headers: &http::HeaderMap, params: &SubscribeParams) -> Option<Vec<u8>> {
    let header = headers.get(LAST_EVENT_ID).map(|value| value.as_bytes().to_vec());
    let parameter = || params.last_event_id.as_ref().map(|id| id.as_bytes().to_vec());
    match header {
        Some(id) if !id.is_empty() => Some(id),
        empty => parameter().or(empty),
    }
}

/// Repeats the last event id of the request in the response if the stream begins after it, and
/// says `earliest` if it does not. The hub never names another id, as the Mercure protocol would
/// allow: the event before the first one sent may be private.
fn add_last_event_id<B>(response: &mut http::Response<B>, requested: Option<&[u8]>) {
    let Some(id) = requested.filter(|_| response.status() == StatusCode::OK) else { return };
    let is_found = !id.is_empty() && !response.headers().contains_key(PRISM_GAP);
    let value = is_found.then(|| HeaderValue::from_bytes(id).ok()).flatten();
    let value = value.unwrap_or(HeaderValue::from_static(EARLIEST));
    response.headers_mut().insert(LAST_EVENT_ID, value.clone());
    response.headers_mut().insert(MERCURE_LAST_EVENT_ID, value);
}

/// Time from now to the expiry of the token.
fn token_lifetime(subscriber: &Subscriber) -> Option<Duration> {
    let expires_at = subscriber.expires_at()?;
    // Zero if the token expired since it was verified: the stream then ends at once.
    Some(expires_at.duration_since(SystemTime::now()).unwrap_or_default())
}

fn not_acceptable() -> Problem {
    let sentence = "This is text/event-stream, which the header Accept excludes.";
    Problem::new(StatusCode::NOT_ACCEPTABLE, sentence)
}
