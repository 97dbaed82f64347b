//! Building a manager.

use std::sync::Arc;
use std::time::Duration;

use super::Manager;
use super::close_reason::CloseReason;
use super::inner::{ConnectionRef, Hooks, ManagerInner};
use super::page_loader;
use super::settings::{InvalidSetting, ManagerSettings, OnLag};
use super::stage::Stage;
use super::writer::Writer;
use crate::engine::{Engine, Memory};
use crate::limits;
use crate::log::Retention;
use crate::store::Store;

impl Manager {
    /// A manager without history: events carry no ids of its own, and a reader receives what is
    /// published while it is connected.
    pub fn new() -> Self {
        Self::builder().into_manager()
    }

    /// A builder, to set up a manager.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::new()
    }
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds a [`Manager`]. Every setting is optional.
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
    hooks: Hooks,
    engine: Option<Box<dyn Engine>>,
    store: Option<Arc<dyn Store>>,
}

impl ManagerBuilder {
    pub(super) fn new() -> Self {
        let settings = ManagerSettings {
            history: None,
            transient: None,
            window_bytes: None,
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
            idempotency_bytes: limits::IDEMPOTENCY_BYTES,
            has_hooks: false,
        };
        Self { settings, hooks: Hooks::default(), engine: None, store: None }
    }

    /// Keeps history: every event carries an id, a reader that reconnects resumes after the last id
    /// it received, and control events keep that id current. Off by default.
    #[must_use]
    pub fn history(mut self, retention: Retention) -> Self {
        self.settings.history = Some(retention);
        self
    }

    /// The retention of [transient](crate::Publication::transient) events, which are kept apart
    /// from the history: 16 MiB for 10 min by default, and without history as much as readers need
    /// that are slightly behind. If it is set, marks are sent at least every quarter of its age
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

    /// The engine that orders and stores events; [`Memory`] by default.
    #[must_use]
    pub fn engine(mut self, engine: impl Engine) -> Self {
        self.engine = Some(Box::new(engine));
        self
    }

    /// Keeps the history in a store, which survives the process: the manager goes on with what the
    /// store has. An event is delivered and acknowledged once the store has it, and its receipt is
    /// complete then. The [history](Self::history) is what the store keeps; the newest of it are in
    /// memory as well, [64 MiB](limits::WINDOW_BYTES) by default.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self.settings.window_bytes.get_or_insert(limits::WINDOW_BYTES);
        self
    }

    /// Bytes of the newest events that are in memory beside the [store](Self::store), with the
    /// bookkeeping of each.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.settings.window_bytes = Some(bytes);
        self
    }

    /// Whether the manager sends events of its own: `prism.gap`, and with history `prism.open` and
    /// `prism.mark`. It does by default. Without them a gap at connect is reported in the header
    /// `Prism-Gap` only, and a gap in an open stream closes it, whatever [`OnLag`] says.
    #[must_use]
    pub fn control_events(mut self, enabled: bool) -> Self {
        self.settings.control_events = enabled;
        self
    }

    /// Sends a heartbeat after this long without traffic: 15 s by default, at least 250 ms. Each
    /// connection waits up to a sixteenth longer, so that they are not all written to at once.
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

    /// The reconnection time that is sent to readers in `retry:`: 3 s by default. Each reader gets
    /// up to half as much more, so that they do not all reconnect at once.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.settings.retry = after;
        self
    }

    /// Closes a connection at this age, some up to a tenth earlier. Off by default.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.max_age = Some(age);
        self
    }

    /// Refuses further connections while there are this many, including those that are closed but
    /// whose owner has not dropped them yet. Unlimited by default.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = Some(connections);
        self
    }

    /// The most distinct patterns that may be in use; 10,000 by default. A subscription that would
    /// add another one is refused.
    #[must_use]
    pub fn max_patterns(mut self, patterns: usize) -> Self {
        self.settings.max_patterns = patterns;
        self
    }

    /// Refuses events with more than this much text: 1 MiB by default.
    #[must_use]
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_event_bytes = bytes;
        self
    }

    /// What happens to a reader that is too slow. By default [`OnLag::Disconnect`] with history and
    /// [`OnLag::SkipWithGap`] without.
    #[must_use]
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.settings.on_lag = Some(on_lag);
        self
    }

    /// Bytes of undelivered events at which a reader lags: 4 MiB by default.
    #[must_use]
    pub fn lag_bytes(mut self, bytes: usize) -> Self {
        self.settings.lag_bytes = bytes;
        self
    }

    /// Age of the oldest undelivered event at which a reader lags: 30 s by default.
    #[must_use]
    pub fn lag_age(mut self, age: Duration) -> Self {
        self.settings.lag_age = age;
        self
    }

    /// How long an [idempotency key](crate::Publication::idempotency_key) is remembered: 2 min
    /// by default, at least 1 s.
    #[must_use]
    pub fn idempotency_window(mut self, window: Duration) -> Self {
        self.settings.idempotency_window = window;
        self
    }

    /// Bytes of the [idempotency keys](crate::Publication::idempotency_key) that are remembered:
    /// 64 MiB by default, at least 320, which are for one key. No key is forgotten within the
    /// window. The keys of one publisher may take three times what is free, so that whoever has
    /// most is [refused](crate::PublishError::TooManyKeys) first and others are not.
    #[must_use]
    pub fn idempotency_bytes(mut self, bytes: usize) -> Self {
        self.settings.idempotency_bytes = bytes;
        self
    }

    /// Calls `hook` for each connection that begins.
    ///
    /// Hooks run outside all locks and must not block. A hook that panics ends early; nothing else
    /// is affected.
    #[must_use]
    pub fn on_connect(mut self, hook: impl Fn(&ConnectionRef) + Send + Sync + 'static) -> Self {
        self.settings.has_hooks = true;
        self.hooks.connected = Some(Box::new(hook));
        self
    }

    /// Calls `hook` for each reader that reconnects with a last event id, instead of the hook for
    /// connections that begin.
    #[must_use]
    pub fn on_reconnect(
        mut self,
        hook: impl Fn(&ConnectionRef, &str) + Send + Sync + 'static,
    ) -> Self {
        self.settings.has_hooks = true;
        self.hooks.reconnected = Some(Box::new(hook));
        self
    }

    /// Calls `hook` exactly once for each connection that ends.
    #[must_use]
    pub fn on_disconnect(
        mut self,
        hook: impl Fn(&ConnectionRef, CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.settings.has_hooks = true;
        self.hooks.disconnected = Some(Box::new(hook));
        self
    }

    /// Builds the manager.
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
        let retention = self.settings.history.clone().unwrap_or_default();
        let Some(store) = self.store else {
            return Manager { inner: ManagerInner::new(self.settings, self.hooks, engine, None) };
        };
        let (writer, unwritten) = Writer::new(Arc::clone(&store));
        let inner = ManagerInner::new(self.settings, self.hooks, engine, Some(writer));
        if let Some(writer) = &inner.writer {
            writer.set_threads(page_loader::start(&inner, &store, &writer.pages));
            writer.set_threads(Stage::start(&inner, store, unwritten, retention));
        }
        Manager { inner }
    }
}
