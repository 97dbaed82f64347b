//! A connection as the manager sees it.

use std::any::Any;
use std::sync::Arc;

use super::close_reason::CloseReason;
use super::keys::{AudienceKey, ShardKey};
use crate::wire::ConnectionId;

/// A connection as the manager sees it. Its position in the log is kept by the connection itself.
#[derive(Debug)]
pub(crate) struct ConnectionEntry {
    pub(super) id: ConnectionId,
    pub(super) audience: AudienceKey,
    pub(super) driven_by: DrivenBy,
    /// Bytes of the unread events that were sent to it alone.
    pub(super) sent_bytes: u32,
    pub(super) state: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) created_at: u64,
    /// When it was last given bytes.
    pub(crate) last_write_at: u64,
    /// When a mark was last due.
    pub(super) last_mark_at: u64,
    /// The lower half of the tick for which its timer is set. Timers are shorter than the half
    /// wraps around, so that other entries of the timers can be recognised as outdated.
    pub(super) timer_tick: u32,
    /// It is in `due`, or among the pending wake-ups of its shard.
    pub(super) is_queued: bool,
    /// The hook for connections that begin has returned, or there is none.
    pub(super) connect_hook_returned: bool,
    pub(crate) wants_heartbeat: bool,
    pub(crate) wants_mark: bool,
    /// Boxed, because most connections are not closing.
    pub(super) closing: Option<Box<Closing>>,
}

/// What reads the log for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum DrivenBy {
    /// Its own polls, as a response body. `member` is its index among the audience's members.
    Body { member: u32 },
    /// A delivery shard. `key` is the shard's key for it.
    Shard { shard: ShardKey, key: u32 },
}

/// A close that was decided. If it is a planned one, events before `end` are still delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) reason: CloseReason,
    /// The end of the log when the close was decided.
    pub(crate) end: u64,
    /// The applied mark then.
    pub(crate) applied: u64,
}

/// A connection whose close was decided and that is not dropped yet.
#[cfg(feature = "serve")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosedConnection {
    pub(super) reason: CloseReason,
    pub(super) last_write_at: u64,
}

#[cfg(feature = "serve")]
impl ClosedConnection {
    /// Whether it was closed because its reader takes nothing.
    pub(crate) fn is_stalled(&self) -> bool {
        self.reason == CloseReason::Stalled
    }
}

/// A connection that ended: the arguments of the hook.
pub(crate) type EndedConnection = (ConnectionId, Option<Arc<dyn Any + Send + Sync>>, CloseReason);

impl ConnectionEntry {
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The close that was decided, if one was.
    pub(crate) fn closing(&self) -> Option<Closing> {
        self.closing.as_deref().copied()
    }

    pub(crate) fn audience(&self) -> AudienceKey {
        self.audience
    }

    /// The connection's slot, if there are unread events that were sent to it alone.
    pub(crate) fn sent_to(&self, slot: u32) -> Option<u32> {
        (self.sent_bytes > 0).then_some(slot)
    }
}
