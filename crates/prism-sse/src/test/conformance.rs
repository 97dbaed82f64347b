//! The contract of engines, as a suite of tests that runs on any engine.
//!
//! ```
//! use prism_sse::{Memory, test::conformance};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::check(Memory::new).await;
//! # }
//! ```

use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;

use crate::audience::Audience;
use crate::connection::Connection;
use crate::engine::{Ack, Durability, Engine, Publication, Receipt};
use crate::log::Retention;
use crate::manager::Manager;
use crate::selector::Topic;
use crate::subscription::Start;
use crate::wire::{Event, Parsed, ParsedEvent, Parser};

/// Runs every test, each on an engine of its own that `make` returns.
///
/// # Panics
///
/// If the engine breaks its contract.
pub async fn check<E: Engine>(mut make: impl FnMut() -> E) {
    positions_rise_in_the_order_of_publishing(make()).await;
    an_ephemeral_event_keeps_its_place(make()).await;
    an_acknowledged_event_was_applied(make()).await;
    an_acknowledgement_names_the_durability_of_the_engine(make()).await;
    a_transient_event_keeps_its_place_and_is_in_memory_alone(make()).await;
    all_readers_see_one_order(make()).await;
    events_are_read_as_they_were_published(make()).await;
}

async fn positions_rise_in_the_order_of_publishing(engine: impl Engine) {
    let sse = manager(engine);
    let receipts = (0..100).map(|n| publish(&sse, &n.to_string())).collect();
    let acks = all_acks(receipts).await;
    for pair in acks.windows(2) {
        assert_eq!(pair[0].position.epoch, pair[1].position.epoch);
        assert!(pair[0].position.seq < pair[1].position.seq, "{pair:?}");
    }
}

async fn an_ephemeral_event_keeps_its_place(engine: impl Engine) {
    let sse = manager(engine);
    let mut reader = EventReader::new(sse.add_connection());
    let mut receipts = Vec::new();
    for n in 0..20 {
        receipts.push(publish(&sse, &format!("all {n}")));
        let sent = sse.send(format!("you {n}"), reader.connection.id());
        receipts.push(sent.expect("the engine takes it"));
    }
    all_acks(receipts).await;
    for n in 0..20 {
        let all = reader.next().await;
        assert_eq!(all.data, format!("all {n}"));
        assert_eq!(reader.next().await.data, format!("you {n}"));
    }
}

async fn an_acknowledged_event_was_applied(engine: impl Engine) {
    let sse = manager(engine);
    let connections: Vec<Connection> = (0..3).map(|_| sse.add_connection()).collect();
    for n in 0..10 {
        let ack = publish(&sse, &n.to_string()).await.expect("an acknowledgement");
        assert_eq!(ack.receivers, connections.len());
        assert_eq!(sse.stats().published, n + 1);
    }
}

async fn an_acknowledgement_names_the_durability_of_the_engine(engine: impl Engine) {
    let durability = engine.durability();
    let sse = manager(engine);
    let ack = publish(&sse, "x").await.expect("an acknowledgement");
    assert_eq!(ack.durability, durability);
}

async fn a_transient_event_keeps_its_place_and_is_in_memory_alone(engine: impl Engine) {
    let sse = manager(engine);
    let mut reader = EventReader::new(sse.add_connection());
    let mut receipts = Vec::new();
    for n in 0..20 {
        receipts.push(publish(&sse, &format!("history {n}")));
        let transient = Publication::broadcast(format!("transient {n}")).transient();
        receipts.push(sse.append(transient).expect("the engine takes it"));
    }
    let acks = all_acks(receipts).await;
    assert!(acks.is_sorted_by_key(|ack| ack.position.seq), "{acks:?}");
    assert!(acks.iter().skip(1).step_by(2).all(|ack| ack.durability == Durability::Memory));
    for n in 0..20 {
        assert_eq!(reader.next().await.data, format!("history {n}"));
        assert_eq!(reader.next().await.data, format!("transient {n}"));
    }
    assert_eq!((sse.stats().records, sse.stats().transient), (20, 20));
}

async fn all_readers_see_one_order(engine: impl Engine) {
    const EVENTS: usize = 50;
    let sse = manager(engine);
    let mut readers = [(); 2].map(|()| EventReader::new(sse.add_connection()));
    let publishers = (0..4).map(|publisher| {
        let sse = sse.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for n in 0..EVENTS {
                receipts.push(publish(&sse, &format!("{publisher} {n}")));
                tokio::task::yield_now().await;
            }
            all_acks(receipts).await;
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.expect("the publisher ends well");
    }
    let mut next = [0; 4];
    for _ in 0..4 * EVENTS {
        let event = readers[0].next().await;
        assert_eq!(event, readers[1].next().await);
        let (publisher, n) = event.data.split_once(' ').expect("what was published");
        let publisher: usize = publisher.parse().expect("a publisher");
        assert_eq!(n, next[publisher].to_string(), "the order of publisher {publisher}");
        next[publisher] += 1;
    }
}

async fn events_are_read_as_they_were_published(engine: impl Engine) {
    let sse = manager(engine);
    let public = Audience::select("t").expect("a valid topic");
    let granted = public.clone().grant("t").expect("a valid topic");
    let mut granted = EventReader::new(sse.subscribe(granted, Start::Now).expect("room"));
    let mut public = EventReader::new(sse.subscribe(public, Start::Now).expect("room"));

    let event = Event::new("a\nb").id("mine").and_then(|event| event.event("name"));
    let topics = ["t", "u"].map(|topic| Topic::try_from(topic).expect("a valid topic"));
    let secret = Publication::new(topics, event.expect("a valid event")).expect("valid topics");
    let receipt = sse.append(secret.private()).expect("the engine takes it");
    receipt.await.expect("an acknowledgement");
    sse.publish("t", "open").expect("the engine takes it").await.expect("an acknowledgement");

    let event = granted.next().await;
    assert_eq!((&*event.id, &*event.name, &*event.data), ("mine", "name", "a\nb"));
    assert_eq!(granted.next().await.data, "open");
    assert_eq!(public.next().await.data, "open");
}

fn manager(engine: impl Engine) -> Manager {
    let builder = Manager::builder().history(Retention::default()).engine(engine);
    builder.build().expect("valid settings")
}

fn publish(sse: &Manager, data: &str) -> Receipt {
    sse.broadcast(data).expect("the engine takes it")
}

async fn all_acks(receipts: Vec<Receipt>) -> Vec<Ack> {
    let mut acks = Vec::new();
    for receipt in receipts {
        acks.push(receipt.await.expect("an acknowledgement"));
    }
    acks
}

/// Reads the events of a connection, without control events.
struct EventReader {
    connection: Connection,
    parser: Parser,
    unparsed: bytes::Bytes,
}

impl EventReader {
    fn new(connection: Connection) -> Self {
        Self { connection, parser: Parser::new(), unparsed: bytes::Bytes::new() }
    }

    async fn next(&mut self) -> ParsedEvent {
        loop {
            let mut input: &[u8] = &self.unparsed;
            let parsed = self.parser.next(&mut input);
            self.unparsed = self.unparsed.split_off(self.unparsed.len() - input.len());
            match parsed {
                Some(Parsed::Event(event)) if !event.name.starts_with("prism.") => return event,
                Some(_) => {}
                None => {
                    let connection = &mut self.connection;
                    let bytes = poll_fn(|cx| Pin::new(&mut *connection).poll_next(cx)).await;
                    self.unparsed = bytes.expect("a connection that stays open");
                }
            }
        }
    }
}
