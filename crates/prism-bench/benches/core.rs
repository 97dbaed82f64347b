//! Instruction counts of the core's single operations, by valgrind's callgrind.
//!
//! Counts hardly change from run to run, even on a busy machine, and so show a small change that a
//! clock would not. They are not time: a cache miss costs nothing here.
//!
//! Only the bodies of the benchmark functions are counted, with all they call. The setup functions
//! make what they need, and they return what is left, so that freeing it is not counted either. The
//! teardown functions check that the counted operation did what it claims.
//!
//! There is no runtime, hence no driver: publishers wake readers themselves, so that the cost of
//! waking is part of publishing. `docs/performance.md` has the command and the latest counts.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "gungraun's macros write public items without documentation, and long paths"
)]

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_core::Stream;
use gungraun::Callgrind;
use gungraun::prelude::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use prism_sse::{
    Audience, Connection, Event, Manager, Publication, Receipt, Selector, Start, limits,
};

/// Counts wake-ups of readers.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A manager, and connections that wait for its events.
struct Fixture {
    manager: Manager,
    connections: Vec<Connection>,
    wakes: Arc<WakeCounter>,
}

/// A manager with readers, and a publication that it is about to take.
type BeforePublish = (Fixture, Publication);

/// A manager with readers after a publication, and the receipt of that.
type AfterPublish = (Fixture, Receipt);

impl Fixture {
    fn new() -> Self {
        Self { manager: Manager::new(), connections: Vec::new(), wakes: Arc::default() }
    }

    fn with_readers(audiences: impl Iterator<Item = Audience>) -> Self {
        let mut fixture = Self::new();
        for audience in audiences {
            let connection = fixture.manager.subscribe(audience, Start::Now);
            fixture.connections.push(connection.expect("there is no limit"));
        }
        fixture.wait();
        fixture
    }

    /// Reads all that is due, until all connections wait, and resets the count of wake-ups.
    fn wait(&mut self) {
        let waker = Waker::from(Arc::clone(&self.wakes));
        for connection in &mut self.connections {
            while poll(connection, &waker).is_ready() {}
        }
        self.wakes.0.store(0, Ordering::Relaxed);
    }

    /// Publishes the same once before, so that what is made once for each topic exists. Then an
    /// event without readers handles the timers that came due during a long setup, as every
    /// publisher does here: they are no cost of the publication.
    fn ready(mut self, publication: Publication) -> BeforePublish {
        self.publish(&publication);
        self.wait();
        self.publish(&about("nobody"));
        (self, publication)
    }

    fn publish(&self, publication: &Publication) {
        self.manager.append(publication.clone()).expect("the publication is valid");
    }
}

fn poll(connection: &mut Connection, waker: &Waker) -> Poll<Option<Bytes>> {
    Pin::new(connection).poll_next(&mut Context::from_waker(waker))
}

/// The same as in the measurements of whole servers.
const EVENT_BYTES: usize = 100;

fn small() -> Event {
    Event::new("x".repeat(EVENT_BYTES))
}

fn with_line_breaks() -> Event {
    let line = "x".repeat(79) + "\n";
    Event::new(line.repeat(10 * 1024 / line.len()))
}

fn topic(number: usize) -> String {
    // All topics have the same length, because the count depends on it.
    format!("topic/{number:06}")
}

fn about(topic: &str) -> Publication {
    Publication::new(topic, small()).expect("the topic is valid")
}

fn selecting(topics: &[&str]) -> Audience {
    Audience::select(topics).expect("the topics are valid")
}

#[library_benchmark]
#[bench::of_100_bytes(small())]
#[bench::of_10_kib_in_128_lines(with_line_breaks())]
fn encode(event: Event) -> (Bytes, Event) {
    (black_box(&event).encode(), event)
}

/// A manager without readers, whose log has this many events.
fn log_with(events: usize) -> (Manager, Event) {
    let manager = Manager::new();
    for _ in 0..events {
        manager.broadcast(small()).expect("the event is valid");
    }
    (manager, small())
}

// The log's vectors do not grow at a hundred. A full log evicts its oldest event each time.
#[library_benchmark(setup = log_with)]
#[bench::to_100_events(100)]
#[bench::to_a_full_log(limits::LIVE_RECORDS + 100)]
fn append((manager, event): (Manager, Event)) -> (Manager, Receipt) {
    let receipt = manager.broadcast(event).expect("the event is valid");
    (manager, receipt)
}

/// One reader that is this many events behind, and its waker.
fn behind(events: usize) -> (Fixture, Waker, usize) {
    let fixture = Fixture::with_readers([Audience::everything()].into_iter());
    for _ in 0..events {
        fixture.publish(&Publication::broadcast(small()));
    }
    let waker = Waker::from(Arc::clone(&fixture.wakes));
    (fixture, waker, events)
}

fn check_read((bytes, _fixture, _waker, events): (Poll<Option<Bytes>>, Fixture, Waker, usize)) {
    let read = match bytes {
        Poll::Ready(Some(bytes)) => bytes.len(),
        Poll::Ready(None) | Poll::Pending => 0,
    };
    assert_eq!(read, small().encode().len() * events, "all that was due, in one piece");
}

// One poll. Small events that are due together come joined.
#[library_benchmark(setup = behind, teardown = check_read)]
#[bench::nothing(0)]
#[bench::one_event(1)]
#[bench::sixty_four_events(64)]
fn read(
    (mut fixture, waker, events): (Fixture, Waker, usize),
) -> (Poll<Option<Bytes>>, Fixture, Waker, usize) {
    let bytes = poll(&mut fixture.connections[0], &waker);
    (bytes, fixture, waker, events)
}

