//! Memory use, counted by the allocator.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::alloc::System;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use prism_sse::{Audience, Connection, Manager, Publication, Retention, Selector, Start, limits};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One measurement at a time: the counters are the process's.
static MEASURING: Mutex<()> = Mutex::const_new(());

/// Bytes that are allocated now.
fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Bytes that stay allocated after `make`, and its result.
fn allocated<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let before = live();
    let made = make();
    (live() - before, made)
}

fn open(sse: &Manager, count: usize) -> Vec<Connection> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = sse.add_connection();
        connection.next().now_or_never().unwrap();
        assert!(connection.next().now_or_never().is_none());
        connections.push(connection);
    }
    connections
}

#[tokio::test]
async fn an_idle_connection_costs_at_most_512_bytes_and_all_of_it_is_freed() {
    const COUNT: usize = 10_000;
    let _alone = MEASURING.lock().await;
    for builder in [Manager::builder(), Manager::builder().history(Retention::default())] {
        let before = live();
        let sse = builder.build().unwrap();
        let (bytes, connections) = allocated(|| open(&sse, COUNT));
        println!("{} bytes for each idle connection", bytes / COUNT);
        assert!(bytes / COUNT <= 512, "{}", bytes / COUNT);
        drop((connections, sse));
        // The driver's task ends at its next step.
        tokio::task::yield_now().await;
        // Threads of other tests that wait for the lock have allocated a little.
        assert!(live() <= before + 65_536, "{} bytes are still allocated", live() - before);
    }
}

#[tokio::test]
async fn a_million_events_and_ten_thousand_lagging_readers_stay_within_the_bound() {
    const BOUND: usize = 4 << 20;
    let _alone = MEASURING.lock().await;
    let retention = Retention::default().count(usize::MAX).bytes(BOUND);
    let sse = Manager::builder().history(retention).build().unwrap();
    let readers = open(&sse, 10_000);
    let before = live();
    let mut most = 0;
    for round in 0..100 {
        for n in 0..10_000 {
            sse.broadcast(format!("event {n} of round {round}")).unwrap();
        }
        most = most.max(live() - before);
    }
    println!("at most {most} bytes for a log of {BOUND}");
    assert!(most <= BOUND + BOUND / 4, "{most}");
    assert_eq!(sse.stats().published, 1_000_000);
    drop(readers);
}

#[tokio::test]
async fn a_topic_costs_at_most_a_kibibyte_and_is_freed_with_its_last_record_and_reader() {
    const COUNT: usize = 100_000;
    let _alone = MEASURING.lock().await;
    let retention = Retention::default().count(COUNT).bytes(1 << 30);
    let sse = Manager::builder().history(retention).build().unwrap();
    // The ring is filled with events of one topic first, so that its own bytes do not count.
    for n in 0..COUNT {
        sse.publish("one topic", format!("event {n}")).unwrap();
    }
    let (bytes, ()) = allocated(|| {
        for n in 0..COUNT {
            sse.publish(format!("topic {n}"), format!("event {n}")).unwrap();
        }
    });
    println!("{} bytes for each topic", bytes / COUNT);
    assert!(bytes / COUNT <= 1024, "{}", bytes / COUNT);
    assert_eq!(sse.stats().topics, COUNT);

    let reader = sse.subscribe(Audience::select("topic 7").unwrap(), Start::Now).unwrap();
    for n in 0..COUNT {
        sse.broadcast(n.to_string()).unwrap();
    }
    assert_eq!(sse.stats().topics, 1, "the one that is read");
    drop(reader);
    assert_eq!(sse.stats().topics, 0);
}

