//! The other end of all connections: one thread, one epoll, no allocation per event.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::{Endpoint, External, Load};
use crate::http::Answer;
use crate::publish::{Form, Publisher};
use crate::receive::{Checker, Faults, Lines, Stamp};

/// Connections that may be opening at once: fewer than the 128 that many a server lets wait.
const OPENING: usize = 100;

/// Addresses of this machine that connections come from, so that no one runs out of ports.
const SOURCES: usize = 64;

/// Longest time that opening a connection may take.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);

/// What is read at once. A burst of events fits.
const BUFFER_BYTES: usize = 64 * 1024;

const NANOS_A_SECOND: f64 = 1e9;

/// Latencies above an hour are told as an hour.
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;

/// The subscribers and publishers of one run.
#[derive(Debug)]
pub(crate) struct Client {
    poll: Poll,
    ready: Events,
    buffer: Box<[u8]>,
    began: Instant,
    endpoint: Endpoint,
    request: Vec<u8>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    tally: Tally,
}

#[derive(Debug)]
struct Subscriber {
    stream: TcpStream,
    asked: bool,
    answer: Answer,
    lines: Lines,
}

/// What was received.
#[derive(Debug)]
struct Tally {
    checker: Checker,
    flights: Flights,
    latency: Histogram<u64>,
    deliveries: u64,
    reads: u64,
}

/// Which published messages are still under way to how many subscribers.
#[derive(Debug)]
struct Flights {
    lanes: Vec<Lane>,
    subscribers: u32,
    open: usize,
}

/// The messages of one publisher, from the oldest that is under way on.
#[derive(Debug, Default)]
struct Lane {
    first: u32,
    missing: VecDeque<u32>,
}

