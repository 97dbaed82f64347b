//! Made-up histories of a shard, without sockets: publish, send, subscribe, take over, read a few
//! bytes, hang up, remove, resume, begin another epoch, let time pass, wake nobody for a while and
//! let the shard have a turn, in any order, with sockets that take little and a log so short that
//! much is evicted. Each is held against the oracle.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::task::Waker;

use proptest::prelude::*;

use super::rig::{Batching, Socket, Wire, offered};
use super::{Delivery, HandOver, Turn};
use crate::audience::Audience;
use crate::engine::Publication;
use crate::log::Retention;
use crate::manager::{Manager, OnLag};
use crate::selector::Topic;
use crate::serve::open::Open;
use crate::subscription::Start;
use crate::test::Oracle;
use crate::wire::{ConnectionId, Event, Parsed, Parser};

#[derive(Clone, Debug)]
enum Step {
    Broadcast { len: usize, own_id: bool, transient: bool },
    Publish { topics: Vec<u8>, private: bool, transient: bool },
    Send { to: usize },
    Subscribe { audience: u8, room: usize },
    Adopt { reader: usize },
    Read { reader: usize, bytes: usize },
    HangUp { reader: usize },
    Remove { reader: usize },
    Resume { reader: usize },
    Turns { count: usize },
    Seconds { count: u64 },
    Hold,
    Wake,
    Epoch,
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0..6_usize;
    prop_oneof![
        4 => (0..300_usize, any::<(bool, bool)>())
            .prop_map(|(len, (own_id, transient))| Step::Broadcast { len, own_id, transient }),
        5 => (prop::collection::vec(0..3_u8, 1..3), any::<[bool; 2]>())
            .prop_map(|(topics, [private, transient])| {
                Step::Publish { topics, private, transient }
            }),
        3 => reader.clone().prop_map(|to| Step::Send { to }),
        2 => (0..4_u8, 50..600_usize)
            .prop_map(|(audience, room)| Step::Subscribe { audience, room }),
        2 => reader.clone().prop_map(|reader| Step::Adopt { reader }),
        8 => (reader.clone(), 1..500_usize)
            .prop_map(|(reader, bytes)| Step::Read { reader, bytes }),
        1 => reader.clone().prop_map(|reader| Step::HangUp { reader }),
        1 => reader.clone().prop_map(|reader| Step::Remove { reader }),
        2 => reader.prop_map(|reader| Step::Resume { reader }),
        6 => (1..4_usize).prop_map(|count| Step::Turns { count }),
        1 => (1..20_u64).prop_map(|count| Step::Seconds { count }),
        // Long enough that marks are due, and that who takes nothing is given up.
        1 => (300..700_u64).prop_map(|count| Step::Seconds { count }),
        3 => Just(Step::Hold),
        3 => Just(Step::Wake),
        1 => Just(Step::Epoch),
    ]
}

fn audience(number: u8) -> Audience {
    match number {
        0 | 1 => Audience::everything(),
        2 => Audience::select(["t0", "t2"]).unwrap().grant("t1").unwrap(),
        _ => Audience::select(["t1"]).unwrap(),
    }
}

/// A reader as a browser is one, at the other end of a socket.
struct Reader {
    number: usize,
    audience: Audience,
    room: usize,
    connection: Option<Connection>,
    chunks: Vec<u8>,
    /// It was told that its stream ended.
    ended: bool,
    parser: Parser,
}

struct Connection {
    id: ConnectionId,
    wire: Wire,
    place: Place,
}

enum Place {
    /// On its way to the shard.
    Offered(Box<HandOver<Socket>>),
    /// In the shard, under this key.
    Adopted(u32),
}

struct World {
    some_are_transient: bool,
    sse: Manager,
    engine: Batching,
    shard: Delivery<Socket>,
    open: Arc<Open>,
    oracle: Oracle,
    readers: Vec<Reader>,
    now: u64,
}

impl World {
    /// If some events are transient, so many of them are `kept`.
    fn new(kept: Option<usize>, on_lag: OnLag) -> Self {
        let engine = Batching::default();
        let [history, transient] =
            [8, kept.unwrap_or(1)].map(|count| Retention::default().count(count));
        let builder = Manager::builder().engine(engine.clone()).transient(transient);
        let mut shard = Delivery::new(Waker::noop().clone(), 2000);
        // The log is short here, and so are the passages of it.
        shard.recent.least = 1;
        Self {
            some_are_transient: kept.is_some(),
            sse: builder.history(history).on_lag(on_lag).build().unwrap(),
            engine,
            shard,
            open: Arc::default(),
            oracle: Oracle::new(),
            readers: Vec::new(),
            now: 0,
        }
    }

    fn connect(&mut self, reader: usize, start: Start) {
        let Reader { audience, room, .. } = &self.readers[reader];
        let wire = Wire::new(*room);
        let hand_over = offered(&self.sse, audience.clone(), start, &wire, &self.open);
        let id = hand_over.id;
        let place = Place::Offered(Box::new(hand_over));
        let reader = &mut self.readers[reader];
        reader.connection = Some(Connection { id, wire, place });
        reader.ended = false;
    }

