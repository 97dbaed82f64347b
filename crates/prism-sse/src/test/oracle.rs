//! Checks what readers received against what was published.
//!
//! The oracle knows nothing of logs, indexes and floors. It keeps everything that was published, in
//! order, and compares it with what each reader received. Between two gaps a reader must have
//! received exactly the events that its audience selects and may read, in that order, each once.
//!
//! Where some events are transient, the retention classes are checked apart in one respect. Each
//! class is evicted on its own, so that after a gap an older event of one class may precede the
//! first event of another. Therefore a gap excuses the missing events of each class up to the next
//! event of that class.

use std::fmt;

use crate::audience::Audience;
use crate::selector::{Selector, Topic};

/// Everything that was published, and what each reader saw of it.
///
/// ```
/// use prism_sse::{Audience, test::{Fault, Oracle}};
///
/// let mut oracle = Oracle::new();
/// let reader = oracle.reader(Audience::everything());
/// let [one, two] = [(); 2].map(|()| oracle.broadcast());
/// oracle.saw(reader, two);
/// assert_eq!(oracle.verdict(), Err(Fault::Lost { reader, event: one }));
/// ```
#[derive(Debug, Default)]
pub struct Oracle {
    events: Vec<PublishedEvent>,
    readers: Vec<ReaderRecord>,
}

#[derive(Debug)]
struct PublishedEvent {
    recipients: Recipients,
    private: bool,
    transient: bool,
}

/// Events that are evicted together, and apart from those of other classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventClass {
    History,
    Transient,
    Sent,
}

impl EventClass {
    const ALL: [Self; 3] = [Self::History, Self::Transient, Self::Sent];
}

#[derive(Debug)]
enum Recipients {
    Everyone,
    Topics(Vec<Topic>),
    /// The reader's connection that was open when the event was sent.
    Reader(usize),
    /// A connection that is gone.
    ClosedConnection,
}

#[derive(Debug)]
struct ReaderRecord {
    audience: Audience,
    begin: usize,
    seen: Vec<Observation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Observation {
    Event(usize),
    Gap,
}

/// What is wrong with the events that a reader saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The reader saw an event again, or after a later one.
    Repeated {
        /// The reader's number.
        reader: usize,
        /// The event's number.
        event: usize,
    },
    /// The reader never saw an event that it should have seen, and there was no gap in its place.
    Lost {
        /// The reader's number.
        reader: usize,
        /// The event's number.
        event: usize,
    },
    /// The reader saw an event that was not for it, or was never published.
    Foreign {
        /// The reader's number.
        reader: usize,
        /// The event's number.
        event: usize,
    },
}

impl Oracle {
    /// An oracle without events and readers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that an event for everyone was published, and returns its number.
    pub fn broadcast(&mut self) -> usize {
        self.published(Recipients::Everyone, false)
    }

    /// Records that an event about `topics` was published, and returns its number.
    pub fn publish(&mut self, topics: &[Topic], private: bool) -> usize {
        self.published(Recipients::Topics(topics.to_vec()), private)
    }

    /// Records that an event was sent to one reader's connection, and returns its number.
    pub fn send(&mut self, reader: usize) -> usize {
        self.published(Recipients::Reader(reader), false)
    }

    /// Records that an event that was published is transient.
    pub fn transient(&mut self, event: usize) {
        self.events[event].transient = true;
    }

    /// Adds a reader that begins with the next event, and returns its number.
    pub fn reader(&mut self, audience: Audience) -> usize {
        self.reader_from(audience, self.events.len())
    }

    /// Adds a reader that begins with event number `begin`, and returns its number.
    pub fn reader_from(&mut self, audience: Audience, begin: usize) -> usize {
        self.readers.push(ReaderRecord { audience, begin, seen: Vec::new() });
        self.readers.len() - 1
    }

    /// Records that the reader saw an event.
    pub fn saw(&mut self, reader: usize, event: usize) {
        self.readers[reader].seen.push(Observation::Event(event));
    }

    /// Records that the reader saw a gap.
    pub fn saw_gap(&mut self, reader: usize) {
        self.readers[reader].seen.push(Observation::Gap);
    }