/// What publishing and receiving for a while gave.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// From the first publication to the last delivery.
    pub(crate) time: Duration,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    /// Reads that had something to give.
    pub(crate) reads: u64,
    /// From when a message was due to when a subscriber had read it, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Client {
    /// A client of the server at `endpoint`, without connections.
    pub(crate) fn new(
        endpoint: &Endpoint,
        external: &External,
        connections: usize,
        load: &Load,
    ) -> Result<Self> {
        let Endpoint { path, host, .. } = endpoint;
        let headers: String = external.headers.iter().map(|it| format!("{it}\r\n")).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{headers}\r\n"
        );
        let publishers = usize::from(load.publishers);
        Ok(Self {
            poll: Poll::new()?,
            ready: Events::with_capacity(1024),
            buffer: vec![0; BUFFER_BYTES].into(),
            began: Instant::now(),
            endpoint: endpoint.clone(),
            request: request.into_bytes(),
            subscribers: Vec::with_capacity(connections),
            publishers: Vec::new(),
            tally: Tally {
                checker: Checker::new(connections, publishers, load.payload),
                flights: Flights::new(publishers, u32::try_from(connections)?),
                latency: Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3)?,
                deliveries: 0,
                reads: 0,
            },
        })
    }

    /// Opens all subscribers' connections and waits for the head of each answer. Returns how long
    /// that took.
    pub(crate) fn connect(
        &mut self,
        connections: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Duration> {
        let began = Instant::now();
        let mut opened = 0;
        while opened < connections {
            while self.subscribers.len() < connections.min(opened + OPENING) {
                let at = self.subscribers.len();
                let stream = self.open(self.endpoint.address, Token(at), at)?;
                let (answer, lines) = (Answer::new(), Lines::new());
                self.subscribers.push(Subscriber { stream, asked: false, answer, lines });
            }
            if !wait(&mut self.poll, &mut self.ready, OPENING_PATIENCE)? {
                bail!("only {opened} of {connections} connections opened");
            }
            for event in &self.ready {
                let at = event.token().0;
                let subscriber = &mut self.subscribers[at];
                let had = subscriber.answer.status();
                if !subscriber.ask(&self.request).context("a connection does not open")? {
                    continue;
                }
                subscriber.read(at, &mut self.buffer, self.began, &mut self.tally)?;
                match subscriber.answer.status() {
                    Some(200) => opened += usize::from(had.is_none()),
                    Some(status) => bail!("a subscriber was answered with status {status}"),
                    None => {}
                }
            }
            progress(opened);
        }
        Ok(began.elapsed())
    }

    /// Opens the publishers' connections.
    pub(crate) fn connect_publishers(&mut self, endpoint: &Endpoint, count: u8) -> Result<()> {
        for publisher in 0..usize::from(count) {
            let token = Token(self.subscribers.len() + publisher);
            let stream = self.open(endpoint.address, token, publisher)?;
            self.publishers.push(Publisher::new(stream));
        }
        Ok(())
    }

    /// Publishes as `load` says, until it is over and everything was delivered. If nothing is
    /// delivered for too long it gives up; then [`faults`](Self::faults) tells what is missing.
    pub(crate) fn deliver(
        &mut self,
        form: &Form,
        load: &Load,
        mut progress: impl FnMut(u64, Duration),
    ) -> Result<Delivered> {
        self.tally.latency.reset();
        (self.tally.deliveries, self.tally.reads) = (0, 0);
        let began = self.now();
        let end = began + nanos(load.seconds);
        let (mut messages, mut last) = (0, began);
        loop {
            let now = self.now();
            let due = match load.rate {
                Some(rate) => began + (messages as f64 / rate * NANOS_A_SECOND) as u64,
                None => now,
            };
            let more = match load.messages {
                Some(most) => messages < most,
                None => due < end,
            };
            let room = load.rate.is_some() || self.tally.flights.open < load.in_flight as usize;
            let free = self.publishers.iter().position(|publisher| !publisher.is_busy());
            if let Some(publisher) = free.filter(|_| more && room && due <= now) {
                self.publish(publisher, due, form)?;
                messages += 1;
                continue;
            }
            let all_answered = self.publishers.iter().all(|publisher| !publisher.is_busy());
            if !more && all_answered && self.tally.flights.open == 0 {
                break;
            }
            let patience = match free {
                // Less than a millisecond is not waited for but spun through.
                Some(_) if more && room => whole_millis(due.saturating_sub(now)).min(load.stall),
                _ => load.stall,
            };
            let before = self.tally.deliveries;
            let woken = wait(&mut self.poll, &mut self.ready, patience)?;
            self.receive()?;
            if self.tally.deliveries > before {
                last = self.now();
            }
            if !woken && self.now().saturating_sub(last.max(due)) >= nanos(load.stall) {
                break;
            }
            progress(messages, Duration::from_nanos(self.now() - began));
        }
        Ok(Delivered {
            time: Duration::from_nanos(last - began),
            messages,
            deliveries: self.tally.deliveries,
            reads: self.tally.reads,
            latency: self.tally.latency.clone(),
        })
    }

    /// Reads on for a while, for what should not come.
    pub(crate) fn linger(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            wait(&mut self.poll, &mut self.ready, rest)?;
            self.receive()?;
        }
        Ok(())
    }

    /// What was wrong in all that was received.
    pub(crate) fn faults(&self) -> Faults {
        self.tally.checker.faults()
    }

    fn publish(&mut self, publisher: usize, due: u64, form: &Form) -> Result<()> {
        let number = u8::try_from(publisher).context("too many publishers")?;
        let seq = self.tally.checker.publish(number);
        self.tally.flights.start(publisher);
        self.publishers[publisher].publish(form, Stamp { publisher: number, seq, due })
    }

    /// Reads from every connection that has something.
    fn receive(&mut self) -> Result<()> {
        for event in &self.ready {
            let at = event.token().0;
            match self.subscribers.get_mut(at) {
                Some(subscriber) => {
                    subscriber.read(at, &mut self.buffer, self.began, &mut self.tally)?;
                }
                None => {
                    let publisher = &mut self.publishers[at - self.subscribers.len()];
                    publisher.go_on(&mut self.buffer)?;
                }
            }
        }
        Ok(())
    }

    /// Begins a connection. It is reset when it is dropped, so that its port is free at once.
    fn open(&self, to: SocketAddr, token: Token, number: usize) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))
            .context("no further connection can be opened")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        if to.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let source = Ipv4Addr::new(127, 0, 0, (number % SOURCES) as u8 + 1);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&to.into()) {
            Err(error) if !is_under_way(&error) => {
                return Err(error).with_context(|| format!("{to} does not accept connections"));
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest)?;
        Ok(stream)
    }

    /// Nanoseconds since the client was made.
    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }
}

