//! A hub somewhere else, as `publish` and `listen` see it.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use url::Url;
use url::form_urlencoded::Serializer;

use super::Failure;
use crate::client::{self, Client};
use crate::limits;

/// A hub's endpoint, and the token that is shown there.
pub(super) struct Remote {
    client: Client,
    url: Url,
    authorization: Option<HeaderValue>,
}

/// Why an answer could not be had.
#[derive(Debug)]
pub(super) struct NoAnswer(String);

impl Remote {
    /// Checks the address and the token; nothing is sent.
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
        let client = client::new(limits::ANSWER, url.scheme() == "https");
        Ok(Self { client: client.map_err(Failure::failed)?, url, authorization })
    }

    /// The answer to a GET with these parameters and headers.
    pub(super) async fn get(
        &self,
        parameters: &[(&str, &str)],
        headers: &[(&'static str, HeaderValue)],
    ) -> Result<Response<Incoming>, NoAnswer> {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        let mut request = self.request(Method::GET, &url, Bytes::new())?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.clone());
        }
        self.send(request).await
    }

    /// The answer to a POST with this form.
    pub(super) async fn post(&self, form: &[(&str, &str)]) -> Result<Response<Incoming>, NoAnswer> {
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
    ) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let request = Request::builder().method(method).uri(url.as_str());
        let mut request = request.body(Full::new(body)).map_err(NoAnswer::new)?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, NoAnswer> {
        let answer = tokio::time::timeout(limits::ANSWER, self.client.request(request)).await;
        let seconds = limits::ANSWER.as_secs();
        let late = |_| NoAnswer(format!("there was no answer within {seconds} s"));
        answer.map_err(late)?.map_err(NoAnswer::new)
    }
}

/// The text of an answer, as much of it as is worth reading.
pub(super) async fn text(body: Incoming) -> Result<String, NoAnswer> {
    let body = Limited::new(body, limits::ANSWER_BYTES_MAX).collect();
    let body = tokio::time::timeout(limits::ANSWER, body).await.map_err(NoAnswer::new)?;
    let body = body.map_err(|error| NoAnswer(error.to_string()))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// What a hub says that refuses: the sentence of its problem document, or what it is.
pub(super) async fn refusal(answer: Response<Incoming>) -> String {
    let status = answer.status();
    let text = text(answer.into_body()).await.unwrap_or_default();
    let document: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let detail = document.as_ref().and_then(|it| it["detail"].as_str()).unwrap_or(text.trim());
    if detail.is_empty() {
        format!("the hub refused: {status}")
    } else {
        format!("the hub refused: {status}: {}", printable(detail))
    }
}

/// Text that cannot command the terminal it is printed on.
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

impl NoAnswer {
    fn new(error: impl std::error::Error + 'static) -> Self {
        Self(client::last_cause(&error))
    }
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_cannot_command_a_terminal() {
        assert_eq!(printable("a\u{1b}[31m\u{9b}b\tc\nd\r"), "a\\u{1b}[31m\\u{9b}b\tc\nd\\r");
    }

    #[test]
    fn an_address_that_is_none_is_wrong_usage() {
        for url in ["", "hub", "ftp://hub", "127.0.0.1:8080"] {
            assert!(matches!(Remote::new(url, None), Err(Failure::Usage(_))), "{url}");
        }
        assert!(matches!(Remote::new("http://hub", Some("a\nb")), Err(Failure::Usage(_))));
    }
}
