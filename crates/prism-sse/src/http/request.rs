//! Requests for an event stream.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, Method};

use crate::audience::Audience;
use crate::connection::ConnectOptions;
use crate::subscription::Start;

/// A request for an event stream, to which the application adds the audience and the start.
///
/// ```
/// use prism_sse::{Audience, Manager, SseRequest};
///
/// let sse = Manager::new();
/// let (parts, ()) = http::Request::get("/users/7/events").body(())?.into_parts();
///
/// let user = Audience::select(["news", "users/7"])?.grant("users/7")?;
/// let response = sse.respond(SseRequest::new(&parts.method, &parts.headers)?.audience(user));
/// assert_eq!(response.headers()["content-type"], "text/event-stream");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SseRequest {
    head: bool,
    /// `Accept` names `text/event-stream`, so that the client can read a refusal in a stream.
    names_event_stream: bool,
    last_event_id: Option<String>,
    audience: Audience,
    start: Start,
    state: Option<Arc<dyn Any + Send + Sync>>,
}

impl SseRequest {
    /// Reads `Accept` and `Last-Event-ID`.
    ///
    /// # Errors
    ///
    /// [`NotAcceptable`] if `Accept` excludes `text/event-stream`.
    pub fn new(method: &Method, headers: &HeaderMap) -> Result<Self, NotAcceptable> {
        let accept = Accept::read(headers);
        if !accept.allows {
            return Err(NotAcceptable);
        }
        Ok(Self {
            head: method == Method::HEAD,
            names_event_stream: accept.names,
            last_event_id: last_event_id(headers),
            audience: Audience::everything(),
            start: Start::default(),
            state: None,
        })
    }

    /// What the connection reads; everything public by default.
    #[must_use]
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// Where the stream begins for a reader that connects for the first time. With history, a
    /// reader that reconnects begins after the last event it received.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Attaches a value to the connection, for hooks and [`ConnectionRef::state`].
    ///
    /// [`ConnectionRef::state`]: crate::manager::ConnectionRef::state
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.state = Some(Arc::new(state));
        self
    }

    /// The `Last-Event-ID` of a reader that reconnects, as it was sent.
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    pub(super) fn is_head(&self) -> bool {
        self.head
    }

    /// Whether `Accept` names `text/event-stream`, so that the client can read a refusal in a
    /// stream.
    pub fn names_event_stream(&self) -> bool {
        self.names_event_stream
    }

    pub(super) fn into_connect_options(self) -> ConnectOptions {
        let mut options = ConnectOptions::new(self.audience, self.start);
        options.state = self.state;
        options.last_event_id = self.last_event_id;
        options
    }
}

impl fmt::Debug for SseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseRequest")
            .field("last_event_id", &self.last_event_id)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// The request does not accept `text/event-stream`; the response has the status 406.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAcceptable;

impl fmt::Display for NotAcceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this resource is text/event-stream, which the Accept header excludes")
    }
}

impl std::error::Error for NotAcceptable {}

/// The value of `Last-Event-ID`. Clients send it as UTF-8 (WHATWG HTML, section 9.2.3). What is not
/// UTF-8 was never an id of ours; with replacement characters it stays an unknown id.
fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("last-event-id")?;
    (!value.is_empty()).then(|| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// What `Accept` says about `text/event-stream` (RFC 9110, section 12.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accept {
    allows: bool,
    names: bool,
}

impl Accept {
    /// The most specific range decides. Without the header everything is accepted. Invalid ranges
    /// and weights are ignored.
    fn read(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT);
        let ranges = values.iter().filter_map(|value| value.to_str().ok());
        let mut best: Option<(u8, bool)> = None;
        let mut empty = true;
        for range in ranges.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            empty &= name.is_empty();
            let specific = match name {
                name if name.eq_ignore_ascii_case("text/event-stream") => 3,
                name if name.eq_ignore_ascii_case("text/*") => 2,
                "*/*" => 1,
                _ => continue,
            };
            let allows = !parts.any(is_zero_weight);
            best = match best {
                Some((other, _)) if other > specific => best,
                Some((other, also)) if other == specific => Some((specific, also || allows)),
                _ => Some((specific, allows)),
            };
        }
        match best {
            Some((specific, allows)) => Self { allows, names: allows && specific == 3 },
            None => Self { allows: empty, names: false },
        }
    }
}

/// `q=0`, with up to three decimals that are zero too.
fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        let cases = [
            (&[][..], true, false),
            (&[""], true, false),
            (&["*/*"], true, false),
            (&["text/*"], true, false),
            (&["text/event-stream"], true, true),
            (&["TEXT/Event-Stream; q=0.1"], true, true),
            (&["application/json, text/event-stream"], true, true),
            (&["application/json", "text/event-stream"], true, true),
            (&["application/json"], false, false),
            (&["text/html, application/xhtml+xml"], false, false),
            (&["text/event-stream;q=0"], false, false),
            (&["text/event-stream;q=0.000, */*"], false, false),
            (&["text/*;q=0, */*"], false, false),
            (&["*/*;q=0"], false, false),
            (&["*/*;q=0, text/event-stream"], true, true),
        ];
        for (values, allows, names) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, value.parse().unwrap());
            }
            assert_eq!(Accept::read(&headers), Accept { allows, names }, "{values:?}");
        }
    }
}