impl Subscriber {
    /// Asks for the stream once the connection is open. `false` as long as it is not.
    fn ask(&mut self, request: &[u8]) -> Result<bool> {
        if self.asked {
            return Ok(true);
        }
        match self.stream.write(request) {
            // The first write to a socket always has room for a head.
            Ok(written) => ensure!(written == request.len(), "a request was cut short"),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        self.asked = true;
        Ok(true)
    }

    /// Reads what has come.
    fn read(
        &mut self,
        at: usize,
        buffer: &mut [u8],
        began: Instant,
        tally: &mut Tally,
    ) -> Result<()> {
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a stream"),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("a stream broke"),
            };
            let now = nanos(began.elapsed());
            let before = tally.deliveries;
            let lines = &mut self.lines;
            self.answer.take(&buffer[..len], |text| {
                lines.take(text, |stamp, len| tally.note(at, stamp, len, now));
            })?;
            ensure!(!self.answer.is_complete(), "the server ended a stream");
            tally.reads += u64::from(tally.deliveries > before);
            // A read that leaves room in the buffer left nothing in the socket.
            if len < buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Tally {
    fn note(&mut self, subscriber: usize, stamp: Stamp, len: usize, now: u64) {
        if self.checker.receive(subscriber, stamp, len) {
            self.deliveries += 1;
            self.latency.saturating_record(now.saturating_sub(stamp.due));
            self.flights.arrive(stamp);
        }
    }
}

impl Flights {
    fn new(publishers: usize, subscribers: u32) -> Self {
        let lanes = (0..publishers).map(|_| Lane::default()).collect();
        Self { lanes, subscribers, open: 0 }
    }

    fn start(&mut self, publisher: usize) {
        self.lanes[publisher].missing.push_back(self.subscribers);
        self.open += 1;
    }

    fn arrive(&mut self, stamp: Stamp) {
        let lane = &mut self.lanes[usize::from(stamp.publisher)];
        let Some(place) = stamp.seq.checked_sub(lane.first) else { return };
        let Some(missing) = lane.missing.get_mut(place as usize) else { return };
        *missing -= 1;
        self.open -= usize::from(*missing == 0);
        while lane.missing.front() == Some(&0) {
            lane.missing.pop_front();
            lane.first += 1;
        }
    }
}

/// Waits for readiness. `false` if there was none in time.
fn wait(poll: &mut Poll, ready: &mut Events, patience: Duration) -> Result<bool> {
    match poll.poll(ready, Some(patience)) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        polled => polled?,
    }
    Ok(!ready.is_empty())
}

fn is_under_way(error: &std::io::Error) -> bool {
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(in_progress)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn whole_millis(nanos: u64) -> Duration {
    Duration::from_millis(nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_under_way_until_everybody_has_it() {
        let mut flights = Flights::new(2, 2);
        let arrive = |flights: &mut Flights, publisher, seq| {
            flights.arrive(Stamp { publisher, seq, due: 0 });
            flights.open
        };
        flights.start(0);
        flights.start(0);
        flights.start(1);
        assert_eq!(flights.open, 3);
        assert_eq!(arrive(&mut flights, 0, 1), 3);
        assert_eq!(arrive(&mut flights, 0, 1), 2);
        assert_eq!(arrive(&mut flights, 1, 0), 2);
        assert_eq!(arrive(&mut flights, 0, 0), 2);
        assert_eq!(arrive(&mut flights, 0, 0), 1);
        assert_eq!(flights.lanes[0].first, 2);
        assert_eq!(arrive(&mut flights, 1, 0), 0);
    }
}
