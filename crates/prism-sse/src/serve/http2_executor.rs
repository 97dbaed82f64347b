//! Where hyper runs the streams of one HTTP/2 connection: each is a task that can be aborted alone.
//!
//! hyper asks a stream's body for more only once the peer has taken what it was given. A peer that
//! leaves its window closed keeps the body for ever, and answers PINGs meanwhile. hyper has no call
//! that resets such a stream; but dropping the future that serves it makes h2 send a `RST_STREAM`
//! and discard what waits, and leaves the other streams of the connection alone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::time::timeout;

use super::task_abort::TaskAbort;

#[derive(Clone, Debug)]
pub(super) struct Http2Executor {
    open: Arc<watch::Sender<usize>>,
}

/// Counts an open stream until it is dropped.
struct OpenStream(Arc<watch::Sender<usize>>);

impl Http2Executor {
    pub(super) fn new() -> Self {
        Self { open: Arc::new(watch::Sender::new(0)) }
    }

    /// Completes once the connection has had no open stream for so long.
    pub(super) async fn idle(&self, time: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // The sender lives as long as `self`, so that waiting cannot fail.
            drop(open.wait_for(|open| *open == 0).await);
            if timeout(time, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl<F> Executor<F> for Http2Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.open.send_modify(|open| *open += 1);
        let open = OpenStream(Arc::clone(&self.open));
        Arc::<TaskAbort>::default().spawn(async move {
            let _open = open;
            stream.await;
        });
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
