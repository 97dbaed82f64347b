//! The hub itself: its listeners, its life, and its end.
//!
//! All listeners are bound before one is told of. From then on it is ready, until SIGTERM or
//! Ctrl-C: then readiness falls, the listeners close, and what is open is ended within the drain
//! time. SIGHUP reads keys and limits again.

mod reload;
mod signals;

use std::fmt;
use std::future::IntoFuture as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::auth::{Clock, KeyError};
use crate::config::Config;
use crate::live::Live;
use crate::problem::Problem;

pub use reload::Reload;
use signals::{Signal, Signals};

/// What all endpoints share.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    live: Live,
    is_ready: AtomicBool,
}

/// Why a hub cannot serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A key cannot be used.
    Key(KeyError),
    /// What is asked for does not exist yet.
    Unavailable(&'static str),
    /// The system refuses what a server needs.
    System(io::Error),
}

impl Hub {
    /// A hub that serves nothing yet.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if a key cannot be used.
    pub fn new(config: Config, clock: Clock) -> Result<Self, KeyError> {
        let live = Live::new(&config, clock)?;
        Ok(Self(Arc::new(Inner { config, live, is_ready: AtomicBool::new(false) })))
    }

    /// What it was told when it began.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What a reload replaces.
    pub fn live(&self) -> &Live {
        &self.0.live
    }

    /// Whether it takes requests.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }

    fn set_ready(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Relaxed);
    }
}

/// Serves until the process is told to end.
///
/// # Errors
///
/// [`ServeError`] if it cannot begin.
pub async fn serve(hub: Hub, reload: Reload) -> Result<(), ServeError> {
    let config = hub.config();
    if config.tls.is_some() {
        return Err(ServeError::Unavailable(
            "TLS is not available yet; put a proxy in front that speaks it",
        ));
    }
    // Before anybody learns that there is something to signal: an early one would end the process.
    let signals = Signals::new().map_err(ServeError::System)?;
    let mut listeners = Vec::new();
    for address in &config.listen {
        listeners.push(("listening", bind(*address).await?, public(&hub)));
    }
    if let Some(address) = config.admin {
        listeners.push(("admin", bind(address).await?, admin(&hub)));
    }
    announce(&listeners).map_err(ServeError::System)?;

    let (end, ending) = watch::channel(());
    let servers: Vec<_> = listeners
        .into_iter()
        .map(|(_, listener, router)| {
            let ended = until_changed(ending.clone());
            tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(ended).into_future())
        })
        .collect();
    hub.set_ready(true);
    run(&hub, &reload, signals).await;

    hub.set_ready(false);
    tracing::info!("ending");
    // Nobody waits for it if all servers are gone.
    _ = end.send(());
    drain(servers, config.drain).await;
    Ok(())
}

/// Waits for the end, and reloads whenever that is asked for.
async fn run(hub: &Hub, reload: &Reload, mut signals: Signals) {
    while let Signal::Reload = signals.next().await {
        match reload.perform(hub.live(), hub.config()) {
            Ok(()) => tracing::info!("keys and limits were read again"),
            Err(error) => tracing::error!("everything stays as it was: {error}"),
        }
    }
}

/// What clients reach.
fn public(hub: &Hub) -> Router {
    Router::new().merge(health()).with_state(hub.clone()).fallback(not_found)
}

/// What operators reach.
fn admin(hub: &Hub) -> Router {
    Router::new().merge(health()).with_state(hub.clone()).fallback(not_found)
}

fn health() -> Router<Hub> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

async fn ready(State(hub): State<Hub>) -> Result<&'static str, Problem> {
    if hub.is_ready() {
        Ok("ready\n")
    } else {
        Err(Problem::unavailable("draining", "The hub does not take requests now.", 1))
    }
}

async fn not_found() -> Problem {
    Problem::not_found()
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| ServeError::Listen { address, error })
}

/// Tells whoever started this where it listens: one line for each, with the real port.
fn announce(listeners: &[(&str, TcpListener, Router)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (what, listener, _) in listeners {
        writeln!(out, "{what} on http://{}", listener.local_addr()?)?;
    }
    out.flush()
}

async fn until_changed(mut signal: watch::Receiver<()>) {
    // An error means that the sender is gone, and with it the hub.
    _ = signal.changed().await;
}

/// Gives open requests the drain time, and cuts off what is left.
async fn drain(servers: Vec<tokio::task::JoinHandle<io::Result<()>>>, time: Duration) {
    let abort: Vec<_> = servers.iter().map(tokio::task::JoinHandle::abort_handle).collect();
    let all = async {
        for server in servers {
            // A server that failed has ended, which is all that is wanted of it now.
            _ = server.await;
        }
    };
    if tokio::time::timeout(time, all).await.is_err() {
        tracing::warn!("requests were still open after {} s", time.as_secs());
        abort.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Key(error) => error.fmt(f),
            Self::Unavailable(what) => f.write_str(what),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<KeyError> for ServeError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}
