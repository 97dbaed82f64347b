//! The hub's HTTP API: the routing tables of the public and the admin addresses.
//!
//! Each front is one module with a `router`: the event API (`events`), the subscription API
//! (`subscriptions`), the metadata of RFC 9728 (`metadata`), `health` and `metrics`. A new front
//! is a module of its own and a line in [`public_router`] or
//! [`admin_router`]. What the fronts
//! share stands beside them: `middleware` and its parts (`host`, `cors`), the strict readers of
//! request content (`body`, `urlencoded`, `text`), `client_address` and `auth_problem`.

mod auth_problem;
mod body;
mod client_address;
mod cors;
mod events;
mod health;
mod host;
mod metadata;
mod metrics;
mod middleware;
mod subscriptions;
mod text;
mod urlencoded;

use axum::Router;

use crate::config::{Config, HUB_PATH};
use crate::hub::Hub;
use crate::problem::Problem;

pub use events::EVENTS_PATH;

/// The routes of the public addresses, for publishers and subscribers.
pub fn public_router(hub: &Hub) -> Router {
    let mercure_paths = mercure_paths(hub.config());
    let mut layered = Router::new();
    for path in &mercure_paths {
        layered = layered.merge(metadata::router(path)).merge(subscriptions::router(path));
    }
    let layer = axum::middleware::from_fn_with_state(hub.clone(), middleware::layer);
    let routes = events::router(&mercure_paths).merge(layered.layer(layer)).merge(health::router());
    routes.with_state(hub.clone()).fallback(not_found)
}

/// The routes of the admin address, for operators.
pub fn admin_router(hub: &Hub) -> Router {
    let routes = metrics::router().merge(health::router());
    routes.with_state(hub.clone()).fallback(not_found)
}

/// The paths of the Mercure protocol's endpoint: with the path of the public URL, for proxies that
/// forward it, and without it, for those that strip it.
fn mercure_paths(config: &Config) -> Vec<String> {
    let mut paths = vec![HUB_PATH.to_owned()];
    let public = config.hub_url.path();
    // The router would read such a path as a pattern.
    let is_pattern = public.contains(['{', '}']) || public.contains("/:") || public.contains("/*");
    if public != HUB_PATH && !is_pattern {
        paths.push(public.to_owned());
    }
    paths
}

async fn not_found() -> Problem {
    Problem::not_found()
}
