//! The accept loop, and the end of a server.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::app::Make;
use super::exchange::Server;
use super::inbox::{Inbox, Order};
use super::open::{Held, Open};
use super::{Capacity, Settings, Signal, transport};
use crate::limits;

/// The shards' threads. Dropping them tells them to end at once.
struct Shards {
    inboxes: Vec<Arc<Inbox<TcpStream>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    /// There are none: all streams stay with hyper.
    #[cfg(not(unix))]
    fn start(_: &Settings) -> io::Result<Self> {
        Ok(Self { inboxes: Vec::new(), threads: Vec::new() })
    }

    #[cfg(unix)]
    fn start(settings: &Settings) -> io::Result<Self> {
        use std::num::NonZeroUsize;

        let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let count = settings.shards.unwrap_or_else(processors);
        let stalled_bytes = settings.stalled_bytes.checked_div(count).unwrap_or(0);
        let stalled_bytes = stalled_bytes.max(limits::EVENT_BYTES_MAX);
        let mut shards = Self { inboxes: Vec::new(), threads: Vec::new() };
        for number in 0..count {
            let runtime = tokio::runtime::Handle::current();
            let (inbox, thread) = super::shard::start(number, stalled_bytes, runtime)?;
            shards.inboxes.push(inbox);
            shards.threads.push(thread);
        }
        Ok(shards)
    }

    fn order(&self, order: impl Fn() -> Order<TcpStream>) {
        self.inboxes.iter().for_each(|inbox| inbox.order(order()));
    }

    /// Ends all threads, and waits for them.
    async fn end(mut self) {
        let threads = std::mem::take(&mut self.threads);
        drop(self);
        let join = || threads.into_iter().for_each(|thread| drop(thread.join()));
        // Who hangs in foreign code holds up nobody for long.
        drop(timeout(limits::DRAIN_GRACE, tokio::task::spawn_blocking(join)).await);
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.order(|| Order::Stop);
    }
}

/// Accepts until `signal`, then ends what is open.
pub(super) async fn run<M: Make>(
    mut listeners: Vec<TcpListener>,
    mut make: M,
    settings: Settings,
    signal: Option<Signal>,
) -> io::Result<()> {
    for listener in &listeners {
        transport::prepare(listener, settings.keep_alive)?;
    }
    let most = Capacity::of(settings.max_connections, settings.stalled_bytes).connections;
    let shards = Shards::start(&settings)?;
    let (end, ending) = watch::channel(false);
    let server = Arc::new(Server::new(shards.inboxes.clone(), &settings, ending));
    let open = Arc::new(Open::default());
    tokio::spawn(Arc::clone(&server).wake_shards());
    let mut signal = signal.unwrap_or_else(|| Box::pin(std::future::pending()));
    loop {
        let full = open.count() >= most;
        let accepted = tokio::select! {
            biased;
            () = &mut signal => break,
            () = open.one_less(), if full => continue,
            accepted = accept(&mut listeners), if !full => accepted,
        };
        match accepted {
            Ok((io, peer)) => {
                let held = Held::new(&open);
                // A service that cannot be made is as good as a connection that is closed.
                let made = tokio::select! {
                    biased;
                    () = &mut signal => break,
                    made = make.make(peer) => made,
                };
                let Ok(app) = made else { continue };
                tokio::spawn(Arc::clone(&server).exchange(io, app, held));
            }
            Err(error) if concerns_one_connection(&error) => {}
            // There are no files, or no memory. Some connection may go meanwhile.
            Err(_) => tokio::select! {
                () = &mut signal => break,
                () = sleep(limits::ACCEPT_PAUSE) => {}
            },
        }
    }
    drop(listeners);
    end.send_replace(true);
    let window = settings.drain;
    shards.order(|| Order::Drain(window));
    let streams = Arc::clone(&server.streams);
    let ended = async {
        tokio::select! {
            () = open.none() => {}
            () = streams.drain(window) => open.none().await,
        }
    };
    // What is left after the window and a moment more is cut off.
    drop(timeout(window + limits::DRAIN_GRACE, ended).await);
    drop(end);
    shards.end().await;
    Ok(())
}

/// The next connection at any of them. One that had its turn comes last the next time, so that a
/// busy one keeps nobody from the others.
async fn accept(listeners: &mut [TcpListener]) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        let polled = |listener: &TcpListener| listener.poll_accept(cx);
        let mut polled = listeners.iter().map(polled).enumerate();
        let Some((turn, Poll::Ready(accepted))) = polled.find(|(_, it)| it.is_ready()) else {
            return Poll::Pending;
        };
        listeners[turn..].rotate_left(1);
        Poll::Ready(accepted)
    })
    .await
}

/// Whether only the connection failed that was to be accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
