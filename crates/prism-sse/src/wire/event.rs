//! Events. Every field is valid, because no other event can be built.
//!
//! A value that the format cannot express is refused with an [`InvalidEvent`] that names the field
//! and the reason. Nothing is stripped or escaped, with the one exception that the format demands:
//! in data, CR and CRLF reach the reader as LF.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::id::EventId;
use super::invalid::{Field, InvalidEvent, check_token, refuse_line_breaks};
use crate::limits;

/// One event of the stream: data, and optionally an id, a name and a reconnection time.
///
/// ```
/// use prism_sse::Event;
/// use std::time::Duration;
///
/// let hello = Event::new("Hello, World!");
/// assert_eq!(hello.encode(), "data: Hello, World!\n\n");
///
/// let update = Event::new(r#"{"price": 42.50}"#).id("msg-123")?.event("price-update")?;
/// assert_eq!(
///     update.encode(),
///     "id: msg-123\nevent: price-update\ndata: {\"price\": 42.50}\n\n",
/// );
///
/// let retry = Event::new("reconnect test").retry(Duration::from_millis(5000))?;
/// assert_eq!(retry.encode(), "retry: 5000\ndata: reconnect test\n\n");
/// # Ok::<(), prism_sse::InvalidEvent>(())
/// ```
///
/// A value that cannot be encoded is an error, never a panic and never a silent correction:
///
/// ```
/// use prism_sse::Event;
///
/// let error = Event::new("x").event("a\nb").unwrap_err();
/// assert_eq!(error.to_string(), "an event's name must not contain a line break");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    id: Option<EventId>,
    name: Option<EventName>,
    retry_ms: Option<u32>,
    content: Content,
}

/// What an event carries: data for the page, or a comment, which is visible only in the raw stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Content {
    Data(String),
    Comment(String),
}

impl Event {
    /// An event with this data, which may be any text.
    ///
    /// Each line becomes a `data:` line. LF, CR and CRLF all end a line, and the reader sees each
    /// of them as LF; nothing else changes. Empty data is an event too.
    pub fn new(data: impl Into<String>) -> Self {
        Self { id: None, name: None, retry_ms: None, content: Content::Data(data.into()) }
    }

    /// An event whose data is `value` as compact JSON.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent::Json`] if `value` does not serialise.
    ///
    /// ```
    /// # use prism_sse::Event;
    /// # use std::collections::BTreeMap;
    /// let event = Event::json(&BTreeMap::from([("price", 42.5)]))?;
    /// assert_eq!(event.encode(), "data: {\"price\":42.5}\n\n");
    /// # Ok::<(), prism_sse::InvalidEvent>(())
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, InvalidEvent> {
        match serde_json::to_string(value) {
            Ok(data) => Ok(Self::new(data)),
            Err(error) => Err(InvalidEvent::Json { reason: error.to_string() }),
        }
    }

    /// A comment: a line that every reader skips, visible only in the raw stream.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent::LineBreak`] if the text contains CR or LF.
    pub fn comment(text: impl Into<String>) -> Result<Self, InvalidEvent> {
        let text = text.into();
        refuse_line_breaks(&text, Field::Comment)?;
        Ok(Self { id: None, name: None, retry_ms: None, content: Content::Comment(text) })
    }

    /// Sets the id, which the browser sends back as `Last-Event-ID` when it reconnects.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent`] if the id is not an [`EventId`], and [`InvalidEvent::NoData`] on a comment.
    pub fn id<T>(mut self, id: T) -> Result<Self, InvalidEvent>
    where
        T: TryInto<EventId>,
        InvalidEvent: From<T::Error>,
    {
        self.require_data(Field::Id)?;
        self.id = Some(id.try_into()?);
        Ok(self)
    }

    /// Sets the name that pages pass to `addEventListener`. Without one it is `message`.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent`] if the name is empty, too long, or contains a line break or NUL; and
    /// [`InvalidEvent::NoData`] on a comment.
    pub fn event<T>(mut self, name: T) -> Result<Self, InvalidEvent>
    where
        T: TryInto<EventName>,
        InvalidEvent: From<T::Error>,
    {
        self.require_data(Field::Name)?;
        self.name = Some(name.try_into()?);
        Ok(self)
    }

    /// Sets the time a browser waits before it reconnects, a whole number of milliseconds.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent::RetryTooLong`] above 2,147,483,647 ms, where the timers of clients overflow,
    /// and [`InvalidEvent::RetryFraction`] if a fraction of a millisecond would be lost.
    pub fn retry(mut self, after: Duration) -> Result<Self, InvalidEvent> {
        self.retry_ms = Some(whole_millis(after)?);
        Ok(self)
    }

    /// A control event, whose fields are known to be valid.
    pub(crate) fn control(name: EventName, retry_ms: Option<u32>, data: String) -> Self {
        Self { id: None, name: Some(name), retry_ms, content: Content::Data(data) }
    }

