//! The CORS policy: which origins' pages may read responses.
//!
//! A request from a listed origin is answered with that origin and credentials allowed; `*` allows
//! every origin, without credentials. Any other origin gets no CORS headers, so that its browser
//! withholds the response from the page.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::config::{Cors, Origin};

/// Methods of the event endpoints, and in the answer to a preflight request at any path.
pub(super) const EVENTS_METHODS: &str = "GET, HEAD, OPTIONS, POST, QUERY";

const ALLOW_HEADERS: &str =
    "accept, authorization, cache-control, content-type, idempotency-key, last-event-id";
const ALLOW_METHODS: &str = "GET, HEAD, POST, QUERY";
const EXPOSE_HEADERS: &str = "last-event-id, link, mercure-last-event-id, prism-gap, \
                              prism-refused, retry-after, www-authenticate";
/// Seconds for which a browser may cache the answer to a preflight request: two hours, the most
/// that Chromium accepts.
const MAX_AGE: &str = "7200";

/// The origin of the page that sent a request, if there is one.
pub(super) fn request_origin(headers: &HeaderMap) -> Option<Origin> {
    headers.get(ORIGIN).and_then(|value| value.to_str().ok()).and_then(Origin::parse)
}

/// Whether this is a preflight request of CORS.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    *request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The response to `OPTIONS`: 204 with the methods that are allowed.
pub(super) fn options_response(methods: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Adds the headers that let the page of this origin read the response, if the policy does.
pub(super) fn add_headers(policy: &Cors, origin: Option<&Origin>, headers: &mut HeaderMap) {
    let allowed = match policy {
        Cors::Any => Some(HeaderValue::from_static("*")),
        Cors::Only(origins) => {
            headers.append(VARY, HeaderValue::from_static("origin"));
            let listed = origin.filter(|origin| origins.contains(origin));
            listed.and_then(|origin| HeaderValue::from_str(origin.as_str()).ok())
        }
    };
    let Some(allowed) = allowed else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if matches!(policy, Cors::Only(_)) {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let rest = [
        (ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS),
        (ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS),
        (ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    for (name, value) in rest {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
