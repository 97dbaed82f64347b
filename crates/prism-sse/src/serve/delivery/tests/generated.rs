//! Generated histories of a shard, without sockets. A history publishes, sends, subscribes, adopts,
//! reads a few bytes, hangs up, removes, resumes, begins an epoch, lets time pass, holds wake-ups
//! back and gives the shard turns, in any order. Sockets take little, and the log is so short that
//! much is evicted. What each reader received is checked by the oracle.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::task::Waker;

use proptest::prelude::*;

use super::super::{DeliveryShard, NextTurn};
use super::harness::{BatchingEngine, MemorySocket, SocketPeer, hand_over};
use crate::audience::Audience;
use crate::engine::Publication;
use crate::log::Retention;
use crate::manager::{Manager, OnLag};
use crate::selector::Topic;
use crate::serve::connection_count::ConnectionCount;
use crate::serve::hand_over::HandedOverConnection;
use crate::subscription::Start;
use crate::test::Oracle;
use crate::wire::{ConnectionId, Event, Parsed, Parser};

/// One action of a history. Numbers beyond the present readers do nothing.
#[derive(Clone, Debug)]
enum Action {
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
    HoldWakes,
    ReleaseWakes,
    BeginEpoch,
}

fn action() -> impl Strategy<Value = Action> {
    let reader = 0..6_usize;
    prop_oneof![
        4 => (0..300_usize, any::<(bool, bool)>())
            .prop_map(|(len, (own_id, transient))| Action::Broadcast { len, own_id, transient }),
        5 => (prop::collection::vec(0..3_u8, 1..3), any::<[bool; 2]>())
            .prop_map(|(topics, [private, transient])| {
                Action::Publish { topics, private, transient }
            }),
        3 => reader.clone().prop_map(|to| Action::Send { to }),
        2 => (0..4_u8, 50..600_usize)
            .prop_map(|(audience, room)| Action::Subscribe { audience, room }),
        2 => reader.clone().prop_map(|reader| Action::Adopt { reader }),
        8 => (reader.clone(), 1..500_usize)
            .prop_map(|(reader, bytes)| Action::Read { reader, bytes }),
        1 => reader.clone().prop_map(|reader| Action::HangUp { reader }),
        1 => reader.clone().prop_map(|reader| Action::Remove { reader }),
        2 => reader.prop_map(|reader| Action::Resume { reader }),
        6 => (1..4_usize).prop_map(|count| Action::Turns { count }),
        1 => (1..20_u64).prop_map(|count| Action::Seconds { count }),
        // Long enough that marks are due, and that members that take nothing have stalled.
        1 => (300..700_u64).prop_map(|count| Action::Seconds { count }),
        3 => Just(Action::HoldWakes),
        3 => Just(Action::ReleaseWakes),
        1 => Just(Action::BeginEpoch),
    ]
}

fn audience(number: u8) -> Audience {
    match number {
        0 | 1 => Audience::everything(),
        2 => Audience::select(["t0", "t2"]).unwrap().grant("t1").unwrap(),
        _ => Audience::select(["t1"]).unwrap(),
    }
}

/// A reader at the other end of a socket, which reconnects with its last id as a browser does.
struct SimulatedReader {
    /// Its number in the oracle.
    number: usize,
    audience: Audience,
    /// Bytes that its socket takes before any are read.
    room: usize,
    connection: Option<SimulatedConnection>,
    /// Bytes of a chunk that is not complete yet.
    chunks: Vec<u8>,
    /// The last chunk was received.
    ended: bool,
    parser: Parser,
}

struct SimulatedConnection {
    id: ConnectionId,
    peer: SocketPeer,
    stage: HandOverStage,
}

enum HandOverStage {
    /// Not adopted by the shard yet.
    HandedOver(Box<HandedOverConnection<MemorySocket>>),
    /// A member of the shard, with this key.
    Adopted(u32),
}

struct Simulation {
    some_are_transient: bool,
    sse: Manager,
    engine: BatchingEngine,
    shard: DeliveryShard<MemorySocket>,
    open: Arc<ConnectionCount>,
    oracle: Oracle,
    readers: Vec<SimulatedReader>,
    now: u64,
}