    /// Records that the reader's connection ended. Events that were sent to that connection and not
    /// seen are gone. The reader may reconnect.
    pub fn hung_up(&mut self, reader: usize) {
        let seen = &self.readers[reader].seen;
        for (number, event) in self.events.iter_mut().enumerate() {
            let own = matches!(event.recipients, Recipients::Reader(to) if to == reader);
            if own && !seen.contains(&Observation::Event(number)) {
                event.recipients = Recipients::ClosedConnection;
            }
        }
    }

    /// Checks that each reader saw what it should have seen, up to the last event.
    ///
    /// # Errors
    ///
    /// The first fault found.
    pub fn verdict(&self) -> Result<(), Fault> {
        (0..self.readers.len()).try_for_each(|reader| self.check(reader))
    }

    fn check(&self, reader: usize) -> Result<(), Fault> {
        let record = &self.readers[reader];
        let has_transient = self.events.iter().any(|event| event.transient);
        let mut next = [record.begin; 3];
        let mut after_gap = [false; 3];
        for &seen in &record.seen {
            let Observation::Event(event) = seen else {
                after_gap = [true; 3];
                continue;
            };
            if event >= self.events.len() || !self.is_for(reader, event) {
                return Err(Fault::Foreign { reader, event });
            }
            if next.iter().any(|&next| event < next) {
                return Err(Fault::Repeated { reader, event });
            }
            for class in EventClass::ALL {
                let at = class as usize;
                if after_gap[at] && has_transient && class != self.class(event) {
                    continue;
                }
                if !std::mem::take(&mut after_gap[at]) {
                    self.expect_none(reader, class, next[at]..event)?;
                }
                next[at] = event + 1;
            }
        }
        let mut complete = EventClass::ALL.into_iter().filter(|&class| !after_gap[class as usize]);
        complete.try_for_each(|class| {
            self.expect_none(reader, class, next[class as usize]..self.events.len())
        })
    }

    fn expect_none(
        &self,
        reader: usize,
        class: EventClass,
        range: std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        let mut events = range.filter(|&event| self.class(event) == class);
        match events.find(|&event| self.is_for(reader, event)) {
            Some(event) => Err(Fault::Lost { reader, event }),
            None => Ok(()),
        }
    }

    fn class(&self, event: usize) -> EventClass {
        let event = &self.events[event];
        match event.recipients {
            Recipients::Reader(_) | Recipients::ClosedConnection => EventClass::Sent,
            _ if event.transient => EventClass::Transient,
            _ => EventClass::History,
        }
    }

    /// Whether the reader's audience selects the event and may read it. This is written without the
    /// library's own matching of audiences.
    fn is_for(&self, reader: usize, event: usize) -> bool {
        let audience = &self.readers[reader].audience;
        let any = |selectors: &[Selector], topics: &[Topic]| {
            topics.iter().any(|topic| selectors.iter().any(|selector| selector.matches(topic)))
        };
        match &self.events[event].recipients {
            Recipients::Everyone => audience.wants_broadcasts(),
            Recipients::Topics(topics) => {
                any(audience.selectors(), topics)
                    && (!self.events[event].private || any(audience.grants(), topics))
            }
            Recipients::Reader(to) => *to == reader,
            Recipients::ClosedConnection => false,
        }
    }

