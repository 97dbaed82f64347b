//! Request bodies, read within limits on their size and on the time they take.

use std::future::Future;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::limits;
use crate::problem::Problem;

/// Reads a body of at most `max` bytes. The future holds the body alone, not the whole request.
pub(super) fn read(
    request: Request<Body>,
    max: u64,
) -> impl Future<Output = Result<Bytes, Problem>> {
    let too_large = move || {
        let sentence = format!("The body has more than {max} bytes.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    };
    let content_length = request.headers().get(CONTENT_LENGTH);
    let content_length = content_length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let body = Limited::new(request.into_body(), limit).collect();
    async move {
        if content_length.is_some_and(|len| len > max) {
            return Err(too_large());
        }
        match tokio::time::timeout(limits::BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::bad_request("The body ended before it was complete.")),
            Err(_) => {
                let sentence =
                    format!("The body took more than {} s.", limits::BODY_TIMEOUT.as_secs());
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, sentence))
            }
        }
    }
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
