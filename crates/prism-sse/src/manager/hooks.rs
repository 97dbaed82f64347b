//! What the application wants to be told of connections.
//!
//! Hooks run outside every lock, in the task that found the occasion: they may call the manager,
//! and must not block. A hook that panics is cut short; nothing else suffers.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::inner::ManagerInner;
use super::state::EndedConnection;
use super::{CloseReason, ConnectionRef};

type Connected = dyn Fn(&ConnectionRef) + Send + Sync;
type Reconnected = dyn Fn(&ConnectionRef, &str) + Send + Sync;
type Disconnected = dyn Fn(&ConnectionRef, CloseReason) + Send + Sync;

#[derive(Default)]
pub(crate) struct Hooks {
    pub(super) connected: Option<Box<Connected>>,
    pub(super) reconnected: Option<Box<Reconnected>>,
    pub(super) disconnected: Option<Box<Disconnected>>,
}

impl Hooks {
    /// Whether there is anyone to tell.
    pub(crate) fn any(&self) -> bool {
        self.connected.is_some() || self.reconnected.is_some() || self.disconnected.is_some()
    }
}

/// Tells of a connection that began; with the id it sent if it had been here before.
pub(crate) fn connected(hooks: &Hooks, connection: &ConnectionRef, last_event_id: Option<&str>) {
    match (last_event_id, &hooks.reconnected, &hooks.connected) {
        (Some(id), Some(hook), _) => run(|| hook(connection, id)),
        (_, _, Some(hook)) => run(|| hook(connection)),
        _ => {}
    }
}

/// Tells of connections that ended, each once.
pub(crate) fn disconnected(
    hooks: &Hooks,
    shared: &ManagerInner,
    ended: impl IntoIterator<Item = EndedConnection>,
) {
    let Some(hook) = &hooks.disconnected else { return };
    for (id, state, reason) in ended {
        let connection = ConnectionRef::new(shared.handle(), id, state);
        run(|| hook(&connection, reason));
    }
}

fn run(hook: impl FnOnce()) {
    // The panic was reported by the panic hook; the connection is not to blame for it.
    drop(catch_unwind(AssertUnwindSafe(hook)));
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("connected", &self.connected.is_some())
            .field("reconnected", &self.reconnected.is_some())
            .field("disconnected", &self.disconnected.is_some())
            .finish()
    }
}
