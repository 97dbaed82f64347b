//! Error responses as `application/problem+json` (RFC 9457): a status and one sentence of detail.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

/// An error response.
///
/// ```
/// use prism_hub::problem::Problem;
///
/// let problem = Problem::bad_request("A publish needs at least one topic.");
/// assert_eq!(problem.status(), 400);
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    /// The member `type`, for statuses that have several causes.
    kind: Option<&'static str>,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct ProblemDocument<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem with this status. `detail` is one sentence, and must contain no secret.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, kind: None, detail: detail.into(), headers: Vec::new() }
    }

    /// 400: the request is malformed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: no resource has this path.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing at this address.")
    }

    /// 405: the resource allows these methods alone.
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("The methods here are {allowed}."))
            .header(ALLOW, HeaderValue::from_static(allowed))
    }

    /// 503: the hub cannot serve the request now. `kind` is the member `type`, by which clients
    /// tell the causes apart, such as `overloaded` and `draining`; `retry_after` is in seconds.
    pub fn unavailable(kind: &'static str, detail: impl Into<String>, retry_after: u32) -> Self {
        Self { kind: Some(kind), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
            .header(RETRY_AFTER, retry_after.into())
    }

    /// Sets a header of the response, and replaces one of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence of the member `detail`.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem document as JSON, for a response that contains several.
    pub fn to_json(&self) -> String {
        let document = ProblemDocument {
            kind: self.kind,
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        // Serializing strings and numbers cannot fail; an empty object would still be valid JSON.
        serde_json::to_string(&document).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(self.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_response_with_its_headers() {
        let problem = Problem::method_not_allowed("GET, POST");
        assert_eq!(
            problem.to_json(),
            "{\"title\":\"Method Not Allowed\",\"status\":405,\
             \"detail\":\"The methods here are GET, POST.\"}"
        );
        let response = problem.into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, POST");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }

    #[test]
    fn the_detail_is_escaped_as_json() {
        let problem = Problem::bad_request("\"}\r\n\u{1b}[31m");
        assert!(problem.to_json().ends_with(r#""detail":"\"}\r\n\u001b[31m"}"#));
    }

    #[test]
    fn an_unavailable_problem_has_retry_after() {
        let response = Problem::unavailable("draining", "The hub is ending.", 7).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "7");
    }
}
