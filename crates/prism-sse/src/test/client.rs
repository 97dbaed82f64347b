//! A reader of event streams on any tower service, without a socket.
//!
//! It reads only when it is asked to. With tokio's paused clock a test runs through minutes of
//! heartbeats at once, and never waits for real time.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use crate::wire::{Parsed, ParsedEvent, Parser};

/// How long a client waits for what a test expects, in the runtime's time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Reads an event stream as an `EventSource` does, but only when the test calls one of its methods.
///
/// ```
/// use prism_sse::{Manager, SseLayer, test::Client};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let sse = Manager::new();
/// let app = axum::Router::new().layer(SseLayer::new(sse.clone(), "/events"));
///
/// let mut page = Client::connect(app, "/events").await.unwrap();
/// sse.broadcast("hello").unwrap();
/// page.expect("message", "hello").await;
/// # }
/// ```
pub struct Client<S, B> {
    service: S,
    path: String,
    request_headers: HeaderMap,
    headers: HeaderMap,
    body: Option<Pin<Box<B>>>,
    parser: Parser,
    /// What was read and not yet parsed.
    unparsed: Bytes,
    raw: Vec<u8>,
    retry: Option<Duration>,
}

impl<S, B> Client<S, B>
where
    S: Service<Request<String>, Response = Response<B>> + Clone,
    S::Error: fmt::Debug,
    B: Body<Data = Bytes>,
    B::Error: fmt::Debug,
{
    /// Connects with `Accept: text/event-stream`.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the answer is not a stream.
    pub async fn connect(service: S, path: &str) -> Result<Self, Refused> {
        Self::connect_with(service, path, HeaderMap::new()).await
    }

    /// Connects with further headers.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the answer is not a stream.
    pub async fn connect_with(service: S, path: &str, headers: HeaderMap) -> Result<Self, Refused> {
        let mut client = Self {
            service,
            path: path.to_owned(),
            request_headers: headers,
            headers: HeaderMap::new(),
            body: None,
            parser: Parser::new(),
            unparsed: Bytes::new(),
            raw: Vec::new(),
            retry: None,
        };
        client.request().await?;
        Ok(client)
    }

    /// Hangs up and connects again with the last id received, without waiting.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the answer is not a stream.
    pub async fn reconnect(&mut self) -> Result<(), Refused> {
        self.hang_up();
        self.request().await
    }

    /// Drops the response, as a reader that disconnects does.
    pub fn hang_up(&mut self) {
        self.body = None;
    }

    /// Lets time pass without reading.
    pub async fn stall(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Reads everything that comes within this time, and returns its events.
    pub async fn listen(&mut self, time: Duration) -> Vec<ParsedEvent> {
        let end = Instant::now() + time;
        let mut events = Vec::new();
        while let Ok(Some(event)) = timeout_at(end, self.next()).await {
            events.push(event);
        }
        if !self.is_open() {
            tokio::time::sleep_until(end).await;
        }
        events
    }

    /// The next event, or `None` when the stream ended.
    ///
    /// # Panics
    ///
    /// If nothing comes for a minute, or the body fails.
    pub async fn event(&mut self) -> Option<ParsedEvent> {
        let deadline = Instant::now() + TIMEOUT;
        timeout_at(deadline, self.next()).await.expect("an event or the end within a minute")
    }

    /// Reads the next event and compares it.
    ///
    /// # Panics
    ///
    /// If the next event is another one, or none comes.
    pub async fn expect(&mut self, name: &str, data: &str) -> ParsedEvent {
        let event = self.event().await;
        let event = event.expect("the stream ended before the event");
        assert_eq!((event.name.as_str(), event.data.as_str()), (name, data), "the next event");
        event
    }

    /// Reads the next event, whatever its data, and compares its name.
    ///
    /// # Panics
    ///
    /// If the next event has another name, or none comes.
    pub async fn expect_named(&mut self, name: &str) -> ParsedEvent {
        let event = self.event().await;
        let event = event.expect("the stream ended before the event");
        assert_eq!(event.name, name, "the next event, which has the data {:?}", event.data);
        event
    }

    /// Reads to the end of the stream.
    ///
    /// # Panics
    ///
    /// If another event comes, or the stream stays open for a minute.
    pub async fn expect_end(&mut self) {
        let event = self.event().await;
        assert_eq!(event, None, "the end of the stream");
    }

    /// The response's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Every byte read since the client first connected.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The id that the next reconnect sends; empty if there is none.
    pub fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// The reconnection time that the stream set last.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether the stream has not ended, as far as was read.
    pub fn is_open(&self) -> bool {
        self.body.is_some()
    }

    async fn request(&mut self) -> Result<(), Refused> {
        let mut request = Request::get(&self.path).body(String::new()).expect("a valid path");
        let headers = request.headers_mut();
        headers.insert(http::header::ACCEPT, http::HeaderValue::from_static("text/event-stream"));
        headers.extend(self.request_headers.clone());
        let last_event_id = self.last_event_id();
        if !last_event_id.is_empty() {
            let id = http::HeaderValue::from_bytes(last_event_id.as_bytes());
            headers.insert("last-event-id", id.expect("an id that is a valid header"));
        }
        poll_fn(|cx| self.service.poll_ready(cx)).await.expect("a service that is ready");
        let response = self.service.call(request).await.expect("a service that answers");
        let (parts, body) = response.into_parts();
        let is_stream = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|of| of.as_bytes().starts_with(b"text/event-stream"));
        if parts.status != StatusCode::OK || !is_stream {
            return Err(Refused { status: parts.status, headers: parts.headers });
        }
        self.parser.reconnected();
        self.unparsed = Bytes::new();
        self.headers = parts.headers;
        self.body = Some(Box::pin(body));
        Ok(())
    }

    async fn next(&mut self) -> Option<ParsedEvent> {
        loop {
            let mut input: &[u8] = &self.unparsed;
            let parsed = self.parser.next(&mut input);
            self.unparsed = self.unparsed.split_off(self.unparsed.len() - input.len());
            match parsed {
                Some(Parsed::Event(event)) => return Some(event),
                Some(Parsed::Retry(retry)) => self.retry = Some(retry),
                Some(Parsed::Discarded) => {}
                None => self.unparsed = self.read().await?,
            }
        }
    }

    async fn read(&mut self) -> Option<Bytes> {
        let body = self.body.as_mut()?;
        loop {
            let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
                self.body = None;
                return None;
            };
            if let Ok(bytes) = frame.expect("a body that does not fail").into_data() {
                self.raw.extend_from_slice(&bytes);
                return Some(bytes);
            }
        }
    }
}

impl<S, B> fmt::Debug for Client<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The answer was not an event stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is no event stream, its status is {}", self.status)
    }
}

impl std::error::Error for Refused {}
