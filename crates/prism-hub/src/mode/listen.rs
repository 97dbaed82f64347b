//! `listen`: prints what a hub somewhere else sends, as a browser would see it.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prism_sse::wire::{Parsed, ParsedEvent, Parser};
use serde_json::json;

use super::Failure;
use super::remote::{self, Remote};
use super::serving::block_on;
use crate::cli::ListenArgs;
use crate::limits;

/// Prints events until the hub refuses for good, or nobody reads what is printed.
pub(super) fn listen(args: ListenArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.url, args.token.as_deref())?;
    if let Some(id) = &args.last_event_id {
        HeaderValue::from_str(id)
            .map_err(|_| Failure::usage("--last-event-id: an id has no control characters"))?;
    }
    block_on(async move { Listener::new(remote, args).run().await })
}

struct Listener {
    remote: Remote,
    args: ListenArgs,
    parser: Parser,
    /// What the hub says to wait before connecting again.
    retry: Duration,
}

/// Why a stream ended.
enum End {
    /// For good, and all is well.
    Done,
    /// It may be that it goes on after this time.
    Again(Duration),
}

impl Listener {
    fn new(remote: Remote, args: ListenArgs) -> Self {
        Self { remote, args, parser: Parser::new(), retry: prism_sse::limits::RETRY }
    }

    async fn run(mut self) -> Result<(), Failure> {
        loop {
            let wait = match self.connect().await {
                Ok(answer) => match self.take(answer).await? {
                    End::Done => return Ok(()),
                    End::Again(wait) => wait,
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

    async fn connect(&self) -> Result<Response<Incoming>, remote::NoAnswer> {
        let topics: Vec<_> =
            self.args.topic.iter().map(|topic| ("topic", topic.as_str())).collect();
        let mut headers = vec![(ACCEPT.as_str(), HeaderValue::from_static("text/event-stream"))];
        let last_id = match (self.parser.last_event_id(), &self.args.last_event_id) {
            ("", asked) => asked.as_deref().unwrap_or_default(),
            (seen, _) => seen,
        };
        // Ids are text that a header can hold, or the hub would not get them back from anybody.
        if let Some(id) = HeaderValue::from_str(last_id).ok().filter(|id| !id.is_empty()) {
            headers.push(("last-event-id", id));
        }
        self.remote.get(&topics, &headers).await
    }

    /// Prints a stream to its end. A status tells what a browser would not: whether to come back.
    async fn take(&mut self, answer: Response<Incoming>) -> Result<End, Failure> {
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Ok(End::Done),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                let wait = retry_after(&answer).unwrap_or(self.retry);
                eprintln!("prism-hub: {}", remote::refusal(answer).await);
                return Ok(End::Again(wait));
            }
            _ => return Err(Failure::Failed(remote::refusal(answer).await)),
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let url = &self.args.url;
            return Err(Failure::Failed(format!("{url}: this is no stream of events")));
        }
        let mut body = answer.into_body();
        // What is silent for long is gone, even if nothing says so.
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(limits::SILENCE, body.frame()).await {
            let Ok(bytes) = frame.into_data() else { continue };
            if self.print(&bytes).is_err() {
                return Ok(End::Done);
            }
        }
        Ok(End::Again(self.retry))
    }

    /// Prints the events that are complete with these bytes. An error means that nobody reads them.
    fn print(&mut self, bytes: &Bytes) -> io::Result<()> {
        let mut rest = &bytes[..];
        let mut out = io::stdout().lock();
        while let Some(parsed) = self.parser.next(&mut rest) {
            match parsed {
                Parsed::Event(event) if is_for_browsers(&event) => {}
                Parsed::Event(event) if self.args.json => writeln!(out, "{}", as_json(&event))?,
                Parsed::Event(event) => write!(out, "{}", as_text(&event))?,
                Parsed::Retry(retry) => self.retry = retry,
                _ => eprintln!("prism-hub: an event was too large and is left out"),
            }
        }
        out.flush()
    }
}

/// Whether an event does nothing but tell a reader where it is, which `listen` keeps to itself.
fn is_for_browsers(event: &ParsedEvent) -> bool {
    matches!(event.name.as_str(), "prism.open" | "prism.mark")
}

fn as_json(event: &ParsedEvent) -> serde_json::Value {
    json!({"id": event.id, "event": event.name, "data": event.data})
}

/// The event as it might stand in a stream.
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
    remote::printable(&text)
}

fn retry_after(answer: &Response<Incoming>) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
