//! A manager's settings.

use std::fmt;
use std::time::Duration;

use crate::limits;
use crate::log::{PerClass, Retention};
use crate::wire::whole_millis;

/// What happens to a reader that makes progress too slowly.
///
/// A reader lags when its unread events from while it was connected have more than
/// [`lag_bytes`](crate::ManagerBuilder::lag_bytes) or are older than
/// [`lag_age`](crate::ManagerBuilder::lag_age), or when one of them was evicted. Whatever the
/// policy, a reader that accepts nothing at all for 15 s, while something is due, is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLag {
    /// Closes the connection. A browser reconnects and resumes from history.
    Disconnect,
    /// Sends a `prism.gap` event, the newest event of each topic that the reader selects and may
    /// read, in order, and then live events. For pages that show a current state.
    LatestPerTopic,
    /// Sends a `prism.gap` event and continues with live events.
    SkipWithGap,
}

#[derive(Debug)]
pub(crate) struct ManagerSettings {
    pub(super) history: Option<Retention>,
    pub(super) transient: Option<Retention>,
    /// Bytes of the newest records that are in memory too, where a store keeps them.
    pub(super) window_bytes: Option<usize>,
    pub(super) control_events: bool,
    pub(super) heartbeat: Option<Duration>,
    pub(super) retry: Duration,
    pub(super) max_age: Option<Duration>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_patterns: usize,
    pub(super) max_event_bytes: usize,
    pub(super) on_lag: Option<OnLag>,
    pub(crate) lag_bytes: usize,
    pub(super) lag_age: Duration,
    pub(super) idempotency_window: Duration,
    pub(super) idempotency_bytes: usize,
    /// Whether the application has hooks for connections.
    pub(crate) has_hooks: bool,
}

impl ManagerSettings {
    pub(crate) fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// Whether streams have control events with positions: `prism.open` and `prism.mark`.
    pub(crate) fn has_control_events(&self) -> bool {
        self.history.is_some() && self.control_events
    }

    /// Whether gaps are reported in the stream, by `prism.gap`.
    pub(crate) fn tells_gaps(&self) -> bool {
        self.control_events
    }

    pub(super) fn retention(&self) -> PerClass<Retention> {
        let [history, usual] = match &self.history {
            Some(history) => {
                let window = self.window_bytes.unwrap_or(usize::MAX).min(history.max_bytes());
                [history.clone().bytes(window), Retention::transient()]
            }
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

    /// The reconnection time for a connection: 1 to 1.5 times the setting.
    pub(crate) fn retry_ms(&self, jitter: u32) -> u32 {
        let base = u32::try_from(self.retry.as_millis()).unwrap_or(limits::RETRY_MS_MAX);
        base.saturating_add(fraction(u64::from(base) / 2, jitter) as u32).min(limits::RETRY_MS_MAX)
    }

    /// When a connection is due for a heartbeat that was last written to at `last_write_at`.
    pub(crate) fn heartbeat_at(&self, jitter: u32, last_write_at: u64) -> Option<u64> {
        let every = millis(self.heartbeat?);
        Some(last_write_at.saturating_add(every).saturating_add(fraction(every / 16, jitter)))
    }

    /// When a connection is due for a mark.
    pub(crate) fn mark_at(&self, last_mark_at: u64) -> Option<u64> {
        let age = self.history.as_ref().filter(|_| self.control_events)?.max_age();
        // Where the retention of transient events is set, an id must not become older than they do.
        let age = self.transient.as_ref().map_or(age, |transient| age.min(transient.max_age()));
        let every = (age / 4).min(limits::MARK_INTERVAL_MAX).max(limits::TIMER_TICK);
        Some(last_mark_at.saturating_add(millis(every)))
    }

    /// When a connection reaches its maximum age.
    pub(crate) fn ends_at(&self, jitter: u32, created_at: u64) -> Option<u64> {
        let age = millis(self.max_age?);
        Some(created_at.saturating_add(age - fraction(age / 10, jitter)))
    }

    pub(super) fn check(&self) -> Result<(), InvalidSetting> {
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
        if self.idempotency_bytes < limits::IDEMPOTENCY_ENTRY_BYTES {
            return refuse("idempotency_bytes", "at least 320, which are for one key");
        }
        if self.on_lag == Some(OnLag::Disconnect) && self.history.is_none() {
            return refuse("on_lag", "`Disconnect` with history alone; a reader could not resume");
        }
        if self.window_bytes == Some(0) {
            return refuse("memory", "at least 1");
        }
        if self.window_bytes.is_some() && self.history.is_none() {
            return refuse("store", "a manager with history alone");
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

/// A setting is out of its bounds.
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

/// A fraction of `whole`: the same for the same `jitter`, and uniform over all jitters.
fn fraction(whole: u64, jitter: u32) -> u64 {
    (u128::from(whole) * u128::from(jitter) / u128::from(u32::MAX)) as u64
}
