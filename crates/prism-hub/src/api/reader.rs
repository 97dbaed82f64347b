//! What the hub knows of a connection beside its place: its seat, its end, and who is told of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prism_sse::limits::{TRANSIENT_AGE, TRANSIENT_BYTES};
use prism_sse::{CloseReason, ConnectionRef, InvalidSetting, Manager, Retention};

use super::ends::{End, Ends};
use super::presence::Subscriptions;
use super::seats::Seat;
use crate::config::Config;
use crate::metrics::Metrics;

/// Attached to every connection.
pub(super) struct Reader {
    /// Kept until the connection is gone, which is later than its end.
    pub(super) _seat: Seat,
    /// How long its token lasts.
    pub(super) lasts: Option<Duration>,
    pub(super) ends: Arc<Ends>,
    pub(super) metrics: Arc<Metrics>,
    /// What others are told of it, if they are told.
    pub(super) subscriptions: Option<Subscriptions>,
    /// Its place in the queue of ends.
    pub(super) end: Mutex<Option<End>>,
}

impl Reader {
    fn begin(&self, connection: &ConnectionRef) {
        if let Some(lasts) = self.lasts {
            let end = self.ends.add(lasts, connection);
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        }
        if let Some(subscriptions) = &self.subscriptions {
            subscriptions.begin();
        }
    }

    fn end(&self, reason: CloseReason) {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(end) = end {
            self.ends.remove(end);
        }
        let expired = reason == CloseReason::Removed && self.lasts.is_some();
        self.metrics.count_close(if expired { "expired" } else { reason.as_str() });
        if let Some(subscriptions) = &self.subscriptions {
            subscriptions.end();
        }
    }
}

/// The manager that a configuration describes. It tells each reader when it begins and ends.
pub(crate) fn manager(config: &Config) -> Result<Manager, InvalidSetting> {
    let count = config.retention_count.map_or(usize::MAX, saturate);
    let bytes = config.retention_bytes.map_or(usize::MAX, saturate);
    let age = config.retention_age.unwrap_or(Duration::MAX);
    let mut builder = Manager::builder()
        .history(Retention::default().count(count).bytes(bytes).age(age))
        .retry(config.retry)
        .on_lag(config.on_lag)
        .on_connect(|connection| with_reader(connection, |reader| reader.begin(connection)))
        .on_reconnect(|connection, _| {
            with_reader(connection, |reader| {
                reader.metrics.count_replay();
                reader.begin(connection);
            });
        })
        .on_disconnect(|connection, reason| with_reader(connection, |reader| reader.end(reason)));
    builder = match config.heartbeat {
        Some(every) => builder.heartbeat(every),
        None => builder.no_heartbeat(),
    };
    if config.subscriptions {
        // What is usual; said, it lets readers be told their place more often than these grow old.
        let usual = Retention::default().count(usize::MAX);
        builder = builder.transient(usual.age(TRANSIENT_AGE).bytes(TRANSIENT_BYTES));
    }
    if let Some(age) = config.max_age {
        builder = builder.max_age(age);
    }
    if let Some(window) = config.idempotency_window {
        builder = builder.idempotency_window(window);
    }
    builder.build()
}

fn with_reader(connection: &ConnectionRef, tell: impl FnOnce(&Reader)) {
    if let Some(reader) = connection.state::<Reader>() {
        tell(&reader);
    }
}

fn saturate(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
