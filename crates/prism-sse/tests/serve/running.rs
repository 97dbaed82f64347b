//! A server that runs for one test.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use prism_sse::{App, Serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::soon;

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Serves `app` with one shard.
    pub(crate) async fn with<A, K>(app: A) -> Self
    where
        A: App<K>,
        Serve<A, K>: Serves,
    {
        Self::set(app, |serve| serve.shards(1)).await
    }

    /// Serves `app` with these settings, and a drain of 200 ms unless they say something else.
    pub(crate) async fn set<A, K>(app: A, set: impl FnOnce(Serve<A, K>) -> Serve<A, K>) -> Self
    where
        A: App<K>,
        Serve<A, K>: Serves,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let signal = async move {
            // A test that ends without a word leaves its server running until its runtime ends.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let serve = prism_sse::serve(listener, app).drain(Duration::from_millis(200));
        let server = tokio::spawn(set(serve).with_graceful_shutdown(signal).into_future());
        Self { address, stop: Some(stop), server }
    }

    /// Begins to end.
    pub(crate) fn signal(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until everything has ended.
    pub(crate) async fn ended(self) {
        soon(self.server).await.unwrap().unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.signal();
        self.ended().await;
    }

    /// Drops the server's future.
    pub(crate) async fn drop_it(self) {
        self.server.abort();
        assert!(soon(self.server).await.unwrap_err().is_cancelled());
    }
}

/// What can be run.
pub(crate) trait Serves:
    IntoFuture<Output = io::Result<()>, IntoFuture: Send + 'static>
{
}

impl<T> Serves for T where T: IntoFuture<Output = io::Result<()>, IntoFuture: Send + 'static> {}
