//! The client: all subscribers and publishers of a run, on one thread with one epoll, without
//! allocations per event.

mod churn;
mod closed_loop;
mod config;
mod connector;
mod in_flight;
mod non_reading;
mod paced;
mod receive_stats;
mod reconnect;
mod subscribe_request;
mod subscriber;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use self::churn::ChurningConnections;
pub(crate) use self::closed_loop::PublishMeasurement;
pub(crate) use self::config::ClientConfig;
use self::connector::Connector;
pub(crate) use self::paced::DeliveryMeasurement;
use self::receive_stats::ReceiveStats;
pub(crate) use self::reconnect::ReplayMeasurement;
use self::subscribe_request::SubscribeRequest;
use self::subscriber::Subscriber;
use crate::check::{Faults, Sequences};
use crate::cli::Endpoint;
use crate::publish::Publisher;

/// Most connections that are opening at once: fewer than the backlog of 128 that many servers have.
const OPENING_MAX: usize = 100;

/// Longest time that opening a connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Size of the read buffer. A burst of events fits.
const BUFFER_BYTES: usize = 64 * 1024;

/// The first token of publishers; those of subscribers begin at 0.
const FIRST_PUBLISHER: usize = usize::MAX / 8;

/// The subscribers and publishers of one run.
#[derive(Debug)]
pub(crate) struct Client {
    poll: Poll,
    ready: Events,
    connector: Connector,
    buffer: Box<[u8]>,
    start: Instant,
    endpoint: Endpoint,
    request: SubscribeRequest,
    sequences: Sequences,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Publishers whose request was answered when readiness was last handled.
    answered: Vec<usize>,
    /// The position of each publisher in the round robin over its topics.
    next_topics: Vec<usize>,
    churn: ChurningConnections,
    /// Open connections that are never read from.
    non_reading: Vec<TcpStream>,
    stats: ReceiveStats,
}

impl Client {
    /// A client without connections.
    pub(crate) fn new(config: &ClientConfig<'_>) -> Result<Self> {
        let ClientConfig { endpoint, subscribers, sequences, payload, process, .. } = *config;
        let poll = Poll::new()?;
        Ok(Self {
            connector: Connector::new(poll.registry(), process)?,
            poll,
            ready: Events::with_capacity(1024),
            buffer: vec![0; BUFFER_BYTES].into(),
            start: Instant::now(),
            endpoint: endpoint.clone(),
            request: SubscribeRequest::new(config),
            sequences,
            subscribers: Vec::with_capacity(subscribers),
            publishers: Vec::new(),
            answered: Vec::new(),
            next_topics: Vec::new(),
            churn: ChurningConnections::none(),
            non_reading: Vec::new(),
            stats: ReceiveStats::new(subscribers, sequences, payload)?,
        })
    }

    /// Opens subscribers' connections up to this number, and waits for the head of each response.
    /// Returns how long that took.
    pub(crate) fn connect(
        &mut self,
        connections: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Duration> {
        let start = Instant::now();
        let mut opened = 0;
        while opened < connections {
            while self.subscribers.len() < connections.min(opened + OPENING_MAX) {
                let index = self.subscribers.len();
                let stream = self.connector.open(self.endpoint.address, Token(index), index)?;
                self.subscribers.push(Subscriber::new(stream));
            }
            let is_ready = wait(&mut self.poll, &mut self.ready, OPEN_TIMEOUT)?;
            ensure!(is_ready, "only {opened} of {connections} connections opened");
            opened += self.handle_ready()?;
            progress(opened);
        }
        Ok(start.elapsed())
    }

    /// Opens the publishers' connections, in place of those there were: a server may have closed
    /// them while nothing was published.
    pub(crate) fn connect_publishers(&mut self, endpoint: &Endpoint, count: u8) -> Result<()> {
        self.publishers.clear();
        for publisher in 0..usize::from(count) {
            let token = Token(FIRST_PUBLISHER + publisher);
            let stream = self.connector.open(endpoint.address, token, publisher)?;
            self.publishers.push(Publisher::new(stream));
        }
        self.next_topics = vec![0; self.publishers.len()];
        Ok(())
    }

    /// Opens `count` connections beside the subscribers, each of which is closed as soon as its
    /// stream has begun, and opened again.
    pub(crate) fn begin_churn(&mut self, count: usize) -> Result<()> {
        self.churn.begin(count, &self.endpoint, &self.connector)
    }

    /// Stops closing and reopening connections. Returns how often one was opened.
    pub(crate) fn end_churn(&mut self) -> u64 {
        self.churn.end();
        self.churn.opened
    }

    /// Reads for this long, so that unexpected events are seen.
    pub(crate) fn read_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            wait(&mut self.poll, &mut self.ready, rest)?;
            self.handle_ready()?;
        }
        Ok(())
    }

    /// The faults in all that was received.
    pub(crate) fn faults(&self) -> Faults {
        self.stats.checker.faults()
    }

    /// Reads and writes what connections are ready for. Returns how many streams began.
    fn handle_ready(&mut self) -> Result<usize> {
        let Self { connector, endpoint, request, buffer, stats, .. } = self;
        let mut opened = 0;
        self.answered.clear();
        for event in &self.ready {
            let index = event.token().0;
            if let Some(subscriber) = self.subscribers.get_mut(index) {
                let was_open = subscriber.is_open()?;
                if was_open
                    || subscriber.send(request, index).context("a connection does not open")?
                {
                    read(subscriber, index, buffer, self.start, stats)?;
                    opened += usize::from(!was_open && subscriber.is_open()?);
                }
            } else if index >= churn::FIRST_TOKEN {
                self.churn.handle_ready(index, endpoint, connector, request, buffer)?;
            } else if let Some(index) = index.checked_sub(FIRST_PUBLISHER)
                && let Some(publisher) = self.publishers.get_mut(index)
                && publisher.handle_ready(buffer)?
            {
                self.answered.push(index);
            }
        }
        Ok(opened)
    }

    /// Nanoseconds since the client was made.
    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }
}

/// Reads from a subscriber's socket until it is empty, and records the events.
fn read(
    subscriber: &mut Subscriber,
    index: usize,
    buffer: &mut [u8],
    start: Instant,
    stats: &mut ReceiveStats,
) -> Result<()> {
    let before = stats.deliveries;
    let clock = || nanos(start.elapsed());
    let reads = subscriber.read(buffer, clock, |scanner, text, now| {
        if index == 0 {
            stats.last_event_id.feed(text);
        }
        scanner.feed(text, |stamp, len| stats.record(index, stamp, len, now));
    })?;
    if stats.deliveries > before {
        stats.reads += reads;
    }
    Ok(())
}

/// Waits until a connection is ready. `false` if the time is over before.
fn wait(poll: &mut Poll, ready: &mut Events, timeout: Duration) -> Result<bool> {
    match poll.poll(ready, Some(timeout)) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        polled => polled?,
    }
    Ok(!ready.is_empty())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
