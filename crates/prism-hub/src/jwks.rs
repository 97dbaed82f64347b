//! Key sets at addresses: fetched before the hub begins, and again and again while it runs.
//!
//! Only time and the operator cause a fetch, never a request. What is fetched takes effect as one
//! value, together with all other rules ([`Live`](crate::live::Live)); what cannot be fetched
//! leaves the old set in force, until that is stale.

mod fetch;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod life;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::auth::{KeyError, KeySet, KeySets};
use crate::config::{Config, ConfigSource, KeySetUrl};
use crate::limits;
use crate::live::{Live, ReloadError};
use crate::metrics::Metrics;

use fetch::NoSet;

/// Fetches the key sets of a hub, and reloads its rules: all that changes them stands in one line.
pub(crate) struct Refresher {
    config: Arc<Config>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    pace: Pace,
    /// When the sets that are in force are fetched next.
    due: BTreeMap<KeySetUrl, Instant>,
    /// When a fetch last began.
    begun: BTreeMap<KeySetUrl, Instant>,
    /// How many fetches in a row went wrong.
    failed: BTreeMap<KeySetUrl, u32>,
    fetches: JoinSet<Fetched>,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// All of a fetch.
    fetch: Duration,
    /// From one fetch to the next.
    interval: Duration,
    /// From one fetch to the next, at least. As long as a fetch may take, or longer: so there is
    /// one at a time.
    interval_min: Duration,
    /// Before the hub begins.
    start: Duration,
}

/// A fetch that ended.
struct Fetched {
    url: KeySetUrl,
    text: Result<Bytes, NoSet>,
}

impl Refresher {
    /// Fetches nothing yet.
    pub(crate) fn new(
        config: Arc<Config>,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
        pace: Pace,
    ) -> Self {
        let now = Instant::now();
        let urls = config.trust.key_set_urls();
        let due = urls.into_iter().map(|url| (url.clone(), now)).collect();
        Self {
            config,
            live,
            metrics,
            pace,
            due,
            begun: BTreeMap::new(),
            failed: BTreeMap::new(),
            fetches: JoinSet::new(),
        }
    }

    /// Fetches every set once, and those that are not there again, for a limited time: a hub that
    /// knows no keys is of no use, and one that waits for ever tells nobody why.
    pub(crate) async fn start(&mut self) -> Result<(), KeyError> {
        let deadline = Instant::now() + self.pace.start;
        let mut missing: BTreeSet<KeySetUrl> = self.due.keys().cloned().collect();
        while !missing.is_empty() {
            let (url, result) = self.next().await;
            let Err(error) = result else {
                missing.remove(&url);
                continue;
            };
            let again = self.earliest(&url);
            if again >= deadline && missing.contains(&url) {
                return Err(error);
            }
            tracing::warn!("{error}; it is fetched again");
            self.due.insert(url, again);
        }
        Ok(())
    }

    /// Fetches what is due, and reloads when that is asked for. It never ends.
    pub(crate) async fn run(&mut self, reload: &ConfigSource, asked: &Notify) -> Infallible {
        loop {
            tokio::select! {
                () = asked.notified() => match self.reload(reload).await {
                    Ok(()) => tracing::info!("keys, limits and certificates were read again"),
                    Err(error) => tracing::error!("everything stays as it was: {error}"),
                },
                (url, result) = self.next() => if let Err(error) = result {
                    self.tell(&url, &error);
                },
            }
        }
    }

    /// Waits for the next fetch to end, and begins those that are due meanwhile. Nothing is lost
    /// when this is dropped.
    async fn next(&mut self) -> (KeySetUrl, Result<(), KeyError>) {
        loop {
            let due = self.due.values().min().copied();
            tokio::select! {
                Some(ended) = self.fetches.join_next() => {
                    // One that panicked is told by the hook for panics.
                    let Ok(Fetched { url, text }) = ended else { continue };
                    let result = self.take(&url, text);
                    return (url, result);
                }
                () = sleep_until(due) => self.begin_due(),
            }
        }
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        for (url, at) in self.due.iter_mut().filter(|(_, at)| **at <= now) {
            *at = now + jittered(self.pace.interval);
            self.begun.insert(url.clone(), now);
            self.fetches.spawn(fetch_one(url.clone(), self.pace.fetch));
        }
    }

    /// Puts what was fetched in force, if it is still wanted.
    fn take(&mut self, url: &KeySetUrl, text: Result<Bytes, NoSet>) -> Result<(), KeyError> {
        if !self.due.contains_key(url) {
            return Ok(());
        }
        let text = text.map_err(|error| KeyError::not_fetched(url, error));
        let put = text.and_then(|text| self.live.put_key_set(url, &text));
        let is_another = put.inspect_err(|_| self.put_off(url))?;
        self.failed.remove(url);
        tracing::info!(
            "the key set {url} was fetched; it {}",
            match is_another {
                true => "is another one",
                false => "did not change",
            }
        );
        Ok(())
    }

