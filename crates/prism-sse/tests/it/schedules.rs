//! Many tasks on several threads: publishers, and readers that stall, are cut off within a block
//! and reconnect. What each reader saw is checked against the oracle.
//!
//! The order is known from receipts. All choices of a run come from its seed, which a failure
//! prints and `PRISM_SEED` repeats; the scheduling of the threads is not controlled.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use prism_sse::test::{Fault, Oracle};
use prism_sse::wire::{Parsed, Parser};
use prism_sse::{
    Audience, Connection, ConnectionId, Event, Manager, OnLag, Position, Publication, Receipt,
    Retention, Start, Topic,
};
use tokio::task::{JoinSet, yield_now};

use super::select;

const PUBLISHERS: u64 = 4;
const READERS: u64 = 24;
const EACH: u64 = 400;

/// The number of the last event of a run, which every audience receives.
const END: u64 = PUBLISHERS * EACH;

/// One in so many events is sent to one connection, and so has no position of its own.
const SENT: u64 = 5;

/// The sequence number of the last event. The order has no holes.
const END_SEQ: u64 = PUBLISHERS * (EACH - EACH / SENT) + 1;

/// Retention counts: everything is retained, so that no gap is allowed; gaps are rare; gaps are
/// common.
const KEPT: [usize; 3] = [100_000, 160, 24];

/// A published event, with the sequence number of its receipt.
struct Published {
    seq: u64,
    number: u64,
    to: To,
    is_transient: bool,
}

enum To {
    Everyone,
    Topics(Vec<Topic>, bool),
    One(ConnectionId),
}

#[derive(Clone, Copy)]
enum Seen {
    Event(u64),
    Gap,
}

/// A reader that keeps a last event id as a browser does, and everything it saw.
struct ScheduledReader {
    sse: Manager,
    audience: Audience,
    rng: Rng,
    parser: Parser,
    connection: Option<Connection>,
    /// Sequence number after which it began.
    begin: u64,
    connections: Vec<ConnectionId>,
    /// With the connection on which it was seen.
    seen: Vec<(ConnectionId, Seen)>,
    /// How often it reconnected without a gap.
    resumed: usize,
    finished: bool,
}

#[test]
fn no_event_is_lost_without_a_gap_on_many_threads() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
    };
    if let Ok(seed) = std::env::var("PRISM_SEED") {
        runtime().block_on(run(seed.parse().unwrap()));
        return;
    }
    // Any twelve consecutive seeds cover each retention with each lag policy, with and without
    // transient events.
    let first = fastrand::u64(..1 << 32);
    let runs = (first..first + 36).map(|seed| runtime().block_on(run(seed)));
    let (gaps, resumed) = runs.fold((0, 0), |sum, (gaps, resumed)| (sum.0 + gaps, sum.1 + resumed));
    assert!(gaps > 0 && resumed > 0, "{gaps} gaps, {resumed} resumed without");
}

/// One run. Returns the number of gaps, and of reconnects without a gap.
async fn run(seed: u64) -> (usize, usize) {
    let kept = KEPT[(seed % 3) as usize];
    let on_lag = if (seed / 3).is_multiple_of(2) { OnLag::Disconnect } else { OnLag::SkipWithGap };
    let transients = (seed / 6).is_multiple_of(2);
    let retention = Retention::default().count(kept);
    // A heartbeat would hide a lost wake-up.
    let builder = Manager::builder().history(retention.clone()).transient(retention);
    let builder = builder.on_lag(on_lag).no_heartbeat();
    let sse = builder.build().unwrap();
    let mut rng = Rng::with_seed(seed);

    let mut readers = JoinSet::new();
    for number in 0..READERS {
        readers.spawn(ScheduledReader::new(&sse, audience(number), rng.fork()).read(transients));
    }
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn(publish(sse.clone(), number * EACH, transients, rng.fork()));
    }
    let mut published: Vec<Published> = publishers.join_all().await.into_iter().flatten().collect();
    let everyone: Vec<Topic> = (0..4).map(topic).collect();
    let end = sse.publish(everyone.clone(), END.to_string()).unwrap();
    let seq = position_of(end).0;
    assert_eq!(seq, END_SEQ);
    published.push(Published {
        seq,
        number: END,
        to: To::Topics(everyone, false),
        is_transient: false,
    });

    // Less than the time after which a stalled reader is closed, which would wake it.
    let finished = tokio::time::timeout(Duration::from_secs(10), readers.join_all()).await;
    let readers = finished.unwrap_or_else(|_| {
        unreachable!("PRISM_SEED={seed}: a reader was never woken for the last event")
    });
    assert_eq!(check_against_oracle(published, &readers), Ok(()), "PRISM_SEED={seed}");

    let all = readers.iter().flat_map(|reader| &reader.seen);
    let gaps = all.filter(|(_, seen)| matches!(seen, Seen::Gap)).count();
    assert!(kept != KEPT[0] || gaps == 0, "PRISM_SEED={seed}: {gaps} gaps where all was kept");
    (gaps, readers.iter().map(|reader| reader.resumed).sum())
}

