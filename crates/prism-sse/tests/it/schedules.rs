//! Many tasks on several threads: publishers, and readers that stall, are cut off within a block
//! and come back, each held against the oracle.
//!
//! Receipts tell the order that there was. All choices of a run come from its seed, which a failure
//! prints and `PRISM_SEED` repeats; which thread runs when is left to the machine.

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

/// The last event of a run, which every audience gets.
const END: u64 = PUBLISHERS * EACH;

/// Every one of so many events is for one connection, and so has no place of its own.
const SENT: u64 = 5;

/// The place of the last event: without holes, places count what was published.
const END_SEQ: u64 = PUBLISHERS * (EACH - EACH / SENT) + 1;

/// Everything is kept; gaps are rare; gaps are common. The first is the strictest: it excuses
/// nothing.
const KEPT: [usize; 3] = [100_000, 160, 24];

/// What a publisher said, and the place its receipt told.
struct Said {
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

/// A reader as a page is one, and all it saw.
struct Reader {
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
    /// How often it came back and missed nothing.
    resumed: usize,
    finished: bool,
}

#[test]
fn many_threads_at_once_lose_nothing_in_silence() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
    };
    if let Ok(seed) = std::env::var("PRISM_SEED") {
        runtime().block_on(run(seed.parse().unwrap()));
        return;
    }
    // Any twelve in a row have each retention with each answer to lag, with transient events and
    // without.
    let first = fastrand::u64(..1 << 32);
    let runs = (first..first + 36).map(|seed| runtime().block_on(run(seed)));
    let (gaps, resumed) = runs.fold((0, 0), |sum, (gaps, resumed)| (sum.0 + gaps, sum.1 + resumed));
    assert!(gaps > 0 && resumed > 0, "{gaps} gaps, {resumed} resumed without");
}

/// One run; how many gaps were told, and how often a reader came back without one.
async fn run(seed: u64) -> (usize, usize) {
    let kept = KEPT[(seed % 3) as usize];
    let on_lag = if (seed / 3).is_multiple_of(2) { OnLag::Disconnect } else { OnLag::SkipWithGap };
    let transients = (seed / 6).is_multiple_of(2);
    let retention = Retention::default().count(kept);
    // A heartbeat would wake a reader that was forgotten.
    let builder = Manager::builder().history(retention.clone()).transient(retention);
    let builder = builder.on_lag(on_lag).no_heartbeat();
    let sse = builder.build().unwrap();
    let mut rng = Rng::with_seed(seed);

    let mut readers = JoinSet::new();
    for number in 0..READERS {
        readers.spawn(Reader::new(&sse, audience(number), rng.fork()).read(transients));
    }
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn(publish(sse.clone(), number * EACH, transients, rng.fork()));
    }
    let mut said: Vec<Said> = publishers.join_all().await.into_iter().flatten().collect();
    let everyone: Vec<Topic> = (0..4).map(topic).collect();
    let end = sse.publish(everyone.clone(), END.to_string()).unwrap();
    let seq = place(end).0;
    assert_eq!(seq, END_SEQ);
    said.push(Said { seq, number: END, to: To::Topics(everyone, false), is_transient: false });

    // Less than the time after which a stalled reader is closed, and so woken.
    let finished = tokio::time::timeout(Duration::from_secs(10), readers.join_all()).await;
    let readers = finished.unwrap_or_else(|_| {
        unreachable!("PRISM_SEED={seed}: a reader was never woken for the last event")
    });
    assert_eq!(judge(said, &readers), Ok(()), "PRISM_SEED={seed}");

    let all = readers.iter().flat_map(|reader| &reader.seen);
    let gaps = all.filter(|(_, seen)| matches!(seen, Seen::Gap)).count();
    assert!(kept != KEPT[0] || gaps == 0, "PRISM_SEED={seed}: {gaps} gaps where all was kept");
    (gaps, readers.iter().map(|reader| reader.resumed).sum())
}

