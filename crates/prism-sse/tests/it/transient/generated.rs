//! Random histories with both classes, and what each reader must receive, wherever it begins.

use prism_sse::{Audience, Publication, Selector, Start, Topic};
use proptest::prelude::*;

use super::{after, keeping, placed, read, select};

/// An event of a random history; a broadcast if it has no topics.
#[derive(Clone, Debug)]
struct GeneratedEvent {
    topics: Vec<u8>,
    is_private: bool,
    is_transient: bool,
}

impl GeneratedEvent {
    fn topics(&self) -> Vec<Topic> {
        self.topics.iter().map(|n| Topic::try_from(&*format!("t{n}")).unwrap()).collect()
    }

    /// Whether an audience reads the event. With `by_floors` it is whether the event counts for the
    /// audience's floors, which do not distinguish by topic what a reader of patterns or grants
    /// reads.
    fn is_for(&self, audience: &Audience, by_floors: bool) -> bool {
        let topics = self.topics();
        let any = |selectors: &[Selector]| {
            topics.iter().any(|topic| selectors.iter().any(|selector| selector.matches(topic)))
        };
        let is_wide = audience.selectors().iter().any(|selector| selector.kind() != "exact");
        let is_granted = any(audience.grants()) || by_floors && !audience.grants().is_empty();
        let is_selected = any(audience.selectors()) || topics.is_empty() || by_floors && is_wide;
        is_selected && (!self.is_private || is_granted)
    }
}

fn generated_event() -> impl Strategy<Value = GeneratedEvent> {
    let topics = prop::collection::vec(0..4_u8, 0..3);
    (topics, any::<(bool, bool)>()).prop_map(|(topics, (is_private, is_transient))| {
        let is_private = is_private && !topics.is_empty();
        GeneratedEvent { topics, is_private, is_transient }
    })
}

fn audiences() -> Vec<Audience> {
    let template = |text| select(Selector::template(text).unwrap());
    vec![
        Audience::everything(),
        Audience::everything().grant("*").unwrap(),
        Audience::everything().grant("t1").unwrap(),
        select("t0"),
        select(["t0", "t1"]).grant("t1").unwrap(),
        template("t{n}"),
        template("{x}2").grant("t2").unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    /// The expectation is computed from the list of events alone, without rings and floors.
    #[test]
    fn replays_are_complete_and_gaps_are_reported_exactly(
        events in prop::collection::vec(generated_event(), 0..30),
        history in 1..8_usize,
        transients in 1..8_usize,
        in_use in any::<bool>(),
    ) {
        let sse = keeping(history, transients);
        let begin = GeneratedEvent { topics: vec![9], is_private: false, is_transient: false };
        // Patterns have an index only while they are in use.
        let readers = audiences().into_iter().filter(|_| in_use);
        let readers: Vec<_> = readers.map(|it| sse.subscribe(it, Start::Now).unwrap()).collect();
        let events: Vec<GeneratedEvent> = [begin].into_iter().chain(events).collect();
        let mut ids = Vec::new();
        for (n, event) in events.iter().enumerate() {
            let publication = match &*event.topics {
                [] => Publication::broadcast(n.to_string()),
                _ => Publication::new(event.topics(), n.to_string()).unwrap(),
            };
            let private = if event.is_private { publication.private() } else { publication };
            ids.push(placed(&sse, if event.is_transient { private.transient() } else { private }));
        }
        let is_kept = |n: usize| {
            let same = |other: &&GeneratedEvent| other.is_transient == events[n].is_transient;
            let kept = if events[n].is_transient { transients } else { history };
            events[n..].iter().filter(same).count() <= kept
        };
        for audience in audiences() {
            let from = |after: usize| {
                let kept = (after..events.len()).filter(|&n| is_kept(n));
                let own = kept.filter(|&n| events[n].is_for(&audience, false));
                own.map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
            };
            for start in [Start::Oldest, after("earliest")] {
                prop_assert_eq!(read(&sse, audience.clone(), start), from(0), "{:?}", audience);
            }
            for (n, id) in ids.iter().enumerate() {
                let seen = read(&sse, audience.clone(), after(id));
                let (gap, seen) = match seen.strip_prefix("expired") {
                    Some(seen) => (true, seen.trim_start()),
                    None => (false, &*seen),
                };
                prop_assert_eq!(seen, from(n + 1), "{:?} after {}", audience, n);
                let mut evicted = (n + 1..events.len()).filter(|&n| !is_kept(n));
                let is_missed = evicted.clone().any(|n| events[n].is_for(&audience, false));
                let may_be = evicted.any(|n| events[n].is_for(&audience, true));
                prop_assert!(gap || !is_missed, "{:?} after {} got no gap", audience, n);
                prop_assert!(!gap || may_be, "{:?} after {} got a gap for nothing", audience, n);
            }
        }
        drop(readers);
    }
}
