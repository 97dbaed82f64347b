//! Request bodies, read within limits on their size, on the time they take, and on what is held of
//! them in all.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::hub::{BodyBudget, BodyBytes};
use crate::limits;
use crate::problem::Problem;

/// A body that was read. Its bytes count for a budget until it is dropped.
pub(super) struct RequestBody {
    content: Bytes,
    _bytes: BodyBytes,
}

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The body itself is refused.
    Problem(Problem),
    /// As many bytes of bodies are held as may be.
    OverBudget,
}

impl Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.content
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Problem(problem) => problem,
            BodyError::OverBudget => {
                let sentence = "The hub reads as many bodies of requests as it can hold.";
                Self::unavailable("overloaded", sentence, 1)
            }
        }
    }
}

/// Reads a body of at most `max` bytes, within the budget. The future holds the body alone, not the
/// whole request.
pub(super) fn read(
    request: Request<Body>,
    max: u64,
    budget: &Arc<BodyBudget>,
) -> impl Future<Output = Result<RequestBody, BodyError>> + use<> {
    let content_length = request.headers().get(CONTENT_LENGTH);
    let content_length = content_length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let body = Limited::new(request.into_body(), limit);
    let bytes = budget.begin();
    async move {
        if content_length.is_some_and(|len| len > max) {
            return Err(BodyError::Problem(too_large(max)));
        }
        match tokio::time::timeout(limits::BODY_TIMEOUT, collect(body, bytes, max)).await {
            Ok(result) => result,
            Err(_) => {
                let sentence =
                    format!("The body took more than {} s.", limits::BODY_TIMEOUT.as_secs());
                Err(BodyError::Problem(Problem::new(StatusCode::REQUEST_TIMEOUT, sentence)))
            }
        }
    }
}

async fn collect(
    mut body: Limited<Body>,
    mut bytes: BodyBytes,
    max: u64,
) -> Result<RequestBody, BodyError> {
    // Most bodies are one frame, which is not copied.
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            BodyError::Problem(match error.is::<LengthLimitError>() {
                true => too_large(max),
                false => Problem::bad_request("The body ended before it was complete."),
            })
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if !bytes.add(data.len()) {
            return Err(BodyError::OverBudget);
        }
        if first.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
    }
    let content = if more.is_empty() { first } else { more.freeze() };
    Ok(RequestBody { content, _bytes: bytes })
}

fn too_large(max: u64) -> Problem {
    let sentence = format!("The body has more than {max} bytes.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
}

/// The media type of a body, in lower case and without parameters. `None` if there is none, or if
/// its charset is not UTF-8.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let mut parts = value.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let is_utf_8 = |part: &str| match part.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
        }
        _ => true,
    };
    parts.all(is_utf_8).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_lower_case_without_parameters() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            media_type(&headers)
        };
        assert_eq!(
            read("Application/JSON; Charset=\"UTF-8\"").as_deref(),
            Some("application/json")
        );
        assert_eq!(read("text/plain;a=b").as_deref(), Some("text/plain"));
        assert_eq!(read("application/json; charset=iso-8859-1"), None);
        assert_eq!(media_type(&HeaderMap::new()), None);
    }
}
