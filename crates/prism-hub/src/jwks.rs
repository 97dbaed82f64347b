//! Fetches key sets from their URLs: before the hub starts serving, and periodically while it runs.
//!
//! A schedule and the operator cause fetches; requests never do. A fetched set takes effect
//! together with all other rules, as one value
//! ([`ReloadableRules`](crate::rules::ReloadableRules)). After a failed fetch the previous set
//! stays in use until it is stale.

mod fetch;

#[cfg(test)]
mod tests;

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
use crate::metrics::Metrics;
use crate::rules::{ReloadError, ReloadableRules};

use fetch::FetchError;

/// Fetches the key sets of a hub and performs its reloads. One task does both, so that a fetch and
/// a reload never replace the rules at the same time.
pub(crate) struct KeySetRefresher {
    config: Arc<Config>,
    rules: Arc<ReloadableRules>,
    metrics: Arc<Metrics>,
    timing: RefreshTiming,
    /// When each set of the current configuration is fetched next.
    next_fetch: BTreeMap<KeySetUrl, Instant>,
    /// When the last fetch from each URL started.
    last_start: BTreeMap<KeySetUrl, Instant>,
    /// The number of consecutive failures of each URL.
    failures: BTreeMap<KeySetUrl, u32>,
    in_flight: JoinSet<FetchResult>,
}

/// The timeouts and intervals of fetches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshTiming {
    /// The timeout of one fetch.
    fetch_timeout: Duration,
    /// The interval between two fetches from one URL.
    interval: Duration,
    /// The minimum interval between two fetches from one URL. At least `fetch_timeout`, so that
    /// there is never more than one at a time.
    min_interval: Duration,
    /// How long to retry failed fetches before the hub starts serving.
    startup_timeout: Duration,
}

/// The result of one fetch.
struct FetchResult {
    url: KeySetUrl,
    text: Result<Bytes, FetchError>,
}

impl KeySetRefresher {
    /// Schedules a fetch of each key set. Nothing is fetched yet.
    pub(crate) fn new(
        config: Arc<Config>,
        rules: Arc<ReloadableRules>,
        metrics: Arc<Metrics>,
        timing: RefreshTiming,
    ) -> Self {
        let now = Instant::now();
        let urls = config.auth.key_set_urls();
        let next_fetch = urls.into_iter().map(|url| (url.clone(), now)).collect();
        Self {
            config,
            rules,
            metrics,
            timing,
            next_fetch,
            last_start: BTreeMap::new(),
            failures: BTreeMap::new(),
            in_flight: JoinSet::new(),
        }
    }

    /// Fetches every key set, and retries failed fetches until the startup timeout. A hub without
    /// its keys is of no use, and one that waited forever would not report why.
    pub(crate) async fn start(&mut self) -> Result<(), KeyError> {
        let deadline = Instant::now() + self.timing.startup_timeout;
        let mut missing: BTreeSet<KeySetUrl> = self.next_fetch.keys().cloned().collect();
        while !missing.is_empty() {
            let (url, result) = self.next_result().await;
            let Err(error) = result else {
                missing.remove(&url);
                continue;
            };
            let retry_at = self.earliest_start(&url);
            if retry_at >= deadline && missing.contains(&url) {
                return Err(error);
            }
            tracing::warn!("{error}; it is fetched again");
            self.next_fetch.insert(url, retry_at);
        }
        Ok(())
    }

    /// Fetches key sets when they are due, and reloads when notified. It never returns.
    pub(crate) async fn run(&mut self, reload: &ConfigSource, asked: &Notify) -> Infallible {
        loop {
            tokio::select! {
                () = asked.notified() => match self.reload(reload).await {
                    Ok(()) => tracing::info!("keys, limits and certificates were read again"),
                    Err(error) => tracing::error!("everything stays as it was: {error}"),
                },
                (url, result) = self.next_result() => if let Err(error) = result {
                    self.log_failure(&url, &error);
                },
            }
        }
    }

    /// Waits for the next fetch to end, and starts fetches that become due meanwhile. Cancel safe.
    async fn next_result(&mut self) -> (KeySetUrl, Result<(), KeyError>) {
        loop {
            let due = self.next_fetch.values().min().copied();
            tokio::select! {
                Some(ended) = self.in_flight.join_next() => {
                    // The panic hook has reported a task that panicked.
                    let Ok(FetchResult { url, text }) = ended else { continue };
                    let result = self.apply(&url, text);
                    return (url, result);
                }
                () = sleep_until(due) => self.start_due_fetches(),
            }
        }
    }

    fn start_due_fetches(&mut self) {
        let now = Instant::now();
        for (url, at) in self.next_fetch.iter_mut().filter(|(_, at)| **at <= now) {
            *at = now + with_jitter(self.timing.interval);
            self.last_start.insert(url.clone(), now);
            self.in_flight.spawn(fetch_from(url.clone(), self.timing.fetch_timeout));
        }
    }