fn topic(number: u8) -> Topic {
    Topic::try_from(&*format!("t/{number}")).unwrap()
}

/// Each selects at least one of the topics.
fn audience(number: u64) -> Audience {
    match number % 8 {
        0 => Audience::everything(),
        1 => select("t/0"),
        2 => select(["t/0", "t/2"]).grant("t/1").unwrap(),
        3 => select(["t/1", "t/2", "t/3"]).grant("*").unwrap(),
        4 => Audience::everything().grant("t/3").unwrap(),
        5 => select("t/2").broadcasts(false),
        6 => Audience::everything().grant("*").unwrap().broadcasts(false),
        _ => select(["t/3", "quiet"]).grant("t/3").unwrap(),
    }
}

/// The sequence number and the receivers of a receipt.
fn position_of(mut receipt: Receipt) -> (u64, usize) {
    let ack = receipt.try_ack().unwrap().unwrap();
    (ack.position.seq, ack.receivers)
}

async fn publish(sse: Manager, first: u64, transients: bool, mut rng: Rng) -> Vec<Published> {
    let mut published = Vec::new();
    for number in first..first + EACH {
        published.extend(publish_one(&sse, number, transients, &mut rng));
        match rng.u8(..) {
            0..4 => tokio::time::sleep(Duration::from_millis(1)).await,
            4..64 => yield_now().await,
            _ => {}
        }
    }
    published
}

/// Publishes an event. `None` if it was for a connection that has closed.
fn publish_one(sse: &Manager, number: u64, transients: bool, rng: &mut Rng) -> Option<Published> {
    let mut is_transient = false;
    let (receipt, to) = match rng.u8(..8) {
        _ if number.is_multiple_of(SENT) => {
            let connections = sse.connections();
            let connection = rng.choice(&connections)?;
            (connection.send(number.to_string()).ok()?, To::One(connection.id()))
        }
        0 | 1 => {
            let event = Event::new(number.to_string());
            let named = if rng.bool() { event.id(format!("own-{number}")) } else { Ok(event) };
            (sse.broadcast(named.unwrap()).unwrap(), To::Everyone)
        }
        _ => {
            let topics: Vec<Topic> = (0..rng.u8(1..3)).map(|_| topic(rng.u8(..4))).collect();
            let publication = Publication::new(topics.clone(), number.to_string()).unwrap();
            let private = rng.bool();
            let publication = if private { publication.private() } else { publication };
            is_transient = transients && rng.bool();
            let publication = if is_transient { publication.transient() } else { publication };
            (sse.append(publication).unwrap(), To::Topics(topics, private))
        }
    };
    let (seq, receivers) = position_of(receipt);
    let arrives = receivers > 0 || !matches!(to, To::One(_));
    arrives.then_some(Published { seq, number, to, is_transient })
}

impl ScheduledReader {
    fn new(sse: &Manager, audience: Audience, rng: Rng) -> Self {
        Self {
            sse: sse.clone(),
            audience,
            rng,
            parser: Parser::new(),
            connection: None,
            begin: 0,
            connections: Vec::new(),
            seen: Vec::new(),
            resumed: 0,
            finished: false,
        }
    }

