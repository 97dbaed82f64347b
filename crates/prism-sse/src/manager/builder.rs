//! How a manager is set up.

use std::fmt;
use std::time::Duration;

use super::hooks::Hooks;
use super::inner::ManagerInner;
use super::{CloseReason, ConnectionRef, Manager};
use crate::engine::{Engine, Memory};
use crate::limits;
use crate::log::{PerClass, Retention};
use crate::wire::whole_millis;

/// What happens to a reader that makes progress too slowly.
///
/// A reader lags when events that came while it was connected wait for it and have more than
/// [`lag_bytes`](ManagerBuilder::lag_bytes) or are older than
/// [`lag_age`](ManagerBuilder::lag_age), or when one of them was evicted. In every case a reader
/// that takes nothing at all for 15 s, while something is due, is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLag {
    /// Closes the connection. A browser comes back and resumes from history.
    Disconnect,
    /// Tells the reader of the gap with a `prism.gap` event, gives it the newest event of each
    /// topic that it may read, in order, and goes on with what comes. For pages that show a state.
    LatestPerTopic,
    /// Tells the reader of the gap with a `prism.gap` event and goes on with what comes next.
    SkipWithGap,
}

/// ManagerSettings of a [`Manager`]; every one may be left out.
///
/// ```
/// use prism_sse::{Manager, Retention};
/// use std::time::Duration;
///
/// let sse = Manager::builder()
///     .history(Retention::default().age(Duration::from_secs(3600)))
///     .heartbeat(Duration::from_secs(20))
///     .build()?;
/// # Ok::<(), prism_sse::InvalidSetting>(())
/// ```
#[derive(Debug)]
pub struct ManagerBuilder {
    settings: ManagerSettings,
    engine: Option<Box<dyn Engine>>,
}

#[derive(Debug)]
pub(crate) struct ManagerSettings {
    history: Option<Retention>,
    transient: Option<Retention>,
    control_events: bool,
    heartbeat: Option<Duration>,
    retry: Duration,
    max_age: Option<Duration>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_patterns: usize,
    pub(crate) max_event_bytes: usize,
    on_lag: Option<OnLag>,
    pub(crate) lag_bytes: usize,
    lag_age: Duration,
    idempotency_window: Duration,
    pub(crate) hooks: Hooks,
}

impl ManagerBuilder {
    pub(super) fn new() -> Self {
        let settings = ManagerSettings {
            history: None,
            transient: None,
            control_events: true,
            heartbeat: Some(limits::HEARTBEAT),
            retry: limits::RETRY,
            max_age: None,
            max_connections: None,
            max_patterns: limits::PATTERNS,
            max_event_bytes: limits::EVENT_BYTES_MAX,
            on_lag: None,
            lag_bytes: limits::LAG_BYTES,
            lag_age: limits::LAG_AGE,
            idempotency_window: limits::IDEMPOTENCY_WINDOW,
            hooks: Hooks::default(),
        };
        Self { settings, engine: None }
    }

    /// Keeps history: every event carries an id, a reader that comes back resumes where it was,
    /// and control events tell it where that is. Off unless said.
    #[must_use]
    pub fn history(mut self, retention: Retention) -> Self {
        self.settings.history = Some(retention);
        self
    }

    /// What is kept of [transient](crate::Publication::transient) events, apart from the history:
    /// 16 MiB for 10 min unless said, and without history what readers need that are a little
    /// behind. Where it is said, readers are told their place, by marks, in a quarter of this time
    /// too.
    ///
    /// ```
    /// use prism_sse::{Manager, Retention};
    /// use std::time::Duration;
    ///
    /// let sse = Manager::builder()
    ///     .history(Retention::default())
    ///     .transient(Retention::default().age(Duration::from_secs(60)).bytes(1 << 20))
    ///     .build()?;
    /// # Ok::<(), prism_sse::InvalidSetting>(())
    /// ```
    #[must_use]
    pub fn transient(mut self, retention: Retention) -> Self {
        self.settings.transient = Some(retention);
        self
    }

    /// The engine that orders and keeps events; [`Memory`] unless said.
    #[must_use]
    pub fn engine(mut self, engine: impl Engine) -> Self {
        self.engine = Some(Box::new(engine));
        self
    }

