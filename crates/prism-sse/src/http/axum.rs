//! The handler form for axum.
//!
//! ```
//! use axum::extract::{Path, State};
//! use axum::response::IntoResponse;
//! use axum::{Router, routing::get};
//! use prism_sse::{Audience, InvalidTopic, Manager, SseRequest};
//!
//! async fn events(
//!     State(sse): State<Manager>,
//!     Path(user): Path<u32>,
//!     request: SseRequest,
//! ) -> impl IntoResponse {
//!     let own = format!("users/{user}");
//!     let audience = Audience::select(["news", &own]).and_then(|public| public.grant(&own));
//!     audience.map(|audience| sse.respond(request.audience(audience).state(user)))
//!         .map_err(|error: InvalidTopic| error.to_string())
//! }
//!
//! let app: Router =
//!     Router::new().route("/users/{user}/events", get(events)).with_state(Manager::new());
//! ```

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use super::request::{NotAcceptable, SseRequest};

impl<S: Send + Sync> FromRequestParts<S> for SseRequest {
    type Rejection = NotAcceptable;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotAcceptable> {
        Self::new(&parts.method, &parts.headers)
    }
}

impl IntoResponse for NotAcceptable {
    fn into_response(self) -> Response {
        Self::into_response(self).map(Body::new)
    }
}