impl Simulation {
    /// Some events are transient if `transient_count` is given: as many of them are retained.
    fn new(transient_count: Option<usize>, on_lag: OnLag) -> Self {
        let engine = BatchingEngine::default();
        let [history, transient] =
            [8, transient_count.unwrap_or(1)].map(|count| Retention::default().count(count));
        let builder = Manager::builder().engine(engine.clone()).transient(transient);
        let mut shard = DeliveryShard::new(Waker::noop().clone(), 2000);
        // Frames are small here, because the log is short.
        shard.shared_frames.min_bytes = 1;
        Self {
            some_are_transient: transient_count.is_some(),
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
        let SimulatedReader { audience, room, .. } = &self.readers[reader];
        let peer = SocketPeer::new(*room);
        let connection = hand_over(&self.sse, audience.clone(), start, &peer, &self.open);
        let id = connection.id;
        let stage = HandOverStage::HandedOver(Box::new(connection));
        let reader = &mut self.readers[reader];
        reader.connection = Some(SimulatedConnection { id, peer, stage });
        reader.ended = false;
    }

    /// Lets the shard adopt the reader's connection, if it has not yet.
    fn adopt(&mut self, reader: usize) {
        let Some(connection) = &mut self.readers[reader].connection else { return };
        let adopted = HandOverStage::Adopted(self.shard.next_key());
        match std::mem::replace(&mut connection.stage, adopted) {
            HandOverStage::HandedOver(handed_over) => self.shard.adopt(*handed_over, self.now),
            stage @ HandOverStage::Adopted(_) => connection.stage = stage,
        }
    }

    /// One turn as the shard's thread does it: connections are adopted first.
    fn turn(&mut self) -> NextTurn {
        (0..self.readers.len()).for_each(|reader| self.adopt(reader));
        self.now += 1;
        self.shard.turn(self.now)
    }

    /// Reads at most this many bytes. Returns how many there were.
    fn read(&mut self, reader: usize, bytes: usize) -> usize {
        let Some(connection) = &self.readers[reader].connection else { return 0 };
        let read = connection.peer.read(bytes);
        let closed = connection.peer.is_closed();
        let empty = connection.peer.is_empty();
        if let (HandOverStage::Adopted(key), false, false) =
            (&connection.stage, closed, read.is_empty())
        {
            self.shard.socket_ready(*key, false, true);
        }
        self.readers[reader].take(&read, &mut self.oracle);
        if closed && empty {
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
        connection.peer.hang_up();
        if let (HandOverStage::Adopted(key), false) =
            (connection.stage, connection.peer.is_closed())
        {
            self.shard.socket_ready(key, true, false);
        }
    }

    fn resume(&mut self, reader: usize) {
        self.hang_up(reader);
        let id = self.readers[reader].parser.last_event_id().to_owned();
        if id.is_empty() {
            // Cut off before its first id, it has nothing to resume from and starts anew.
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

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Broadcast { len, own_id, transient } => {
                let number = self.oracle.broadcast();
                let event = Event::new(format!("{number:0len$}"));
                let named = if *own_id { event.id(format!("own-{number}")) } else { Ok(event) };
                self.append(Publication::broadcast(named.unwrap()), number, *transient);
            }
            Action::Publish { topics, private, transient } => {
                let topics: Vec<Topic> =
                    topics.iter().map(|n| Topic::try_from(&*format!("t{n}")).unwrap()).collect();
                let number = self.oracle.publish(&topics, *private);
                let event = Publication::new(topics, number.to_string()).unwrap();
                let event = if *private { event.private() } else { event };
                self.append(event, number, *transient);
            }
            Action::Send { to } => {
                let Some(id) = self.connection(*to) else { return };
                let number = self.oracle.send(self.readers[*to].number);
                self.sse.send(number.to_string(), id).unwrap();
            }
            Action::Subscribe { audience: number, room } if self.readers.len() < 6 => {
                let audience = audience(*number);
                self.readers.push(SimulatedReader {
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
            Action::Adopt { reader } if *reader < self.readers.len() => self.adopt(*reader),
            Action::Read { reader, bytes } if *reader < self.readers.len() => {
                self.read(*reader, *bytes);
            }
            Action::HangUp { reader } if *reader < self.readers.len() => self.hang_up(*reader),
            Action::Resume { reader } if *reader < self.readers.len() => self.resume(*reader),
            Action::Remove { reader } => {
                if let Some(id) = self.connection(*reader) {
                    assert!(self.sse.remove_connection(id));
                }
            }
            Action::Turns { count } => (0..*count).for_each(|_| {
                self.turn();
            }),
            Action::Seconds { count } => self.now += count * 1000,
            Action::HoldWakes => self.engine.hold_wakes(),
            Action::ReleaseWakes => self.engine.release_wakes(),
            Action::BeginEpoch => self.engine.begin_epoch(),
            Action::Subscribe { .. } | Action::Adopt { .. } | Action::Read { .. } => {}
            Action::HangUp { .. } | Action::Resume { .. } => {}
        }
    }

    fn run_until_idle(&mut self) {
        let idle = (0..100_000).any(|_| match self.turn() {
            NextTurn::Now | NextTurn::AfterYield => false,
            // A pause between two passes does not count as idle.
            NextTurn::At(at) => at > self.now + 1,
            NextTurn::WhenWoken => true,
        });
        assert!(idle, "the shard never becomes idle");
    }

    /// Lets all readers reconnect and read until nothing more comes.
    fn settle(&mut self) {
        self.engine.release_wakes();
        let mut quiet = 0;
        while quiet < 3 {
            quiet += 1;
            self.run_until_idle();
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

    /// Closes the manager. All readers must receive what is due, and then the end.
    fn close(&mut self) {
        let broadcast = Action::Broadcast { len: 0, own_id: false, transient: false };
        // After this all readers have received everything, and the few events that follow are not
        // evicted before they are read.
        self.perform(&broadcast);
        self.settle();
        (0..5).for_each(|_| self.perform(&broadcast));
        self.sse.close();
        let closed = (0..1000).any(|_| {
            self.run_until_idle();
            let mut left = 0;
            for reader in 0..self.readers.len() {
                left += self.read(reader, usize::MAX);
            }
            left == 0 && self.shard.len() == 0
        });
        assert!(closed, "{} connections stay open", self.shard.len());
        let told = self.readers.iter().all(|reader| reader.ended);
        assert!(told, "a stream was closed without its last chunk");
    }
}

impl SimulatedReader {
    fn take(&mut self, bytes: &[u8], oracle: &mut Oracle) {
        self.chunks.extend_from_slice(bytes);
        while let Some(end) = self.chunks.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.chunks[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.chunks.len() < end + 2 + size + 2 {
                return;
            }
            assert!(!self.ended, "something follows the last chunk");
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

fn run(
    history: &[Action],
    transient_count: Option<usize>,
    on_lag: OnLag,
) -> Result<(), TestCaseError> {
    let mut simulation = Simulation::new(transient_count, on_lag);
    history.iter().for_each(|action| simulation.perform(action));
    simulation.settle();
    verdict(&simulation, on_lag)?;
    prop_assert_eq!(simulation.shard.len(), simulation.readers.len());
    simulation.close();
    verdict(&simulation, on_lag)?;
    let Simulation { shard, sse, open, .. } = simulation;
    prop_assert_eq!((sse.connection_count(), open.get()), (0, 0));
    prop_assert_eq!(shard.leftovers(), 0);
    Ok(())
}

fn verdict(simulation: &Simulation, on_lag: OnLag) -> Result<(), TestCaseError> {
    match on_lag {
        // After a gap the newest event of each topic follows, which the oracle does not expect.
        OnLag::LatestPerTopic => Ok(()),
        _ => simulation.oracle.verdict().map_err(|fault| TestCaseError::fail(fault.to_string())),
    }
}

impl<S> DeliveryShard<S> {
    /// Entries that must be gone with the last member.
    fn leftovers(&self) -> usize {
        let managers = self.managers.len() + self.manager_keys.len() + self.detached_managers.len();
        managers + self.groups.len() + self.stalled.len() + self.pinned.len()
    }
}

proptest! {
    // The variable `PROPTEST_CASES` sets how many histories are generated.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn no_event_is_lost_without_a_gap_when_lag_disconnects(
        history in prop::collection::vec(action(), 0..120)
    ) {
        run(&history, None, OnLag::Disconnect)?;
    }

    #[test]
    fn no_event_is_lost_without_a_gap_when_lag_skips(
        history in prop::collection::vec(action(), 0..120)
    ) {
        run(&history, None, OnLag::SkipWithGap)?;
    }

    #[test]
    fn every_reader_reaches_the_end_when_lag_gives_the_newest_of_each_topic(
        history in prop::collection::vec(action(), 0..120)
    ) {
        run(&history, None, OnLag::LatestPerTopic)?;
    }

    #[test]
    fn no_event_is_lost_without_a_gap_where_some_are_transient(
        history in prop::collection::vec(action(), 0..120),
        transient_count in 1..16_usize,
        on_lag in 0..3_usize,
    ) {
        let on_lag = [OnLag::Disconnect, OnLag::SkipWithGap, OnLag::LatestPerTopic][on_lag];
        run(&history, Some(transient_count), on_lag)?;
    }
}
