//! The hub's addresses: bound first, then listening, then served.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::ServeError;
use super::tls_server::TlsServer;
use crate::config::{self, Config};
use crate::hub::Hub;
use crate::limits;

/// Sockets that are bound to the configured addresses and do not listen yet.
pub(super) struct BoundSockets {
    public: Vec<BoundSocket>,
    admin: Option<BoundSocket>,
}

struct BoundSocket {
    socket: TcpSocket,
    address: SocketAddr,
}

/// The listeners at the configured addresses.
pub(super) struct HubListeners {
    pub(super) public: Vec<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

impl BoundSockets {
    /// Binds all configured addresses.
    pub(super) fn bind(config: &Config) -> Result<Self, ServeError> {
        let public =
            config.listen.iter().copied().map(BoundSocket::bind).collect::<Result<_, _>>()?;
        let admin = config.admin.map(BoundSocket::bind).transpose()?;
        Ok(Self { public, admin })
    }

    /// The first public address, with the port that the system chose if it was 0.
    pub(super) fn first_public_address(&self) -> Option<SocketAddr> {
        self.public.first()?.socket.local_addr().ok()
    }

    /// Makes all sockets listen.
    pub(super) fn listen(self) -> Result<HubListeners, ServeError> {
        let public = self.public.into_iter().map(BoundSocket::listen).collect::<Result<_, _>>()?;
        let admin = self.admin.map(BoundSocket::listen).transpose()?;
        Ok(HubListeners { public, admin })
    }
}

impl BoundSocket {
    fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // Lets a hub restart although connections of the previous process are in TIME_WAIT. On
            // Windows the option would let several processes share the address.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = bind().map_err(|error| ServeError::Listen { address, error })?;
        Ok(Self { socket, address })
    }

    fn listen(self) -> Result<TcpListener, ServeError> {
        let Self { socket, address } = self;
        socket.listen(limits::LISTEN_BACKLOG).map_err(|error| ServeError::Listen { address, error })
    }
}

impl HubListeners {
    /// The first public address, with the port that the system chose if it was 0.
    pub(super) fn first_public_address(&self) -> Option<SocketAddr> {
        self.public.first()?.local_addr().ok()
    }

    /// Prints one line per address to standard output, with the port that the system chose if it
    /// was 0.
    pub(super) fn print_addresses(&self, config: &Config) -> io::Result<()> {
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let mut out = io::stdout().lock();
        for listener in &self.public {
            writeln!(out, "listening on {scheme}://{}", listener.local_addr()?)?;
        }
        if let Some(listener) = &self.admin {
            writeln!(out, "admin on http://{}", listener.local_addr()?)?;
        }
        out.flush()
    }
}

/// The tasks that serve a group of listeners and shut down together.
pub(super) struct ServerTasks {
    tasks: JoinSet<()>,
    shutdown: watch::Sender<()>,
}

impl ServerTasks {
    /// Serves the public listeners, over TLS if it is configured.
    pub(super) fn start_public(hub: &Hub, listeners: Vec<TcpListener>, router: Router) -> Self {
        let (mut tasks, shutdown) = (JoinSet::new(), watch::Sender::new(()));
        if hub.config().tls.is_some() {
            // The rest of the open files is left for publish requests, reloads and the engine.
            let max = config::connections_of_files().unwrap_or(u64::MAX) / listeners.len() as u64;
            let max = usize::try_from(max).unwrap_or(usize::MAX).max(1);
            for listener in listeners {
                let (router, hub) = (router.clone(), hub.clone());
                let server = TlsServer { listener, max_connections: max, router, hub };
                tasks.spawn(server.run(shutdown.subscribe()));
            }
        } else {
            let shards = hub.config().shards.and_then(|it| usize::try_from(it).ok());
            tasks.spawn(serve_plain(hub.clone(), listeners, router, shards, shutdown.subscribe()));
        }
        Self { tasks, shutdown }
    }

    /// Serves the admin listener. It has no event streams, and so needs no shards.
    pub(super) fn start_admin(hub: &Hub, listener: Option<TcpListener>, router: Router) -> Self {
        let (mut tasks, shutdown) = (JoinSet::new(), watch::Sender::new(()));
        let listeners = Vec::from_iter(listener);
        tasks.spawn(serve_plain(hub.clone(), listeners, router, Some(0), shutdown.subscribe()));
        Self { tasks, shutdown }
    }

    /// Waits until one of the tasks ends, which happens before a shutdown only if it failed.
    pub(super) async fn stopped(&mut self) {
        self.tasks.join_next().await;
    }

    /// Closes the listeners, waits this long for open requests to end, and aborts the rest.
    pub(super) async fn shut_down(mut self, time: Duration) {
        // An error means that all tasks have ended already.
        _ = self.shutdown.send(());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(time, all).await.is_err() {
            tracing::warn!("requests were still open after {} ms", time.as_millis());
        }
    }
}

/// Serves listeners without TLS by the library's server, whose delivery shards write event streams
/// to their sockets directly. `shards` is their number; without it the library chooses.
async fn serve_plain(
    hub: Hub,
    listeners: Vec<TcpListener>,
    router: Router,
    shards: Option<usize>,
    mut shutdown: watch::Receiver<()>,
) {
    let mut listeners = listeners.into_iter();
    let Some(first) = listeners.next() else { return };
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    let drain = hub.config().drain;
    let mut server = prism_sse::serve(first, app)
        .with_graceful_shutdown(async move {
            // An error means that the sender was dropped, which is a shutdown too.
            _ = shutdown.changed().await;
        })
        .max_head_bytes(limits::REQUEST_HEAD_BYTES_MAX)
        .header_timeout_with(move || hub.rules().current().limits.header_timeout)
        .drain(drain);
    for listener in listeners {
        server = server.also(listener);
    }
    server = match shards {
        None => server,
        Some(0) => server.no_shards(),
        Some(shards) => server.shards(shards),
    };
    tracing::info!("{}", server.capacity());
    if let Err(error) = server.await {
        tracing::error!("the listeners failed: {error}");
    }
}