    /// Puts a fetched set into effect, if its URL is still configured.
    fn apply(&mut self, url: &KeySetUrl, text: Result<Bytes, FetchError>) -> Result<(), KeyError> {
        if !self.next_fetch.contains_key(url) {
            return Ok(());
        }
        let text = text.map_err(|error| KeyError::not_fetched(url, error));
        let put = text.and_then(|text| self.rules.put_key_set(url, &text));
        let has_changed = put.inspect_err(|_| self.schedule_retry(url))?;
        self.failures.remove(url);
        tracing::info!(
            "the key set {url} was fetched; it {}",
            match has_changed {
                true => "has changed",
                false => "did not change",
            }
        );
        Ok(())
    }

    /// Schedules the retry of a failed fetch, with exponential backoff.
    fn schedule_retry(&mut self, url: &KeySetUrl) {
        self.metrics.count_key_set_failure();
        let failures = self.failures.entry(url.clone()).or_default();
        let backoff = self.timing.min_interval.saturating_mul(1 << (*failures).min(16));
        *failures = failures.saturating_add(1);
        let retry_at = Instant::now() + backoff.min(with_jitter(self.timing.interval));
        self.next_fetch.insert(url.clone(), retry_at.max(self.earliest_start(url)));
    }

    /// Reads the configuration again and puts it into effect. Key sets at new URLs are fetched
    /// first; those that were there already are fetched as soon as the minimum interval allows.
    async fn reload(&mut self, reload: &ConfigSource) -> Result<(), ReloadError> {
        let mut config = reload.read()?;
        // A reload does not change the hub's URL, and its port may have been chosen by the system.
        config.hub_url.clone_from(&self.config.hub_url);
        self.config.check_reload(&config)?;
        let old = self.rules.current().authority.key_sets().clone();
        let sets = self.with_new_sets(&config, &old).await?;
        self.rules.replace_with(&config, &sets)?;
        // Fetches in flight belong to the previous configuration.
        self.in_flight = JoinSet::new();
        let next_fetch = |url: &KeySetUrl| match old.get(url) {
            Some(_) => self.earliest_start(url),
            None => Instant::now() + with_jitter(self.timing.interval),
        };
        let urls = config.auth.key_set_urls();
        self.next_fetch = urls.into_iter().map(|url| (url.clone(), next_fetch(url))).collect();
        let unchanged = self.config.needs_restart(&config);
        if !unchanged.is_empty() {
            tracing::warn!("what changed of these takes a restart: {}", unchanged.join(", "));
        }
        Ok(())
    }

    /// The key sets of a new configuration: those that were fetched before, and the others, which
    /// are fetched now.
    async fn with_new_sets(&mut self, config: &Config, old: &KeySets) -> Result<KeySets, KeyError> {
        let min = self.timing.min_interval;
        self.last_start.retain(|url, at| self.next_fetch.contains_key(url) || at.elapsed() < min);
        let mut fetches = JoinSet::new();
        for url in config.auth.key_set_urls() {
            if old.get(url).is_none() {
                let (at, url) = (self.earliest_start(url), url.clone());
                let timeout = self.timing.fetch_timeout;
                self.last_start.insert(url.clone(), at);
                fetches.spawn(async move {
                    tokio::time::sleep_until(at).await;
                    fetch_from(url, timeout).await
                });
            }
        }
        let mut sets = old.clone();
        while let Some(ended) = fetches.join_next().await {
            // A fetch that panicked leaves its set missing: until the next fetch, tokens that it
            // could verify are refused.
            let Ok(FetchResult { url, text }) = ended else { continue };
            let now = self.rules.current().authority.now();
            let set = text
                .map_err(|error| KeyError::not_fetched(&url, error))
                .and_then(|text| KeySet::read(&url, &text, now)?.not_empty(&url))
                .inspect_err(|_| self.metrics.count_key_set_failure())?;
            sets.put(url, Arc::new(set));
        }
        Ok(sets)
    }

    /// The earliest start of the next fetch from a URL.
    fn earliest_start(&self, url: &KeySetUrl) -> Instant {
        let now = Instant::now();
        self.last_start.get(url).map_or(now, |start| now.max(*start + self.timing.min_interval))
    }

    /// Logs a failed fetch, and how long the previous set stays in use.
    fn log_failure(&self, url: &KeySetUrl, error: &KeyError) {
        let authority = &self.rules.current().authority;
        let age = authority.key_sets().get(url).map(|set| set.age(authority.now()));
        let stale = limits::JWKS_STALE.as_secs();
        match age.filter(|age| *age < stale) {
            Some(age) => tracing::warn!("{error}; its keys stay in use for {} s", stale - age),
            None => tracing::error!("{error}; its keys are no longer used"),
        }
    }
}

impl Default for RefreshTiming {
    fn default() -> Self {
        Self {
            fetch_timeout: limits::JWKS_FETCH,
            interval: limits::JWKS_INTERVAL,
            min_interval: limits::JWKS_INTERVAL_MIN,
            startup_timeout: limits::JWKS_START,
        }
    }
}

async fn fetch_from(url: KeySetUrl, timeout: Duration) -> FetchResult {
    let text = fetch::fetch(&url, timeout).await;
    FetchResult { url, text }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The interval, shortened by up to a fifth at random, so that hubs which were started together do
/// not fetch together.
fn with_jitter(interval: Duration) -> Duration {
    // Without a source of randomness all hubs fetch at once, which is better than not at all.
    let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    interval.mul_f64(1.0 - random / 5.0)
}
