//! The mode `listen`: subscribes to a hub and prints the events, reconnecting as a browser does.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prism_sse::wire::{Parsed, ParsedEvent, Parser};
use serde_json::json;

use super::failure::Failure;
use super::hub_client::{self, HubClient, RequestError};
use super::serve::block_on;
use crate::cli::ListenArgs;
use crate::limits;

/// Prints events until the hub refuses with a status that is final, or standard output is closed.
pub(super) fn listen(args: ListenArgs) -> Result<(), Failure> {
    let client = HubClient::new(&args.url, args.token.as_deref())?;
    if let Some(id) = &args.last_event_id {
        HeaderValue::from_str(id)
            .map_err(|_| Failure::usage("--last-event-id: an id has no control characters"))?;
    }
    block_on(async move { EventListener::new(client, args).run().await })
}

struct EventListener {
    client: HubClient,
    args: ListenArgs,
    parser: Parser,
    /// The reconnection time, which the stream can set.
    retry: Duration,
}

/// Why a stream ended.
enum StreamEnd {
    /// The mode ends, successfully.
    Done,
    /// The mode connects again after this time.
    Reconnect(Duration),
}

impl EventListener {
    fn new(client: HubClient, args: ListenArgs) -> Self {
        Self { client, args, parser: Parser::new(), retry: prism_sse::limits::RETRY }
    }

    async fn run(mut self) -> Result<(), Failure> {
        loop {
            let wait = match self.connect().await {
                Ok(response) => match self.print_stream(response).await? {
                    StreamEnd::Done => return Ok(()),
                    StreamEnd::Reconnect(wait) => wait,
                },
                Err(error) => {
                    eprintln!("prism-hub: {}: {error}", self.args.url);
                    self.retry
                }
            };
            self.parser.reconnected();
            tokio::time::sleep(wait.max(limits::RECONNECT_MIN)).await;
        }
    }

    async fn connect(&self) -> Result<Response<Incoming>, RequestError> {
        let topics: Vec<_> =
            self.args.topic.iter().map(|topic| ("topic", topic.as_str())).collect();
        let mut headers = vec![(ACCEPT.as_str(), HeaderValue::from_static("text/event-stream"))];
        let last_id = match (self.parser.last_event_id(), &self.args.last_event_id) {
            ("", initial) => initial.as_deref().unwrap_or_default(),
            (received, _) => received,
        };
        // The hub sends only ids that are valid in a header; any other server's are not sent back.
        if let Some(id) = HeaderValue::from_str(last_id).ok().filter(|id| !id.is_empty()) {
            headers.push(("last-event-id", id));
        }
        self.client.get(&topics, &headers).await
    }

    /// Prints a stream to its end. Unlike a browser it reconnects after 429 and 5xx too.
    async fn print_stream(&mut self, response: Response<Incoming>) -> Result<StreamEnd, Failure> {
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Ok(StreamEnd::Done),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                let wait = retry_after(&response).unwrap_or(self.retry);
                eprintln!("prism-hub: {}", hub_client::error_message(response).await);
                return Ok(StreamEnd::Reconnect(wait));
            }
            _ => return Err(Failure::Failed(hub_client::error_message(response).await)),
        }
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|it| it.starts_with("text/event-stream")) {
            let url = &self.args.url;
            return Err(Failure::Failed(format!("{url}: this is no stream of events")));
        }
        let mut body = response.into_body();
        // Without heartbeats the connection is dead, even if TCP reports no error.
        while let Ok(Some(Ok(frame))) =
            tokio::time::timeout(limits::LISTEN_IDLE_TIMEOUT, body.frame()).await
        {
            let Ok(bytes) = frame.into_data() else { continue };
            if self.print(&bytes).is_err() {
                return Ok(StreamEnd::Done);
            }
        }
        Ok(StreamEnd::Reconnect(self.retry))
    }

    /// Prints the events that these bytes complete. An error means that standard output is closed.
    fn print(&mut self, bytes: &Bytes) -> io::Result<()> {
        let mut rest = &bytes[..];
        let mut out = io::stdout().lock();
        while let Some(parsed) = self.parser.next(&mut rest) {
            match parsed {
                Parsed::Event(event) if is_position_only(&event) => {}
                Parsed::Event(event) if self.args.json => writeln!(out, "{}", as_json(&event))?,
                Parsed::Event(event) => write!(out, "{}", as_text(&event))?,
                Parsed::Retry(retry) => self.retry = retry,
                _ => eprintln!("prism-hub: an event was too large and is left out"),
            }
        }
        out.flush()
    }
}

/// Whether this is a control event that only carries the position. `listen` does not print these.
fn is_position_only(event: &ParsedEvent) -> bool {
    matches!(event.name.as_str(), "prism.open" | "prism.mark")
}

fn as_json(event: &ParsedEvent) -> serde_json::Value {
    json!({"id": event.id, "event": event.name, "data": event.data})
}

/// The event in the format of an event stream.
fn as_text(event: &ParsedEvent) -> String {
    let mut text = String::new();
    if !event.id.is_empty() {
        text.push_str(&format!("id: {}\n", event.id));
    }
    if event.name != "message" {
        text.push_str(&format!("event: {}\n", event.name));
    }
    for line in event.data.split('\n') {
        text.push_str(&format!("data: {line}\n"));
    }
    text.push('\n');
    hub_client::printable(&text)
}

fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
