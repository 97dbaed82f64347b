//! Every kind of application that can be served, and several managers in one application.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use axum::routing::get;
use prism_sse::{Audience, Manager, SseLayer, SseRequest};

use crate::{End, Reader, TestServer, app, with_history, within_deadline};

const WHO: &str = "GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Checks that one reader receives one event, and a clean end at the shutdown.
async fn assert_streams_and_shuts_down(sse: &Manager, server: TestServer) {
    let mut reader = Reader::open(server.address).await;
    assert_eq!(reader.status(), 200);
    sse.broadcast("it works").unwrap();
    assert_eq!(reader.data().await, "it works");
    server.stop().await;
    assert_eq!(reader.end().await, End::Clean);
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn a_router_is_served() {
    let sse = with_history();
    assert_streams_and_shuts_down(&sse, TestServer::with(app(&sse)).await).await;
}

#[tokio::test]
async fn a_make_service_is_served() {
    let sse = with_history();
    assert_streams_and_shuts_down(&sse, TestServer::with(app(&sse).into_make_service()).await)
        .await;
}

#[tokio::test]
async fn a_bare_service_is_served() {
    let sse = with_history();
    let service = tower::service_fn({
        let sse = sse.clone();
        move |request: Request<hyper::body::Incoming>| {
            let wish = SseRequest::new(request.method(), request.headers());
            let answer = wish.map(|wish| sse.respond(wish).map(Body::new));
            let refused = || Response::builder().status(406).body(Body::empty()).unwrap();
            std::future::ready(Ok::<_, Infallible>(answer.unwrap_or_else(|_| refused())))
        }
    });
    assert_streams_and_shuts_down(&sse, TestServer::with(service).await).await;
}

#[tokio::test]
async fn an_application_knows_the_address_of_its_peer() {
    let sse = with_history();
    let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
    let app = Router::new().route("/who", get(who)).layer(SseLayer::new(sse.clone(), "/events"));
    let server = TestServer::with(app.into_make_service_with_connect_info::<SocketAddr>()).await;
    let mut reader = Reader::request(server.address, WHO).await;
    reader.read_to_end().await;
    let own = reader.stream.local_addr().unwrap().to_string();
    assert_eq!(String::from_utf8(reader.text).unwrap(), own);
    assert_streams_and_shuts_down(&sse, server).await;
}

#[tokio::test]
async fn a_service_that_cannot_be_made_closes_one_connection_only() {
    let sse = with_history();
    let mut first = true;
    let make = tower::service_fn({
        let sse = sse.clone();
        move |_: SocketAddr| {
            let made = if std::mem::take(&mut first) { Err("not now") } else { Ok(app(&sse)) };
            std::future::ready(made)
        }
    });
    let server = TestServer::with(make).await;
    let mut stream = crate::connect(server.address).await;
    let closed = within_deadline(tokio::io::AsyncReadExt::read(&mut stream, &mut [0])).await;
    assert_eq!(closed.unwrap_or(0), 0);
    assert_streams_and_shuts_down(&sse, server).await;
}

/// Three managers with equal audiences, on two shards.
#[tokio::test]
async fn several_managers_in_one_application_do_not_mix() {
    let managers: Vec<Manager> = (0..3).map(|_| with_history()).collect();
    let mut app = Router::new();
    for (number, sse) in managers.iter().enumerate() {
        app = app.layer(SseLayer::new(sse.clone(), format!("/{number}")));
    }
    let server = TestServer::configured(app, |serve| serve.shards(2)).await;
    let mut readers = Vec::new();
    for number in [0, 1, 2, 2, 1, 0] {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n");
        readers.push((number, Reader::request(server.address, &request).await));
    }
    for round in 0..20 {
        for (number, sse) in managers.iter().enumerate() {
            sse.broadcast(format!("{number} {round}")).unwrap();
        }
    }
    for (number, reader) in &mut readers {
        for round in 0..20 {
            assert_eq!(reader.data().await, format!("{number} {round}"));
        }
    }
    managers[1].close();
    for (number, reader) in &mut readers {
        if *number == 1 {
            assert_eq!(reader.end().await, End::Clean);
        } else {
            managers[*number].broadcast("still there").unwrap();
            assert_eq!(reader.data().await, "still there");
        }
    }
    server.stop().await;
}

/// Each reader has an audience of its own, and an event of its own and one for all.
#[tokio::test]
async fn every_audience_receives_its_own_events_and_no_others() {
    let sse = with_history();
    let events = |axum::extract::Path(user): axum::extract::Path<u32>,
                  axum::extract::State(sse): axum::extract::State<Manager>,
                  request: SseRequest| async move {
        let own = format!("users/{user}");
        let audience = Audience::select([own.as_str(), "news"]).unwrap().grant(&own).unwrap();
        sse.respond(request.audience(audience)).map(Body::new).into_response()
    };
    let app = Router::new().route("/{user}", get(events)).with_state(sse.clone());
    let server = TestServer::configured(app, |serve| serve.shards(2)).await;
    let mut readers = Vec::new();
    for user in 0..40 {
        let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", user % 20);
        readers.push((user % 20, Reader::request(server.address, &request).await));
    }
    for round in 0..10 {
        for user in 0..20 {
            let event = prism_sse::Event::new(format!("{user} {round}"));
            let topic = format!("users/{user}");
            let secret = prism_sse::Publication::new(topic, event).unwrap().private();
            sse.append(secret).unwrap();
        }
        sse.publish("news", format!("news {round}")).unwrap();
    }
    for (user, reader) in &mut readers {
        for round in 0..10 {
            assert_eq!(reader.data().await, format!("{user} {round}"));
            assert_eq!(reader.data().await, format!("news {round}"));
        }
    }
    drop(readers);
    crate::eventually(|| sse.connection_count() == 0).await;
    assert_eq!(sse.stats().audiences, 0);
    server.stop().await;
}

#[tokio::test]
async fn the_refusal_of_a_full_manager_is_sent_completely() {
    let sse = Manager::builder().max_connections(1).build().unwrap();
    let server = TestServer::with(app(&sse)).await;
    let mut first = Reader::open(server.address).await;
    let listen = "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\
                  Connection: close\r\n\r\n";
    let mut second = Reader::request(server.address, listen).await;
    assert!(second.head.contains("prism-refused: limit"), "{}", second.head);
    assert_eq!(second.end().await, End::Clean);
    assert!(second.text.starts_with(b"retry: "));
    sse.broadcast("unharmed").unwrap();
    assert_eq!(first.data().await, "unharmed");
    drop(first);
    crate::eventually(|| sse.connection_count() == 0).await;
    let third = Reader::request(server.address, listen).await;
    assert!(!third.head.contains("prism-refused"));
    server.stop().await;
}

#[tokio::test]
async fn a_shard_sends_heartbeats_and_ends_streams_at_their_greatest_age() {
    let build = Manager::builder().heartbeat(Duration::from_millis(250));
    let sse = build.max_age(Duration::from_millis(1500)).build().unwrap();
    let server = TestServer::with(app(&sse)).await;
    let mut reader = Reader::open(server.address).await;
    reader.wait_for_text("\n:\n:\n").await;
    sse.broadcast("between heartbeats").unwrap();
    assert_eq!(reader.data().await, "between heartbeats");
    reader.wait_for_text("between heartbeats\n\n:\n").await;
    assert_eq!(reader.end().await, End::Clean);
    server.stop().await;
}
