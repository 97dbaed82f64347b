//! Requests and responses, in memory and over sockets.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Version};
use axum::routing::get;
use http_body_util::BodyExt;
use prism_sse::{Audience, Manager, Retention, SseLayer, SseRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use super::{app, client, page, text};

async fn ask(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}

fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn the_response_has_the_headers_of_a_stream_that_nobody_buffers() {
    let sse = Manager::new();
    let response = ask(&app(&sse), request(Method::GET, "/events?x=1")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-cache, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers.len(), 3, "{headers:?}");
    assert_eq!(sse.connection_count(), 1);
    drop(response);
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn everything_but_get_and_head_of_the_path_passes_through_untouched() {
    let sse = Manager::new();
    let below = Router::new()
        .route("/events", get(|| async { "get below" }).post(|body: String| async { body }))
        .route("/other", get(|| async { "other" }));
    let app = below.layer(SseLayer::new(sse, "/events"));
    for (method, path, sent, status, body) in [
        (Method::GET, "/other", "", 200, "other"),
        (Method::POST, "/events", "as it was", 200, "as it was"),
        (Method::GET, "/events/", "", 404, ""),
        (Method::GET, "/Events", "", 404, ""),
        (Method::GET, "/%65vents", "", 404, ""),
        (Method::DELETE, "/events", "", 405, ""),
    ] {
        let request = Request::builder().method(&method).uri(path).body(sent.into()).unwrap();
        let response = ask(&app, request).await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_makes_no_connection() {
    let sse = Manager::new();
    let response = ask(&app(&sse), request(Method::HEAD, "/events")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(sse.connection_count(), 0);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn a_request_that_does_not_accept_event_streams_gets_406() {
    let sse = Manager::new();
    let mut wanting_json = request(Method::GET, "/events");
    wanting_json.headers_mut().insert("accept", "application/json".parse().unwrap());
    let response = ask(&app(&sse), wanting_json).await;
    assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let sentence = "this resource is text/event-stream, which the Accept header excludes\n";
    assert_eq!(body, sentence);
    assert_eq!(sse.connection_count(), 0);
}

#[tokio::test]
async fn the_service_answers_wherever_it_is_mounted() {
    let sse = Manager::new();
    let app = Router::new().route_service("/live/{room}", sse.service());
    let mut page = client(app.clone(), "/live/7").await;
    sse.broadcast("hello").unwrap();
    page.expect("message", "hello").await;
    let response = ask(&app, request(Method::POST, "/live/7")).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET, HEAD");
}

#[tokio::test]
async fn a_handler_chooses_the_audience_of_each_request() {
    let sse = Manager::new();
    let events = {
        let sse = sse.clone();
        move |axum::extract::Path(user): axum::extract::Path<u32>, request: SseRequest| async move {
            let audience = Audience::select(format!("users/{user}")).unwrap();
            sse.respond(request.audience(audience).state(user))
        }
    };
    let app = Router::new().route("/users/{user}/events", get(events));
    let mut seven = client(app.clone(), "/users/7/events").await;
    let mut eight = client(app, "/users/8/events").await;
    sse.publish("users/8", "for eight").unwrap();
    sse.publish("users/7", "for seven").unwrap();
    seven.expect("message", "for seven").await;
    eight.expect("message", "for eight").await;
}

#[tokio::test]
async fn a_browser_is_refused_softly_and_reconnects() {
    let sse = Manager::builder().max_connections(1).build().unwrap();
    let first = page(&sse).await;
    let mut second = page(&sse).await;
    assert_eq!(second.headers()["prism-refused"], "limit");
    second.expect_end().await;
    assert!(second.retry().unwrap() >= Duration::from_secs(3));
    drop(first);
    while sse.connection_count() > 0 {
        tokio::task::yield_now().await;
    }
    second.reconnect().await.unwrap();
    assert!(second.headers().get("prism-refused").is_none());
    sse.close();
    let mut late = page(&sse).await;
    assert_eq!(late.headers()["prism-refused"], "drain");
    late.expect_end().await;
}

#[tokio::test]
async fn a_program_is_refused_with_a_status() {
    let sse = Manager::builder().max_connections(1).build().unwrap();
    let _first = page(&sse).await;
    let response = ask(&app(&sse), request(Method::GET, "/events")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["prism-refused"], "limit");
    let seconds: u32 = text(response.headers()["retry-after"].as_bytes()).parse().unwrap();
    assert!((3..=5).contains(&seconds));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "1 connections are open; no more are allowed\n");
}

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Reads the head and the first chunk.
async fn read_opening(socket: &mut TcpStream) -> String {
    read_while(socket, |seen| !seen.contains("retry: ") || !seen.ends_with("\n\r\n")).await
}

async fn read_while(socket: &mut TcpStream, unfinished: impl Fn(&str) -> bool) -> String {
    let mut seen = Vec::new();
    while unfinished(text(&seen)) {
        let mut piece = [0; 1024];
        let len = socket.read(&mut piece).await.unwrap();
        assert!(len > 0, "the stream ended after {:?}", text(&seen));
        seen.extend_from_slice(&piece[..len]);
    }
    text(&seen).to_owned()
}

#[tokio::test]
async fn the_head_and_a_first_line_are_sent_before_the_first_event() {
    let sse = Manager::new();
    let mut socket = TcpStream::connect(serve(app(&sse)).await).await.unwrap();
    socket.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let seen = read_opening(&mut socket).await;
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("connection:"), "{head}");
    assert!(body.ends_with("\n\r\n") && body.contains("retry: "), "{body}");

    sse.broadcast("Hello, World!").unwrap();
    let chunk = read_while(&mut socket, |seen| !seen.ends_with("\n\n\r\n")).await;
    assert_eq!(chunk, "15\r\ndata: Hello, World!\n\n\r\n");
}

#[tokio::test]
async fn a_client_that_disconnects_is_removed_without_a_write() {
    let sse = Manager::new();
    let address = serve(app(&sse)).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_opening(&mut socket).await;
    assert_eq!(sse.connection_count(), 1);
    drop(socket);
    while sse.connection_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_graceful_shutdown_ends_with_open_streams() {
    let sse = Manager::builder().history(Retention::default()).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let signal = sse.graceful(async { drop(stopped.await) });
    let app = app(&sse);
    let server = tokio::spawn(async move {
        axum::serve(listener, app).with_graceful_shutdown(signal).await.unwrap();
    });
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_opening(&mut socket).await;
    sse.broadcast("last words").unwrap();
    stop.send(()).unwrap();
    server.await.unwrap();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("data: last words\n\n"), "{rest}");
    assert!(rest.contains("event: prism.mark\nretry: "), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn http_2_carries_many_streams_on_one_connection() {
    let sse = Manager::new();
    let address = serve(app(&sse)).await;
    let socket = TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(socket);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, String>(executor, io).await.unwrap();
    tokio::spawn(connection);

    let mut streams = Vec::new();
    for _ in 0..20 {
        let request = Request::get(format!("http://{address}/events")).body(String::new()).unwrap();
        let response = sender.clone().send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert!(response.headers().get("connection").is_none());
        streams.push(response.into_body());
    }
    assert_eq!(sse.connection_count(), 20);
    sse.broadcast("to every stream").unwrap();
    for stream in &mut streams {
        let mut seen = Vec::new();
        while !seen.ends_with(b"data: to every stream\n\n") {
            let frame = stream.frame().await.unwrap().unwrap();
            seen.extend_from_slice(&frame.into_data().unwrap());
        }
    }
    drop(streams);
    while sse.connection_count() > 0 {
        tokio::task::yield_now().await;
    }
}
