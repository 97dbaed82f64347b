//! Where the hub listens, and what serves there.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::Acceptor;
use super::{Hub, ServeError};
use crate::config::{self, Config};
use crate::limits;

/// The addresses, where nobody is heard yet.
pub(super) struct Bound {
    public: Vec<Socket>,
    admin: Option<Socket>,
}

struct Socket {
    socket: TcpSocket,
    address: SocketAddr,
}

/// All of them, listening.
pub(super) struct Listeners {
    pub(super) public: Vec<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

impl Bound {
    /// Binds all addresses, or none.
    pub(super) fn new(config: &Config) -> Result<Self, ServeError> {
        let public = config.listen.iter().copied().map(Socket::bind).collect::<Result<_, _>>()?;
        let admin = config.admin.map(Socket::bind).transpose()?;
        Ok(Self { public, admin })
    }

    /// The first address, with its real port.
    pub(super) fn first(&self) -> Option<SocketAddr> {
        self.public.first()?.socket.local_addr().ok()
    }

    /// Listens from now on.
    pub(super) fn listen(self) -> Result<Listeners, ServeError> {
        let public = self.public.into_iter().map(Socket::listen).collect::<Result<_, _>>()?;
        let admin = self.admin.map(Socket::listen).transpose()?;
        Ok(Listeners { public, admin })
    }
}

impl Socket {
    fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // Connections of a hub that ended just now do not stand in the way. (Elsewhere the
            // option means that several may have one address.)
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
        socket.listen(limits::BACKLOG).map_err(|error| ServeError::Listen { address, error })
    }
}

impl Listeners {
    /// The first address, with its real port.
    pub(super) fn first(&self) -> Option<SocketAddr> {
        self.public.first()?.local_addr().ok()
    }

    /// Tells whoever started this where it listens: one line for each, with the real port.
    pub(super) fn announce(&self, config: &Config) -> io::Result<()> {
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

/// What serves, and ends together.
pub(super) struct Servers {
    tasks: JoinSet<()>,
    end: watch::Sender<()>,
}

impl Servers {
    /// Serves clients, over TLS if the hub does.
    pub(super) fn start_public(hub: &Hub, listeners: Vec<TcpListener>, router: Router) -> Self {
        let (mut tasks, end) = (JoinSet::new(), watch::Sender::new(()));
        if hub.config().tls.is_some() {
            // What a reload opens, and whoever publishes, needs files too.
            let max = config::connections_of_files().unwrap_or(u64::MAX) / listeners.len() as u64;
            let max = usize::try_from(max).unwrap_or(usize::MAX).max(1);
            for listener in listeners {
                let (router, hub) = (router.clone(), hub.clone());
                let acceptor = Acceptor { listener, max, router, hub };
                tasks.spawn(acceptor.run(end.subscribe()));
            }
        } else {
            let shards = hub.config().shards.and_then(|it| usize::try_from(it).ok());
            tasks.spawn(serve_plain(hub.clone(), listeners, router, shards, end.subscribe()));
        }
        Self { tasks, end }
    }

    /// Serves operators, who read no streams.
    pub(super) fn start_admin(hub: &Hub, listener: Option<TcpListener>, router: Router) -> Self {
        let (mut tasks, end) = (JoinSet::new(), watch::Sender::new(()));
        let listeners = Vec::from_iter(listener);
        tasks.spawn(serve_plain(hub.clone(), listeners, router, Some(0), end.subscribe()));
        Self { tasks, end }
    }

    /// Waits until one of them ends that was not told to.
    pub(super) async fn stopped(&mut self) {
        self.tasks.join_next().await;
    }

    /// Closes the listeners, gives open requests this long, and cuts off what is left.
    pub(super) async fn end(mut self, time: Duration) {
        // Nobody hears it if all of them are gone.
        _ = self.end.send(());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(time, all).await.is_err() {
            tracing::warn!("requests were still open after {} ms", time.as_millis());
        }
    }
}

/// Serves without TLS, where event streams are written to their sockets directly, by so many
/// threads.
async fn serve_plain(
    hub: Hub,
    listeners: Vec<TcpListener>,
    router: Router,
    shards: Option<usize>,
    mut ending: watch::Receiver<()>,
) {
    let mut listeners = listeners.into_iter();
    let Some(first) = listeners.next() else { return };
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    let drain = hub.config().drain;
    let mut server = prism_sse::serve(first, app)
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone, and with it the hub.
            _ = ending.changed().await;
        })
        .max_head_bytes(limits::HEAD_BYTES_MAX)
        .header_timeout_with(move || hub.live().rules().limits.header_timeout)
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