fn topic(number: u8) -> Topic {
    Topic::try_from(&*format!("t/{number}")).unwrap()
}

/// Each selects one of the topics at least.
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

/// The sequence number that a receipt tells, and to how many the event goes.
fn place(mut receipt: Receipt) -> (u64, usize) {
    let ack = receipt.try_ack().unwrap().unwrap();
    (ack.position.seq, ack.receivers)
}

async fn publish(sse: Manager, first: u64, transients: bool, mut rng: Rng) -> Vec<Said> {
    let mut said = Vec::new();
    for number in first..first + EACH {
        said.extend(say(&sse, number, transients, &mut rng));
        match rng.u8(..) {
            0..4 => tokio::time::sleep(Duration::from_millis(1)).await,
            4..64 => yield_now().await,
            _ => {}
        }
    }
    said
}

/// Publishes something. Nothing was said if it was for a connection that is gone.
fn say(sse: &Manager, number: u64, transients: bool, rng: &mut Rng) -> Option<Said> {
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
    let (seq, receivers) = place(receipt);
    let arrives = receivers > 0 || !matches!(to, To::One(_));
    arrives.then_some(Said { seq, number, to, is_transient })
}

impl Reader {
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
        // The oldest of two kinds begins with holes, and the oracle asks for what is in them.
        let oldest = self.rng.bool() && !transients;
        let start = if oldest { Start::Oldest } else { Start::Now };
        self.connect(start);
        // A page that never got an id could not come back to any place: it gets its first.
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
                self.come_back().await;
            }
            match self.next().await {
                // Now and then the network cuts it off within a block.
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

    async fn come_back(&mut self) {
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
                // A gap at the very end leaves out the last event too.
                Seen::Gap => event.id.parse::<Position>().unwrap().seq == END_SEQ,
            };
        }
    }

    fn hang_up(&mut self) {
        self.connection = None;
        self.parser.reconnected();
    }
}

/// What happened at one place of the order, in the order in which it did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Event,
    Begin,
    /// An event for a connection, after the event whose place it has; with its place among what its
    /// reader saw, since those of several publishers share a place of the order.
    Send(usize),
}

/// Holds what all readers saw against what was said, in the order that receipts told.
fn judge(said: Vec<Said>, readers: &[Reader]) -> Result<(), Fault> {
    let said: HashMap<u64, Said> = said.into_iter().map(|said| (said.number, said)).collect();
    let mut seen_at = HashMap::new();
    // Up to which place each connection was read, and which were told of a gap.
    let mut read_to: HashMap<ConnectionId, u64> = HashMap::new();
    let mut told = HashSet::new();
    for reader in readers {
        for (at, &(connection, seen)) in reader.seen.iter().enumerate() {
            let Seen::Event(number) = seen else {
                told.insert(connection);
                continue;
            };
            let said = said.get(&number).expect("it was said");
            match said.to {
                To::One(to) => {
                    assert_eq!(to, connection, "event {number} is for another connection");
                    seen_at.entry(number).or_insert(at);
                }
                _ => _ = read_to.insert(connection, said.seq),
            }
        }
    }

    let mut happened: Vec<(u64, At, u64)> = Vec::new();
    happened.extend(readers.iter().zip(0..).map(|(reader, n)| (reader.begin, At::Begin, n)));
    for said in said.values() {
        let at = match said.to {
            To::Everyone | To::Topics(..) => At::Event,
            To::One(to) => match seen_at.get(&said.number) {
                Some(&at) => At::Send(at),
                None if !told.contains(&to) && read_to.get(&to) > Some(&said.seq) => At::Send(0),
                // It went with its connection, or with a gap.
                None => continue,
            },
        };
        happened.push((said.seq, at, said.number));
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
        let event = match &said[&number].to {
            To::Everyone => oracle.broadcast(),
            To::Topics(topics, private) => oracle.publish(topics, *private),
            To::One(to) => oracle.send(owners[to]),
        };
        if said[&number].is_transient {
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
