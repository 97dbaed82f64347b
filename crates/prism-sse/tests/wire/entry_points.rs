//! Hostile text at every entry point for events.

use prism_sse::{
    Audience, Connection, Event, InvalidTopic, Manager, Publication, PublishError, SendError,
    Start, Stats,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::hostile;
use crate::independent::{self, Seen};
use crate::parser::parse_whole;
use crate::stream::{MARK, OPEN, manager, read};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryPoint {
    Broadcast,
    Publish,
    Append,
    Send,
    Handle,
}

const ENTRY_POINTS: [EntryPoint; 5] = [
    EntryPoint::Broadcast,
    EntryPoint::Publish,
    EntryPoint::Append,
    EntryPoint::Send,
    EntryPoint::Handle,
];

impl EntryPoint {
    fn push(self, sse: &Manager, connection: &Connection, event: Event) -> Result<(), SendError> {
        let receipt = match self {
            Self::Broadcast => sse.broadcast(event).map_err(SendError::Publish),
            Self::Publish => sse.publish(["orders", "users/7"], event).map_err(SendError::Publish),
            Self::Append => {
                let publication = Publication::new("orders", event).expect("a valid topic");
                sse.append(publication).map_err(SendError::Publish)
            }
            Self::Send => sse.send(event, connection.id()),
            Self::Handle => connection.handle().expect("the connection is open").send(event),
        };
        receipt.map(drop)
    }

    /// Whether the event gets a position, and with history an id of ours.
    fn assigns_a_position(self) -> bool {
        !matches!(self, Self::Send | Self::Handle)
    }
}

/// Why a manager refuses a valid event, as documented.
fn refusal(entry_point: EntryPoint, event: &Event, history: bool) -> Option<SendError> {
    let id = event.event_id().map_or("", |id| id.as_str());
    if event.name().is_some_and(|name| name.as_str().starts_with("prism.")) {
        Some(SendError::Publish(PublishError::ReservedName))
    } else if history && (id.starts_with('#') || id == "earliest") {
        Some(SendError::Publish(PublishError::ReservedId))
    } else if history && event.event_id().is_some() && !entry_point.assigns_a_position() {
        Some(SendError::IdNotKept)
    } else {
        None
    }
}

/// The event's data as a client sees it.
fn data(event: &Event) -> Option<String> {
    event.data().map(|data| data.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Publishes events through entry points, and checks that the stream has exactly those.
fn check(history: bool, events: &[(EntryPoint, Event)]) {
    let sse = manager(history);
    let connection = sse.add_connection();
    let mut expected = Vec::new();
    for (entry_point, event) in events {
        let result = entry_point.push(&sse, &connection, event.clone());
        let refusal = refusal(*entry_point, event, history);
        assert_eq!(result.err(), refusal, "{entry_point:?} {event:?}");
        if refusal.is_none() {
            expected.push((*entry_point, event));
        }
    }
    let bytes = read(&sse, connection);
    let mut seen = independent::events(&bytes).into_iter();

    let mut in_force = String::new();
    let mut seq = 0;
    if history {
        let open = seen.next().expect("the first event");
        assert_eq!(open.name, OPEN);
        in_force = open.id;
    }
    let epoch = in_force.trim_end_matches(".0").to_owned();
    let position = |seq: u64| format!("{epoch}.{seq}");
    for (entry_point, event) in expected {
        seq += u64::from(entry_point.assigns_a_position());
        let Some(data) = data(event) else { continue };
        match event.event_id() {
            Some(id) => id.as_str().clone_into(&mut in_force),
            None if history && entry_point.assigns_a_position() => in_force = position(seq),
            None => {}
        }
        let Seen { id, name, data: decoded, .. } = seen.next().expect("an event for each accepted");
        let expected_name = event.name().map_or("message", |name| name.as_str());
        assert_eq!(
            (&id, name.as_str(), &decoded),
            (&in_force, expected_name, &data),
            "{entry_point:?}"
        );
    }
    if history {
        let mark = seen.next().expect("the last event");
        assert_eq!((mark.name.as_str(), &mark.id, mark.data.as_str()), (MARK, &position(seq), ""));
    }
    assert_eq!(seen.next(), None, "more events than were published: {events:?}");
    let decoded = parse_whole(&bytes);
    assert_eq!(decoded.events().len(), independent::events(&bytes).len());
    check_retries(&bytes, events);
}

/// Checks that the manager's own reconnection time comes first, and only those of events follow.
fn check_retries(bytes: &[u8], events: &[(EntryPoint, Event)]) {
    let retries = independent::retries(bytes);
    assert!((3000..=4500).contains(&retries[0]), "{retries:?}");
    let asked = events.iter().filter(|(_, event)| event.retry_after().is_some()).count();
    assert!(retries.len() <= 1 + asked, "{retries:?}");
}

/// Every valid event that can be built from a hostile value.
fn events_of(value: &str) -> Vec<Event> {
    let attempts = [
        Ok(Event::new(value)),
        Ok(Event::from(value)),
        Event::new("x").id(value),
        Event::new("x").event(value),
        Event::new(value).id(value).and_then(|event| event.event(value)),
        Event::comment(value),
    ];
    attempts.into_iter().flatten().collect()
}

#[test]
fn hostile_text_adds_or_changes_no_event_at_any_entry_point() {
    for history in [false, true] {
        for value in hostile::values() {
            for event in events_of(&value) {
                for entry_point in ENTRY_POINTS {
                    check(history, &[(entry_point, event.clone())]);
                }
            }
        }
    }
}

#[test]
fn consecutive_hostile_events_stay_separate() {
    let values = hostile::values();
    let events = values.iter().flat_map(|value| events_of(value));
    let events: Vec<_> = ENTRY_POINTS.into_iter().cycle().zip(events).collect();
    assert!(events.len() > 200);
    for history in [false, true] {
        check(history, &events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_events_stay_separate_in_any_order(
        values in vec((select(&ENTRY_POINTS[..]), hostile::text(), 0..6_usize), 0..12),
        history in any::<bool>(),
    ) {
        let events: Vec<_> = values
            .iter()
            .filter_map(|(entry_point, value, kind)| {
                let events = events_of(value).get(*kind)?.clone();
                Some((*entry_point, events))
            })
            .collect();
        check(history, &events);
    }
}

/// Checks that an event is refused at every entry point and leaves no trace in the stream.
fn check_refused(history: bool, event: &Event, reason: PublishError) {
    for entry_point in ENTRY_POINTS {
        let sse = manager(history);
        let connection = sse.add_connection();
        let before = sse.stats();
        let refused = entry_point.push(&sse, &connection, event.clone());
        assert_eq!(refused, Err(SendError::Publish(reason)), "{entry_point:?} {event:?}");
        let Stats { published, records, bytes, .. } = sse.stats();
        assert_eq!((published, records, bytes), (before.published, before.records, before.bytes));
        let names = independent::names(&read(&sse, connection));
        assert_eq!(names, if history { vec![OPEN, MARK] } else { vec![] });
    }
}

#[test]
fn reserved_names_are_refused_at_every_entry_point() {
    for name in [OPEN, MARK, "prism.gap", "prism.", "prism.x", "prism.\u{2028}", "prism. "] {
        let event = Event::new("x").event(name).unwrap();
        for history in [false, true] {
            check_refused(history, &event, PublishError::ReservedName);
        }
    }
}

#[test]
fn reserved_ids_are_refused_at_every_entry_point_with_history() {
    for id in ["#", "#0.0", "#1.1", "#x", "##", "earliest"] {
        let event = Event::new("x").id(id).unwrap();
        check_refused(true, &event, PublishError::ReservedId);
        for entry_point in ENTRY_POINTS {
            check(false, &[(entry_point, event.clone())]);
        }
    }
}

#[test]
fn names_and_ids_that_resemble_reserved_ones_are_accepted() {
    for name in ["prism", "Prism.open", " prism.open", "prisms.x", "\u{feff}prism.x", "x.prism."] {
        let event = Event::new("x").event(name).unwrap();
        for (entry_point, history) in
            ENTRY_POINTS.into_iter().zip([true, false].into_iter().cycle())
        {
            check(history, &[(entry_point, event.clone())]);
        }
    }
    for id in ["1#", "Earliest", "earliest.", "_earliest", "＃1.1"] {
        let event = Event::new("x").id(id).unwrap();
        for entry_point in ENTRY_POINTS {
            check(true, &[(entry_point, event.clone())]);
        }
    }
}

#[test]
fn an_event_above_the_limit_is_refused_at_every_entry_point() {
    let sse = Manager::builder().max_event_bytes(8).build().unwrap();
    let connection = sse.add_connection();
    for event in [Event::new("123456789"), Event::comment("123456789").unwrap()] {
        for entry_point in ENTRY_POINTS {
            let result = entry_point.push(&sse, &connection, event.clone());
            let refused = SendError::Publish(PublishError::TooLarge { len: 9, max: 8 });
            assert_eq!(result, Err(refused), "{entry_point:?}");
        }
    }
    let bytes = read(&sse, connection);
    assert_eq!(independent::events(&bytes), []);
    assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
}

/// Why a topic is refused, as documented.
fn topic_refusal(topic: &str) -> Option<InvalidTopic> {
    match topic {
        "" => Some(InvalidTopic::Empty),
        "*" => Some(InvalidTopic::Wildcard),
        _ if topic.chars().any(char::is_control) => Some(InvalidTopic::Control),
        _ => None,
    }
}

#[test]
fn a_topic_is_refused_or_leaves_no_trace_in_the_stream() {
    for topic in hostile::values().into_iter().chain(["*".to_owned()]) {
        let sse = Manager::new();
        let everything = sse.add_connection();
        let refusal = topic_refusal(&topic);
        let one = Audience::select(topic.as_str());
        assert_eq!(one.is_err(), refusal.is_some() && topic != "*", "{topic:?}");
        let one = one.ok().map(|audience| sse.subscribe(audience, Start::Now).unwrap());

        let result = sse.publish([topic.as_str(), "plain"], Event::new("x")).map(drop);
        assert_eq!(result.err(), refusal.map(PublishError::Topic), "{topic:?}");

        for connection in [Some(everything), one].into_iter().flatten() {
            let bytes = read(&sse, connection);
            let lines: Vec<_> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
            assert!(lines[0].starts_with(b"retry: "));
            let expected = if refusal.is_none() { "data: x\n\n" } else { "" };
            assert_eq!(lines[1..].concat(), expected.as_bytes(), "{topic:?}");
        }
    }
}

#[test]
fn a_publisher_is_never_written_to_a_stream() {
    for name in hostile::values().into_iter().filter(|name| name.len() <= 255) {
        let sse = Manager::new();
        let connection = sse.add_connection();
        let publication = Publication::broadcast("x").publisher(name.as_str()).unwrap();
        sse.append(publication).unwrap();
        let bytes = read(&sse, connection);
        let lines: Vec<_> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        assert_eq!(lines[1..].concat(), b"data: x\n\n", "{name:?}");
    }
}
