//! The hub itself: its listeners, its life, and its end.
//!
//! Key sets at addresses are fetched first; then all listeners are bound before one is told of.
//! From then on it is ready, until SIGTERM or Ctrl-C: then readiness falls, the listeners close,
//! and what is open is ended within the drain time; the admin address stays until then, so that
//! operators can watch. SIGHUP reads keys and limits again.

mod accept;
mod reload;
mod signals;
mod tls;

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use prism_sse::{InvalidSetting, Manager};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::api::{self, Ends, Presence, Seats};
use crate::auth::{Clock, KeyError};
use crate::config::Config;
use crate::demo;
use crate::jwks::{Pace, Refresher};
use crate::limits;
use crate::live::Live;
use crate::metrics::{self, Metrics};
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
    events: Manager,
    seats: Arc<Seats>,
    ends: Arc<Ends>,
    presence: Option<Arc<Presence>>,
    metrics: Arc<Metrics>,
    is_demo: bool,
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
    /// A setting makes no sense.
    Setting(InvalidSetting),
    /// TLS cannot be served.
    Tls(TlsError),
    /// The system refuses what a server needs.
    System(io::Error),
}

impl Hub {
    /// A hub that serves nothing yet. Key sets at addresses are fetched by [`serve`]; until then
    /// tokens that they could verify are refused as unavailable.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if a key cannot be used, or a setting.
    pub fn new(config: Config, clock: Clock) -> Result<Self, ServeError> {
        Self::make(config, clock, false)
    }

    /// A hub that shows what it is for, on a page of its own.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn demo(config: Config, clock: Clock) -> Result<Self, ServeError> {
        Self::make(config, clock, true)
    }

    fn make(config: Config, clock: Clock, is_demo: bool) -> Result<Self, ServeError> {
        let live = Live::new(&config, clock)?;
        let events = api::manager(&config).map_err(ServeError::Setting)?;
        let presence = |events: &Manager| Presence::new(events.clone(), config.hub_url.path());
        let presence = config.subscriptions.then(|| Arc::new(presence(&events)));
        let metrics = Arc::new(Metrics::new(&events));
        Ok(Self(Arc::new(Inner {
            config,
            live,
            events,
            seats: Arc::default(),
            ends: Arc::default(),
            presence,
            metrics,
            is_demo,
            is_ready: AtomicBool::new(false),
        })))
    }

    /// What its readers reach, for a server that brings its own listeners.
    pub fn router(&self) -> Router {
        public(self)
    }

    /// What its operators reach.
    pub fn admin_router(&self) -> Router {
        admin(self)
    }

    /// The events, and those who read them.
    pub fn events(&self) -> &Manager {
        &self.0.events
    }

    /// What it was told when it began.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What a reload replaces.
    pub fn live(&self) -> &Live {
        &self.0.live
    }

    pub(crate) fn seats(&self) -> &Arc<Seats> {
        &self.0.seats
    }

    pub(crate) fn ends(&self) -> &Arc<Ends> {
        &self.0.ends
    }

    /// Who is subscribed, if that is told.
    pub(crate) fn presence(&self) -> Option<&Arc<Presence>> {
        self.0.presence.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Whether it takes requests.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }

    /// Says whether it takes requests.
    pub fn set_ready(&self, is_ready: bool) {
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
    let mut signals = Signals::new().map_err(ServeError::System)?;
    let (mut refresher, asked) = (Refresher::new(hub.clone(), Pace::default()), Notify::new());
    if !begin(&mut refresher, &mut signals, &asked).await? {
        return Ok(());
    }
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

    if hub.0.is_demo
        && let Some(address) = listeners.first().and_then(|it| it.listener.local_addr().ok())
    {
        tracing::info!("open http://{address} in a browser");
    }

    let public = Servers::start(listeners);
    let admin = Servers::start(admin);
    let trade = hub.0.is_demo.then(|| tokio::spawn(demo::trade(hub.clone())));
    run(&mut refresher, &reload, signals, &asked).await;

    hub.set_ready(false);
    tracing::info!("ending");
    if let Some(trade) = trade {
        trade.abort();
    }
    if config.tls.is_some() {
        // Streams that hyper writes are not ended by the server of the others.
        let (events, window) = (hub.events().clone(), config.drain);
        tokio::spawn(async move { events.drain(window).await });
    }
    public.end(config.drain + limits::DRAIN_GRACE).await;
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
            if acceptor.tls.is_some() {
                tasks.spawn(acceptor.run(ending.clone()));
            } else {
                tasks.spawn(serve_plain(acceptor, ending.clone()));
            }
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

/// Serves without TLS, where event streams are written to their sockets directly.
async fn serve_plain(acceptor: Acceptor, mut ending: watch::Receiver<()>) {
    let Acceptor { listener, router, hub, .. } = acceptor;
    let config = hub.config();
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    let mut server = prism_sse::serve(listener, app)
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone, and with it the hub.
            _ = ending.changed().await;
        })
        .max_head_bytes(limits::HEAD_BYTES_MAX)
        .header_timeout(hub.live().rules().limits.header_timeout)
        .drain(config.drain);
    if let Some(shards) = config.shards.and_then(|it| usize::try_from(it).ok()) {
        server = server.shards(shards);
    }
    tracing::info!("{}", server.capacity());
    if let Err(error) = server.await {
        tracing::error!("a listener failed: {error}");
    }
}

/// Fetches the key sets, unless the end comes first. A reload that is asked for meanwhile comes
/// after. Whether they are there.
async fn begin(
    refresher: &mut Refresher,
    signals: &mut Signals,
    asked: &Notify,
) -> Result<bool, ServeError> {
    let mut starting = pin!(refresher.start());
    loop {
        tokio::select! {
            result = &mut starting => return Ok(result.map(|()| true)?),
            signal = signals.next() => match signal {
                Signal::Reload => asked.notify_one(),
                Signal::End => return Ok(false),
            },
        }
    }
}

/// Waits for the end; fetches key sets meanwhile, and reloads whenever that is asked for.
async fn run(refresher: &mut Refresher, reload: &Reload, mut signals: Signals, asked: &Notify) {
    let mut refreshing = pin!(refresher.run(reload, asked));
    loop {
        tokio::select! {
            never = &mut refreshing => match never {},
            signal = signals.next() => match signal {
                Signal::Reload => asked.notify_one(),
                Signal::End => return,
            },
        }
    }
}

/// What clients reach.
fn public(hub: &Hub) -> Router {
    let mut router = api::router(hub).merge(health());
    if hub.0.is_demo {
        router = router.merge(demo::router());
    }
    router.with_state(hub.clone()).fallback(not_found)
}

/// What operators reach.
fn admin(hub: &Hub) -> Router {
    metrics::router().merge(health()).with_state(hub.clone()).fallback(not_found)
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
            Self::Setting(error) => error.fmt(f),
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