/// Topics with one reader each, and a publication about one of them.
fn topics(count: usize) -> BeforePublish {
    let fixture = Fixture::with_readers((0..count).map(|number| selecting(&[&topic(number)])));
    fixture.ready(about(&topic(count / 2)))
}

/// Distinct audiences, some of which select the topic that is published.
fn audiences((count, matching): (usize, usize)) -> BeforePublish {
    let shared = topic(count);
    let fixture = Fixture::with_readers((0..count).map(|number| {
        let own = topic(number);
        let selects_shared = number % (count / matching) == 0;
        if selects_shared { selecting(&[&own, &shared]) } else { selecting(&[&own]) }
    }));
    fixture.ready(about(&shared))
}

/// Templates that match the topic that is published to, among others that match other topics.
const MATCHING_TEMPLATES: [&str; 10] = [
    "https://shop.example/orders/000500/{id}",
    "https://shop.example/orders/{order}/{id}",
    "https://shop.example/{kind}/000500/{id}",
    "https://shop.example/orders/{+rest}",
    "https://shop.example/orders/000500{/id}",
    "https://shop.example{/path*}",
    "https://{host}/orders/000500/{id}",
    "https://shop.example/orders/0005{n}/{id}",
    "https://shop.example/orders/000500/{id}{?verbose}",
    "https://shop.example/orders/{order}/7",
];

/// Templates with one reader each, of which ten match the topic that is published to. It may be a
/// topic that nothing was published to before.
fn templates((count, known): (usize, bool)) -> BeforePublish {
    let others = (MATCHING_TEMPLATES.len()..count)
        .map(|number| format!("https://shop.example/orders/{:06}/{{id}}", 1000 + number));
    let all = MATCHING_TEMPLATES.into_iter().map(String::from).chain(others);
    let fixture = Fixture::with_readers(all.map(|text| {
        let template = Selector::template(&text).expect("the template is valid");
        Audience::select(template).expect("it is one")
    }));
    let publication = about("https://shop.example/orders/000500/7");
    if known {
        return fixture.ready(publication);
    }
    let (fixture, _) = fixture.ready(about("https://shop.example/orders/000500/8"));
    (fixture, publication)
}

/// Ten readers of that topic among others, each with its own audience.
fn exact_readers(count: usize) -> BeforePublish {
    let name = "https://shop.example/orders/000500/7";
    let fixture = Fixture::with_readers((0..count).map(|number| {
        let other = format!("https://shop.example/orders/{:06}/7", 1000 + number);
        if number < 10 { selecting(&[name, &other]) } else { selecting(&[&other]) }
    }));
    fixture.ready(about(name))
}

fn check_woken((fixture, mut receipt): AfterPublish, expected: usize) {
    let ack = receipt.try_ack().expect("the memory engine answers at once").expect("it is kept");
    assert_eq!(ack.receivers, expected);
    assert_eq!(fixture.wakes.0.load(Ordering::Relaxed), expected);
    // The process ends here. Under valgrind, ending 100,000 connections one by one takes long.
    std::mem::forget(fixture);
}

fn check_one_woken(published: AfterPublish) {
    check_woken(published, 1);
}

fn check_ten_woken(published: AfterPublish) {
    check_woken(published, 10);
}

fn check_thousand_woken(published: AfterPublish) {
    check_woken(published, 1000);
}

// Claim: readers of other topics cost next to nothing, however many they are.
#[library_benchmark]
#[bench::ten_of_1_000_audiences(
    args = ((1_000, 10)), setup = audiences, teardown = check_ten_woken
)]
#[bench::ten_of_1_000_exact_readers(
    args = (1_000), setup = exact_readers, teardown = check_ten_woken
)]
#[bench::ten_of_1_000_templates(
    args = ((1_000, true)), setup = templates, teardown = check_ten_woken
)]
#[bench::ten_of_1_000_templates_on_a_new_topic(
    args = ((1_000, false)), setup = templates, teardown = check_ten_woken
)]
#[bench::ten_of_10_000_templates_on_a_new_topic(
    args = ((10_000, false)), setup = templates, teardown = check_ten_woken
)]
#[bench::one_of_1_000_topics(args = (1_000), setup = topics, teardown = check_one_woken)]
#[bench::one_of_10_000_topics(args = (10_000), setup = topics, teardown = check_one_woken)]
#[bench::one_of_100_000_topics(args = (100_000), setup = topics, teardown = check_one_woken)]
fn matching((fixture, publication): BeforePublish) -> AfterPublish {
    let receipt = fixture.manager.append(publication).expect("the publication is valid");
    (fixture, receipt)
}

/// Readers of one audience, and a broadcast to them.
fn listeners(count: usize) -> BeforePublish {
    let fixture = Fixture::with_readers((0..count).map(|_| selecting(&["news"])));
    fixture.ready(Publication::broadcast(small()))
}

// One broadcast; nearly all of it is waking.
#[library_benchmark]
#[bench::one_reader(args = (1), setup = listeners, teardown = check_one_woken)]
#[bench::thousand_readers(args = (1_000), setup = listeners, teardown = check_thousand_woken)]
fn wake((fixture, publication): BeforePublish) -> AfterPublish {
    let receipt = fixture.manager.append(publication).expect("the publication is valid");
    (fixture, receipt)
}

library_benchmark_group!(name = core, benchmarks = [encode, append, read, wake, matching]);

// Without a simulated cache it is faster, and only instructions are looked at.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = core
);
