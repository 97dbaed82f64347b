//! Readers that are given up. This takes as long as it takes, and so it begins first.

use std::time::Duration;

use prism_sse::{CloseReason, OnLag};

use crate::slow::{large, telling};
use crate::{End, LISTEN, Reader, Running, app};

#[tokio::test]
async fn a_reader_with_a_zero_window_is_closed_as_stalled() {
    let (sse, mut told) = telling(|it| it.on_lag(OnLag::SkipWithGap));
    let server = Running::with(app(&sse)).await;
    let mut healthy = Reader::open(server.address).await;
    let mut stuck = Reader::ask_small(server.address, LISTEN).await;
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
