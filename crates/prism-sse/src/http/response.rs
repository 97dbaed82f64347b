//! Responses: a stream, or a refusal.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::request::{NotAcceptable, SseRequest};
use crate::connection::first_frame::ResponseTag;
use crate::connection::{Connection, SubscribeError};
use crate::manager::Manager;
use crate::random;
use crate::wire::retry_line;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// No proxy may cache or transform the stream. Compression, for example, would delay events.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, no-transform");
/// nginx buffers responses of the servers behind it unless this is `no`.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const PRISM_GAP: HeaderName = HeaderName::from_static("prism-gap");
const PRISM_REFUSED: HeaderName = HeaderName::from_static("prism-refused");

impl Manager {
    /// Answers a request with a stream, or with a refusal.
    ///
    /// A browser does not reconnect after any status but 200. So a client that names
    /// `text/event-stream` is refused softly if a limit is reached or the manager is closed: with a
    /// stream that has only a `retry:` line, and the header `Prism-Refused`. Others get 503 and
    /// `Retry-After`.
    #[must_use = "dropping the response ends the connection"]
    pub fn respond(&self, request: SseRequest) -> Response<SseBody> {
        let soft = request.names_event_stream();
        self.try_respond(request).unwrap_or_else(|error| self.refuse(error, soft))
    }

    /// Answers a request with a stream, and leaves refusals to the caller.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the manager is closed or a limit is reached.
    pub fn try_respond(&self, request: SseRequest) -> Result<Response<SseBody>, SubscribeError> {
        if request.is_head() {
            return Ok(stream(SseBody(SseBodyKind::Head)));
        }
        self.connect(request.into_connect_options()).map(Connection::into_response)
    }

    fn refuse(&self, error: SubscribeError, soft: bool) -> Response<SseBody> {
        let reason = match error {
            SubscribeError::Closed => "drain",
            SubscribeError::Full { .. }
            | SubscribeError::PatternsTooCostly { .. }
            | SubscribeError::TooManyPatterns { .. } => "limit",
        };
        let retry_ms = self.inner().settings.retry_ms(random::bits() as u32);
        let mut response = if soft {
            let mut line = Vec::new();
            retry_line(retry_ms, &mut line);
            stream(SseBody(SseBodyKind::Text(Some(line.into()))))
        } else {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
            let seconds = retry_ms.div_ceil(1000);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            response
        };
        response.headers_mut().insert(PRISM_REFUSED, HeaderValue::from_static(reason));
        response
    }
}

impl Connection {
    /// The response that streams this connection.
    pub fn into_response(self) -> Response<SseBody> {
        let gap = self.gap();
        let tag = ResponseTag(self.id());
        let mut response = stream(SseBody(SseBodyKind::Stream(self)));
        response.extensions_mut().insert(tag);
        if let Some(gap) = gap {
            response.headers_mut().insert(PRISM_GAP, HeaderValue::from_static(gap.as_str()));
        }
        response
    }
}

impl NotAcceptable {
    /// The response: 406, with the reason as text.
    pub fn into_response(self) -> Response<SseBody> {
        text(StatusCode::NOT_ACCEPTABLE, self.to_string())
    }
}

/// The response to a method other than `GET` and `HEAD`.
pub(super) fn method_not_allowed() -> Response<SseBody> {
    let sentence = "an event stream is read with GET";
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, sentence.to_owned());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn stream(body: SseBody) -> Response<SseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn text(status: StatusCode, mut sentence: String) -> Response<SseBody> {
    sentence.push('\n');
    let mut response = Response::new(SseBody(SseBodyKind::Text(Some(sentence.into()))));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The body of a response: a connection, or a short text.
#[derive(Debug)]
pub struct SseBody(SseBodyKind);

#[derive(Debug)]
enum SseBodyKind {
    /// The response to `HEAD`, whose headers are those of the stream.
    Head,
    Stream(Connection),
    Text(Option<Bytes>),
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            SseBodyKind::Head => Poll::Ready(None),
            SseBodyKind::Stream(connection) => Pin::new(connection).poll_frame(cx),
            SseBodyKind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, SseBodyKind::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            SseBodyKind::Head | SseBodyKind::Stream(_) => SizeHint::default(),
            SseBodyKind::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64)
            }
        }
    }
}
