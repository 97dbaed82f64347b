//! Shutting a server down while pages are connected.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use prism_sse::{Manager, SseLayer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::browser::Browser;
use crate::serving::serve;
use crate::wait::DEADLINE;

#[tokio::test]
async fn a_server_with_a_connected_page_shuts_down() {
    let sse = Manager::new();
    let app = Router::new()
        .route("/", get(Html(include_str!("recorder.html"))))
        .layer(SseLayer::new(sse.clone(), "/events"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (shut_down, signal) = oneshot::channel::<()>();
    let signal = async { drop(signal.await) };
    let mut serve = tokio::spawn(serve(listener, app, sse.clone(), signal));

    let browser = Browser::start().await;
    browser.open(&url).await;
    browser.until("opened === 1").await;
    assert_eq!(sse.connection_count(), 1);
    assert!(!serve.is_finished());

    shut_down.send(()).unwrap();
    let served = timeout(DEADLINE, &mut serve).await;
    served.expect("the server still waits for its streams to end").unwrap().unwrap();
    assert_eq!(sse.connection_count(), 0);
    // The page stayed connected until the shutdown.
    browser.until("statesAfterErrors.length > 0").await;
    assert_eq!(browser.eval("opened").await, 1);
}
