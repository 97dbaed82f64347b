//! What readers must have seen, told from what was published: the judge of every other test.
//!
//! The oracle knows nothing of logs, indexes and floors. It keeps everything that was published, in
//! order, for ever, and holds what each reader saw against it. Between two gaps a reader must have
//! seen exactly what its audience is for, in that order, each once.
//!
//! Where some events are transient, kinds are judged apart in one respect. Each is evicted for
//! itself, so that what a gap told of may be missing of one kind although an older event of the
//! other comes first: it excuses what is missing of each kind up to the next event of that kind.

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
    events: Vec<Published>,
    readers: Vec<ReaderRecord>,
}

#[derive(Debug)]
struct Published {
    whom: Whom,
    private: bool,
    transient: bool,
}

/// Events that are evicted apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    History,
    Transient,
    Sent,
}

impl Kind {
    const ALL: [Self; 3] = [Self::History, Self::Transient, Self::Sent];
}

#[derive(Debug)]
enum Whom {
    Everyone,
    Topics(Vec<Topic>),
    One(usize),
    /// It was for a connection that is gone.
    Nobody,
}

#[derive(Debug)]
struct ReaderRecord {
    audience: Audience,
    begin: usize,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Event(usize),
    Gap,
}

/// What a reader must not see, or must see and did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The reader saw an event again, or after a later one.
    Repeated {
        /// The reader's number.
        reader: usize,
        /// The event's number.
        event: usize,
    },
    /// The reader never saw an event that it was to see, and was told of no gap at that place.
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
    /// Nothing was published, and nobody reads.
    pub fn new() -> Self {
        Self::default()
    }

    /// An event for everyone was published; the answer is its number.
    pub fn broadcast(&mut self) -> usize {
        self.published(Whom::Everyone, false)
    }

    /// An event about `topics` was published; the answer is its number.
    pub fn publish(&mut self, topics: &[Topic], private: bool) -> usize {
        self.published(Whom::Topics(topics.to_vec()), private)
    }

    /// An event for one reader's connection was published; the answer is its number.
    pub fn send(&mut self, reader: usize) -> usize {
        self.published(Whom::One(reader), false)
    }

    /// An event that was published is transient.
    pub fn transient(&mut self, event: usize) {
        self.events[event].transient = true;
    }

    /// A reader begins with what comes; the answer is its number.
    pub fn reader(&mut self, audience: Audience) -> usize {
        self.reader_from(audience, self.events.len())
    }

    /// A reader begins with event number `begin`; the answer is its number.
    pub fn reader_from(&mut self, audience: Audience, begin: usize) -> usize {
        self.readers.push(ReaderRecord { audience, begin, seen: Vec::new() });
        self.readers.len() - 1
    }

    /// The reader saw an event.
    pub fn saw(&mut self, reader: usize, event: usize) {
        self.readers[reader].seen.push(Seen::Event(event));
    }

    /// The reader was told of a gap.
    pub fn saw_gap(&mut self, reader: usize) {
        self.readers[reader].seen.push(Seen::Gap);
    }

    /// The reader's connection ended; what was sent to it and not seen is gone. It may come back.
    pub fn hung_up(&mut self, reader: usize) {
        let seen = &self.readers[reader].seen;
        for (number, event) in self.events.iter_mut().enumerate() {
            let own = matches!(event.whom, Whom::One(to) if to == reader);
            if own && !seen.contains(&Seen::Event(number)) {
                event.whom = Whom::Nobody;
            }
        }
    }

    /// Whether each reader saw what it was to see, up to the end.
    ///
    /// # Errors
    ///
    /// The first fault found.
    pub fn verdict(&self) -> Result<(), Fault> {
        (0..self.readers.len()).try_for_each(|reader| self.judge(reader))
    }

    fn judge(&self, reader: usize) -> Result<(), Fault> {
        let record = &self.readers[reader];
        let kinds_are_apart = self.events.iter().any(|event| event.transient);
        let mut next = [record.begin; 3];
        let mut after_gap = [false; 3];
        for &seen in &record.seen {
            let Seen::Event(event) = seen else {
                after_gap = [true; 3];
                continue;
            };
            if event >= self.events.len() || !self.is_for(reader, event) {
                return Err(Fault::Foreign { reader, event });
            }
            if next.iter().any(|&next| event < next) {
                return Err(Fault::Repeated { reader, event });
            }
            for kind in Kind::ALL {
                let at = kind as usize;
                if after_gap[at] && kinds_are_apart && kind != self.kind(event) {
                    continue;
                }
                if !std::mem::take(&mut after_gap[at]) {
                    self.expect_none(reader, kind, next[at]..event)?;
                }
                next[at] = event + 1;
            }
        }
        let mut complete = Kind::ALL.into_iter().filter(|&kind| !after_gap[kind as usize]);
        complete.try_for_each(|kind| {
            self.expect_none(reader, kind, next[kind as usize]..self.events.len())
        })
    }

    fn expect_none(
        &self,
        reader: usize,
        kind: Kind,
        range: std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        let mut events = range.filter(|&event| self.kind(event) == kind);
        match events.find(|&event| self.is_for(reader, event)) {
            Some(event) => Err(Fault::Lost { reader, event }),
            None => Ok(()),
        }
    }

    fn kind(&self, event: usize) -> Kind {
        let event = &self.events[event];
        match event.whom {
            Whom::One(_) | Whom::Nobody => Kind::Sent,
            _ if event.transient => Kind::Transient,
            _ => Kind::History,
        }
    }

    /// The rule of audiences, in the plainest words.
    fn is_for(&self, reader: usize, event: usize) -> bool {
        let audience = &self.readers[reader].audience;
        let any = |selectors: &[Selector], topics: &[Topic]| {
            topics.iter().any(|topic| selectors.iter().any(|selector| selector.matches(topic)))
        };
        match &self.events[event].whom {
            Whom::Everyone => audience.wants_broadcasts(),
            Whom::Topics(topics) => {
                any(audience.selectors(), topics)
                    && (!self.events[event].private || any(audience.grants(), topics))
            }
            Whom::One(to) => *to == reader,
            Whom::Nobody => false,
        }
    }

    fn published(&mut self, whom: Whom, private: bool) -> usize {
        self.events.push(Published { whom, private, transient: false });
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
                write!(f, "reader {reader} lost event {event}, and was not told")
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

    /// A reader that saw everything right: public events, its own, granted ones.
    fn truth() -> (Oracle, Vec<Seen>) {
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
        let seen = seen.map(Seen::Event).to_vec();
        oracle.readers[reader].seen.clone_from(&seen);
        (oracle, seen)
    }

    #[test]
    fn the_truth_is_accepted() {
        assert_eq!(truth().0.verdict(), Ok(()));
    }

    #[test]
    fn every_planted_fault_is_found() {
        let (mut oracle, seen) = truth();
        let mut planted = 0;
        let mut plant = |faulty: Vec<Seen>| {
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
                invented.insert(at, Seen::Event(foreign));
                plant(invented);
            }
        }
        assert_eq!(planted, 34);
    }

    #[test]
    fn a_gap_excuses_what_is_missing_there_and_nothing_else() {
        let (mut oracle, seen) = truth();
        let mut told = seen.clone();
        told[2] = Seen::Gap;
        oracle.readers[0].seen.clone_from(&told);
        assert_eq!(oracle.verdict(), Ok(()));

        told.remove(4);
        oracle.readers[0].seen = told;
        assert_eq!(oracle.verdict(), Err(Fault::Lost { reader: 0, event: 5 }));
    }

    #[test]
    fn a_gap_excuses_each_kind_up_to_its_next_event_and_no_further() {
        let mut oracle = Oracle::new();
        let reader = oracle.reader(Audience::everything());
        let events: Vec<usize> = (0..8).map(|_| oracle.broadcast()).collect();
        events.iter().filter(|event| **event % 2 == 1).for_each(|event| oracle.transient(*event));
        let mut verdict = |seen: &[usize]| {
            let seen = seen.iter().map(|&event| Seen::Event(event));
            oracle.readers[reader].seen = [Seen::Gap].into_iter().chain(seen).collect();
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
    fn what_was_sent_to_a_connection_is_gone_with_it() {
        let mut oracle = Oracle::new();
        let reader = oracle.reader(Audience::everything());
        let sent = oracle.send(reader);
        assert_eq!(oracle.verdict(), Err(Fault::Lost { reader, event: sent }));
        oracle.hung_up(reader);
        assert_eq!(oracle.verdict(), Ok(()));
    }
}
