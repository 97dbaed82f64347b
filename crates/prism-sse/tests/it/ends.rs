//! How connections close, which hooks run, and that everything is freed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use futures_util::StreamExt;
use prism_sse::{
    CloseReason, Manager, ManagerBuilder, Retention, SseRequest, Start, SubscribeError,
};

use super::{page, page_after, select, text, with_history};

type HookCalls = Arc<Mutex<Vec<String>>>;

fn recording_hooks(builder: ManagerBuilder) -> (Manager, HookCalls) {
    let calls = HookCalls::default();
    let record = |calls: &HookCalls, what: String| calls.lock().unwrap().push(what);
    let [connect, reconnect, disconnect] = [calls.clone(), calls.clone(), calls.clone()];
    let sse = builder
        .on_connect(move |_| record(&connect, "connect".to_owned()))
        .on_reconnect(move |_, id| record(&reconnect, format!("reconnect {id}")))
        .on_disconnect(move |_, reason| record(&disconnect, reason.as_str().to_owned()))
        .build()
        .unwrap();
    (sse, calls)
}

#[tokio::test]
async fn the_disconnect_hook_runs_once_for_each_connection_with_the_reason() {
    let (sse, calls) = recording_hooks(Manager::builder());
    drop(sse.add_connection());
    let removed = sse.add_connection();
    sse.remove_connection(removed.id());
    drop(removed);
    let shut = sse.add_connection();
    sse.close();
    sse.close();
    assert_eq!(shut.close_reason(), Some(CloseReason::Shutdown));
    drop(shut);
    let expected = ["connect", "disconnected", "connect", "removed", "connect", "shutdown"];
    assert_eq!(*calls.lock().unwrap(), expected);
}

#[tokio::test]
async fn the_reconnect_hook_runs_instead_of_the_connect_hook() {
    let (sse, calls) = recording_hooks(Manager::builder());
    let _page = page_after(&sse, "an-id").await;
    assert_eq!(*calls.lock().unwrap(), ["reconnect an-id"]);
}

#[tokio::test]
async fn a_hook_that_panics_affects_nothing_else() {
    let sse = Manager::builder()
        .on_connect(|_| panic!("on connect"))
        .on_disconnect(|_, _| panic!("on disconnect"))
        .build()
        .unwrap();
    let mut page = page(&sse).await;
    drop(sse.add_connection());
    sse.broadcast("still here").unwrap();
    page.expect("message", "still here").await;
    assert_eq!(sse.connection_count(), 1);
}

#[test]
fn a_connection_that_is_removed_by_its_connect_hook_runs_the_disconnect_hook_afterwards() {
    let calls = HookCalls::default();
    let [begin, end] = [calls.clone(), calls.clone()];
    let sse = Manager::builder()
        .on_connect(move |connection| {
            connection.remove();
            begin.lock().unwrap().push("begins".to_owned());
        })
        .on_disconnect(move |_, reason| end.lock().unwrap().push(reason.as_str().to_owned()))
        .build()
        .unwrap();
    drop(sse.add_connection());
    assert_eq!(*calls.lock().unwrap(), ["begins", "removed"]);
}

#[tokio::test]
async fn a_hook_may_call_the_manager() {
    let sse = Manager::builder()
        .on_connect(|connection| drop(connection.send("welcome").unwrap()))
        .build()
        .unwrap();
    let mut page = page(&sse).await;
    page.expect("message", "welcome").await;
}

#[tokio::test]
async fn attached_state_lives_as_long_as_its_connection() {
    #[derive(Debug, PartialEq)]
    struct User(u32);

    let sse = Manager::new();
    let request = SseRequest::new(&Method::GET, &HeaderMap::new()).unwrap();
    let response = sse.respond(request.state(User(7)));
    let connection = sse.connections().pop().unwrap();
    assert_eq!(connection.state::<User>().as_deref(), Some(&User(7)));
    assert!(connection.state::<String>().is_none());
    drop(response);
    assert!(sse.connections().is_empty());
    assert!(connection.send("too late").is_err());
    assert!(!connection.remove());
}

