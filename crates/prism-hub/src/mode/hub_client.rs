//! The client of a hub that `publish` and `listen` share.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use url::Url;
use url::form_urlencoded::Serializer;

use super::failure::Failure;
use crate::client::{self, Client};
use crate::limits;

/// A client of one endpoint of a hub, with a token.
pub(super) struct HubClient {
    client: Client,
    url: Url,
    authorization: Option<HeaderValue>,
}

/// A request that got no response, or only a part of it.
#[derive(Debug)]
pub(super) struct RequestError(String);

impl HubClient {
    /// Checks the URL and the token. It sends nothing.
    pub(super) fn new(url: &str, token: Option<&str>) -> Result<Self, Failure> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            Failure::usage("URL: it must be such as http://127.0.0.1:8080/events")
        })?;
        let authorization = token.map(|token| HeaderValue::try_from(format!("Bearer {token}")));
        let mut authorization = authorization
            .transpose()
            .map_err(|_| Failure::usage("--token: a token has no control characters"))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let client = client::new(limits::RESPONSE_TIMEOUT, url.scheme() == "https");
        Ok(Self { client: client.map_err(Failure::failed)?, url, authorization })
    }

    /// Sends a GET with these query parameters and headers.
    pub(super) async fn get(
        &self,
        parameters: &[(&str, &str)],
        headers: &[(&'static str, HeaderValue)],
    ) -> Result<Response<Incoming>, RequestError> {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        let mut request = self.request(Method::GET, &url, Bytes::new())?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.clone());
        }
        self.send(request).await
    }

    /// Sends a POST with this form.
    pub(super) async fn post(
        &self,
        form: &[(&str, &str)],
    ) -> Result<Response<Incoming>, RequestError> {
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self.request(Method::POST, &self.url, body.into())?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(http::header::CONTENT_TYPE, form);
        self.send(request).await
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, RequestError> {
        let request = Request::builder().method(method).uri(url.as_str());
        let mut request = request.body(Full::new(body)).map_err(RequestError::new)?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, RequestError> {
        let response =
            tokio::time::timeout(limits::RESPONSE_TIMEOUT, self.client.request(request)).await;
        let seconds = limits::RESPONSE_TIMEOUT.as_secs();
        let late = |_| RequestError(format!("there was no answer within {seconds} s"));
        response.map_err(late)?.map_err(RequestError::new)
    }
}

/// Reads the body of a response as text, up to a limit.
pub(super) async fn body_text(body: Incoming) -> Result<String, RequestError> {
    let body = Limited::new(body, limits::RESPONSE_BYTES_MAX).collect();
    let body =
        tokio::time::timeout(limits::RESPONSE_TIMEOUT, body).await.map_err(RequestError::new)?;
    let body = body.map_err(|error| RequestError(error.to_string()))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// The message for a response with an error status, with the detail of its problem document or else
/// the whole body.
pub(super) async fn error_message(response: Response<Incoming>) -> String {
    let status = response.status();
    let text = body_text(response.into_body()).await.unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let detail = problem.as_ref().and_then(|it| it["detail"].as_str()).unwrap_or(text.trim());
    if detail.is_empty() {
        format!("the hub refused: {status}")
    } else {
        format!("the hub refused: {status}: {}", printable(detail))
    }
}

/// Escapes control characters, so that text from the network cannot send commands to the terminal.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

impl RequestError {
    fn new(error: impl std::error::Error + 'static) -> Self {
        Self(client::last_cause(&error))
    }
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\u{1b}[31m\u{9b}b\tc\nd\r"), "a\\u{1b}[31m\\u{9b}b\tc\nd\\r");
    }

    #[test]
    fn an_invalid_url_or_token_is_wrong_usage() {
        for url in ["", "hub", "ftp://hub", "127.0.0.1:8080"] {
            assert!(matches!(HubClient::new(url, None), Err(Failure::Usage(_))), "{url}");
        }
        assert!(matches!(HubClient::new("http://hub", Some("a\nb")), Err(Failure::Usage(_))));
    }
}