    /// The shard takes over what is on its way to it.
    fn adopt(&mut self, reader: usize) {
        let Some(connection) = &mut self.readers[reader].connection else { return };
        let adopted = Place::Adopted(self.shard.next_key());
        match std::mem::replace(&mut connection.place, adopted) {
            Place::Offered(hand_over) => self.shard.adopt(*hand_over, self.now),
            at @ Place::Adopted(_) => connection.place = at,
        }
    }

    /// As whoever drives the shard does it: what came is taken over, and then there is a turn.
    fn turn(&mut self) -> Turn {
        (0..self.readers.len()).for_each(|reader| self.adopt(reader));
        self.now += 1;
        self.shard.turn(self.now)
    }

    /// Reads at most so many bytes. Answers how many there were.
    fn read(&mut self, reader: usize, bytes: usize) -> usize {
        let Some(connection) = &self.readers[reader].connection else { return 0 };
        let read = connection.wire.read(bytes);
        let closed = connection.wire.is_closed();
        let all = connection.wire.is_empty();
        if let (Place::Adopted(key), false, false) = (&connection.place, closed, read.is_empty()) {
            self.shard.socket_is(*key, false, true);
        }
        self.readers[reader].take(&read, &mut self.oracle);
        if closed && all {
            self.hang_up(reader);
        }
        read.len()
    }

    fn hang_up(&mut self, reader: usize) {
        let known = &mut self.readers[reader];
        let Some(connection) = known.connection.take() else { return };
        known.chunks.clear();
        known.parser.reconnected();
        self.oracle.hung_up(known.number);
        connection.wire.hang_up();
        if let (Place::Adopted(key), false) = (connection.place, connection.wire.is_closed()) {
            self.shard.socket_is(key, true, false);
        }
    }

    fn resume(&mut self, reader: usize) {
        self.hang_up(reader);
        let id = self.readers[reader].parser.last_event_id().to_owned();
        if id.is_empty() {
            // It was cut off within its first bytes, and begins anew, as a browser does.
            self.oracle.saw_gap(self.readers[reader].number);
            let audience = self.readers[reader].audience.clone();
            self.readers[reader].number = self.oracle.reader(audience);
            self.connect(reader, Start::Now);
        } else {
            self.connect(reader, Start::After(id));
        }
    }

    /// The id of the reader's connection, if nobody has decided its end.
    fn connection(&self, reader: usize) -> Option<ConnectionId> {
        let id = self.readers.get(reader)?.connection.as_ref()?.id;
        self.sse.connection(id).map(|_| id)
    }

    fn append(&mut self, publication: Publication, number: usize, is_transient: bool) {
        if is_transient && self.some_are_transient {
            self.oracle.transient(number);
            self.sse.append(publication.transient()).unwrap();
        } else {
            self.sse.append(publication).unwrap();
        }
    }

    fn perform(&mut self, step: &Step) {
        match step {
            Step::Broadcast { len, own_id, transient } => {
                let number = self.oracle.broadcast();
                let event = Event::new(format!("{number:0len$}"));
                let named = if *own_id { event.id(format!("own-{number}")) } else { Ok(event) };
                self.append(Publication::broadcast(named.unwrap()), number, *transient);
            }
            Step::Publish { topics, private, transient } => {
                let topics: Vec<Topic> =
                    topics.iter().map(|n| Topic::try_from(&*format!("t{n}")).unwrap()).collect();
                let number = self.oracle.publish(&topics, *private);
                let event = Publication::new(topics, number.to_string()).unwrap();
                let event = if *private { event.private() } else { event };
                self.append(event, number, *transient);
            }
            Step::Send { to } => {
                let Some(id) = self.connection(*to) else { return };
                let number = self.oracle.send(self.readers[*to].number);
                self.sse.send(number.to_string(), id).unwrap();
            }
            Step::Subscribe { audience: number, room } if self.readers.len() < 6 => {
                let audience = audience(*number);
                self.readers.push(Reader {
                    number: self.oracle.reader(audience.clone()),
                    audience,
                    room: *room,
                    connection: None,
                    chunks: Vec::new(),
                    ended: false,
                    parser: Parser::new(),
                });
                self.connect(self.readers.len() - 1, Start::Now);
            }
            Step::Adopt { reader } if *reader < self.readers.len() => self.adopt(*reader),
            Step::Read { reader, bytes } if *reader < self.readers.len() => {
                self.read(*reader, *bytes);
            }
            Step::HangUp { reader } if *reader < self.readers.len() => self.hang_up(*reader),
            Step::Resume { reader } if *reader < self.readers.len() => self.resume(*reader),
            Step::Remove { reader } => {
                if let Some(id) = self.connection(*reader) {
                    assert!(self.sse.remove_connection(id));
                }
            }
            Step::Turns { count } => (0..*count).for_each(|_| {
                self.turn();
            }),
            Step::Seconds { count } => self.now += count * 1000,
            Step::Hold => self.engine.hold(),
            Step::Wake => self.engine.wake(),
            Step::Epoch => self.engine.begin_epoch(),
            Step::Subscribe { .. } | Step::Adopt { .. } | Step::Read { .. } => {}
            Step::HangUp { .. } | Step::Resume { .. } => {}
        }
    }

