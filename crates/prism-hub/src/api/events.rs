//! The event API: `GET`, `HEAD` and `QUERY` subscribe, `POST` publishes.
//!
//! It is served at two endpoints, the native one and that of the Mercure protocol ([`endpoint`]).
//! `subscribe` and `publish` say what differs between them.

mod endpoint;
mod publish;
mod subscribe;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any};
use http::Method;

use super::{cors, middleware};
use crate::hub::Hub;
use crate::problem::Problem;
use publish::publish;
use subscribe::subscribe;

use endpoint::EventsEndpoint;

pub use endpoint::EVENTS_PATH;

/// The native endpoint, and that of the Mercure protocol at each of these paths.
pub(super) fn router(mercure_paths: &[String]) -> Router<Hub> {
    let mut router = Router::new().route(EVENTS_PATH, handler(EventsEndpoint::Native));
    for path in mercure_paths {
        router = router.route(path, handler(EventsEndpoint::Mercure));
    }
    router
}

/// The handler applies the middleware itself instead of being layered: a layer allocates for each
/// request, and publishing is the hub's most frequent request.
fn handler(endpoint: EventsEndpoint) -> MethodRouter<Hub> {
    any(move |State(hub): State<Hub>, request: Request| async move {
        middleware::apply(&hub, request, |request| respond(&hub, endpoint, request)).await
    })
}

async fn respond(hub: &Hub, endpoint: EventsEndpoint, request: Request) -> Response {
    let result = match request.method() {
        // Boxed, so that the future of a publish does not need the space of that of a subscribe.
        &Method::GET | &Method::HEAD => Box::pin(subscribe(hub, endpoint, request)).await,
        method if method.as_str() == "QUERY" => Box::pin(subscribe(hub, endpoint, request)).await,
        &Method::POST => publish(hub, endpoint, request).await,
        &Method::OPTIONS => Ok(cors::options_response(cors::EVENTS_METHODS)),
        _ => Err(Problem::method_not_allowed(cors::EVENTS_METHODS)),
    };
    result.unwrap_or_else(|problem| problem.into_response())
}