    /// Whether the manager sends events of its own: `prism.gap`, and with history `prism.open` and
    /// `prism.mark`. It does unless told not to; then a gap at connect is told in the header
    /// `Prism-Gap` alone, and a gap in a stream that runs ends it, whatever [`OnLag`] says.
    #[must_use]
    pub fn control_events(mut self, wanted: bool) -> Self {
        self.settings.control_events = wanted;
        self
    }

    /// Sends a heartbeat after this long without traffic: 15 s unless said, at least 250 ms. Each
    /// connection waits up to a sixteenth longer, so that they do not all speak at once.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.settings.heartbeat = Some(every);
        self
    }

    /// Sends no heartbeats.
    #[must_use]
    pub fn no_heartbeat(mut self) -> Self {
        self.settings.heartbeat = None;
        self
    }

    /// Tells a reader, when it connects, to wait this long before it connects again: 3 s unless
    /// said. Each is told up to half as much again, so that they do not all come back at once.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.settings.retry = after;
        self
    }

    /// Ends a connection at this age, some up to a tenth earlier. Off unless said.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.max_age = Some(age);
        self
    }

    /// Refuses further connections while there are this many, those included that were ended and
    /// whose reader has not gone yet. Unlimited unless said.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = Some(connections);
        self
    }

    /// Lets at most so many distinct patterns be in use; 10,000 unless said. Beyond them a
    /// subscription is refused that brings another one.
    #[must_use]
    pub fn max_patterns(mut self, patterns: usize) -> Self {
        self.settings.max_patterns = patterns;
        self
    }

    /// Refuses events with more than this much text: 1 MiB unless said.
    #[must_use]
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_event_bytes = bytes;
        self
    }

    /// What happens to a reader that is too slow: [`OnLag::Disconnect`] with history,
    /// [`OnLag::SkipWithGap`] without, unless said.
    #[must_use]
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.settings.on_lag = Some(on_lag);
        self
    }

    /// Bytes of undelivered events at which a reader lags: 4 MiB unless said.
    #[must_use]
    pub fn lag_bytes(mut self, bytes: usize) -> Self {
        self.settings.lag_bytes = bytes;
        self
    }

    /// Age of the oldest undelivered event at which a reader lags: 30 s unless said.
    #[must_use]
    pub fn lag_age(mut self, age: Duration) -> Self {
        self.settings.lag_age = age;
        self
    }

    /// How long an [idempotency key](crate::Publication::idempotency_key) is remembered: 2 min
    /// unless said, at least 1 s.
    #[must_use]
    pub fn idempotency_window(mut self, window: Duration) -> Self {
        self.settings.idempotency_window = window;
        self
    }

    /// Calls `hook` for each connection that begins.
    ///
    /// Hooks run outside all locks and must not block. A hook that panics ends early; nothing else
    /// is affected.
    #[must_use]
    pub fn on_connect(mut self, hook: impl Fn(&ConnectionRef) + Send + Sync + 'static) -> Self {
        self.settings.hooks.connected = Some(Box::new(hook));
        self
    }

    /// Calls `hook`, instead of the one for connections that begin, for a reader that comes back
    /// with the last id it received.
    #[must_use]
    pub fn on_reconnect(
        mut self,
        hook: impl Fn(&ConnectionRef, &str) + Send + Sync + 'static,
    ) -> Self {
        self.settings.hooks.reconnected = Some(Box::new(hook));
        self
    }

    /// Calls `hook` exactly once for each connection that ends, with the reason.
    #[must_use]
    pub fn on_disconnect(
        mut self,
        hook: impl Fn(&ConnectionRef, CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.settings.hooks.disconnected = Some(Box::new(hook));
        self
    }

    /// The manager.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the setting that is out of bounds, and its bounds.
    pub fn build(self) -> Result<Manager, InvalidSetting> {
        self.settings.check()?;
        Ok(self.into_manager())
    }

    pub(super) fn into_manager(self) -> Manager {
        let engine = self.engine.unwrap_or_else(|| Box::new(Memory::new()));
        Manager::from_shared(ManagerInner::new(self.settings, engine))
    }
}

impl ManagerSettings {
    pub(crate) fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// Whether readers are told where they are.
    pub(crate) fn has_control_events(&self) -> bool {
        self.history.is_some() && self.control_events
    }

    /// Whether readers are told in the stream what they missed.
    pub(crate) fn tells_gaps(&self) -> bool {
        self.control_events
    }

    pub(super) fn retention(&self) -> PerClass<Retention> {
        let [history, usual] = match &self.history {
            Some(history) => [history.clone(), Retention::transient()],
            None => [Retention::live(), Retention::live()],
        };
        PerClass::new(history, self.transient.clone().unwrap_or(usual))
    }