#[tokio::test]
async fn many_topics_stay_within_the_bytes_of_the_retention() {
    const BOUND: usize = 1 << 20;
    let _alone = MEASURING.lock().await;
    let retention = Retention::default().bytes(BOUND);
    let sse = Manager::builder().history(retention).build().unwrap();
    let (bytes, ()) = allocated(|| {
        for n in 0..200 {
            let topics: Vec<_> = (0..100).map(|m| format!("{n}-{m}-{}", "t".repeat(900))).collect();
            sse.publish(topics, "x").unwrap();
        }
    });
    println!("{bytes} bytes for a retention of {BOUND}");
    assert!(bytes <= 2 * BOUND, "{bytes}");
}

#[tokio::test]
async fn many_transient_events_stay_within_the_bytes_of_their_retention() {
    const BOUND: usize = limits::TRANSIENT_BYTES;
    let _alone = MEASURING.lock().await;
    let sse = Manager::builder().history(Retention::default()).build().unwrap();
    sse.publish("a", "history").unwrap();
    let (bytes, ()) = allocated(|| {
        for n in 0..100_000 {
            let topic = format!("/.well-known/mercure/subscriptions/exact/a/{n}");
            let publication = Publication::new(topic, "x".repeat(300)).unwrap();
            sse.append(publication.private().transient()).unwrap();
        }
    });
    println!("{bytes} bytes for a retention of {BOUND}");
    assert!(bytes <= BOUND + BOUND / 2, "{bytes}");
    assert_eq!(sse.stats().records, 1);
}

