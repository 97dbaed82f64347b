//! More connections than there is room for.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prism_sse::{Manager, Serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{End, LISTEN, Reader, Running, app, connect, soon, until, with_history};

const BY_HYPER: &str = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn most<A: prism_sse::App<K>, K>(serve: Serve<A, K>) -> Serve<A, K> {
    serve.max_connections(3).shards(1)
}

#[tokio::test]
async fn who_finds_no_room_waits_until_someone_leaves() {
    let open = Arc::new(AtomicUsize::new(0));
    let (begins, ends) = (Arc::clone(&open), Arc::clone(&open));
    let sse = Manager::builder()
        .on_connect(move |_| assert!(begins.fetch_add(1, Ordering::SeqCst) < 3))
        .on_disconnect(move |_, _| {
            ends.fetch_sub(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let server = Running::set(app(&sse), most).await;
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
        inside.push(Reader::of(stream).await);
    }
    server.stop().await;
    for reader in &mut inside {
        assert_eq!(reader.end().await, End::Clean);
    }
    assert_eq!(open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn connections_of_every_kind_take_room_and_give_it_back() {
    let sse = with_history();
    let server = Running::set(app(&sse), most).await;
    for _ in 0..5 {
        let stream = Reader::open(server.address).await;
        let idle = connect(server.address).await;
        let body = "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
        let body = Reader::ask(server.address, body).await;
        let mut waits = connect(server.address).await;
        waits.write_all(HELLO.as_bytes()).await.unwrap();
        drop((stream, idle, body));
        let mut said = String::new();
        soon(waits.read_to_string(&mut said)).await.unwrap();
        assert!(said.ends_with("hello"));
    }
    until(|| sse.connection_count() == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_full_server_ends_like_any_other() {
    let sse = with_history();
    let server = Running::set(app(&sse), most).await;
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
    drop(soon(waits.read_to_end(&mut Vec::new())).await);
}

#[tokio::test]
async fn a_server_says_what_it_can_hold() {
    let sse = with_history();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let capacity = most(prism_sse::serve(listener, app(&sse))).capacity();
    assert_eq!(capacity.connections, 3);
    assert!(capacity.worst_case_bytes >= 3 * capacity.bytes_per_reader as u64);
    assert!(capacity.to_string().contains("3 connections"), "{capacity}");
}

/// One server at two addresses: there is one limit for both, and one end.
#[tokio::test]
async fn a_server_at_several_addresses_is_one_server() {
    let sse = with_history();
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let mut server = Running::set(app(&sse), |serve| most(serve).also(other)).await;
    let mut readers = vec![
        Reader::open(server.address).await,
        Reader::open(address).await,
        Reader::ask(address, BY_HYPER).await,
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
    // Each that goes makes room at either address.
    for stream in outside {
        drop(readers.remove(0));
        readers.push(Reader::of(stream).await);
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

/// Whoever comes to one address all the time does not keep others from another one.
#[tokio::test]
async fn a_busy_address_does_not_shut_another_one() {
    let served = Arc::new(AtomicUsize::new(0));
    let app = Router::new()
        .route("/hello", get(async move || served.fetch_add(1, Ordering::SeqCst).to_string()));
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quiet = other.local_addr().unwrap();
    let one = |serve: Serve<_, _>| serve.max_connections(1).no_shards().also(other);
    let server = Running::set(app, one).await;
    let mut first = connect(server.address).await;
    // They stand in line at one address before somebody comes to the other one.
    let mut line = Vec::new();
    for address in [server.address; 20].into_iter().chain([quiet]) {
        let mut stream = connect(address).await;
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        line.push(stream);
    }
    first.write_all(HELLO.as_bytes()).await.unwrap();
    let mut last = line.pop().unwrap();
    let mut said = String::new();
    soon(last.read_to_string(&mut said)).await.unwrap();
    let before: usize = said.rsplit("\r\n").next().unwrap().parse().unwrap();
    assert!((1..4).contains(&before), "{before} were served before it");
    server.stop().await;
}

/// Two servers at one address: each connection is somebody's, and one that goes leaves the other.
#[tokio::test]
async fn servers_can_share_an_address() {
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
    until(|| managers[0].connection_count() == 0).await;
    managers[1].broadcast("still there").unwrap();
    assert_eq!(managers[1].connection_count(), counts[1]);
    servers[1].abort();
    until(|| managers[1].connection_count() == 0).await;
}