#[tokio::test]
async fn a_removed_connection_gets_what_was_due_and_then_a_mark() {
    let sse = with_history();
    let mut connection = sse.add_connection();
    connection.next().await.unwrap();
    sse.broadcast("due").unwrap();
    sse.remove_connection(connection.id());
    sse.broadcast("too late").unwrap();
    let last = connection.next().await.unwrap();
    assert!(text(&last).ends_with("data: due\n\n"), "{last:?}");
    let mark = connection.next().await.unwrap();
    let id = text(&mark).lines().next().unwrap();
    assert!(id.ends_with(".1"), "{mark:?}");
    assert_eq!(text(&mark), format!("{id}\nevent: prism.mark\ndata:\n\n"));
    assert_eq!(connection.next().await, None);
    assert_eq!(connection.next().await, None);
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_its_removal() {
    let sse = Manager::new();
    let mut connection = sse.add_connection();
    let id = connection.id();
    let reader = tokio::spawn(async move { while connection.next().await.is_some() {} });
    tokio::task::yield_now().await;
    sse.remove_connection(id);
    reader.await.unwrap();
}

#[tokio::test]
async fn a_closed_manager_ends_streams_and_refuses_further_ones() {
    let sse = Manager::new();
    let mut open = sse.add_connection();
    sse.close();
    while open.next().await.is_some() {}
    assert_eq!(sse.subscribe(select("a"), Start::Now).unwrap_err(), SubscribeError::Closed);
    let mut late = sse.add_connection();
    assert_eq!(late.next().await, None);
    assert_eq!(late.close_reason(), Some(CloseReason::Shutdown));
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn many_short_connections_leave_nothing() {
    let sse = with_history();
    for round in 0..20 {
        let mut connections: Vec<_> = (0..100)
            .map(|n| sse.subscribe(select(format!("topic {}", n % 7)), Start::Now).unwrap())
            .collect();
        sse.publish("topic 3", round.to_string()).unwrap();
        for connection in &mut connections[..30] {
            connection.next().await.unwrap();
        }
        sse.send("direct", connections[50].id()).unwrap();
        // An order that is neither that of connecting nor its reverse.
        while !connections.is_empty() {
            let at = connections.len() * 7 % 13 % connections.len();
            drop(connections.swap_remove(at));
        }
        assert_eq!((sse.connection_count(), sse.stats().audiences), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_at_its_maximum_age_with_a_mark() {
    let (sse, calls) = recording_hooks(
        Manager::builder().history(Retention::default()).max_age(Duration::from_secs(600)),
    );
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    sse.publish("t", "x").unwrap();
    page.expect("message", "x").await;
    assert!(page.listen(Duration::from_secs(539)).await.is_empty());
    assert!(page.is_open());
    let last = page.listen(Duration::from_secs(62)).await;
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].name, "prism.mark");
    assert!(!page.is_open());
    assert_eq!(*calls.lock().unwrap(), ["connect", "max_age"]);
}

#[tokio::test]
async fn the_state_of_a_manager_is_freed_with_its_last_handle() {
    struct Freed(Arc<()>);
    let alive = Arc::new(());
    let freed = Freed(alive.clone());
    let sse = Manager::builder().on_connect(move |_| drop(freed.0.clone())).build().unwrap();
    let mut page = page(&sse).await;
    sse.broadcast("the driver runs").unwrap();
    page.expect("message", "the driver runs").await;
    drop((page, sse));
    // The driver's task ends when it finds that the manager was dropped.
    for _ in 0..1000 {
        if Arc::strong_count(&alive) == 1 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("something keeps the manager alive");
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_connections_at_random_moments() {
    let sse = with_history();
    let mut readers: Vec<_> = (0..40).map(|_| sse.add_connection()).collect();
    let window = Duration::from_secs(10);
    let drain = tokio::spawn({
        let sse = sse.clone();
        async move { sse.drain(window).await }
    });
    tokio::time::sleep(window / 2).await;
    let open = sse.connection_count();
    assert!((5..35).contains(&open), "{open} of 40 are open after half of the time");
    drain.await.unwrap();
    assert_eq!(sse.connection_count(), 0);
    for reader in &mut readers {
        assert_eq!(reader.close_reason(), Some(CloseReason::Shutdown));
        let mut last = String::new();
        while let Some(bytes) = reader.next().await {
            last = String::from_utf8(bytes.to_vec()).unwrap();
        }
        assert!(last.contains("retry: "), "the last bytes carry the time to reconnect: {last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_reports_the_applied_mark_and_the_age_of_its_oldest_event() {
    let sse = with_history();
    assert_eq!((sse.position(), sse.stats().oldest), (None, None));
    let ack = sse.publish("a", "x").unwrap().try_ack().unwrap().unwrap();
    assert_eq!(sse.position(), Some(ack.position));
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(sse.stats().oldest, Some(Duration::from_secs(7)));
}

#[test]
fn the_id_of_a_connection_tells_nothing_of_how_many_there_are() {
    let sse = Manager::new();
    let connections: Vec<_> = (0..200).map(|_| sse.add_connection()).collect();
    let mut endings = std::collections::HashSet::new();
    let mut small = 0;
    for connection in &connections {
        let id = connection.id().to_string();
        let ending = u32::from_str_radix(&id[24..], 16).unwrap();
        endings.insert(ending);
        // One in 4,096 random numbers is so small.
        small += u32::from(ending < 1 << 20);
        let parsed: prism_sse::ConnectionId = id.parse().unwrap();
        assert_eq!(sse.connection(parsed).unwrap().id(), connection.id());
        sse.send("you", parsed).unwrap();
    }
    assert!(small < 5, "{small} of 200 end in a small number");
    assert!(endings.len() > 195, "{} endings", endings.len());
    // Whatever is in the place that a reader freed, its id names nobody.
    let gone = connections[7].id();
    drop(connections);
    let _next: Vec<_> = (0..200).map(|_| sse.add_connection()).collect();
    assert!(sse.connection(gone).is_none());
}
