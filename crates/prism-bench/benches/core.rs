//! How many instructions the core's single acts take, counted by valgrind's callgrind.
//!
//! Counts hardly change from run to run, also on a machine that is busy, and so show a small
//! change that a clock would not. They are not time: a miss of the cache costs nothing here.
//!
//! Only the benchmark functions' bodies are counted, with all they call. What they need is made by
//! their setup functions, and what they leave is returned, so that freeing it is not counted
//! either. The teardown functions check that what was counted is what is claimed.
//!
//! There is no runtime, hence no driver: a publisher wakes readers itself, so that waking is
//! counted where it is caused. `docs/performance.md` has the command and the last counts.

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

/// Counts how often readers are woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A manager and those who wait for its events.
struct Hub {
    manager: Manager,
    connections: Vec<Connection>,
    woken: Arc<Woken>,
}

/// A hub, and what is about to be published there.
type Ready = (Hub, Publication);

/// A hub after the publication, and what became of it.
type Published = (Hub, Receipt);

impl Hub {
    fn new() -> Self {
        Self { manager: Manager::new(), connections: Vec::new(), woken: Arc::default() }
    }

    fn with_readers(audiences: impl Iterator<Item = Audience>) -> Self {
        let mut hub = Self::new();
        for audience in audiences {
            let connection = hub.manager.subscribe(audience, Start::Now);
            hub.connections.push(connection.expect("there is no limit"));
        }
        hub.wait();
        hub
    }

    /// Reads whatever is due for anyone, until all wait. Counting of wakes begins anew.
    fn wait(&mut self) {
        let waker = Waker::from(Arc::clone(&self.woken));
        for connection in &mut self.connections {
            while poll(connection, &waker).is_ready() {}
        }
        self.woken.0.store(0, Ordering::Relaxed);
    }

    /// Publishes the same beforehand, so that what is made once for a topic is there. Then looks
    /// after the timers that came due during a long setup, as every publisher does here, by an
    /// event that nobody reads: they are not the publication's cost.
    fn ready(mut self, publication: Publication) -> Ready {
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

/// As in the measurements of whole servers.
const EVENT_BYTES: usize = 100;

fn small() -> Event {
    Event::new("x".repeat(EVENT_BYTES))
}

fn with_line_breaks() -> Event {
    let line = "x".repeat(79) + "\n";
    Event::new(line.repeat(10 * 1024 / line.len()))
}

fn topic(number: usize) -> String {
    // Of one length, because the length counts.
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

/// Nobody listens, and the log holds this many events already.
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

/// One reader who is this many events behind, and the waker with which it waited last.
fn behind(events: usize) -> (Hub, Waker, usize) {
    let hub = Hub::with_readers([Audience::everything()].into_iter());
    for _ in 0..events {
        hub.publish(&Publication::broadcast(small()));
    }
    let waker = Waker::from(Arc::clone(&hub.woken));
    (hub, waker, events)
}

fn check_read((bytes, _hub, _waker, events): (Poll<Option<Bytes>>, Hub, Waker, usize)) {
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
fn read((mut hub, waker, events): (Hub, Waker, usize)) -> (Poll<Option<Bytes>>, Hub, Waker, usize) {
    let bytes = poll(&mut hub.connections[0], &waker);
    (bytes, hub, waker, events)
}

/// Topics with one reader each, and a publication about one of them.
fn topics(count: usize) -> Ready {
    let hub = Hub::with_readers((0..count).map(|number| selecting(&[&topic(number)])));
    hub.ready(about(&topic(count / 2)))
}

/// Distinct audiences, some of which select the topic that is published.
fn audiences((count, matching): (usize, usize)) -> Ready {
    let shared = topic(count);
    let hub = Hub::with_readers((0..count).map(|number| {
        let own = topic(number);
        let selects_shared = number % (count / matching) == 0;
        if selects_shared { selecting(&[&own, &shared]) } else { selecting(&[&own]) }
    }));
    hub.ready(about(&shared))
}

/// Templates that choose what is published, among others that choose other orders.
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

/// Templates with one reader each, of which ten choose what is published. Its topic may be one
/// that nothing was published about before.
fn templates((count, known): (usize, bool)) -> Ready {
    let others = (MATCHING_TEMPLATES.len()..count)
        .map(|number| format!("https://shop.example/orders/{:06}/{{id}}", 1000 + number));
    let all = MATCHING_TEMPLATES.into_iter().map(String::from).chain(others);
    let hub = Hub::with_readers(all.map(|text| {
        let template = Selector::template(&text).expect("the template is valid");
        Audience::select(template).expect("it is one")
    }));
    let publication = about("https://shop.example/orders/000500/7");
    if known {
        return hub.ready(publication);
    }
    let (hub, _) = hub.ready(about("https://shop.example/orders/000500/8"));
    (hub, publication)
}

/// As many readers of that topic, with audiences of their own.
fn exact_readers(count: usize) -> Ready {
    let name = "https://shop.example/orders/000500/7";
    let hub = Hub::with_readers((0..count).map(|number| {
        let other = format!("https://shop.example/orders/{:06}/7", 1000 + number);
        if number < 10 { selecting(&[name, &other]) } else { selecting(&[&other]) }
    }));
    hub.ready(about(name))
}

fn check_woken((hub, mut receipt): Published, expected: usize) {
    let ack = receipt.try_ack().expect("the memory engine answers at once").expect("it is kept");
    assert_eq!(ack.receivers, expected);
    assert_eq!(hub.woken.0.load(Ordering::Relaxed), expected);
    // The process ends here. Under valgrind, ending 100,000 connections one by one takes long.
    std::mem::forget(hub);
}

fn check_one_woken(published: Published) {
    check_woken(published, 1);
}

fn check_ten_woken(published: Published) {
    check_woken(published, 10);
}

fn check_thousand_woken(published: Published) {
    check_woken(published, 1000);
}

// Claim: what others read costs next to nothing, however many they are.
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
fn matching((hub, publication): Ready) -> Published {
    let receipt = hub.manager.append(publication).expect("the publication is valid");
    (hub, receipt)
}

/// Readers of one audience, which hears of broadcasts, and a broadcast to them.
fn listeners(count: usize) -> Ready {
    let hub = Hub::with_readers((0..count).map(|_| selecting(&["news"])));
    hub.ready(Publication::broadcast(small()))
}

// One broadcast; nearly all of it is waking.
#[library_benchmark]
#[bench::one_reader(args = (1), setup = listeners, teardown = check_one_woken)]
#[bench::thousand_readers(args = (1_000), setup = listeners, teardown = check_thousand_woken)]
fn wake((hub, publication): Ready) -> Published {
    let receipt = hub.manager.append(publication).expect("the publication is valid");
    (hub, receipt)
}

library_benchmark_group!(name = core, benchmarks = [encode, append, read, wake, matching]);

// Without a simulated cache it is faster, and only instructions are looked at.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = core
);
