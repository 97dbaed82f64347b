//! A reader that is closed because it takes nothing. This lasts longer than any other test here,
//! and starts early because tests run in the order of their names.

use std::time::Duration;

use prism_sse::{CloseReason, OnLag};

use crate::slow::{large, with_close_reasons};
use crate::{End, LISTEN, Reader, TestServer, app};

#[tokio::test]
async fn a_reader_with_a_zero_window_is_closed_as_stalled() {
    let (sse, mut told) = with_close_reasons(|it| it.on_lag(OnLag::SkipWithGap));
    let server = TestServer::with(app(&sse)).await;
    let mut healthy = Reader::open(server.address).await;
    let mut stuck = Reader::request_with_smallest_buffer(server.address, LISTEN).await;
    sse.broadcast(large("first")).unwrap();
    assert!(healthy.data().await.starts_with("first "));
    for n in 0..100 {
        sse.broadcast(format!("event {n}")).unwrap();
        assert_eq!(healthy.data().await, format!("event {n}"));
    }
    let reason = tokio::time::timeout(Duration::from_secs(60), told.recv()).await;
    assert_eq!(reason.unwrap(), Some(CloseReason::Stalled));
    assert_eq!(sse.connection_count(), 1);
    sse.broadcast("life goes on").unwrap();
    assert_eq!(healthy.data().await, "life goes on");
    assert_eq!(stuck.end().await, End::Cut);
    server.stop().await;
}
