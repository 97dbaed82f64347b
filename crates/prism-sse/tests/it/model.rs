//! Random sequences of operations: publish, send, subscribe, read, stall, resume and disconnect,
//! with a log so short that much is evicted. What each reader saw is checked against the oracle.
//!
//! proptest shrinks the sequence of a failure, prints it, and keeps its seed.

use futures_util::{FutureExt, StreamExt};
use prism_sse::test::Oracle;
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{
    Audience, Connection, Event, Manager, OnLag, Publication, Retention, Selector, Start, Topic,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Broadcast { own_id: bool, transient: bool },
    Publish { topics: Vec<u8>, private: bool, transient: bool },
    Send { to: usize },
    Subscribe { audience: u8, oldest: bool },
    Read { reader: usize, frames: usize },
    HangUp { reader: usize },
    Resume { reader: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0..4_usize;
    prop_oneof![
        2 => any::<(bool, bool)>()
            .prop_map(|(own_id, transient)| Step::Broadcast { own_id, transient }),
        6 => (prop::collection::vec(0..4_u8, 1..3), any::<[bool; 2]>())
            .prop_map(|(topics, [private, transient])| {
                Step::Publish { topics, private, transient }
            }),
        2 => reader.clone().prop_map(|to| Step::Send { to }),
        1 => (0..11_u8, any::<bool>())
            .prop_map(|(audience, oldest)| Step::Subscribe { audience, oldest }),
        5 => (reader.clone(), 1..4_usize)
            .prop_map(|(reader, frames)| Step::Read { reader, frames }),
        1 => reader.clone().prop_map(|reader| Step::HangUp { reader }),
        2 => reader.prop_map(|reader| Step::Resume { reader }),
    ]
}

fn audience(number: u8) -> Audience {
    let select = |topics: &[&str]| Audience::select(topics).unwrap();
    let template = |text| Selector::template(text).unwrap();
    match number {
        0 => Audience::everything(),
        1 => select(&["t0"]),
        2 => select(&["t0", "t2"]).grant("t1").unwrap(),
        3 => select(&["t1", "t2", "t3"]).grant("*").unwrap(),
        4 => Audience::everything().grant("t3").unwrap(),
        5 => Audience::select(template("t{n}")).unwrap(),
        6 => Audience::select(template("{+x}2")).unwrap().grant("t1").unwrap(),
        7 => Audience::select([
            template("{x:1}1"),
            template("{x}3"),
            Topic::try_from("t0").unwrap().into(),
        ])
        .unwrap()
        .grant(template("t{n}"))
        .unwrap(),
        8 => Audience::select(template("{x}1")).unwrap().broadcasts(false),
        9 => Audience::select([template("t{n}"), template("{x}0")]).unwrap(),
        _ => select(&["t2"]).broadcasts(false),
    }
}

/// A reader that keeps a last event id as a browser does.
struct ModelReader {
    number: usize,
    audience: Audience,
    connection: Option<Connection>,
    parser: Parser,
}

impl ModelReader {
    /// Reads at most `frames` frames that are due, and reports their events to the oracle.
    fn read(&mut self, frames: usize, oracle: &mut Oracle) {
        for _ in 0..frames {
            let Some(connection) = &mut self.connection else { return };
            match connection.next().now_or_never() {
                Some(Some(bytes)) => self.parse(&bytes, oracle),
                Some(None) => self.hang_up(oracle),
                None => return,
            }
        }
    }

    fn parse(&mut self, mut bytes: &[u8], oracle: &mut Oracle) {
        while let Some(parsed) = self.parser.next(&mut bytes) {
            let Parsed::Event(event) = parsed else { continue };
            match event.name.as_str() {
                "prism.gap" => oracle.saw_gap(self.number),
                "message" => oracle.saw(self.number, event.data.parse().unwrap()),
                _ => {}
            }
        }
    }

    fn hang_up(&mut self, oracle: &mut Oracle) {
        if self.connection.take().is_some() {
            oracle.hung_up(self.number);
            self.parser.reconnected();
        }
    }

    fn resume(&mut self, sse: &Manager, oracle: &mut Oracle) {
        self.hang_up(oracle);
        let id = self.parser.last_event_id().to_owned();
        assert!(!id.is_empty(), "a reader that was connected has an id");
        let connection = sse.subscribe(self.audience.clone(), Start::After(id));
        self.connection = Some(connection.unwrap());
        // A server writes the opening at once, so that a browser has its id.
        self.read(1, oracle);
    }
}

/// Runs a sequence of operations. With `kept` some events are transient, of which that many are
/// retained.
fn run(steps: &[Step], kept: Option<usize>, on_lag: OnLag) -> Result<(), TestCaseError> {
    let [history, transient] =
        [6, kept.unwrap_or(1)].map(|count| Retention::default().count(count));
    let builder = Manager::builder().history(history).transient(transient);
    let sse = builder.on_lag(on_lag).build().unwrap();
    let mut oracle = Oracle::new();
    let mut readers: Vec<ModelReader> = Vec::new();
    for step in steps {
        perform(step, kept.is_some(), &sse, &mut oracle, &mut readers);
    }
    for reader in &mut readers {
        // Every reader reconnects, because only then what it missed is known.
        while reader.connection.is_none() {
            reader.resume(&sse, &mut oracle);
            reader.read(usize::MAX, &mut oracle);
        }
        reader.read(1000, &mut oracle);
        if reader.connection.is_none() {
            reader.resume(&sse, &mut oracle);
            reader.read(1000, &mut oracle);
        }
    }
    oracle.verdict().map_err(|fault| TestCaseError::fail(fault.to_string()))
}

fn perform(
    step: &Step,
    some_are_transient: bool,
    sse: &Manager,
    oracle: &mut Oracle,
    readers: &mut Vec<ModelReader>,
) {
    let append = |publication: Publication, number, is_transient: bool, oracle: &mut Oracle| {
        if is_transient && some_are_transient {
            oracle.transient(number);
            return sse.append(publication.transient());
        }
        sse.append(publication)
    };
    match step {
        Step::Broadcast { own_id, transient } => {
            let number = oracle.broadcast();
            let event = Event::new(number.to_string());
            let named = if *own_id { event.id(format!("own-{number}")) } else { Ok(event) };
            append(Publication::broadcast(named.unwrap()), number, *transient, oracle).unwrap();
        }
        Step::Publish { topics, private, transient } => {
            let topics: Vec<Topic> =
                topics.iter().map(|n| Topic::try_from(&*format!("t{n}")).unwrap()).collect();
            let number = oracle.publish(&topics, *private);
            let publication = Publication::new(topics, number.to_string()).unwrap();
            let publication = if *private { publication.private() } else { publication };
            append(publication, number, *transient, oracle).unwrap();
        }
        Step::Send { to } => {
            let Some(reader) = readers.get(*to) else { return };
            let Some(connection) = &reader.connection else { return };
            if connection.close_reason().is_none() {
                let number = oracle.send(reader.number);
                sse.send(number.to_string(), connection.id()).unwrap();
            }
        }
        Step::Subscribe { audience: number, oldest } => {
            if readers.len() == 4 {
                return;
            }
            let audience = audience(*number);
            let kept = sse.stats().records + sse.stats().transient;
            // The oracle does not know what is retained, and so only where a reader begins live.
            let start = if *oldest && kept == 0 { Start::Oldest } else { Start::Now };
            let reader = oracle.reader(audience.clone());
            let connection = sse.subscribe(audience.clone(), start).unwrap();
            let connection = Some(connection);
            let mut reader =
                ModelReader { number: reader, audience, connection, parser: Parser::new() };
            reader.read(1, oracle);
            readers.push(reader);
        }
        Step::Read { reader, frames } => {
            if let Some(reader) = readers.get_mut(*reader) {
                reader.read(*frames, oracle);
            }
        }
        Step::HangUp { reader } => {
            if let Some(reader) = readers.get_mut(*reader) {
                reader.hang_up(oracle);
            }
        }
        Step::Resume { reader } => {
            if let Some(reader) = readers.get_mut(*reader) {
                reader.resume(sse, oracle);
            }
        }
    }
}

proptest! {
    // `PROPTEST_CASES` sets the number of cases.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn no_event_is_lost_without_a_gap_when_lag_disconnects(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        run(&steps, None, OnLag::Disconnect)?;
    }

    #[test]
    fn no_event_is_lost_without_a_gap_when_lag_skips(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        run(&steps, None, OnLag::SkipWithGap)?;
    }

    #[test]
    fn no_event_is_lost_without_a_gap_when_some_are_transient(
        steps in prop::collection::vec(step(), 0..60), kept in 1..12_usize, skips in any::<bool>()
    ) {
        run(&steps, Some(kept), if skips { OnLag::SkipWithGap } else { OnLag::Disconnect })?;
    }
}
