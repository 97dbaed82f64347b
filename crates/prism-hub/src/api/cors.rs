//! What pages of other origins may read.
//!
//! A listed origin is echoed, with cookies; `*` allows every page, without. No other origin is told
//! anything, so that its browser keeps the answer from it.

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

const HEADERS: &str =
    "accept, authorization, cache-control, content-type, idempotency-key, last-event-id";
const EXPOSED: &str = "last-event-id, link, mercure-last-event-id, prism-gap, prism-refused, \
                       retry-after, www-authenticate";
const METHODS: &str = "GET, HEAD, POST, QUERY";
/// Browsers ask again after two hours at the latest.
const ASK_AGAIN: &str = "7200";

/// Whose page a request comes from, and whether it only asks what it may do.
pub(super) struct Page {
    origin: Option<Origin>,
}

impl Page {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
        Self { origin: origin.and_then(Origin::parse) }
    }
}

/// Whether a browser asks on behalf of a page what it may do.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    *request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// An answer that says which methods there are.
pub(super) fn allow(methods: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Tells a page's browser whether the page may read the answer.
pub(super) fn add_headers(cors: &Cors, page: &Page, headers: &mut HeaderMap) {
    let allowed = match cors {
        Cors::Any => Some(HeaderValue::from_static("*")),
        Cors::Only(origins) => {
            headers.append(VARY, HeaderValue::from_static("origin"));
            let origin = page.origin.as_ref().filter(|origin| origins.contains(origin));
            origin.and_then(|origin| HeaderValue::from_str(origin.as_str()).ok())
        }
    };
    let Some(allowed) = allowed else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if matches!(cors, Cors::Only(_)) {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let rest = [
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        (ACCESS_CONTROL_MAX_AGE, ASK_AGAIN),
    ];
    for (name, value) in rest {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
