//! The life cycle of a hub: start, reload, and shutdown.
//!
//! At start all addresses are bound and the key sets at URLs are fetched; then the hub listens,
//! becomes ready, and prints its addresses. It serves until SIGTERM or Ctrl-C. Then it is no longer
//! ready, its public listeners close, and open streams and requests end within the drain time. The
//! admin address stays open until then, so that operators can watch. SIGHUP reloads keys, limits
//! and certificates.

mod error;
mod listeners;
mod signals;
mod tls;

use std::io;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use tokio::sync::Notify;

use crate::api;
use crate::auth::Clock;
use crate::config::{Config, ConfigSource};
use crate::demo;
use crate::hub::Hub;
use crate::jwks::{KeySetRefresher, RefreshTiming};
use crate::limits;
use crate::rules::ReloadError;

pub use error::ServeError;

use listeners::{BoundSockets, ServerTasks};
use signals::{Signal, Signals};

/// Serves until the process is told to shut down. A reload reads the configuration from `source`.
///
/// # Errors
///
/// [`ServeError`] if the hub cannot start, or if all public listeners failed.
pub async fn serve(config: Config, source: ConfigSource) -> Result<(), ServeError> {
    run(config, source, false).await
}

/// As [`serve`], with the demo page and its prices.
///
/// # Errors
///
/// As [`serve`].
pub async fn serve_demo(config: Config, source: ConfigSource) -> Result<(), ServeError> {
    run(config, source, true).await
}

/// The routes of the public addresses with the demo page.
pub fn demo_router(hub: &Hub) -> Router {
    api::public_router(hub).merge(demo::router())
}

async fn run(mut config: Config, source: ConfigSource, is_demo: bool) -> Result<(), ServeError> {
    // The handlers are installed before the addresses are printed: a signal that came earlier would
    // kill the process.
    let mut signals = Signals::new().map_err(ServeError::System)?;
    let sockets = BoundSockets::bind(&config)?;
    if let Some(address) = sockets.first_public_address() {
        config.listens_at(address);
    }
    // Reads keys and certificates, so that mistakes in them show before the first connection.
    let hub = Hub::new(config, Clock::system())?;
    let config = hub.config();
    let mut refresher = KeySetRefresher::new(
        Arc::clone(config),
        Arc::clone(hub.rules()),
        Arc::clone(hub.metrics()),
        RefreshTiming::default(),
    );
    let reload_requested = Notify::new();
    if !fetch_key_sets(&mut refresher, &mut signals, &reload_requested).await? {
        return Ok(());
    }
    let listeners = sockets.listen()?;
    // Ready before the addresses are printed: a client that waits for them must not be refused.
    hub.set_ready(true);
    listeners.print_addresses(config).map_err(ServeError::System)?;

    if is_demo && let Some(address) = listeners.first_public_address() {
        tracing::info!("open http://{address} in a browser");
    }

    let public_router = if is_demo { demo_router(&hub) } else { api::public_router(&hub) };
    let mut public_servers = ServerTasks::start_public(&hub, listeners.public, public_router);
    let admin_servers = ServerTasks::start_admin(&hub, listeners.admin, api::admin_router(&hub));
    let prices = is_demo.then(|| tokio::spawn(demo::publish_prices(hub.clone())));
    tokio::select! {
        () = until_shutdown(&mut refresher, &source, signals, &reload_requested) => {}
        // The servers have logged why.
        () = public_servers.stopped() => {
            return Err(ServeError::System(io::Error::other("nothing listens any more")));
        }
    }
    hub.set_ready(false);
    tracing::info!("ending");
    if let Some(prices) = prices {
        prices.abort();
    }
    public_servers.shut_down(config.drain + limits::DRAIN_GRACE).await;
    // Only now, so that operators can watch the drain.
    admin_servers.shut_down(limits::ADMIN_DRAIN).await;
    Ok(())
}

/// Fetches the key sets at URLs. Returns false if the process was told to shut down meanwhile. A
/// reload that is requested meanwhile happens afterwards.
async fn fetch_key_sets(
    refresher: &mut KeySetRefresher,
    signals: &mut Signals,
    reload_requested: &Notify,
) -> Result<bool, ServeError> {
    let mut fetching = pin!(refresher.start());
    loop {
        tokio::select! {
            result = &mut fetching => return match result {
                Ok(()) => Ok(true),
                Err(error) => Err(ReloadError::from(error).into()),
            },
            signal = signals.next() => match signal {
                Signal::Reload => reload_requested.notify_one(),
                Signal::Shutdown => return Ok(false),
            },
        }
    }
}

/// Refreshes key sets and reloads on request, until the process is told to shut down.
async fn until_shutdown(
    refresher: &mut KeySetRefresher,
    source: &ConfigSource,
    mut signals: Signals,
    reload_requested: &Notify,
) {
    let mut refreshing = pin!(refresher.run(source, reload_requested));
    loop {
        tokio::select! {
            never = &mut refreshing => match never {},
            signal = signals.next() => match signal {
                Signal::Reload => reload_requested.notify_one(),
                Signal::Shutdown => return,
            },
        }
    }
}
