//! The hub itself: its listeners, its life, and its end.
//!
//! All listeners are bound before one is told of. From then on it is ready, until SIGTERM or
//! Ctrl-C: then readiness falls, the listeners close, and what is open is ended within the drain
//! time; the admin address stays until then, so that operators can watch. SIGHUP reads keys and
//! limits again.

mod accept;
mod reload;
mod signals;
mod tls;

use std::fmt;
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
use tokio::task::JoinSet;

use crate::auth::{Clock, KeyError};
use crate::config::Config;
use crate::limits;
use crate::live::Live;
use crate::problem::Problem;

pub use reload::Reload;
pub use tls::TlsError;

use accept::Acceptor;
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
    /// TLS cannot be served.
    Tls(TlsError),
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
    let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
    // Before anybody learns that there is something to signal: an early one would end the process.
    let signals = Signals::new().map_err(ServeError::System)?;
    let mut listeners = Vec::new();
    for address in &config.listen {
        listeners.push(Acceptor {
            listener: bind(*address).await?,
            tls: tls.clone(),
            router: public(&hub),
            hub: hub.clone(),
        });
    }
    let admin = match config.admin {
        Some(address) => Some(Acceptor {
            listener: bind(address).await?,
            tls: None,
            router: admin(&hub),
            hub: hub.clone(),
        }),
        None => None,
    };
    // Who is told of a listener finds it ready.
    hub.set_ready(true);
    announce(&listeners, admin.as_ref()).map_err(ServeError::System)?;

    let public = Servers::start(listeners);
    let admin = Servers::start(admin);
    run(&hub, &reload, signals).await;

    hub.set_ready(false);
    tracing::info!("ending");
    public.end(config.drain).await;
    // Operators see the drain to its end.
    admin.end(limits::ADMIN_DRAIN).await;
    Ok(())
}

/// Listeners that end together.
struct Servers {
    tasks: JoinSet<()>,
    end: watch::Sender<()>,
}

impl Servers {
    fn start(acceptors: impl IntoIterator<Item = Acceptor>) -> Self {
        let (end, ending) = watch::channel(());
        let mut tasks = JoinSet::new();
        for acceptor in acceptors {
            tasks.spawn(acceptor.run(ending.clone()));
        }
        Self { tasks, end }
    }

    /// Closes the listeners, gives open requests this long, and cuts off what is left.
    async fn end(mut self, time: Duration) {
        // Nobody hears it if all of them are gone.
        _ = self.end.send(());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(time, all).await.is_err() {
            tracing::warn!("requests were still open after {} ms", time.as_millis());
        }
    }
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
fn announce(listeners: &[Acceptor], admin: Option<&Acceptor>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let listeners = listeners.iter().map(|listener| ("listening", listener));
    for (what, Acceptor { listener, tls, .. }) in listeners.chain(admin.map(|it| ("admin", it))) {
        let scheme = if tls.is_some() { "https" } else { "http" };
        writeln!(out, "{what} on {scheme}://{}", listener.local_addr()?)?;
    }
    out.flush()
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Key(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
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

impl From<TlsError> for ServeError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}
