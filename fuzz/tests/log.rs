//! Random sequences of publishing, reading, disconnecting and resuming, on a log that keeps few
//! events: no reader misses an event without a gap, receives one twice, or receives one that it may
//! not read.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bolero::{check, produce};
use http_body::Body;
use prism_sse::test::Oracle;
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{
    Audience, Connection, Event, Manager, OnLag, Position, Publication, Retention, Start, Topic,
};

const KEPT: usize = 6;
const READERS: usize = 4;
const STEPS: usize = 300;

struct Run {
    sse: Manager,
    oracle: Oracle,
    /// The number of events that the oracle knew after each sequence number.
    after: Vec<usize>,
    readers: Vec<Reader>,
}

/// A reader that reconnects with its last event id, as a browser does.
struct Reader {
    number: usize,
    audience: Audience,
    connection: Option<Connection>,
    parser: Parser,
}

fn audience(number: u8) -> Audience {
    let select = |topics: &[&str]| Audience::select(topics).expect("they are valid");
    let grant = |audience: Audience, topic| audience.grant(topic).expect("it is valid");
    match number % 6 {
        0 => Audience::everything(),
        1 => select(&["0"]),
        2 => grant(select(&["0", "2"]), "1"),
        3 => grant(select(&["1", "2", "3"]), "*"),
        4 => grant(Audience::everything(), "3"),
        _ => select(&["2"]).broadcasts(false),
    }
}

impl Run {
    fn new(on_lag: OnLag) -> Self {
        let history = Retention::default().count(KEPT);
        let sse = Manager::builder().history(history).on_lag(on_lag).build();
        let sse = sse.expect("the settings are sound");
        Self { sse, oracle: Oracle::new(), after: vec![0], readers: Vec::new() }
    }

    /// One step: the first byte selects what is done, the second to whom and how.
    fn step(&mut self, what: u8, how: u8) {
        let reader = usize::from(how) % READERS;
        match what % 16 {
            0 | 1 => self.broadcast(how < 128),
            2..8 => self.publish(how),
            8 => self.send(reader),
            9 => self.subscribe(how),
            // The connection breaks within the frame, at the byte's part of its length.
            10 => self.read(reader, 1, Some(how)),
            11..13 => self.read(reader, usize::from(how / 64) + 1, None),
            13 => self.disconnect(reader),
            14 => self.resume(reader),
            _ => self.remove(reader),
        }
    }

    fn broadcast(&mut self, own_id: bool) {
        let number = self.oracle.broadcast();
        let event = Event::new(number.to_string());
        let event = if own_id { event.id(format!("own-{number}")) } else { Ok(event) };
        self.sse.broadcast(event.expect("the id is valid")).expect("it is valid");
        self.after.push(number + 1);
    }

    fn publish(&mut self, how: u8) {
        let [one, other] = [how, how / 4].map(|n| (n % 4).to_string());
        let topics = [one, other].map(|name| Topic::try_from(&*name).expect("it is valid"));
        let private = how >= 128;
        let number = self.oracle.publish(&topics, private);
        let publication = Publication::new(topics.to_vec(), number.to_string());
        let publication = publication.expect("the topics are few");
        let publication = if private { publication.private() } else { publication };
        self.sse.append(publication).expect("it is valid");
        self.after.push(number + 1);
    }

    fn send(&mut self, reader: usize) {
        let Some(reader) = self.readers.get(reader) else { return };
        let Some(to) = reader.connection.as_ref().and_then(Connection::handle) else { return };
        let number = self.oracle.send(reader.number);
        to.send(number.to_string()).expect("the connection is open");
    }

    fn subscribe(&mut self, how: u8) {
        if self.readers.len() == READERS {
            return;
        }
        let start = if how >= 128 { Start::Oldest } else { Start::Now };
        let audience = audience(how);
        let connection = self.sse.subscribe(audience.clone(), start).ok();
        let (number, parser) = (usize::MAX, Parser::new());
        self.readers.push(Reader { number, audience, connection, parser });
        let reader = self.readers.len() - 1;
        self.read(reader, 1, None);
        let reader = &mut self.readers[reader];
        let begin: Position = reader.parser.last_event_id().parse().expect("it is a position");
        let begin = self.after[begin.seq as usize];
        reader.number = self.oracle.reader_from(reader.audience.clone(), begin);
    }

    /// Reads some frames. With `cut`, the connection breaks within the first one, at that part of
    /// its length.
    fn read(&mut self, reader: usize, frames: usize, cut: Option<u8>) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..frames {
            let Some(of) = self.readers.get_mut(reader) else { return };
            let Some(connection) = &mut of.connection else { return };
            match Pin::new(connection).poll_frame(&mut cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.disconnect(reader),
                Poll::Ready(Some(frame)) => {
                    let bytes = frame.expect("it cannot fail").into_data().expect("it is data");
                    let end = cut.map_or(bytes.len(), |cut| bytes.len() * usize::from(cut) / 256);
                    of.parse(&bytes[..end], &mut self.oracle);
                    if cut.is_some() {
                        self.disconnect(reader);
                    }
                }
            }
        }
    }

    fn disconnect(&mut self, reader: usize) {
        let Some(reader) = self.readers.get_mut(reader) else { return };
        if reader.connection.take().is_some() {
            self.oracle.hung_up(reader.number);
            reader.parser.reconnected();
        }
    }

    fn resume(&mut self, reader: usize) {
        self.disconnect(reader);
        let Some(of) = self.readers.get_mut(reader) else { return };
        let start = Start::After(of.parser.last_event_id().to_owned());
        of.connection = Some(self.sse.subscribe(of.audience.clone(), start).expect("it is open"));
    }

    /// Removes a reader's connection, which still delivers what is due.
    fn remove(&mut self, reader: usize) {
        let Some(reader) = self.readers.get(reader) else { return };
        if let Some(connection) = &reader.connection {
            self.sse.remove_connection(connection.id());
        }
    }

    /// All readers read to the end; those without a connection resume before.
    fn finish(mut self) -> Oracle {
        for reader in 0..self.readers.len() {
            self.read(reader, usize::MAX, None);
            while self.readers[reader].connection.is_none() {
                self.resume(reader);
                self.read(reader, usize::MAX, None);
            }
        }
        self.oracle
    }
}

impl Reader {
    fn parse(&mut self, mut bytes: &[u8], oracle: &mut Oracle) {
        while let Some(parsed) = self.parser.next(&mut bytes) {
            let Parsed::Event(event) = parsed else { continue };
            match event.name.as_str() {
                "prism.gap" => oracle.saw_gap(self.number),
                "message" => oracle.saw(self.number, event.data.parse().expect("it is a number")),
                _ => {}
            }
        }
    }
}

#[test]
fn log_against_model() {
    // By default bolero generates too few steps for the log to evict events.
    let steps = produce::<Vec<(u8, u8)>>().with().len(0..=STEPS);
    check!().with_generator((produce::<bool>(), steps)).for_each(|(skips, steps)| {
        let on_lag = if *skips { OnLag::SkipWithGap } else { OnLag::Disconnect };
        let mut run = Run::new(on_lag);
        for &(what, how) in steps {
            run.step(what, how);
        }
        assert_eq!(run.finish().verdict(), Ok(()));
    });
}
