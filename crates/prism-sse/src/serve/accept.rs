//! The accept loop of a server, and its shutdown.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::accepted_socket::AcceptedSocket;
use super::app::MakeService;
use super::capacity::Capacity;
use super::connection_count::{ConnectionCount, ConnectionGuard};
use super::http_connection::Server;
use super::inbox::{Inbox, ShardCommand};
use super::listeners::Listeners;
use super::settings::{ServeSettings, ShutdownSignal};
use super::task_abort::TaskAbort;
use super::transport;
use crate::limits;

/// The threads of all shards. Dropping this tells them to stop at once.
struct ShardThreads {
    inboxes: Vec<Arc<Inbox<TcpStream>>>,
    threads: Vec<JoinHandle<()>>,
}

impl ShardThreads {
    /// Starts none: on this system all streams stay with hyper.
    #[cfg(not(unix))]
    fn start(_: &ServeSettings) -> io::Result<Self> {
        Ok(Self { inboxes: Vec::new(), threads: Vec::new() })
    }

    #[cfg(unix)]
    fn start(settings: &ServeSettings) -> io::Result<Self> {
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

    fn send_to_all(&self, command: impl Fn() -> ShardCommand<TcpStream>) {
        self.inboxes.iter().for_each(|inbox| inbox.send(command()));
    }

    /// Stops all threads, and waits for them.
    async fn join(mut self) {
        let threads = std::mem::take(&mut self.threads);
        drop(self);
        let join = || threads.into_iter().for_each(|thread| drop(thread.join()));
        // A shard may be inside the application's code, which must not hold up the shutdown.
        drop(timeout(limits::DRAIN_GRACE, tokio::task::spawn_blocking(join)).await);
    }
}

impl Drop for ShardThreads {
    fn drop(&mut self) {
        self.send_to_all(|| ShardCommand::Stop);
    }
}

/// Accepts connections until `signal` completes, then ends those that are open.
pub(super) async fn run<M: MakeService>(
    listeners: Vec<TcpListener>,
    mut make_service: M,
    settings: ServeSettings,
    signal: Option<ShutdownSignal>,
) -> io::Result<()> {
    for listener in &listeners {
        transport::prepare(listener, settings.keep_alive)?;
    }
    let capacity = Capacity::new(settings.max_connections, settings.stalled_bytes);
    let shards = ShardThreads::start(&settings)?;
    let (shutdown, shutdown_receiver) = watch::channel(false);
    let server = Arc::new(Server::new(shards.inboxes.clone(), &settings, shutdown_receiver));
    let open = Arc::new(ConnectionCount::default());
    tokio::spawn(Arc::clone(&server).wake_shards());
    tokio::spawn(Arc::clone(&server).abort_ended_streams());
    let mut signal = signal.unwrap_or_else(|| Box::pin(std::future::pending()));
    let mut listeners = Listeners::new(listeners);
    loop {
        let full = open.get() >= capacity.connections;
        let (io, peer) = tokio::select! {
            biased;
            () = &mut signal => break,
            () = open.wait_for_decrease(), if full => continue,
            accepted = listeners.accept(), if !full => accepted,
        };
        let address = peer.ip();
        let limit = settings.address_limit.get(address);
        // Closed at once: in the backlog it would be in the way of others.
        let Some(guard) = ConnectionGuard::with_limit(&open, address, limit) else { continue };
        // An error means that the connection has ended already.
        let Ok(()) = transport::bound_send_buffer(&io) else { continue };
        let made = tokio::select! {
            biased;
            () = &mut signal => break,
            made = make_service.make(peer) => made,
        };
        // Without a service nothing can be answered: the connection is closed.
        let Ok(app) = made else { continue };
        let abort = Arc::new(TaskAbort::default());
        let socket = AcceptedSocket::new(io, Arc::clone(&abort));
        let server = Arc::clone(&server);
        match &settings.handshake {
            None => abort.spawn(server.serve_connection(socket, app, guard)),
            Some(handshake) => {
                abort.spawn(server.serve_after_handshake(handshake.begin(socket), app, guard));
            }
        }
    }
    drop(listeners);
    shutdown.send_replace(true);
    let window = settings.drain;
    shards.send_to_all(|| ShardCommand::Drain(window));
    let streams = Arc::clone(&server.streams);
    let ended = async {
        tokio::select! {
            () = open.wait_for_zero() => {}
            () = streams.drain(window) => open.wait_for_zero().await,
        }
    };
    // A connection that is still open after the window and a short grace period is cut off.
    drop(timeout(window + limits::DRAIN_GRACE, ended).await);
    drop(shutdown);
    shards.join().await;
    Ok(())
}
