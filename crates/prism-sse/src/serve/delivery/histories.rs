//! Made-up histories of a shard, without sockets: publish, send, subscribe, read a few bytes, hang
//! up, resume, let time pass and let the shard have a turn, in any order, with sockets that take
//! little and a log so short that much is evicted. Each is held against the oracle.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use http_body::Body;
use proptest::prelude::*;

use super::{Delivery, HandOver, Held, Turn};
use crate::audience::Audience;
use crate::connection::offer;
use crate::log::Retention;
use crate::manager::{Manager, OnLag};
use crate::selector::Topic;
use crate::serve::open::Open;
use crate::subscription::Start;
use crate::test::Oracle;
use crate::wire::{Event, Framed, Parsed, Parser};

/// What a socket took and its reader has not read.
struct Wire {
    bytes: VecDeque<u8>,
    room: usize,
    /// The reader hung up.
    gone: bool,
    /// The shard closed it.
    closed: bool,
}

struct Socket(Arc<Mutex<Wire>>);

impl Socket {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }
}

impl Read for Socket {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        if self.wire().gone { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.wire();
        if wire.gone {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(wire.room - wire.bytes.len());
        wire.bytes.extend(&bytes[..len]);
        if len == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.wire().closed = true;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Broadcast { len: usize, own_id: bool },
    Publish { topics: Vec<u8>, private: bool },
    Send { to: usize },
    Subscribe { audience: u8, room: usize },
    Read { reader: usize, bytes: usize },
    HangUp { reader: usize },
    Resume { reader: usize },
    Turns { count: usize },
    Seconds { count: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0..6_usize;
    prop_oneof![
        4 => (0..300_usize, any::<bool>())
            .prop_map(|(len, own_id)| Step::Broadcast { len, own_id }),
        5 => (prop::collection::vec(0..3_u8, 1..3), any::<bool>())
            .prop_map(|(topics, private)| Step::Publish { topics, private }),
        3 => reader.clone().prop_map(|to| Step::Send { to }),
        2 => (0..4_u8, 50..600_usize)
            .prop_map(|(audience, room)| Step::Subscribe { audience, room }),
        8 => (reader.clone(), 1..500_usize)
            .prop_map(|(reader, bytes)| Step::Read { reader, bytes }),
        1 => reader.clone().prop_map(|reader| Step::HangUp { reader }),
        2 => reader.prop_map(|reader| Step::Resume { reader }),
        6 => (1..4_usize).prop_map(|count| Step::Turns { count }),
        1 => (1..20_u64).prop_map(|count| Step::Seconds { count }),
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
    connection: Option<(u32, Arc<Mutex<Wire>>)>,
    chunks: Vec<u8>,
    parser: Parser,
}

struct World {
    sse: Manager,
    shard: Delivery<Socket>,
    open: Arc<Open>,
    oracle: Oracle,
    readers: Vec<Reader>,
    now: u64,
}

impl World {
    fn new(on_lag: OnLag) -> Self {
        let retention = Retention::default().count(8);
        let mut shard = Delivery::new(Waker::noop().clone(), 2000);
        // The log is short here, and so are the passages of it.
        shard.recent.least = 1;
        Self {
            sse: Manager::builder().history(retention).on_lag(on_lag).build().unwrap(),
            shard,
            open: Arc::default(),
            oracle: Oracle::new(),
            readers: Vec::new(),
            now: 0,
        }
    }

    fn connect(&mut self, reader: usize, start: Start) {
        let Reader { audience, room, .. } = &self.readers[reader];
        let mut body = Box::pin(self.sse.subscribe(audience.clone(), start).unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        let (first, offered) = offer::during(|| body.as_mut().poll_frame(&mut cx));
        assert!(matches!(first, Poll::Ready(Some(Ok(_)))));
        let offered = offered.unwrap();
        let wire = Wire { bytes: VecDeque::new(), room: *room, gone: false, closed: false };
        let wire = Arc::new(Mutex::new(wire));
        let hand_over = HandOver {
            socket: Socket(Arc::clone(&wire)),
            shared: offered.shared,
            slot: offered.slot,
            id: offered.id,
            reading: offered.reading,
            rest: Framed::from_block(&offered.opening).chunk(),
            body,
            held: Held::new(&self.open),
        };
        let key = self.shard.next_key();
        self.shard.adopt(hand_over, self.now);
        self.readers[reader].connection = Some((key, wire));
    }

    fn turn(&mut self) -> Turn {
        self.now += 1;
        self.shard.turn(self.now)
    }

    /// Reads at most so many bytes. Answers how many there were.
    fn read(&mut self, reader: usize, bytes: usize) -> usize {
        let Some((key, wire)) = &self.readers[reader].connection else { return 0 };
        let (read, closed) = {
            let mut wire = wire.lock().unwrap();
            let len = bytes.min(wire.bytes.len());
            (wire.bytes.drain(..len).collect::<Vec<u8>>(), wire.closed && wire.bytes.is_empty())
        };
        let key = *key;
        self.readers[reader].take(&read, &mut self.oracle);
        if closed {
            self.hang_up(reader);
        } else if !read.is_empty() && self.is_open(reader) {
            self.shard.socket_is(key, false, true);
        }
        read.len()
    }

    fn is_open(&self, reader: usize) -> bool {
        let connection = self.readers[reader].connection.as_ref();
        connection.is_some_and(|(_, wire)| !wire.lock().unwrap().closed)
    }

    fn hang_up(&mut self, reader: usize) {
        let known = &mut self.readers[reader];
        let Some((key, wire)) = known.connection.take() else { return };
        known.chunks.clear();
        known.parser.reconnected();
        self.oracle.hung_up(known.number);
        let closed = {
            let mut wire = wire.lock().unwrap();
            wire.gone = true;
            wire.closed
        };
        if !closed {
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

    fn perform(&mut self, step: &Step) {
        match step {
            Step::Broadcast { len, own_id } => {
                let number = self.oracle.broadcast();
                let event = Event::new(format!("{number:0len$}"));
                let named = if *own_id { event.id(format!("own-{number}")) } else { Ok(event) };
                self.sse.broadcast(named.unwrap()).unwrap();
            }
            Step::Publish { topics, private } => {
                let topics: Vec<Topic> =
                    topics.iter().map(|n| Topic::try_from(&*format!("t{n}")).unwrap()).collect();
                let number = self.oracle.publish(&topics, *private);
                let event = crate::Publication::new(topics, number.to_string()).unwrap();
                let event = if *private { event.private() } else { event };
                self.sse.append(event).unwrap();
            }
            Step::Send { to } => {
                let Some(reader) = self.readers.get(*to) else { return };
                let Some((key, wire)) = &reader.connection else { return };
                // What the shard closed may have another connection in its place.
                if wire.lock().unwrap().closed {
                    return;
                }
                let Some(id) = self.shard.connection_id(*key) else { return };
                let number = self.oracle.send(reader.number);
                self.sse.send(number.to_string(), id).unwrap();
            }
            Step::Subscribe { audience: number, room } => {
                if self.readers.len() < 6 {
                    let audience = audience(*number);
                    let number = self.oracle.reader(audience.clone());
                    self.readers.push(Reader {
                        number,
                        audience,
                        room: *room,
                        connection: None,
                        chunks: Vec::new(),
                        parser: Parser::new(),
                    });
                    self.connect(self.readers.len() - 1, Start::Now);
                }
            }
            Step::Read { reader, bytes } if *reader < self.readers.len() => {
                self.read(*reader, *bytes);
            }
            Step::HangUp { reader } if *reader < self.readers.len() => self.hang_up(*reader),
            Step::Resume { reader } if *reader < self.readers.len() => self.resume(*reader),
            Step::Turns { count } => (0..*count).for_each(|_| {
                self.turn();
            }),
            Step::Seconds { count } => self.now += count * 1000,
            Step::Read { .. } | Step::HangUp { .. } | Step::Resume { .. } => {}
        }
    }

    /// Lets everyone read until there is nothing more; who is away comes back.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            quiet += 1;
            while self.turn() == Turn::Again {}
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
            let chunk: Vec<u8> = self.chunks.drain(..end + 2 + size + 2).collect();
            assert!(chunk.ends_with(b"\r\n"), "a chunk ends with a line break");
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

fn run(steps: &[Step], on_lag: OnLag) -> Result<(), TestCaseError> {
    let mut world = World::new(on_lag);
    steps.iter().for_each(|step| world.perform(step));
    world.settle();
    world.oracle.verdict().map_err(|fault| TestCaseError::fail(fault.to_string()))?;
    let World { mut shard, readers, sse, open, .. } = world;
    prop_assert_eq!(shard.len(), readers.len());
    shard.drop_all();
    prop_assert_eq!((shard.len(), sse.connection_count(), open.count()), (0, 0, 0));
    prop_assert_eq!(shard.leftovers(), 0);
    Ok(())
}

impl<S> Delivery<S> {
    fn connection_id(&self, key: u32) -> Option<crate::wire::ConnectionId> {
        let member = self.members.get(key as usize)?;
        let shared = &self.sources[self.groups[member.group as usize].source as usize].shared;
        let entry = shared.lock();
        let entry = entry.entry(member.slot());
        entry.closing().is_none().then(|| entry.id())
    }

    /// What is left when the last member has gone.
    fn leftovers(&self) -> usize {
        self.sources.len() + self.groups.len() + self.stalled.len() + self.pins.len()
    }
}

proptest! {
    // `PROPTEST_CASES` makes up more of them.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn nobody_loses_anything_in_silence_when_lag_disconnects(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        run(&steps, OnLag::Disconnect)?;
    }

    #[test]
    fn nobody_loses_anything_in_silence_when_lag_skips(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        run(&steps, OnLag::SkipWithGap)?;
    }
}
