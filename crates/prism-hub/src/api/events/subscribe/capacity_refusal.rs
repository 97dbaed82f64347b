//! Refusing a subscriber for lack of capacity.
//!
//! A browser's `EventSource` reconnects after a stream that ended, and gives up after any status
//! but 200. So a request whose `Accept` names `text/event-stream` is refused with an empty stream
//! that sets the reconnection time (`retry:`), unless the setting `refuse` asks for a status.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use prism_sse::SubscribeError;

use crate::api::body::BodyError;
use crate::config::RefusalMode;
use crate::hub::{Hub, LimitReached};
use crate::problem::Problem;

const PRISM_REFUSED: HeaderName = HeaderName::from_static("prism-refused");

/// Which capacity is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CapacityRefusal {
    /// A limit on connections is reached.
    Connections(LimitReached),
    /// The limit on distinct patterns in use is reached.
    Patterns,
    /// As many bytes of request bodies are held as may be.
    Bodies,
    /// The hub shuts down, or has not started yet.
    Draining,
    /// The keys that could verify the token are not known now.
    Keys,
}

impl CapacityRefusal {
    /// Counts the refusal and makes its response.
    pub(super) fn into_response(self, hub: &Hub, names_event_stream: bool) -> Response {
        hub.metrics().count_refusal(self.reason());
        let retry_ms = jittered(hub.config().retry.as_millis());
        let mut response = if names_event_stream && hub.config().refuse == RefusalMode::Soft {
            let mut response = Response::new(Body::from(format!("retry: {retry_ms}\n")));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
            response
        } else {
            let seconds = u32::try_from(retry_ms.div_ceil(1000)).unwrap_or(u32::MAX);
            self.problem().header(RETRY_AFTER, seconds.into()).into_response()
        };
        response.headers_mut().insert(PRISM_REFUSED, HeaderValue::from_static(self.reason()));
        response
    }

    /// The value of `Prism-Refused`, and of the label in the metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::Connections(_) | Self::Patterns | Self::Bodies => "limit",
            Self::Draining => "drain",
            Self::Keys => "keys",
        }
    }

    fn problem(self) -> Problem {
        match self {
            Self::Connections(LimitReached::PerAddress) => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "There are too many connections from this address.",
            ),
            Self::Connections(LimitReached::Total) => {
                Problem::unavailable("limit", "The hub has as many connections as it allows.", 0)
            }
            Self::Patterns => {
                let sentence = "As many different patterns are in use as the hub allows.";
                Problem::unavailable("limit", sentence, 0)
            }
            Self::Bodies => BodyError::OverBudget.into(),
            Self::Draining => Problem::unavailable("drain", "The hub is ending.", 0),
            Self::Keys => {
                let sentence = "The keys that could verify the token are not known now.";
                Problem::unavailable("keys", sentence, 0)
            }
        }
    }
}

impl From<SubscribeError> for CapacityRefusal {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Closed => Self::Draining,
            SubscribeError::PatternsTooCostly { .. } | SubscribeError::TooManyPatterns { .. } => {
                Self::Patterns
            }
            _ => Self::Connections(LimitReached::Total),
        }
    }
}

/// A random time in [1, 1.5] times this one, so that refused clients do not all reconnect at once.
fn jittered(millis: u128) -> u64 {
    let base = u64::try_from(millis).unwrap_or(u64::MAX).min(RETRY_MS_MAX);
    // Without a random number all reconnect at once, which is better than not at all.
    let random = u64::from(getrandom::u32().unwrap_or_default());
    let extra = u128::from(base / 2) * u128::from(random) / u128::from(u32::MAX);
    (base + extra as u64).min(RETRY_MS_MAX)
}

const RETRY_MS_MAX: u64 = prism_sse::limits::RETRY_MS_MAX as u64;
