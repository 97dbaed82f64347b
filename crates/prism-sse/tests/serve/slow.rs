//! Readers that read slowly, in small pieces, or never.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use prism_sse::{Audience, CloseReason, Manager, ManagerBuilder, OnLag, Retention, SseRequest};
use tokio::sync::mpsc;

use crate::{End, LISTEN, Reader, TestServer, app, eventually, resume_request, within_deadline};

const LISTEN_VIA_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";

pub(crate) type CloseReasons = mpsc::UnboundedReceiver<CloseReason>;

/// A manager with history and room for events of 1 MiB, and the reasons why its connections end.
pub(crate) fn with_close_reasons(
    set: impl FnOnce(ManagerBuilder) -> ManagerBuilder,
) -> (Manager, CloseReasons) {
    let (tell, told) = mpsc::unbounded_channel();
    let builder = Manager::builder()
        .history(Retention::default())
        .max_event_bytes(2 << 20)
        .on_disconnect(move |_, reason| tell.send(reason).unwrap_or(()));
    (set(builder).build().unwrap(), told)
}

/// More than all buffers between the server and a reader hold.
pub(crate) fn large(what: &str) -> String {
    format!("{what} {}", "large ".repeat((1 << 20) / 6))
}

/// Each reader is in the middle of another event, so that two buffers are kept.
#[tokio::test]
async fn the_longest_stalled_reader_is_closed_when_stalled_bytes_run_out() {
    let (sse, mut told) = with_close_reasons(|it| it.on_lag(OnLag::SkipWithGap));
    let server = TestServer::configured(app(&sse), |serve| serve.stalled_bytes(3 << 19).shards(1));
    let server = server.await;
    let mut healthy = Reader::open(server.address).await;
    let mut longest = Reader::request_with_smallest_buffer(server.address, LISTEN).await;
    longest.named("prism.open").await;
    sse.broadcast(large("first")).unwrap();
    assert!(healthy.data().await.starts_with("first "));
    let mut later = Reader::request_with_smallest_buffer(server.address, LISTEN).await;
    later.named("prism.open").await;
    assert!(told.try_recv().is_err());
    sse.broadcast(large("second")).unwrap();
    assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Stalled));
    assert!(healthy.data().await.starts_with("second "));
    assert_eq!(longest.end().await, End::Cut);
    assert!(later.data().await.starts_with("second "));
    server.stop().await;
    assert_eq!(later.end().await, End::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_arrive_whole_through_small_buffers() {
    let (sse, _told) = with_close_reasons(|it| it);
    let server = TestServer::configured(app(&sse), |serve| serve.shards(2)).await;
    let mut readers = tokio::task::JoinSet::new();
    let expected: Vec<String> = (0..9)
        .map(|n| if n % 3 == 1 { large(&n.to_string()) } else { format!("small {n}") })
        .collect();
    let mut open = Vec::new();
    for number in 0..6 {
        let ask = if number == 5 { LISTEN_VIA_HYPER } else { LISTEN };
        open.push(match number {
            0 => Reader::request(server.address, ask).await,
            _ => Reader::request_with_smallest_buffer(server.address, ask).await,
        });
    }
    for event in &expected {
        sse.broadcast(event.as_str()).unwrap();
    }
    for mut reader in open {
        let expected = expected.clone();
        readers.spawn(async move {
            for event in expected {
                assert!(reader.data().await == event, "{} is not whole", event.len());
            }
        });
    }
    while let Some(reader) = within_deadline(readers.join_next()).await {
        reader.unwrap();
    }
    server.stop().await;
}

/// It takes single bytes from time to time.
#[tokio::test]
async fn a_reader_that_takes_a_little_at_a_time_delays_nobody_and_gets_everything() {
    let (sse, mut told) = with_close_reasons(|it| it);
    let server = TestServer::with(app(&sse)).await;
    let mut fast = Reader::open(server.address).await;
    let mut slow = Reader::request_with_smallest_buffer(server.address, LISTEN).await;
    slow.named("prism.open").await;
    let event = |n: usize| format!("event {n} {}", "x".repeat(1000));
    for n in 0..300 {
        sse.broadcast(event(n)).unwrap();
        assert_eq!(fast.data().await, event(n));
        if n % 10 == 0 {
            slow.read(1).await;
        }
    }
    for n in 0..300 {
        assert_eq!(slow.data().await, event(n));
    }
    assert!(told.try_recv().is_err());
    server.stop().await;
}

/// Publishes so much that a reader that does not read lags.
fn overrun(sse: &Manager) {
    for n in 0..400 {
        let topic = ["a", "b", "c"][n % 3];
        sse.publish(topic, format!("{topic} {n} {}", "x".repeat(4000))).unwrap();
    }
}

fn lagging(on_lag: OnLag) -> (Manager, CloseReasons) {
    with_close_reasons(|it| it.on_lag(on_lag).lag_bytes(256 * 1024))
}

/// The topic and number of all events in order, up to one that is published now, and "gap true"
/// for a gap `lag`.
async fn events_until_live(sse: &Manager, reader: &mut Reader) -> Vec<String> {
    // A reader that lags may skip one of these too.
    let publish = async {
        for n in 400.. {
            sse.broadcast(format!("now {n}")).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut seen = Vec::new();
    let read = async {
        loop {
            let event = reader.next().await.unwrap();
            match event.name.as_str() {
                "prism.gap" => {
                    seen.push(format!("gap {}", event.data.contains(r#""reason":"lag""#)));
                }
                "message" if event.data.starts_with("now") => break,
                "message" => seen.push(event.data.trim_end_matches(['x', ' ']).to_owned()),
                _ => {}
            }
        }
    };
    tokio::select! { () = publish => {}, () = read => {} }
    seen
}

fn number(seen: &str) -> usize {
    seen.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_reader_that_lags_is_told_and_goes_on_with_what_comes() {
    let (sse, mut told) = lagging(OnLag::SkipWithGap);
    let server = TestServer::with(app(&sse)).await;
    for ask in [LISTEN, LISTEN_VIA_HYPER] {
        let mut reader = Reader::request_with_smallest_buffer(server.address, ask).await;
        reader.named("prism.open").await;
        overrun(&sse);
        let mut next = Some(0);
        let mut gaps = 0;
        // Events are consecutive except after a gap.
        for seen in events_until_live(&sse, &mut reader).await {
            if seen == "gap true" {
                (next, gaps) = (None, gaps + 1);
                continue;
            }
            assert_eq!(number(&seen), next.unwrap_or(number(&seen)));
            next = Some(number(&seen) + 1);
        }
        assert!(gaps > 0);
        drop(reader);
        assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Disconnected));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_lags_gets_the_newest_of_each_topic() {
    let (sse, _told) = lagging(OnLag::LatestPerTopic);
    let server = TestServer::with(app(&sse)).await;
    for ask in [LISTEN, LISTEN_VIA_HYPER] {
        let mut reader = Reader::request_with_smallest_buffer(server.address, ask).await;
        reader.named("prism.open").await;
        overrun(&sse);
        let seen = events_until_live(&sse, &mut reader).await;
        // The newest of the three topics are the last three, wherever it lagged for the last time.
        let gap = seen.iter().rposition(|seen| seen == "gap true").unwrap();
        let numbers: Vec<usize> = seen[gap + 1..].iter().map(|seen| number(seen)).collect();
        let first = numbers[0];
        assert!(first <= 397);
        assert_eq!(numbers, (first..numbers.len() + first).collect::<Vec<usize>>());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_lags_is_closed_and_resumes_without_a_loss() {
    let (sse, mut told) = lagging(OnLag::Disconnect);
    let server = TestServer::with(app(&sse)).await;
    let mut next = 0;
    for ask in [LISTEN, LISTEN_VIA_HYPER] {
        let mut reader = Reader::request_with_smallest_buffer(server.address, ask).await;
        reader.named("prism.open").await;
        overrun(&sse);
        let (events, end) = reader.read_to_end().await;
        assert_eq!(end, End::Clean);
        assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Lagged));
        let count = events.iter().filter(|event| event.name == "message").count();
        let again = resume_request("/events", reader.last_event_id());
        let mut again = Reader::request(server.address, &again).await;
        for n in count..400 {
            assert_eq!(number(&again.data().await), n);
        }
        next += count;
        drop(again);
        assert_eq!(within_deadline(told.recv()).await, Some(CloseReason::Disconnected));
    }
    assert!(next < 800);
    server.stop().await;
}

/// Without history a reader cannot resume, so that it skips with a gap.
#[tokio::test]
async fn a_reader_that_lags_without_history_is_told_of_the_gap_and_goes_on() {
    let sse = Manager::builder().lag_bytes(64 * 1024).build().unwrap();
    let server = TestServer::with(app(&sse)).await;
    let mut readers = Vec::new();
    for ask in [LISTEN, LISTEN_VIA_HYPER] {
        readers.push(Reader::request_with_smallest_buffer(server.address, ask).await);
    }
    // More than the log keeps.
    for n in 0..6000 {
        sse.broadcast(format!("event {n} {}", "x".repeat(200))).unwrap();
    }
    for reader in &mut readers {
        let gap = reader.named("prism.gap").await;
        assert!(gap.data.contains(r#""reason":"lag""#), "{}", gap.data);
    }
    for reader in &mut readers {
        events_until_live(&sse, reader).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn slow_readers_of_one_audience_do_not_delay_another() {
    let (sse, _told) = with_close_reasons(|it| it.on_lag(OnLag::SkipWithGap));
    let events = |axum::extract::Path(topic): axum::extract::Path<String>,
                  State(sse): State<Manager>,
                  request: SseRequest| async move {
        let audience = Audience::select([topic.as_str()]).unwrap();
        sse.respond(request.audience(audience)).map(Body::new)
    };
    let app = Router::new().route("/{topic}", get(events)).with_state(sse.clone());
    let server = TestServer::with(app).await;
    let get = |topic: &str| format!("GET /{topic} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(Reader::request_with_smallest_buffer(server.address, &get("busy")).await);
    }
    let mut quiet = Reader::request(server.address, &get("quiet")).await;
    let mut busy = Reader::request(server.address, &get("busy")).await;
    for n in 0..5 {
        sse.publish("busy", large(&n.to_string())).unwrap();
        sse.publish("quiet", n.to_string()).unwrap();
        assert_eq!(quiet.data().await, n.to_string());
        assert!(busy.data().await.starts_with(&format!("{n} ")));
    }
    assert_eq!(sse.connection_count(), 22);
    drop(stuck);
    eventually(|| sse.connection_count() == 2).await;
    server.stop().await;
}
