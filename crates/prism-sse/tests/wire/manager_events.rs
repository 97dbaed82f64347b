//! What a manager itself writes: openings, heartbeats, marks, gaps and refusals.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use prism_sse::{Audience, Connection, Event, Gap, Manager, OnLag, Retention, SseRequest, Start};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::independent;
use crate::stream::{GAP, MARK, OPEN, manager, read, read_body, with_history};

/// The frames that arrive within this time.
async fn pieces(connection: &mut Connection, time: Duration) -> Vec<Vec<u8>> {
    let end = Instant::now() + time;
    let mut pieces = Vec::new();
    while let Ok(piece) = timeout_at(end, connection.next()).await {
        pieces.push(piece.expect("the connection is open").to_vec());
    }
    pieces
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("the data is JSON")
}

#[test]
fn the_first_event_carries_the_connection_id_and_the_position() {
    let sse = with_history();
    sse.broadcast("before").unwrap();
    let connection = sse.add_connection();
    let id = connection.id().to_string();
    let bytes = read(&sse, connection);
    let seen = independent::events(&bytes);
    assert_eq!(independent::names(&bytes), [OPEN, MARK]);
    assert_eq!(json(&seen[0].data), json!({ "connection": id }));
    assert!(seen[0].id.starts_with('#') && seen[0].id.ends_with(".1"), "{}", seen[0].id);
    assert_eq!(independent::retries(&bytes).len(), 1);
}

#[test]
fn without_history_or_control_events_the_first_line_is_no_event() {
    let silent =
        Manager::builder().history(Retention::default()).control_events(false).build().unwrap();
    for sse in [Manager::new(), silent] {
        let connection = sse.add_connection();
        let bytes = read(&sse, connection);
        assert_eq!(independent::events(&bytes), []);
        assert_eq!(independent::retries(&bytes).len(), 1);
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_a_line_that_no_reader_sees() {
    for history in [false, true] {
        let builder = Manager::builder().heartbeat(Duration::from_millis(250));
        let builder = if history { builder.history(Retention::default()) } else { builder };
        let sse = builder.build().unwrap();
        let mut connection = sse.add_connection();

        let mut all = pieces(&mut connection, Duration::from_secs(2)).await;
        let beats = all.len() - 1;
        assert!(beats >= 6, "{beats}");
        assert!(all[1..].iter().all(|piece| piece == b":\n"));

        sse.broadcast(Event::new("a\n\nb").event("e").unwrap()).unwrap();
        sse.broadcast(Event::comment("heartbeat").unwrap()).unwrap();
        all.extend(pieces(&mut connection, Duration::from_secs(2)).await);
        sse.broadcast("last").unwrap();
        all.extend(pieces(&mut connection, Duration::from_secs(1)).await);
        let names = independent::names(&all.concat());
        let expected = [OPEN, "e", "message"];
        assert_eq!(names, if history { &expected[..] } else { &expected[1..] });
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_moves_the_last_event_id_and_dispatches_nothing_else() {
    let retention = Retention::default().age(Duration::from_secs(2));
    let sse = Manager::builder().history(retention).no_heartbeat().build().unwrap();
    let mut connection = sse.subscribe(Audience::select("quiet").unwrap(), Start::Now).unwrap();
    let mut all = pieces(&mut connection, Duration::from_millis(10)).await;
    sse.publish("busy", Event::new("x\n\ndata: y\n\n").id("mine").unwrap()).unwrap();
    all.extend(pieces(&mut connection, Duration::from_secs(5)).await);

    let seen = independent::events(&all.concat());
    let names: Vec<_> = seen.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, [OPEN, MARK]);
    assert_eq!(seen[1].data, "");
    assert_eq!(seen[1].id, seen[0].id.replace(".0", ".1"));
    assert_eq!(independent::retries(&all.concat()).len(), 1);
}

#[test]
fn a_gap_in_an_open_stream_is_one_event() {
    for history in [false, true] {
        let builder = Manager::builder().on_lag(OnLag::SkipWithGap).lag_bytes(1);
        let builder = if history { builder.history(Retention::default()) } else { builder };
        let sse = builder.build().unwrap();
        let mut connection = sse.add_connection();
        sse.broadcast("lost\n\nevent: evil\ndata: x\n\n").unwrap();
        sse.broadcast(Event::new("lost too").id("a\"\\\u{2028}").unwrap()).unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = connection.next().now_or_never() {
            bytes.extend_from_slice(&piece.unwrap());
        }

        let mut seen = independent::events(&bytes);
        let gap = seen.pop().unwrap();
        assert_eq!(gap.name, GAP);
        let [after, resumed_at] = if history {
            let open = seen.pop().unwrap();
            assert_eq!(gap.id, open.id.replace(".0", ".2"));
            [Value::from(open.id), Value::from(gap.id)]
        } else {
            assert_eq!(gap.id, "");
            [Value::Null, Value::Null]
        };
        let expected = json!({ "reason": "lag", "after": after, "resumed_at": resumed_at });
        assert_eq!(json(&gap.data), expected);
        assert_eq!(seen, []);
    }
}

#[test]
fn a_refusal_is_a_stream_without_events() {
    for history in [false, true] {
        let sse = manager(history);
        sse.broadcast("x").unwrap();
        sse.close();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert("last-event-id", HeaderValue::from_static("retry: 1"));
        let response = sse.respond(SseRequest::new(&Method::GET, &headers).unwrap());
        assert_eq!(response.headers()["prism-refused"], "drain");
        let bytes = read_body(&sse, response.into_body());
        assert_eq!(independent::events(&bytes), []);
        assert_eq!(independent::retries(&bytes).len(), 1);
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}

#[test]
fn without_control_events_a_gap_is_reported_in_the_header_alone() {
    let sse =
        Manager::builder().history(Retention::default()).control_events(false).build().unwrap();
    sse.broadcast("kept").unwrap();
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("last-event-id"),
        HeaderValue::from_static("\"}data: x"),
    )]);
    let response = sse.respond(SseRequest::new(&Method::GET, &headers).unwrap());
    assert_eq!(response.headers()["prism-gap"], Gap::Unknown.as_str());
    let bytes = read_body(&sse, response.into_body());
    assert_eq!(independent::names(&bytes), ["message"]);
}
