//! `prism_sse::serve` over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod kept;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use prism_sse::{Manager, Retention, SseLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn read_until(stream: &mut TcpStream, what: &str) -> String {
    let mut seen = String::new();
    let mut buf = [0; 4096];
    while !seen.contains(what) {
        let len = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buf)).await;
        let len = len.unwrap_or_else(|_| unreachable!("{what:?} does not come: {seen:?}")).unwrap();
        assert!(len > 0, "the end before {what:?}: {seen:?}");
        seen += std::str::from_utf8(&buf[..len]).unwrap();
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_handed_over_and_lives() {
    let sse = Manager::builder().history(Retention::default()).build().unwrap();
    let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
    let app = Router::new().route("/who", get(who)).layer(SseLayer::new(sse.clone(), "/events"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server =
        prism_sse::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
            .drain(Duration::from_millis(100))
            .with_graceful_shutdown(async move { drop(stopped.await) });
    println!("{}", server.capacity());
    let server = tokio::spawn(server.into_future());
    let mut page = TcpStream::connect(address).await.unwrap();
    page.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    println!("{}", read_until(&mut page, "prism.open").await);
    for n in 0..20 {
        sse.broadcast(format!("event {n}")).unwrap();
    }
    println!("{}", read_until(&mut page, "event 19\n").await);
    sse.broadcast("quiet").unwrap();
    println!("{}", read_until(&mut page, "quiet\n").await);
    let mut who = TcpStream::connect(address).await.unwrap();
    who.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    println!("{}", read_until(&mut who, "127.0.0.1:").await);
    assert_eq!(sse.connection_count(), 1);
    stop.send(()).unwrap();
    println!("{}", read_until(&mut page, "0\r\n\r\n").await);
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
    assert_eq!(sse.connection_count(), 0);
}
