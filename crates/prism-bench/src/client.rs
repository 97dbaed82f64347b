//! The other end of all connections: one thread, one epoll, no allocation per event.

mod churn;
mod deliver;
mod opener;
mod press;
mod silent;
mod storm;
mod subscriber;
mod tally;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use self::churn::Churn;
pub(crate) use self::deliver::Delivered;
use self::opener::Opener;
pub(crate) use self::press::Pressed;
pub(crate) use self::storm::CaughtUp;
pub(crate) use self::subscriber::topic;
use self::subscriber::{Question, Subscriber};
use self::tally::Tally;
use crate::check::{Faults, Lanes};
use crate::cli::Endpoint;
use crate::publish::Publisher;

/// Connections that may be opening at once: fewer than the 128 that many a server lets wait.
const OPENING: usize = 100;

/// Longest time that opening a connection may take.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);

/// What is read at once. A burst of events fits.
const BUFFER_BYTES: usize = 64 * 1024;

/// The first token of publishers; those of subscribers begin at 0.
const PUBLISHERS: usize = usize::MAX / 8;

/// What a client is for.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// Headers of all requests.
    pub(crate) headers: &'a [String],
    /// Each subscriber shows a token for its topic.
    pub(crate) tokens: bool,
    pub(crate) subscribers: usize,
    pub(crate) lanes: Lanes,
    /// Bytes of each event's data.
    pub(crate) payload: usize,
    /// Its place among clients of several processes: each has addresses of its own.
    pub(crate) place: u8,
}

/// The subscribers and publishers of one run.
#[derive(Debug)]
pub(crate) struct Client {
    poll: Poll,
    ready: Events,
    opener: Opener,
    buffer: Box<[u8]>,
    began: Instant,
    endpoint: Endpoint,
    question: Question,
    lanes: Lanes,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Publishers that were answered when connections were last looked at.
    answered: Vec<usize>,
    /// How far each publisher is in going through its topics.
    turns: Vec<usize>,
    churn: Churn,
    /// Open, and never read from.
    silent: Vec<TcpStream>,
    tally: Tally,
}

impl Client {
    /// A client without connections.
    pub(crate) fn new(plan: &Plan<'_>) -> Result<Self> {
        let Plan { endpoint, subscribers, lanes, payload, place, .. } = *plan;
        let poll = Poll::new()?;
        Ok(Self {
            opener: Opener::new(poll.registry(), place)?,
            poll,
            ready: Events::with_capacity(1024),
            buffer: vec![0; BUFFER_BYTES].into(),
            began: Instant::now(),
            endpoint: endpoint.clone(),
            question: Question::new(plan),
            lanes,
            subscribers: Vec::with_capacity(subscribers),
            publishers: Vec::new(),
            answered: Vec::new(),
            turns: Vec::new(),
            churn: Churn::none(),
            silent: Vec::new(),
            tally: Tally::new(subscribers, lanes, payload)?,
        })
    }

    /// Opens subscribers' connections up to this number and waits for the head of each answer.
    /// Returns how long that took.
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
                let stream = self.opener.open(self.endpoint.address, Token(at), at)?;
                self.subscribers.push(Subscriber::new(stream));
            }
            let woken = wait(&mut self.poll, &mut self.ready, OPENING_PATIENCE)?;
            ensure!(woken, "only {opened} of {connections} connections opened");
            opened += self.receive()?;
            progress(opened);
        }
        Ok(began.elapsed())
    }

    /// Opens the publishers' connections, in place of those there were: a server may have closed
    /// them while nothing was published.
    pub(crate) fn connect_publishers(&mut self, endpoint: &Endpoint, count: u8) -> Result<()> {
        self.publishers.clear();
        for publisher in 0..usize::from(count) {
            let token = Token(PUBLISHERS + publisher);
            let stream = self.opener.open(endpoint.address, token, publisher)?;
            self.publishers.push(Publisher::new(stream));
        }
        self.turns = vec![0; self.publishers.len()];
        Ok(())
    }

    /// Lets so many connections come and go beside the subscribers.
    pub(crate) fn begin_churn(&mut self, count: usize) -> Result<()> {
        self.churn.begin(count, &self.endpoint, &self.opener)
    }

    /// Lets those that come and go stay. Returns how often one of them came.
    pub(crate) fn end_churn(&mut self) -> u64 {
        self.churn.settle();
        self.churn.opened
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

    /// Does what each connection is ready for. Answers how many streams began.
    fn receive(&mut self) -> Result<usize> {
        let Self { opener, endpoint, question, buffer, tally, .. } = self;
        let mut opened = 0;
        self.answered.clear();
        for event in &self.ready {
            let at = event.token().0;
            if let Some(subscriber) = self.subscribers.get_mut(at) {
                let was_open = subscriber.is_open()?;
                if was_open || subscriber.ask(question, at).context("no connection opens")? {
                    read(subscriber, at, buffer, self.began, tally)?;
                    opened += usize::from(!was_open && subscriber.is_open()?);
                }
            } else if at >= churn::FIRST_TOKEN {
                self.churn.go_on(at, endpoint, opener, question, buffer)?;
            } else if let Some(at) = at.checked_sub(PUBLISHERS)
                && let Some(publisher) = self.publishers.get_mut(at)
                && publisher.go_on(buffer)?
            {
                self.answered.push(at);
            }
        }
        Ok(opened)
    }

    /// Nanoseconds since the client was made.
    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }
}

/// Reads what has come to a subscriber, and takes note of the events in it.
fn read(
    subscriber: &mut Subscriber,
    at: usize,
    buffer: &mut [u8],
    began: Instant,
    tally: &mut Tally,
) -> Result<()> {
    let before = tally.deliveries;
    let clock = || nanos(began.elapsed());
    let reads = subscriber.read(buffer, clock, |lines, text, now| {
        if at == 0 {
            tally.last_id.take(text);
        }
        lines.take(text, |stamp, len| tally.note(at, stamp, len, now));
    })?;
    if tally.deliveries > before {
        tally.reads += reads;
    }
    Ok(())
}

/// Waits for readiness. `false` if there was none in time.
fn wait(poll: &mut Poll, ready: &mut Events, patience: Duration) -> Result<bool> {
    match poll.poll(ready, Some(patience)) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        polled => polled?,
    }
    Ok(!ready.is_empty())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