    /// The data, or `None` for a comment.
    pub fn data(&self) -> Option<&str> {
        match &self.content {
            Content::Data(data) => Some(data),
            Content::Comment(_) => None,
        }
    }

    /// The publisher's own id, if one was set.
    pub fn event_id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// The name, if one was set.
    pub fn name(&self) -> Option<&EventName> {
        self.name.as_ref()
    }

    /// The reconnection time, if one was set.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_ms.map(|ms| Duration::from_millis(ms.into()))
    }

    /// The text of a comment, or `None` for an event with data.
    pub fn comment_text(&self) -> Option<&str> {
        match &self.content {
            Content::Data(_) => None,
            Content::Comment(text) => Some(text),
        }
    }

    pub(super) fn retry_ms(&self) -> Option<u32> {
        self.retry_ms
    }

    /// Bytes of the data or the comment, to which the limit on an event's size applies.
    pub(crate) fn size(&self) -> usize {
        match &self.content {
            Content::Data(text) | Content::Comment(text) => text.len(),
        }
    }

    fn require_data(&self, field: Field) -> Result<(), InvalidEvent> {
        match self.content {
            Content::Data(_) => Ok(()),
            Content::Comment(_) => Err(InvalidEvent::NoData { field }),
        }
    }
}

impl From<String> for Event {
    fn from(data: String) -> Self {
        Self::new(data)
    }
}

impl From<&str> for Event {
    fn from(data: &str) -> Self {
        Self::new(data)
    }
}

/// The name of an event: not empty, at most 255 bytes, no line break, no NUL.
///
/// ```
/// use prism_sse::EventName;
///
/// const PRICE: EventName = EventName::from_static("price-update"); // checked when compiled
/// assert_eq!(PRICE.as_str(), "price-update");
/// assert!(EventName::try_from("a\r\nb").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventName(Cow<'static, str>);

impl EventName {
    /// A name that is known at compile time.
    ///
    /// # Panics
    ///
    /// If the name is not valid; in a `const` this is a compile error.
    #[expect(clippy::panic, reason = "a literal of the program, not input")]
    pub const fn from_static(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() > limits::EVENT_NAME_BYTES_MAX {
            panic!("an event's name has 1 to 255 bytes");
        }
        let mut at = 0;
        while at < bytes.len() {
            if matches!(bytes[at], b'\n' | b'\r' | 0) {
                panic!("an event's name has no line break and no NUL");
            }
            at += 1;
        }
        Self(Cow::Borrowed(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for EventName {
    type Error = InvalidEvent;

    fn try_from(name: &str) -> Result<Self, InvalidEvent> {
        Self::try_from(name.to_owned())
    }
}

impl TryFrom<String> for EventName {
    type Error = InvalidEvent;

    fn try_from(name: String) -> Result<Self, InvalidEvent> {
        check_token(&name, Field::Name, limits::EVENT_NAME_BYTES_MAX)?;
        Ok(Self(Cow::Owned(name)))
    }
}

impl std::str::FromStr for EventName {
    type Err = InvalidEvent;

    fn from_str(name: &str) -> Result<Self, InvalidEvent> {
        Self::try_from(name)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A duration in milliseconds, or why the format cannot express it.
pub(crate) fn whole_millis(after: Duration) -> Result<u32, InvalidEvent> {
    let millis = after.as_millis();
    if millis > u128::from(limits::RETRY_MS_MAX) {
        return Err(InvalidEvent::RetryTooLong { millis });
    }
    if !after.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(InvalidEvent::RetryFraction);
    }
    Ok(millis as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_field_and_the_limit() {
        let long = "x".repeat(300);
        let cases = [
            (Event::new("").id("a\0b"), "an event's id must not contain NUL"),
            (Event::new("").id("a\rb"), "an event's id must not contain a line break"),
            (
                Event::new("").id(" a"),
                "an event's id comes back in a request header: it must not contain control \
                 characters, and not begin or end with a space",
            ),
            (Event::new("").id(""), "an event's id must not be empty: leave it out instead"),
            (Event::new("").event("\n"), "an event's name must not contain a line break"),
            (
                Event::new("").event(long.as_str()),
                "an event's name has 300 bytes; at most 255 are allowed",
            ),
            (Event::comment("a\nb"), "a comment must not contain a line break"),
            (
                Event::comment("a").and_then(|comment| comment.id("1")),
                "a comment cannot carry an event's id",
            ),
            (
                Event::new("").retry(Duration::from_millis(2_147_483_648)),
                "a reconnection time is at most 2147483647 ms, not 2147483648 ms",
            ),
            (
                Event::new("").retry(Duration::from_micros(1500)),
                "a reconnection time must be a whole number of milliseconds",
            ),
        ];
        for (result, message) in cases {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_largest_reconnection_time_is_accepted() {
        let event = Event::new("x").retry(Duration::from_millis(2_147_483_647)).unwrap();
        assert_eq!(event.encode(), "retry: 2147483647\ndata: x\n\n");
    }
}
