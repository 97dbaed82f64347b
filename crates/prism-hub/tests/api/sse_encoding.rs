//! T-SSE-1, over the hub's API: a decoder of the HTML standard reads each accepted event unchanged.

use std::time::Duration;

use serde_json::json;

use super::fixture::{EVENTS, TestHub, unrestricted_token_08};

/// The parts that fields are made of: line ends, prefixes, and text that looks like fields.
const PARTS: &[&str] = &[
    "\n",
    "\r",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    ":",
    " ",
    "data:",
    "id: x",
    "event:",
    "retry: 1",
    "#",
    "a",
    "é",
    "\u{1f600}",
    "",
];

/// An event as the algorithm of the standard dispatches it (HTML, section 9.2.6).
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    id: String,
    name: String,
    data: String,
}

/// A decoder of its own, so that it shares no mistake with the library.
fn decode(stream: &str) -> Vec<Decoded> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
    let (mut id, mut name, mut data) = (String::new(), String::new(), String::new());
    let mut events = Vec::new();
    let mut lines: Vec<&str> = stream.split('\n').collect();
    // An incomplete line at the end is discarded.
    lines.pop();
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                let name = if name.is_empty() { "message".to_owned() } else { name.clone() };
                events.push(Decoded { id: id.clone(), name, data: data.clone() });
            }
            (name, data) = (String::new(), String::new());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => id = value.to_owned(),
            _ => {}
        }
    }
    events
}

#[tokio::test(start_paused = true)]
async fn t_sse_1_every_accepted_event_is_decoded_as_it_was_posted() {
    let mut seed = 7_u64;
    let mut number = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut text = move |most: usize| -> String {
        let count = number(most + 1);
        (0..count).map(|_| PARTS[number(PARTS.len())]).collect()
    };
    let hub = TestHub::new();
    let mut subscriber = hub.subscribe(&[("match", "a")]).await;
    let mut expected = Vec::new();
    let mut refused = 0;
    for round in 0..600 {
        let (data, id, name) = (text(8), text(2), text(2));
        let answer = if round % 2 == 0 {
            let form = [("topic", "a"), ("data", &data), ("id", &id), ("type", &name)];
            hub.publish(&form).await
        } else {
            let mut document = json!({"topic": "a", "data": data});
            for (member, value) in [("id", &id), ("event", &name)] {
                if !value.is_empty() {
                    document[member] = value.as_str().into();
                }
            }
            hub.post(&unrestricted_token_08(), EVENTS, "application/json", &document.to_string())
                .await
        };
        if answer.status == 400 {
            refused += 1;
            continue;
        }
        let answer = answer.expect(200);
        let received_id = if round % 2 == 0 {
            answer.text
        } else {
            answer.json()["id"].as_str().unwrap().to_owned()
        };
        assert!(id.is_empty() || received_id == id, "{received_id:?} for {id:?}");
        let name = if name.is_empty() { "message".to_owned() } else { name };
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        expected.push(Decoded { id: received_id, name, data });
    }
    assert!(refused > 50 && expected.len() > 50, "{refused} of 600 were refused");
    subscriber.listen(Duration::from_secs(1)).await;
    let read = decode(std::str::from_utf8(subscriber.raw()).unwrap());
    assert_eq!(read.len(), expected.len());
    for (read, expected) in read.iter().zip(&expected) {
        assert_eq!(read, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn t_sse_1_a_megabyte_of_text_arrives_unchanged() {
    let hub = TestHub::with(&["--max-body", "8MiB"]);
    for part in ["x", "\n", "\r", "é\r\n", "data: \n\n"] {
        let mut subscriber = hub.subscribe(&[("match", "a")]).await;
        let data = part.repeat((1 << 20) / part.len());
        let id = hub.publish(&[("topic", "a"), ("data", &data)]).await.expect(200).text;
        subscriber.listen(Duration::from_secs(1)).await;
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        let read = decode(std::str::from_utf8(subscriber.raw()).unwrap());
        assert!(read == [Decoded { id, name: "message".to_owned(), data }], "{part:?}");
    }
}
