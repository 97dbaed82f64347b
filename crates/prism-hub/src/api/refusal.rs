//! How a subscriber is refused for want of capacity.
//!
//! For a browser every status but 200 is final. So whoever names `text/event-stream` is told when
//! to come back in a stream that says nothing else, unless the hub was told to refuse with a
//! status.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use prism_sse::SubscribeError;

use super::seats::Full;
use crate::config::RefusalMode;
use crate::problem::Problem;
use crate::serve::Hub;

const PRISM_REFUSED: HeaderName = HeaderName::from_static("prism-refused");

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The caller, or everybody together, has too many connections.
    Limit(Full),
    /// Everybody together has too many patterns.
    Patterns,
    /// The hub ends.
    Drain,
    /// The keys that could verify the token are not known now.
    Keys,
}

impl Refusal {
    /// The answer.
    pub(super) fn into_response(self, hub: &Hub, names_event_stream: bool) -> Response {
        hub.metrics().count_refusal(self.word());
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
        response.headers_mut().insert(PRISM_REFUSED, HeaderValue::from_static(self.word()));
        response
    }

    fn word(self) -> &'static str {
        match self {
            Self::Limit(_) | Self::Patterns => "limit",
            Self::Drain => "drain",
            Self::Keys => "keys",
        }
    }

    fn problem(self) -> Problem {
        match self {
            Self::Limit(Full::Address) => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "There are too many connections from this address.",
            ),
            Self::Limit(Full::All) => {
                Problem::unavailable("limit", "The hub has as many connections as it allows.", 0)
            }
            Self::Patterns => {
                let sentence = "As many different patterns are in use as the hub allows.";
                Problem::unavailable("limit", sentence, 0)
            }
            Self::Drain => Problem::unavailable("drain", "The hub is ending.", 0),
            Self::Keys => {
                let sentence = "The keys that could verify the token are not known now.";
                Problem::unavailable("keys", sentence, 0)
            }
        }
    }
}

impl From<SubscribeError> for Refusal {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Closed => Self::Drain,
            SubscribeError::TooManyPatterns { .. } => Self::Patterns,
            _ => Self::Limit(Full::All),
        }
    }
}

/// A time that is up to half as long again, different for each, so that they do not all come back
/// at once.
fn jittered(millis: u128) -> u64 {
    let base = u64::try_from(millis).unwrap_or(u64::MAX).min(RETRY_MS_MAX);
    // Without randomness all come back at once, which is better than not at all.
    let random = u64::from(getrandom::u32().unwrap_or_default());
    let more = u128::from(base / 2) * u128::from(random) / u128::from(u32::MAX);
    (base + more as u64).min(RETRY_MS_MAX)
}

const RETRY_MS_MAX: u64 = prism_sse::limits::RETRY_MS_MAX as u64;