    async fn read(mut self, transients: bool) -> Self {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..10))).await;
        // With two classes, records may be missing after the oldest one, which the oracle does not
        // know.
        let oldest = self.rng.bool() && !transients;
        let start = if oldest { Start::Oldest } else { Start::Now };
        self.connect(start);
        // A reader can only resume once it has received an id.
        let opening = self.next().await.unwrap();
        self.parse(&opening);
        self.begin = self.parser.last_event_id().parse::<Position>().unwrap().seq;
        while !self.finished {
            match self.rng.u8(..) {
                0..4 => self.hang_up(),
                4..16 => self.stall().await,
                _ => {}
            }
            if self.connection.is_none() {
                self.reconnect().await;
            }
            match self.next().await {
                // Sometimes the connection breaks within a block.
                Some(bytes) if self.rng.u8(..) < 6 => {
                    let end = self.rng.usize(..bytes.len());
                    self.parse(&bytes[..end]);
                    self.hang_up();
                }
                Some(bytes) => self.parse(&bytes),
                None => self.hang_up(),
            }
        }
        self
    }

    fn connect(&mut self, start: Start) {
        let connection = self.sse.subscribe(self.audience.clone(), start).unwrap();
        self.connections.push(connection.id());
        self.connection = Some(connection);
    }

    async fn reconnect(&mut self) {
        if self.rng.bool() {
            self.stall().await;
        }
        self.connect(Start::After(self.parser.last_event_id().to_owned()));
        let missed = self.connection.as_ref().unwrap().gap();
        self.resumed += usize::from(missed.is_none());
    }

    async fn stall(&mut self) {
        for _ in 0..self.rng.u8(..20) {
            yield_now().await;
        }
    }

    async fn next(&mut self) -> Option<bytes::Bytes> {
        self.connection.as_mut().unwrap().next().await
    }

    fn parse(&mut self, mut bytes: &[u8]) {
        let connection = *self.connections.last().unwrap();
        while let Some(parsed) = self.parser.next(&mut bytes) {
            let Parsed::Event(event) = parsed else { continue };
            let seen = match event.name.as_str() {
                "prism.gap" => Seen::Gap,
                "message" => Seen::Event(event.data.parse().unwrap()),
                _ => continue,
            };
            self.seen.push((connection, seen));
            self.finished |= match seen {
                Seen::Event(number) => number == END,
                // A gap at the end may leave out the last event.
                Seen::Gap => event.id.parse::<Position>().unwrap().seq == END_SEQ,
            };
        }
    }

    fn hang_up(&mut self) {
        self.connection = None;
        self.parser.reconnected();
    }
}

/// What happened at one sequence number, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Event,
    Begin,
    /// An event to one connection, after the event whose sequence number it shares. Several such
    /// events are ordered as their reader saw them.
    Send(usize),
}

/// Checks what all readers saw against what was published, in the order known from receipts.
fn check_against_oracle(
    published: Vec<Published>,
    readers: &[ScheduledReader],
) -> Result<(), Fault> {
    let published: HashMap<u64, Published> =
        published.into_iter().map(|published| (published.number, published)).collect();
    let mut seen_at = HashMap::new();
    // How far each connection was read, and which of them got a gap.
    let mut read_to: HashMap<ConnectionId, u64> = HashMap::new();
    let mut gapped = HashSet::new();
    for reader in readers {
        for (at, &(connection, seen)) in reader.seen.iter().enumerate() {
            let Seen::Event(number) = seen else {
                gapped.insert(connection);
                continue;
            };
            let published = published.get(&number).expect("a published event");
            match published.to {
                To::One(to) => {
                    assert_eq!(to, connection, "event {number} is for another connection");
                    seen_at.entry(number).or_insert(at);
                }
                _ => _ = read_to.insert(connection, published.seq),
            }
        }
    }

    let mut happened: Vec<(u64, At, u64)> = Vec::new();
    happened.extend(readers.iter().zip(0..).map(|(reader, n)| (reader.begin, At::Begin, n)));
    for published in published.values() {
        let at = match published.to {
            To::Everyone | To::Topics(..) => At::Event,
            To::One(to) => match seen_at.get(&published.number) {
                Some(&at) => At::Send(at),
                None if !gapped.contains(&to) && read_to.get(&to) > Some(&published.seq) => {
                    At::Send(0)
                }
                // It was lost with its connection, or in a gap.
                None => continue,
            },
        };
        happened.push((published.seq, at, published.number));
    }
    happened.sort_unstable();

    let mut oracle = Oracle::new();
    let mut events = HashMap::new();
    let mut numbers = HashMap::new();
    let mut owners = HashMap::new();
    for (_, at, number) in happened {
        if at == At::Begin {
            let reader = &readers[number as usize];
            let begun = oracle.reader(reader.audience.clone());
            numbers.insert(number, begun);
            owners.extend(reader.connections.iter().map(|&connection| (connection, begun)));
            continue;
        }
        let event = match &published[&number].to {
            To::Everyone => oracle.broadcast(),
            To::Topics(topics, private) => oracle.publish(topics, *private),
            To::One(to) => oracle.send(owners[to]),
        };
        if published[&number].is_transient {
            oracle.transient(event);
        }
        events.insert(number, event);
    }
    for (reader, number) in readers.iter().zip(0..) {
        let number = numbers[&number];
        for (_, seen) in &reader.seen {
            match seen {
                Seen::Event(event) => oracle.saw(number, events[event]),
                Seen::Gap => oracle.saw_gap(number),
            }
        }
    }
    oracle.verdict()
}
