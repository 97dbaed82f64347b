//! The event manager that a configuration describes, with the hub's hooks on its connections.

use std::time::Duration;

use prism_sse::limits::{TRANSIENT_AGE, TRANSIENT_BYTES};
use prism_sse::{ConnectionRef, Manager, Retention};
use prism_store::Options;

use super::connection_state::ConnectionState;
use super::error::HubError;
use crate::config::{Config, Durability, EngineChoice};

/// Builds the manager. Its hooks call the [`ConnectionState`] of each connection.
pub(super) fn from_config(config: &Config) -> Result<Manager, HubError> {
    let count = config.retention_count.map_or(usize::MAX, saturate);
    let bytes = config.retention_bytes.map_or(usize::MAX, saturate);
    let age = config.retention_age.unwrap_or(Duration::MAX);
    let mut builder = Manager::builder()
        .history(Retention::default().count(count).bytes(bytes).age(age))
        .idempotency_bytes(saturate(config.idempotency_bytes))
        .retry(config.retry)
        .on_lag(config.on_lag)
        .on_connect(|connection| {
            with_state(connection, |state| state.on_connect(connection));
        })
        .on_reconnect(|connection, _| {
            with_state(connection, |state| state.on_reconnect(connection));
        })
        .on_disconnect(|connection, reason| {
            with_state(connection, |state| state.on_disconnect(reason));
        });
    builder = match config.heartbeat {
        Some(every) => builder.heartbeat(every),
        None => builder.no_heartbeat(),
    };
    if config.subscriptions {
        // These are the library's defaults. Setting them explicitly makes the manager send marks
        // often enough that a reader's last id outlives the short age of transient events.
        let unlimited = Retention::default().count(usize::MAX);
        builder = builder.transient(unlimited.age(TRANSIENT_AGE).bytes(TRANSIENT_BYTES));
    }
    if let Some(age) = config.max_age {
        builder = builder.max_age(age);
    }
    if let Some(window) = config.idempotency_window {
        builder = builder.idempotency_window(window);
    }
    if let EngineChoice::Embedded(directory) = &config.engine {
        let durability = match config.durability {
            Durability::Memory | Durability::Os => prism_sse::Durability::Os,
            Durability::Fsync => prism_sse::Durability::Fsync,
        };
        let store = Options::default().durability(durability).open(directory);
        let store =
            store.map_err(|error| HubError::Store { directory: directory.clone(), error })?;
        builder = builder.store(store).memory(saturate(config.memory));
    }
    Ok(builder.build()?)
}

fn with_state(connection: &ConnectionRef, call: impl FnOnce(&ConnectionState)) {
    if let Some(state) = connection.state::<ConnectionState>() {
        call(&state);
    }
}

/// A limit beyond what this platform can count is none.
fn saturate(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
