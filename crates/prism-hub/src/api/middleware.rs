//! What holds for every request to the public API: the host check, the CORS policy, the security
//! headers, the request metrics, and one line in the debug log.

use std::future::Future;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

use super::{cors, host};
use crate::hub::Hub;

/// Applies the middleware to a router.
pub(super) async fn layer(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    apply(&hub, request, |request| next.run(request)).await
}

/// Applies the middleware to one handler.
pub(super) async fn apply<F: Future<Output = Response>>(
    hub: &Hub,
    request: Request,
    handler: impl FnOnce(Request) -> F,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let origin = cors::request_origin(request.headers());
    let mut response = match host::check_host(hub.config(), &request) {
        Err(problem) => problem.into_response(),
        Ok(()) if cors::is_preflight(&request) => cors::options_response(cors::EVENTS_METHODS),
        Ok(()) => handler(request).await,
    };
    let headers = response.headers_mut();
    cors::add_headers(&hub.config().cors, origin.as_ref(), headers);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let status = response.status();
    hub.metrics().count_request(&method, status);
    // The path without the query, which may contain a token.
    tracing::debug!(%method, path = uri.path(), status = status.as_u16(), "answered");
    response
}
