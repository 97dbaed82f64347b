//! The protected resource metadata of the hub (RFC 9728): which tokens it accepts, from whom.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::any};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::cors;
use crate::config::{AuthConfig, COOKIE_08, Config};
use crate::hub::Hub;
use crate::problem::Problem;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// The route of the metadata of the endpoint at this path.
pub(super) fn router(hub_path: &str) -> Router<Hub> {
    let path = format!("/.well-known/oauth-protected-resource{hub_path}");
    Router::new().route(&path, any(respond))
}

async fn respond(State(hub): State<Hub>, request: Request) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let mut response =
                metadata(hub.config(), &hub.rules().current().auth).to_string().into_response();
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Method::OPTIONS => cors::options_response(METHODS),
        _ => Problem::method_not_allowed(METHODS).into_response(),
    }
}

fn metadata(config: &Config, auth: &AuthConfig) -> Value {
    let hub = || config.hub_url.as_str().to_owned();
    let mut metadata = json!({
        "resource": auth.audiences.first().cloned().unwrap_or_else(hub),
        "authorization_details_types_supported": ["https://mercure.rocks/authorization-detail"],
        "bearer_methods_supported": ["header"],
        "mercure_cookie": COOKIE_08,
        "mercure_matcher_types_supported": ["exact", "urlpattern"],
    });
    // Without key sets at URLs the tokens are signed with the operator's own keys, and no issuer is
    // an authorization server that a client could ask.
    if !auth.key_sets.is_empty() && !auth.issuers.is_empty() {
        metadata["authorization_servers"] = auth.issuers.clone().into();
    }
    if config.subscriptions {
        metadata["mercure_subscriptions"] = true.into();
    }
    metadata
}
