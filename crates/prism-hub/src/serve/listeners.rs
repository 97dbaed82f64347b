//! The hub's addresses: bound first, then listening, then served.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use prism_sse::{App, Serve};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::ServeError;
use super::tls;
use crate::config::Config;
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
        let shutdown = watch::Sender::new(());
        let drain = hub.config().drain;
        let Some(mut server) = server(hub, listeners, router, drain, shutdown.subscribe()) else {
            return Self { tasks: JoinSet::new(), shutdown };
        };
        let rules = Arc::clone(hub.rules());
        server = server.max_connections_per_address_with(move |address| {
            let rules = rules.current();
            let max = rules.limits.max_connections_per_ip?;
            let max = max.saturating_add(limits::REQUEST_CONNECTIONS_PER_ADDRESS);
            let proxies = &rules.limits.trusted_proxies;
            let is_proxy = proxies.iter().any(|it| it.contains(address.to_canonical()));
            (!is_private(address) && !is_proxy).then(|| usize::try_from(max).unwrap_or(usize::MAX))
        });
        if hub.config().tls.is_some() {
            // Encrypted event streams stay with hyper.
            server = server.no_shards().with_handshake(tls::handshake(hub));
        } else if let Some(shards) = hub.config().shards {
            server = match usize::try_from(shards).unwrap_or(usize::MAX) {
                0 => server.no_shards(),
                shards => server.shards(shards),
            };
        }
        tracing::info!("{}", server.capacity());
        Self { tasks: run(server), shutdown }
    }

    /// Serves the admin listener, whatever the public ones are busy with: its few connections are
    /// among the open files that those leave free. It has no event streams, and so needs no shards.
    pub(super) fn start_admin(hub: &Hub, listener: Option<TcpListener>, router: Router) -> Self {
        let shutdown = watch::Sender::new(());
        let listeners = Vec::from_iter(listener);
        let server = server(hub, listeners, router, limits::ADMIN_DRAIN, shutdown.subscribe());
        let server = server.map(|it| it.no_shards().max_connections(limits::ADMIN_CONNECTIONS));
        Self { tasks: server.map_or_else(JoinSet::new, run), shutdown }
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

/// A router that tells its requests the address of their peer.
type ServedRouter = IntoMakeServiceWithConnectInfo<Router, SocketAddr>;

/// The library's server for these listeners, with the settings that all listeners share. `None` if
/// there are no listeners.
fn server<K>(
    hub: &Hub,
    listeners: Vec<TcpListener>,
    router: Router,
    drain: Duration,
    mut shutdown: watch::Receiver<()>,
) -> Option<Serve<ServedRouter, K>>
where
    ServedRouter: App<K>,
{
    let mut listeners = listeners.into_iter();
    let first = listeners.next()?;
    let rules = Arc::clone(hub.rules());
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = prism_sse::serve(first, app)
        .with_graceful_shutdown(async move {
            // An error means that the sender was dropped, which is a shutdown too.
            _ = shutdown.changed().await;
        })
        .max_head_bytes(limits::REQUEST_HEAD_BYTES_MAX)
        .header_timeout_with(move || rules.current().limits.header_timeout)
        .drain(drain);
    Some(listeners.fold(server, Serve::also))
}

/// Runs a server in a task.
fn run<K: 'static>(server: Serve<ServedRouter, K>) -> JoinSet<()>
where
    ServedRouter: App<K>,
    <ServedRouter as App<K>>::Make: Send,
{
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!("the listeners failed: {error}");
        }
    });
    tasks
}

/// Whether an address is loopback, link-local or private: a proxy may be there, whose connections
/// are those of many clients.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}
