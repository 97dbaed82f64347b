//! A reader that reconnects with any last event id gets a stream, with a gap if it misses events.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bolero::check;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::Body;
use prism_sse::wire::{Parsed, ParsedEvent, Parser};
use prism_sse::{Event, Manager, Position, Retention, SseBody, SseRequest};
use serde_json::Value;

/// Ids and data of the published events: some have ids of the publisher, and the first is evicted.
const PUBLISHED: [(&str, &str); 5] =
    [("", "one"), ("a", "two"), ("", "three\n\nfour"), ("é \"", ""), ("", "five")];

const KEPT: usize = 4;

fn manager() -> Manager {
    let history = Retention::default().count(KEPT);
    let sse = Manager::builder().history(history).build().expect("the bound is not zero");
    for (id, data) in PUBLISHED {
        let event = Event::new(data);
        let event = if id.is_empty() { event } else { event.id(id).expect("it is valid") };
        sse.broadcast(event).expect("it is valid");
    }
    sse
}

fn headers(last_event_id: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(last_event_id).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static("last-event-id"), value)]))
}

/// Whether the response has the header of a gap, and the events of its body, which is ended at
/// once.
fn reconnect(sse: &Manager, headers: &HeaderMap) -> (bool, Vec<ParsedEvent>) {
    let request = SseRequest::new(&Method::GET, headers).expect("there is no Accept");
    let response = sse.respond(request);
    let gap = response.headers().contains_key("prism-gap");
    for connection in sse.connections() {
        connection.remove();
    }
    (gap, events(response.into_body()))
}

fn events(mut body: SseBody) -> Vec<ParsedEvent> {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
        let frame = frame.expect("it cannot fail").into_data().expect("there are no trailers");
        let mut bytes = &frame[..];
        while let Some(parsed) = parser.next(&mut bytes) {
            match parsed {
                Parsed::Event(event) => events.push(event),
                Parsed::Retry(_) => {}
                other => unreachable!("{other:?}"),
            }
        }
    }
    assert_eq!(parser.buffered(), parser.last_event_id().len(), "a block is not complete");
    events
}

/// An id: nearly an existing position, an id of the publisher, or any bytes. The first byte selects
/// which.
fn id_of(input: &[u8], epoch: &str) -> Vec<u8> {
    let [kind, rest @ ..] = input else { return Vec::new() };
    let at = usize::from(rest.first().copied().unwrap_or_default());
    match kind % 8 {
        0 | 1 => format!("{epoch}.{}", at % 8).into_bytes(),
        2 | 3 => {
            let mut id = format!("{epoch}.{}", at % 8).into_bytes();
            let at = at / 8 % id.len();
            let digits = rest
                .iter()
                .skip(1)
                .take(2)
                .map(|byte| b"0123456789abcdefA#. "[usize::from(byte % 20)]);
            id.splice(at..at, digits);
            id
        }
        4 => PUBLISHED[at % PUBLISHED.len()].0.as_bytes().to_vec(),
        5 => b"earliest"[..at % 9].to_vec(),
        // Bytes that no header may contain would only be refused.
        6 => {
            rest.iter().map(|byte| byte.max(&b' ')).filter(|byte| **byte != 0x7f).copied().collect()
        }
        _ => rest.to_vec(),
    }
}

#[test]
fn last_event_id() {
    check!().for_each(|input: &[u8]| {
        let sse = manager();
        let (_, first) = reconnect(&sse, &HeaderMap::new());
        let (epoch, _) = first[0].id.rsplit_once('.').expect("a position has a point");
        let Some(headers) = headers(&id_of(input, epoch)) else { return };
        let is_first_visit = headers["last-event-id"].is_empty();
        let (gap, events) = reconnect(&sse, &headers);

        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        let control = if gap { &["prism.open", "prism.gap"][..] } else { &["prism.open"] };
        assert_eq!(names[..control.len()], *control);
        assert_eq!(names.last(), Some(&"prism.mark"));
        let replayed = &events[control.len()..events.len() - 1];
        assert!(replayed.iter().all(|event| event.name == "message"));

        if gap {
            let asked = String::from_utf8_lossy(headers["last-event-id"].as_bytes());
            let data: Value = serde_json::from_str(&events[1].data).expect("it is JSON");
            let after = if asked.len() <= 255 { Value::from(asked) } else { Value::Null };
            assert_eq!(data["after"], after);
            assert_eq!(data["resumed_at"], events[1].id);
        }

        // With any id, a reader gets the newest events without a hole; after a gap, all that are
        // kept.
        let newest: Vec<_> =
            PUBLISHED[PUBLISHED.len() - replayed.len()..].iter().map(|it| it.1).collect();
        let data: Vec<_> = replayed.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, newest);
        assert!(!gap || replayed.len() == KEPT);
        assert!(!is_first_visit || (!gap && replayed.is_empty()));
        let exact = headers["last-event-id"].to_str().ok().and_then(|id| id.parse().ok());
        if let Some(Position { epoch: asked, seq }) = exact
            && format!("#{asked}") == epoch
        {
            // The record before the oldest kept one is the first position to resume from.
            let oldest = (PUBLISHED.len() - KEPT) as u64;
            let newest = PUBLISHED.len() as u64;
            assert_eq!(gap, !(oldest..=newest).contains(&seq));
            assert!(gap || replayed.len() as u64 == newest - seq);
        }
    });
}