#[tokio::test(start_paused = true)]
async fn short_connections_after_an_idle_time_leave_nothing() {
    let _alone = MEASURING.lock().await;
    let sse = Manager::new();
    drop(open(&sse, 1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = live();
    for _ in 0..100 {
        for _ in 0..2_000 {
            drop(sse.add_connection());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let grown = live().saturating_sub(before);
    assert!(grown <= 256 * 1024, "{grown} bytes are allocated for connections that were dropped");
}

/// A stream that a shard drives, with its response's body and everything else.
#[cfg(all(feature = "axum", feature = "serve"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_stream_of_a_shard_costs_at_most_512_bytes_and_leaves_only_room_for_the_next() {
    use std::io::{Read, Write};

    const COUNT: usize = 2000;
    let _alone = MEASURING.lock().await;
    let sse = Manager::builder().no_heartbeat().build().unwrap();
    let app = axum::Router::new().layer(prism_sse::SseLayer::new(sse.clone(), "/events"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = prism_sse::serve(listener, app.into_make_service()).shards(1);
    let server = tokio::spawn(server.into_future());
    let open = |count: usize| {
        let mut pages = Vec::with_capacity(count);
        for _ in 0..count {
            let mut page = std::net::TcpStream::connect(address).unwrap();
            page.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut head = [0; 512];
            assert!(page.read(&mut head).unwrap() > 0);
            pages.push(page);
        }
        pages
    };
    let settled = async |count: usize| {
        while sse.connection_count() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The shard frees what it allocated for its last steps.
        sse.broadcast("settle").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // What is allocated once for all connections is allocated before.
    let first = tokio::task::block_in_place(|| open(1));
    settled(1).await;
    let before = live();
    let pages = tokio::task::block_in_place(|| open(COUNT));
    settled(COUNT + 1).await;
    let bytes = (live() - before - COUNT * size_of::<std::net::TcpStream>()) / COUNT;
    println!("{bytes} bytes for each idle stream of a shard");
    assert!(bytes <= 512, "{bytes}");
    drop(pages);
    settled(1).await;
    // Tables keep their capacity.
    let room = (live() - before) / COUNT;
    assert!(room <= 256, "{room} bytes are still allocated for each stream that was closed");
    drop(first);
    server.abort();
}

/// Patterns of every kind that hold much or little.
#[cfg(feature = "test-util")]
fn patterns() -> Vec<Selector> {
    let long = "a".repeat(900);
    let templates = [
        "/{a}".to_owned(),
        format!("/{long}/{{a}}/é/{{b}}"),
        "{?first,second,third}{/a*}".to_owned(),
        "{x}".repeat(limits::TEMPLATE_VARIABLES_MAX),
    ];
    let all = templates.iter().map(|text| Selector::template(text).unwrap());
    #[cfg(feature = "patterns")]
    let all = all.chain(
        [
            "/:a",
            "https://*.host.example/*",
            "/:kind(books|films)/:id(\\d+)",
            "/*/comments/*/replies/*/x-*",
            "/(.*(?:ab|c).{4})#(aa|b)*",
            &format!("/{long}*"),
        ]
        .map(|text| Selector::url_pattern(text, Some("https://hub.example/a")).unwrap()),
    );
    all.collect()
}

#[cfg(feature = "test-util")]
fn compile_again(selector: &Selector) -> Selector {
    match selector {
        #[cfg(feature = "patterns")]
        Selector::UrlPattern(pattern) => {
            Selector::url_pattern(pattern.as_str(), pattern.base()).unwrap()
        }
        _ => Selector::template(selector.as_str()).unwrap(),
    }
}

#[cfg(feature = "test-util")]
#[tokio::test]
async fn a_compiled_pattern_holds_what_it_says_and_matching_adds_nothing() {
    const COUNT: usize = 100;
    let _alone = MEASURING.lock().await;
    let topic = prism_sse::Topic::try_from("https://hub.example/a/b?a#c").unwrap();
    for selector in patterns() {
        let (said, _) = selector.price(&topic);
        assert!(said <= limits::PATTERN_BYTES_MAX, "{selector} {said}");
        let mut copies = Vec::with_capacity(COUNT);
        let (bytes, ()) = allocated(|| {
            copies.extend((0..COUNT).map(|_| compile_again(&selector)));
            assert!(copies.iter().all(|copy| copy.matches(&topic) == selector.matches(&topic)));
        });
        let each = bytes / COUNT;
        assert!(each.abs_diff(said) <= said / 10, "{selector}: {each} bytes, {said} said");
    }
}

#[tokio::test]
async fn ten_thousand_patterns_hold_what_the_documentation_says() {
    const COUNT: usize = 1000;
    let _alone = MEASURING.lock().await;
    let made = |n: usize| match () {
        #[cfg(feature = "patterns")]
        () => Selector::url_pattern(&format!("/{n}/(.*(?:ab|c).{{6}})"), Some("https://h/")),
        #[cfg(not(feature = "patterns"))]
        () => Selector::template(&format!("/{n}{}", "{x}".repeat(64))),
    };
    let sse = Manager::new();
    let (bytes, readers) = allocated(|| {
        let subscribe = |n: usize| {
            let audience = Audience::select(made(n).unwrap()).unwrap();
            sse.subscribe(audience, Start::Now).unwrap()
        };
        (0..COUNT).map(subscribe).collect::<Vec<_>>()
    });
    // Compiled, indexed, and the connection of each.
    let most = limits::PATTERN_BYTES_MAX + 4096;
    println!("{} bytes for each pattern in use", bytes / COUNT);
    assert!(bytes / COUNT <= most, "{}", bytes / COUNT);
    drop(readers);
}

#[tokio::test]
async fn idempotency_keys_take_about_the_bytes_that_they_count() {
    let _alone = MEASURING.lock().await;
    let sse = Manager::builder().idempotency_bytes(1 << 30).build().unwrap();
    let publish = |range: std::ops::Range<u32>| {
        for key in range {
            let publication = Publication::broadcast("x").idempotency_key(key.to_string());
            sse.append(publication.unwrap()).unwrap();
        }
    };
    // What the log keeps has its full size.
    publish(0..10_000);
    // The tables of hashes have grown shortly before 60,000, and are almost full at 110,000.
    for (range, count) in [(10_000..60_000, 50_000), (60_000..110_000, 50_000)] {
        let (bytes, ()) = allocated(|| publish(range));
        println!("{} bytes for each idempotency key", bytes / count);
        assert!(bytes / count <= limits::IDEMPOTENCY_ENTRY_BYTES * 5 / 4, "{}", bytes / count);
    }
}