    pub(crate) fn on_lag(&self) -> OnLag {
        self.on_lag.unwrap_or(match self.history {
            Some(_) => OnLag::Disconnect,
            None => OnLag::SkipWithGap,
        })
    }

    pub(crate) fn lag_age_ms(&self) -> u64 {
        millis(self.lag_age)
    }

    pub(super) fn idempotency_window_ms(&self) -> u64 {
        millis(self.idempotency_window)
    }

    /// The reconnection time that this connection is told.
    pub(crate) fn retry_ms(&self, jitter: u32) -> u32 {
        let base = u32::try_from(self.retry.as_millis()).unwrap_or(limits::RETRY_MS_MAX);
        base.saturating_add(part(u64::from(base) / 2, jitter) as u32).min(limits::RETRY_MS_MAX)
    }

    pub(crate) fn heartbeat_at(&self, jitter: u32, last_write_at: u64) -> Option<u64> {
        let every = millis(self.heartbeat?);
        Some(last_write_at.saturating_add(every).saturating_add(part(every / 16, jitter)))
    }

    pub(crate) fn mark_at(&self, last_mark_at: u64) -> Option<u64> {
        let age = self.history.as_ref().filter(|_| self.control_events)?.max_age();
        // Nor is a place that was told to grow older than what is transient, if there is such.
        let age = self.transient.as_ref().map_or(age, |transient| age.min(transient.max_age()));
        let every = (age / 4).min(limits::MARK_INTERVAL_MAX).max(limits::TICK);
        Some(last_mark_at.saturating_add(millis(every)))
    }

    pub(crate) fn ends_at(&self, jitter: u32, created_at: u64) -> Option<u64> {
        let age = millis(self.max_age?);
        Some(created_at.saturating_add(age - part(age / 10, jitter)))
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        let refuse = |setting, allowed| Err(InvalidSetting { setting, allowed });
        if self.heartbeat.is_some_and(|every| every < limits::HEARTBEAT_MIN) {
            return refuse("heartbeat", "at least 250 ms; `no_heartbeat` sends none");
        }
        if self.retry.is_zero() || whole_millis(self.retry).is_err() {
            return refuse("retry", "1 ms to 2147483647 ms, in whole milliseconds");
        }
        if self.max_age.is_some_and(|age| age < Duration::from_secs(1)) {
            return refuse("max_age", "at least 1 s; left out, connections do not age");
        }
        if self.max_patterns == 0 {
            return refuse("max_patterns", "at least 1");
        }
        if self.max_connections == Some(0) {
            return refuse("max_connections", "at least 1; left out, they are not limited");
        }
        if self.max_event_bytes == 0 {
            return refuse("max_event_bytes", "at least 1");
        }
        if self.lag_bytes == 0 {
            return refuse("lag_bytes", "at least 1");
        }
        if self.lag_age < Duration::from_millis(1) {
            return refuse("lag_age", "at least 1 ms");
        }
        if self.idempotency_window < Duration::from_secs(1) {
            return refuse("idempotency_window", "at least 1 s");
        }
        if self.on_lag == Some(OnLag::Disconnect) && self.history.is_none() {
            return refuse("on_lag", "`Disconnect` with history alone; a reader could not resume");
        }
        let zero = |retention: &Option<Retention>| retention.as_ref().and_then(Retention::zero);
        match (zero(&self.history), zero(&self.transient)) {
            (Some("count"), _) => refuse("history count", "at least 1"),
            (Some("bytes"), _) => refuse("history bytes", "at least 1"),
            (Some(_), _) => refuse("history age", "at least 1 ms"),
            (None, Some("count")) => refuse("transient count", "at least 1"),
            (None, Some("bytes")) => refuse("transient bytes", "at least 1"),
            (None, Some(_)) => refuse("transient age", "at least 1 ms"),
            (None, None) => Ok(()),
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    setting: &'static str,
    allowed: &'static str,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the setting `{}` is out of bounds; allowed: {}", self.setting, self.allowed)
    }
}

impl std::error::Error for InvalidSetting {}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A part of `whole`, the same for the same `jitter`, even over all jitters.
fn part(whole: u64, jitter: u32) -> u64 {
    (u128::from(whole) * u128::from(jitter) / u128::from(u32::MAX)) as u64
}
