//! The bound on connections, and servers with several listeners.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prism_sse::{Manager, Serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    End, LISTEN, Reader, TestServer, app, connect, eventually, with_history, within_deadline,
};

const LISTEN_VIA_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn with_room_for_three<A: prism_sse::App<K>, K>(serve: Serve<A, K>) -> Serve<A, K> {
    serve.max_connections(3).shards(1)
}

#[tokio::test]
async fn a_connection_above_the_bound_waits_until_another_one_ends() {
    let open = Arc::new(AtomicUsize::new(0));
    let (begins, ends) = (Arc::clone(&open), Arc::clone(&open));
    let sse = Manager::builder()
        .on_connect(move |_| assert!(begins.fetch_add(1, Ordering::SeqCst) < 3))
        .on_disconnect(move |_, _| {
            ends.fetch_sub(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let server = TestServer::configured(app(&sse), with_room_for_three).await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        inside.push(Reader::open(server.address).await);
    }
    let mut outside = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(server.address).await;
        stream.write_all(LISTEN.as_bytes()).await.unwrap();
        outside.push(stream);
    }
    let early = outside[0].read_u8();
    assert!(tokio::time::timeout(Duration::from_millis(150), early).await.is_err());
    assert_eq!(sse.stats().connected, 3);
    for stream in outside {
        sse.broadcast("for three").unwrap();
        for reader in &mut inside {
            assert_eq!(reader.data().await, "for three");
        }
        drop(inside.remove(0));
        inside.push(Reader::read_head(stream).await);
    }
    server.stop().await;
    for reader in &mut inside {
        assert_eq!(reader.end().await, End::Clean);
    }
    assert_eq!(open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn connections_of_every_kind_count_until_they_end() {
    let sse = with_history();
    let server = TestServer::configured(app(&sse), with_room_for_three).await;
    for _ in 0..5 {
        let stream = Reader::open(server.address).await;
        let idle = connect(server.address).await;
        let body = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
        let body = Reader::request(server.address, body).await;
        let mut waits = connect(server.address).await;
        waits.write_all(HELLO.as_bytes()).await.unwrap();
        drop((stream, idle, body));
        let mut received = String::new();
        within_deadline(waits.read_to_string(&mut received)).await.unwrap();
        assert!(received.ends_with("hello"));
    }
    eventually(|| sse.connection_count() == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_at_its_bound_shuts_down_gracefully() {
    let sse = with_history();
    let server = TestServer::configured(app(&sse), with_room_for_three).await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(Reader::open(server.address).await);
    }
    let mut waits = connect(server.address).await;
    waits.write_all(LISTEN.as_bytes()).await.unwrap();
    server.stop().await;
    for reader in &mut readers {
        assert_eq!(reader.end().await, End::Clean);
    }
    drop(within_deadline(waits.read_to_end(&mut Vec::new())).await);
}

#[tokio::test]
async fn the_capacity_of_a_server_respects_max_connections() {
    let sse = with_history();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let capacity = with_room_for_three(prism_sse::serve(listener, app(&sse))).capacity();
    assert_eq!(capacity.connections, 3);
    assert!(capacity.worst_case_bytes >= 3 * capacity.bytes_per_reader as u64);
    assert!(capacity.to_string().contains("3 connections"), "{capacity}");
}

/// Two listeners have one bound on connections, and one shutdown.
#[tokio::test]
async fn the_listeners_of_a_server_share_its_bound_and_its_shutdown() {
    let sse = with_history();
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let mut server =
        TestServer::configured(app(&sse), |serve| with_room_for_three(serve).also(other)).await;
    let mut readers = vec![
        Reader::open(server.address).await,
        Reader::open(address).await,
        Reader::request(address, LISTEN_VIA_HYPER).await,
    ];
    let mut outside = Vec::new();
    for address in [server.address, address] {
        let mut stream = connect(address).await;
        stream.write_all(LISTEN.as_bytes()).await.unwrap();
        outside.push(stream);
    }
    let early = outside[0].read_u8();
    assert!(tokio::time::timeout(Duration::from_millis(150), early).await.is_err());
    assert_eq!(sse.stats().connected, 3);
    sse.broadcast("for all").unwrap();
    for reader in &mut readers {
        assert_eq!(reader.data().await, "for all");
    }
    // A connection that ends makes room at either address.
    for stream in outside {
        drop(readers.remove(0));
        readers.push(Reader::read_head(stream).await);
    }
    server.signal();
    for reader in &mut readers {
        assert_eq!(reader.end().await, End::Clean);
    }
    let addresses = [server.address, address];
    server.ended().await;
    for address in addresses {
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}

/// Listeners are accepted from in turn.
#[tokio::test]
async fn a_busy_listener_does_not_starve_another_one() {
    let served = Arc::new(AtomicUsize::new(0));
    let app = Router::new()
        .route("/hello", get(async move || served.fetch_add(1, Ordering::SeqCst).to_string()));
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quiet = other.local_addr().unwrap();
    let one = |serve: Serve<_, _>| serve.max_connections(1).no_shards().also(other);
    let server = TestServer::configured(app, one).await;
    let mut first = connect(server.address).await;
    // Many connections are in the backlog of one listener before one comes to the other.
    let mut line = Vec::new();
    for address in [server.address; 20].into_iter().chain([quiet]) {
        let mut stream = connect(address).await;
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        line.push(stream);
    }
    first.write_all(HELLO.as_bytes()).await.unwrap();
    let mut last = line.pop().unwrap();
    let mut received = String::new();
    within_deadline(last.read_to_string(&mut received)).await.unwrap();
    let before: usize = received.rsplit("\r\n").next().unwrap().parse().unwrap();
    assert!((1..4).contains(&before), "{before} were served before it");
    server.stop().await;
}

/// A connection above the limit is closed without an answer, so that it is in nobody's way.
#[tokio::test]
async fn connections_from_one_address_are_limited_where_the_address_is_counted() {
    let sse = with_history();
    let limited = Arc::new(AtomicBool::new(true));
    let limit = Arc::clone(&limited);
    let server = TestServer::configured(app(&sse), |serve| {
        let limit = move |_| limit.load(Ordering::SeqCst).then_some(2);
        serve.shards(1).max_connections_per_address_with(limit)
    });
    let server = server.await;
    let handed_over = Reader::open(server.address).await;
    let _stays = Reader::request(server.address, LISTEN_VIA_HYPER).await;
    let is_refused = async || {
        let mut stream = connect(server.address).await;
        drop(stream.write_all(HELLO.as_bytes()).await);
        let mut received = Vec::new();
        drop(within_deadline(stream.read_to_end(&mut received)).await);
        received.is_empty()
    };
    assert!(is_refused().await);
    assert!(is_refused().await);
    // The limit is asked for anew, and a connection that ends makes room for another one.
    limited.store(false, Ordering::SeqCst);
    assert!(!is_refused().await);
    limited.store(true, Ordering::SeqCst);
    assert!(is_refused().await);
    drop(handed_over);
    eventually(|| sse.connection_count() == 1).await;
    assert!(!is_refused().await);
    server.stop().await;
}

/// Behind a loopback address there may be a proxy.
#[tokio::test]
async fn connections_from_a_loopback_address_are_not_limited_by_default() {
    let sse = with_history();
    let one = |serve: Serve<_, _>| serve.shards(1).max_connections_per_address(1);
    let server = TestServer::configured(app(&sse), one).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(Reader::open(server.address).await);
    }
    assert_eq!(sse.connection_count(), 5);
    server.stop().await;
}

/// Each connection is served by one of the servers, and the end of one leaves the other running.
#[tokio::test]
async fn two_servers_can_listen_at_one_address() {
    let managers = [with_history(), with_history()];
    let mut address = "127.0.0.1:0".parse().unwrap();
    let mut servers = Vec::new();
    for sse in &managers {
        let listener = prism_sse::bind_reuse_port(address).unwrap();
        address = listener.local_addr().unwrap();
        let one = 1;
        let serve = prism_sse::serve(listener, app(sse)).shards(one);
        servers.push(tokio::spawn(serve.into_future()));
    }
    let mut readers = Vec::new();
    for _ in 0..40 {
        readers.push(Reader::open(address).await);
    }
    let counts = managers.each_ref().map(Manager::connection_count);
    assert_eq!(counts[0] + counts[1], 40);
    for sse in &managers {
        sse.broadcast("for each").unwrap();
    }
    for reader in &mut readers {
        assert_eq!(reader.data().await, "for each");
    }
    servers[0].abort();
    eventually(|| managers[0].connection_count() == 0).await;
    managers[1].broadcast("still there").unwrap();
    assert_eq!(managers[1].connection_count(), counts[1]);
    servers[1].abort();
    eventually(|| managers[1].connection_count() == 0).await;
}
