//! The hub itself: its listeners, its life, and its end.
//!
//! All addresses are bound, and key sets at addresses are fetched, before it listens and one is
//! told of. From then on it is ready, until SIGTERM or Ctrl-C: then readiness falls, the listeners
//! close, and what is open is ended within the drain time; the admin address stays until then, so
//! that operators can watch. SIGHUP reads keys, limits and certificates again.

mod accept;
mod listeners;
mod reload;
mod signals;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use prism_sse::{InvalidSetting, Manager};
use tokio::sync::Notify;

use crate::api::{self, Ends, Presence, Seats};
use crate::auth::Clock;
use crate::config::Config;
use crate::demo;
use crate::jwks::{KeySetRefresher, RefreshTiming};
use crate::limits;
use crate::metrics::{self, Metrics};
use crate::problem::Problem;
use crate::rules::{ReloadError, ReloadableRules};

pub use reload::Reload;

use listeners::{Bound, Servers};
use signals::{Signal, Signals};

/// What all endpoints share.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    live: ReloadableRules,
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
    /// A key or the certificate cannot be used.
    Rules(ReloadError),
    /// A setting makes no sense.
    Setting(InvalidSetting),
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
        let live = ReloadableRules::new(&config, clock)?;
        Self::make(config, live, false)
    }

    /// A hub that shows what it is for, on a page of its own.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn demo(config: Config, clock: Clock) -> Result<Self, ServeError> {
        let live = ReloadableRules::new(&config, clock)?;
        Self::make(config, live, true)
    }

    fn make(config: Config, live: ReloadableRules, is_demo: bool) -> Result<Self, ServeError> {
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
    pub fn live(&self) -> &ReloadableRules {
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
pub async fn serve(config: Config, reload: Reload) -> Result<(), ServeError> {
    live(config, reload, false).await
}

/// Serves until the process is told to end, and shows what it is for on a page of its own.
///
/// # Errors
///
/// As [`serve`].
pub async fn serve_demo(config: Config, reload: Reload) -> Result<(), ServeError> {
    live(config, reload, true).await
}

async fn live(mut config: Config, reload: Reload, is_demo: bool) -> Result<(), ServeError> {
    // Before anybody learns that there is something to signal: an early one would end the process.
    let mut signals = Signals::new().map_err(ServeError::System)?;
    let bound = Bound::new(&config)?;
    if let Some(address) = bound.first() {
        config.listens_at(address);
    }
    // What is wrong with a key is told before anybody is heard.
    let rules = ReloadableRules::new(&config, Clock::system())?;
    let hub = Hub::make(config, rules, is_demo)?;
    let config = hub.config();
    let (mut refresher, asked) =
        (KeySetRefresher::new(hub.clone(), RefreshTiming::default()), Notify::new());
    if !begin(&mut refresher, &mut signals, &asked).await? {
        return Ok(());
    }
    let listeners = bound.listen()?;
    // Who is told of a listener finds it ready.
    hub.set_ready(true);
    listeners.announce(config).map_err(ServeError::System)?;

    if hub.0.is_demo
        && let Some(address) = listeners.first()
    {
        tracing::info!("open http://{address} in a browser");
    }

    let mut public_servers = Servers::start_public(&hub, listeners.public, public(&hub));
    let admin_servers = Servers::start_admin(&hub, listeners.admin, admin(&hub));
    let trade = hub.0.is_demo.then(|| tokio::spawn(demo::trade(hub.clone())));
    tokio::select! {
        () = run(&mut refresher, &reload, signals, &asked) => {}
        // Nobody reaches the hub any more. The log says why.
        () = public_servers.stopped() => {
            return Err(ServeError::System(io::Error::other("nothing listens any more")));
        }
    }
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
    public_servers.end(config.drain + limits::DRAIN_GRACE).await;
    // Operators see the drain to its end.
    admin_servers.end(limits::ADMIN_DRAIN).await;
    Ok(())
}

/// Fetches the key sets, unless the end comes first. A reload that is asked for meanwhile comes
/// after. Whether they are there.
async fn begin(
    refresher: &mut KeySetRefresher,
    signals: &mut Signals,
    asked: &Notify,
) -> Result<bool, ServeError> {
    let mut starting = pin!(refresher.start());
    loop {
        tokio::select! {
            result = &mut starting => return match result {
                Ok(()) => Ok(true),
                Err(error) => Err(ReloadError::from(error).into()),
            },
            signal = signals.next() => match signal {
                Signal::Reload => asked.notify_one(),
                Signal::End => return Ok(false),
            },
        }
    }
}

/// Waits for the end; fetches key sets meanwhile, and reloads whenever that is asked for.
async fn run(
    refresher: &mut KeySetRefresher,
    reload: &Reload,
    mut signals: Signals,
    asked: &Notify,
) {
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

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Rules(error) => error.fmt(f),
            Self::Setting(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<ReloadError> for ServeError {
    fn from(error: ReloadError) -> Self {
        Self::Rules(error)
    }
}