    /// Fetches soon what could not be fetched, and later each time.
    fn put_off(&mut self, url: &KeySetUrl) {
        self.metrics.count_key_set_failure();
        let failed = self.failed.entry(url.clone()).or_default();
        let wait = self.pace.interval_min.saturating_mul(1 << (*failed).min(16));
        *failed = failed.saturating_add(1);
        let again = Instant::now() + wait.min(jittered(self.pace.interval));
        self.due.insert(url.clone(), again.max(self.earliest(url)));
    }

    /// Reads the configuration again and puts it in force; then every set that was there already is
    /// fetched, as soon as that may be. Sets at new addresses have to be there first.
    async fn reload(&mut self, reload: &ConfigSource) -> Result<(), ReloadError> {
        let mut config = reload.read()?;
        // What it follows from takes a restart, and the system may have chosen the port.
        config.hub_url.clone_from(&self.config.hub_url);
        self.config.check_reload(&config)?;
        let old = self.live.rules().authority.key_sets().clone();
        let sets = self.with_new(&config, &old).await?;
        self.live.replace_with(&config, &sets)?;
        // What was asked for before is not what is wanted now.
        self.fetches = JoinSet::new();
        let due = |url: &KeySetUrl| match old.get(url) {
            Some(_) => self.earliest(url),
            None => Instant::now() + jittered(self.pace.interval),
        };
        let urls = config.trust.key_set_urls();
        self.due = urls.into_iter().map(|url| (url.clone(), due(url))).collect();
        let late = self.config.needs_restart(&config);
        if !late.is_empty() {
            tracing::warn!("what changed of these takes a restart: {}", late.join(", "));
        }
        Ok(())
    }

    /// Adds the sets of a configuration that are not there yet.
    async fn with_new(&mut self, config: &Config, old: &KeySets) -> Result<KeySets, KeyError> {
        let min = self.pace.interval_min;
        self.begun.retain(|url, at| self.due.contains_key(url) || at.elapsed() < min);
        let mut fetches = JoinSet::new();
        for url in config.trust.key_set_urls() {
            if old.get(url).is_none() {
                let (at, url, time) = (self.earliest(url), url.clone(), self.pace.fetch);
                self.begun.insert(url.clone(), at);
                fetches.spawn(async move {
                    tokio::time::sleep_until(at).await;
                    fetch_one(url, time).await
                });
            }
        }
        let mut sets = old.clone();
        while let Some(ended) = fetches.join_next().await {
            // Without it, its tokens are refused until it is fetched when it is due.
            let Ok(Fetched { url, text }) = ended else { continue };
            let now = self.live.rules().authority.now();
            let set = text
                .map_err(|error| KeyError::not_fetched(&url, error))
                .and_then(|text| KeySet::read(&url, &text, now)?.with_a_key(&url))
                .inspect_err(|_| self.metrics.count_key_set_failure())?;
            sets.put(url, Arc::new(set));
        }
        Ok(sets)
    }

    /// When an address may be asked again.
    fn earliest(&self, url: &KeySetUrl) -> Instant {
        let now = Instant::now();
        self.begun.get(url).map_or(now, |begun| now.max(*begun + self.pace.interval_min))
    }

    /// Says what a fetch that failed means for those who show tokens.
    fn tell(&self, url: &KeySetUrl, error: &KeyError) {
        let authority = &self.live.rules().authority;
        let age = authority.key_sets().get(url).map(|set| set.age(authority.now()));
        let stale = limits::JWKS_STALE.as_secs();
        match age.filter(|age| *age < stale) {
            Some(age) => tracing::warn!("{error}; its keys count for another {} s", stale - age),
            None => tracing::error!("{error}; its keys do not count any more"),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            fetch: limits::JWKS_FETCH,
            interval: limits::JWKS_INTERVAL,
            interval_min: limits::JWKS_INTERVAL_MIN,
            start: limits::JWKS_START,
        }
    }
}

async fn fetch_one(url: KeySetUrl, time: Duration) -> Fetched {
    let text = fetch::fetch(&url, time).await;
    Fetched { url, text }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A time that is up to a fifth shorter, different for each, so that hubs that were started
/// together do not ask together.
fn jittered(interval: Duration) -> Duration {
    // Without randomness all ask at once, which is better than not at all.
    let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    interval.mul_f64(1.0 - random / 5.0)
}