    fn published(&mut self, recipients: Recipients, private: bool) -> usize {
        self.events.push(PublishedEvent { recipients, private, transient: false });
        self.events.len() - 1
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { reader, event } => {
                write!(f, "reader {reader} saw event {event} again or too late")
            }
            Self::Lost { reader, event } => {
                write!(f, "reader {reader} lost event {event}, and was told of no gap")
            }
            Self::Foreign { reader, event } => {
                write!(f, "reader {reader} saw event {event}, which was not for it")
            }
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that received everything it should: public events, its own, granted ones.
    fn correct() -> (Oracle, Vec<Observation>) {
        let mut oracle = Oracle::new();
        let [a, b] = ["a", "b"].map(|name| Topic::try_from(name).unwrap());
        oracle.broadcast();
        let audience = Audience::select("a").unwrap().grant("b").unwrap();
        let reader = oracle.reader(audience);
        let seen = [
            oracle.broadcast(),
            oracle.publish(std::slice::from_ref(&a), false),
            oracle.send(reader),
            oracle.publish(&[a.clone(), b.clone()], true),
            oracle.broadcast(),
        ];
        oracle.publish(&[b], false);
        oracle.publish(&[a], true);
        let seen = seen.map(Observation::Event).to_vec();
        oracle.readers[reader].seen.clone_from(&seen);
        (oracle, seen)
    }

    #[test]
    fn a_reader_that_received_everything_is_accepted() {
        assert_eq!(correct().0.verdict(), Ok(()));
    }

    #[test]
    fn every_planted_fault_is_found() {
        let (mut oracle, seen) = correct();
        let mut planted = 0;
        let mut plant = |faulty: Vec<Observation>| {
            oracle.readers[0].seen.clone_from(&faulty);
            assert!(oracle.verdict().is_err(), "{faulty:?}");
            planted += 1;
        };
        for at in 0..seen.len() {
            let mut skipped = seen.clone();
            skipped.remove(at);
            plant(skipped);

            let mut doubled = seen.clone();
            doubled.insert(at, seen[at]);
            plant(doubled);

            if at > 0 {
                let mut swapped = seen.clone();
                swapped.swap(at - 1, at);
                plant(swapped);
            }
            // An event from before its time, one not selected, one not granted, one not published.
            for foreign in [0, 6, 7, 99] {
                let mut invented = seen.clone();
                invented.insert(at, Observation::Event(foreign));
                plant(invented);
            }
        }
        assert_eq!(planted, 34);
    }

    #[test]
    fn a_gap_excuses_what_is_missing_there_and_nothing_else() {
        let (mut oracle, seen) = correct();
        let mut told = seen.clone();
        told[2] = Observation::Gap;
        oracle.readers[0].seen.clone_from(&told);
        assert_eq!(oracle.verdict(), Ok(()));

        told.remove(4);
        oracle.readers[0].seen = told;
        assert_eq!(oracle.verdict(), Err(Fault::Lost { reader: 0, event: 5 }));
    }

    #[test]
    fn a_gap_excuses_each_class_up_to_its_next_event_and_no_further() {
        let mut oracle = Oracle::new();
        let reader = oracle.reader(Audience::everything());
        let events: Vec<usize> = (0..8).map(|_| oracle.broadcast()).collect();
        events.iter().filter(|event| **event % 2 == 1).for_each(|event| oracle.transient(*event));
        let mut verdict = |seen: &[usize]| {
            let seen = seen.iter().map(|&event| Observation::Event(event));
            oracle.readers[reader].seen = [Observation::Gap].into_iter().chain(seen).collect();
            oracle.verdict()
        };
        assert_eq!(verdict(&[1, 3, 4, 5, 6, 7]), Ok(()), "0 and 2 are missing of the others");
        assert_eq!(verdict(&[0, 2, 4, 5, 6, 7]), Ok(()), "1 and 3 are missing of those");
        assert_eq!(verdict(&[1, 5, 6, 7]), Err(Fault::Lost { reader, event: 3 }));
        assert_eq!(verdict(&[1, 3, 5, 4]), Err(Fault::Repeated { reader, event: 4 }));
        assert_eq!(verdict(&[1, 4, 5, 7]), Err(Fault::Lost { reader, event: 3 }));
        assert_eq!(verdict(&[3, 4, 5, 7]), Err(Fault::Lost { reader, event: 6 }));
    }

    #[test]
    fn an_event_sent_to_a_connection_is_gone_with_the_connection() {
        let mut oracle = Oracle::new();
        let reader = oracle.reader(Audience::everything());
        let sent = oracle.send(reader);
        assert_eq!(oracle.verdict(), Err(Fault::Lost { reader, event: sent }));
        oracle.hung_up(reader);
        assert_eq!(oracle.verdict(), Ok(()));
    }
}