    fn work(&mut self) {
        let rests = (0..100_000).any(|_| match self.turn() {
            Turn::Again | Turn::Soon => false,
            // A moment between two passes is no rest here.
            Turn::At(at) => at > self.now + 1,
            Turn::Never => true,
        });
        assert!(rests, "the shard never rests");
    }

    /// Lets everyone read until there is nothing more; who is away comes back.
    fn settle(&mut self) {
        self.engine.wake();
        let mut quiet = 0;
        while quiet < 3 {
            quiet += 1;
            self.work();
            for reader in 0..self.readers.len() {
                if self.readers[reader].connection.is_none() {
                    self.resume(reader);
                    quiet = 0;
                }
                while self.read(reader, usize::MAX) > 0 {
                    quiet = 0;
                }
            }
        }
    }

    /// A planned end: everyone reads what is due, and then that it was all.
    fn close(&mut self) {
        let broadcast = Step::Broadcast { len: 0, own_id: false, transient: false };
        // Of those after it nothing is evicted: everyone has all that was before.
        self.perform(&broadcast);
        self.settle();
        (0..5).for_each(|_| self.perform(&broadcast));
        self.sse.close();
        let closed = (0..1000).any(|_| {
            self.work();
            let mut left = 0;
            for reader in 0..self.readers.len() {
                left += self.read(reader, usize::MAX);
            }
            left == 0 && self.shard.len() == 0
        });
        assert!(closed, "{} connections stay open", self.shard.len());
        let said = self.readers.iter().all(|reader| reader.ended);
        assert!(said, "a stream ended, and nobody said so");
    }
}

impl Reader {
    fn take(&mut self, bytes: &[u8], oracle: &mut Oracle) {
        self.chunks.extend_from_slice(bytes);
        while let Some(end) = self.chunks.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.chunks[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.chunks.len() < end + 2 + size + 2 {
                return;
            }
            assert!(!self.ended, "there is more behind the last chunk");
            let chunk: Vec<u8> = self.chunks.drain(..end + 2 + size + 2).collect();
            assert!(chunk.ends_with(b"\r\n"), "a chunk ends with a line break");
            self.ended = size == 0;
            self.parse(&chunk[end + 2..end + 2 + size], oracle);
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
}

fn run(steps: &[Step], kept: Option<usize>, on_lag: OnLag) -> Result<(), TestCaseError> {
    let mut world = World::new(kept, on_lag);
    steps.iter().for_each(|step| world.perform(step));
    world.settle();
    verdict(&world, on_lag)?;
    prop_assert_eq!(world.shard.len(), world.readers.len());
    world.close();
    verdict(&world, on_lag)?;
    let World { shard, sse, open, .. } = world;
    prop_assert_eq!((sse.connection_count(), open.count()), (0, 0));
    prop_assert_eq!(shard.leftovers(), 0);
    Ok(())
}

fn verdict(world: &World, on_lag: OnLag) -> Result<(), TestCaseError> {
    match on_lag {
        // The latest of each topic come after a gap in an order of their own.
        OnLag::LatestPerTopic => Ok(()),
        _ => world.oracle.verdict().map_err(|fault| TestCaseError::fail(fault.to_string())),
    }
}

impl<S> Delivery<S> {
    /// What is left when the last member has gone.
    fn leftovers(&self) -> usize {
        let managers = self.sources.len() + self.known.len() + self.forgotten.len();
        managers + self.groups.len() + self.stalled.len() + self.pins.len()
    }
}

proptest! {
    // `PROPTEST_CASES` makes up more of them.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn nobody_loses_anything_in_silence_when_lag_disconnects(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        run(&steps, None, OnLag::Disconnect)?;
    }

    #[test]
    fn nobody_loses_anything_in_silence_when_lag_skips(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        run(&steps, None, OnLag::SkipWithGap)?;
    }

    #[test]
    fn everyone_comes_to_the_end_when_lag_gives_the_latest(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        run(&steps, None, OnLag::LatestPerTopic)?;
    }

    #[test]
    fn the_same_holds_where_some_events_are_transient(
        steps in prop::collection::vec(step(), 0..120), kept in 1..16_usize, on_lag in 0..3_usize
    ) {
        let on_lag = [OnLag::Disconnect, OnLag::SkipWithGap, OnLag::LatestPerTopic][on_lag];
        run(&steps, Some(kept), on_lag)?;
    }
}
