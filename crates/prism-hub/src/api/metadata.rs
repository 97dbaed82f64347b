//! What tokens the hub wants (RFC 9728).

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::any};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::cors;
use crate::config::{AuthConfig, COOKIE_08, Config};
use crate::problem::Problem;
use crate::serve::Hub;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// The address of the metadata of the hub at this path.
pub(super) fn router(hub_path: &str) -> Router<Hub> {
    let path = format!("/.well-known/oauth-protected-resource{hub_path}");
    Router::new().route(&path, any(answer))
}

async fn answer(State(hub): State<Hub>, request: Request) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let mut response =
                document(hub.config(), &hub.live().rules().auth).to_string().into_response();
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Method::OPTIONS => cors::allow(METHODS),
        _ => Problem::method_not_allowed(METHODS).into_response(),
    }
}

fn document(config: &Config, trust: &AuthConfig) -> Value {
    let hub = || config.hub_url.as_str().to_owned();
    let mut document = json!({
        "resource": trust.audiences.first().cloned().unwrap_or_else(hub),
        "authorization_details_types_supported": ["https://mercure.rocks/authorization-detail"],
        "bearer_methods_supported": ["header"],
        "mercure_cookie": COOKIE_08,
        "mercure_matcher_types_supported": ["exact", "urlpattern"],
    });
    // Whoever only has secrets of its own issues its tokens itself.
    if !trust.key_sets.is_empty() && !trust.issuers.is_empty() {
        document["authorization_servers"] = trust.issuers.clone().into();
    }
    if config.subscriptions {
        document["mercure_subscriptions"] = true.into();
    }
    document
}
