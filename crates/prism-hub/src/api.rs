//! The hub's HTTP API: what is reached where, and what holds for every request.
//!
//! `GET` subscribes and `POST` publishes, at [`EVENTS_PATH`] and at the path of the Mercure
//! protocol alike; `subscribe` and `publish` say what is the same and what is not. Beside them
//! stand the metadata (RFC 9728), the subscription API, and whether the hub is well.
//!
//! A request passes, from the outside in: the check of its host (`host`), the rules for pages of
//! other origins (`cors`), the path, the method, and its rights.

mod body;
mod cors;
mod ends;
mod form;
mod host;
mod metadata;
mod presence;
mod publish;
mod reader;
mod refusal;
mod seats;
mod subscribe;
mod subscriptions;
mod text;
mod wanted;

use std::future::Future;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method};

use crate::auth::AuthError;
use crate::config::{Config, HUB_PATH};
use crate::problem::Problem;
use crate::serve::Hub;
use subscribe::subscribe;

pub(crate) use ends::Ends;
pub(crate) use presence::Presence;
pub(crate) use reader::manager;
pub(crate) use seats::Seats;

/// Path of the hub's own endpoint.
pub const EVENTS_PATH: &str = "/events";

/// Which of the two endpoints was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    /// The hub's own.
    Events,
    /// That of the Mercure protocol.
    Mercure,
}

/// Everything that those who publish and subscribe reach.
pub(crate) fn router(hub: &Hub) -> Router<Hub> {
    let mut endpoints = Router::new().route(EVENTS_PATH, endpoint(Endpoint::Events));
    let mut others = Router::new();
    for path in hub_paths(hub.config()) {
        endpoints = endpoints.route(&path, endpoint(Endpoint::Mercure));
        others = others.merge(metadata::router(&path)).merge(subscriptions::router(&path));
    }
    endpoints.merge(others.layer(middleware::from_fn_with_state(hub.clone(), layer)))
}

/// Where the endpoint of the Mercure protocol is: below the public URL's path, for proxies that
/// keep it, and without it, for those that do not.
fn hub_paths(config: &Config) -> Vec<String> {
    let mut paths = vec![HUB_PATH.to_owned()];
    let public = config.hub_url.path();
    // What a router reads as a pattern is no path that it could be asked for.
    let is_pattern = public.contains(['{', '}']) || public.contains("/:") || public.contains("/*");
    if public != HUB_PATH && !is_pattern {
        paths.push(public.to_owned());
    }
    paths
}

fn endpoint(endpoint: Endpoint) -> axum::routing::MethodRouter<Hub> {
    any(move |State(hub): State<Hub>, request: Request| async move {
        around(&hub, request, |request| answer(&hub, endpoint, request)).await
    })
}

async fn answer(hub: &Hub, endpoint: Endpoint, request: Request) -> Response {
    let answer = match request.method() {
        // Boxed, so that what every publish is held in stays small.
        &Method::GET | &Method::HEAD => Box::pin(subscribe(hub, endpoint, request)).await,
        method if method.as_str() == "QUERY" => Box::pin(subscribe(hub, endpoint, request)).await,
        &Method::POST => publish::publish(hub, endpoint, request).await,
        &Method::OPTIONS => Ok(cors::allow(ENDPOINT_METHODS)),
        _ => Err(Problem::method_not_allowed(ENDPOINT_METHODS)),
    };
    answer.unwrap_or_else(|problem| problem.into_response())
}

/// The answer to somebody without the right. What is wrong with a token is for the log alone.
fn denied(error: AuthError) -> Problem {
    if let Some(error) = error.token_error() {
        tracing::debug!("a token was refused: {error}");
    }
    error.into()
}

const ENDPOINT_METHODS: &str = "GET, HEAD, OPTIONS, POST, QUERY";

async fn layer(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    around(&hub, request, |request| next.run(request)).await
}

/// What holds for every request.
async fn around<F: Future<Output = Response>>(
    hub: &Hub,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let origin = cors::Page::of(request.headers());
    let mut response = match host::check(hub.config(), &request) {
        Err(problem) => problem.into_response(),
        Ok(()) if cors::is_preflight(&request) => cors::allow(ENDPOINT_METHODS),
        Ok(()) => answer(request).await,
    };
    let headers = response.headers_mut();
    cors::add_headers(&hub.config().cors, &origin, headers);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let status = response.status();
    hub.metrics().count_request(&method, status);
    // The path alone: a query may have a token in it.
    tracing::debug!(%method, path = uri.path(), status = status.as_u16(), "answered");
    response
}
