//! A server that runs for one test.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use prism_sse::{App, Serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::within_deadline;

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<io::Result<()>>,
}

impl TestServer {
    /// Serves `app` with one shard.
    pub(crate) async fn with<A, K>(app: A) -> Self
    where
        A: App<K>,
        Serve<A, K>: IntoServer,
    {
        Self::configured(app, |serve| serve.shards(1)).await
    }

    /// Serves `app` with these settings. The drain is 200 ms unless they set another one.
    pub(crate) async fn configured<A, K>(
        app: A,
        set: impl FnOnce(Serve<A, K>) -> Serve<A, K>,
    ) -> Self
    where
        A: App<K>,
        Serve<A, K>: IntoServer,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let signal = async move {
            // If the test drops the sender, the server runs until the test's runtime ends.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let serve = prism_sse::serve(listener, app).drain(Duration::from_millis(200));
        let server = tokio::spawn(set(serve).with_graceful_shutdown(signal).into_future());
        Self { address, stop: Some(stop), server }
    }

    /// Begins the shutdown.
    pub(crate) fn signal(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the shutdown is complete.
    pub(crate) async fn ended(self) {
        within_deadline(self.server).await.unwrap().unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.signal();
        self.ended().await;
    }

    /// Drops the server's future.
    pub(crate) async fn abort(self) {
        self.server.abort();
        assert!(within_deadline(self.server).await.unwrap_err().is_cancelled());
    }
}

/// A configured server, whose future can run in a task.
pub(crate) trait IntoServer:
    IntoFuture<Output = io::Result<()>, IntoFuture: Send + 'static>
{
}

impl<T> IntoServer for T where T: IntoFuture<Output = io::Result<()>, IntoFuture: Send + 'static> {}
