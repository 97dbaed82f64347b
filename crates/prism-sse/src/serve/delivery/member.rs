//! One connection of a shard: its socket, and what it has apart from its group.

use std::io::{ErrorKind, Read, Write};
use std::pin::Pin;

use bytes::Bytes;

use crate::limits;
use crate::manager::ManagerSettings;
use crate::serve::connection_count::ConnectionGuard;
use crate::subscription::Subscription;

/// The live index of a member that is not live.
pub(super) const NOT_LIVE: u32 = u32::MAX;

/// A member of a group. A live one that has nothing unwritten needs no further memory than this.
pub(super) struct GroupMember<S> {
    pub(super) socket: S,
    /// The manager's slot for the connection.
    pub(super) slot: u32,
    pub(super) group: u32,
    /// Its index among the group's live members, or [`NOT_LIVE`].
    pub(super) live_index: u32,
    pub(super) jitter: u32,
    /// The lower half of its timer's tick. Older timers of this key are recognised by it, because
    /// no timer runs as long as that half takes to come round.
    pub(super) timer_tick: u32,
    /// Bytes that it sent and that were discarded.
    pub(super) ignored_input: u32,
    /// When something was last written to it alone.
    pub(super) last_write: u64,
    /// When its end is to be decided: its greatest age, or its moment within the drain.
    pub(super) ends_at: u64,
    pub(super) body: Pin<Box<dyn Send>>,
    pub(super) guard: ConnectionGuard,
    pub(super) progress: Option<Box<MemberProgress>>,
}

/// What a member has apart from its group: a position in the log, unwritten bytes, or both.
pub(super) struct MemberProgress {
    /// Where it reads; `None` while it is live.
    pub(super) reading: Option<Subscription>,
    /// What its socket has not taken yet.
    pub(super) unwritten: Bytes,
    /// Since when its socket has taken nothing, if there are unwritten bytes.
    pub(super) stalled_since: u64,
    /// It is in the shard's queue of runnable members.
    pub(super) is_runnable: bool,
    /// Its index among the members that have read further than their group, if it is one of them.
    /// It joins when the group has come as far.
    pub(super) ahead_index: Option<u32>,
    /// The last chunk was read: the connection is closed once everything is written.
    pub(super) is_last: bool,
}

/// The result of a write to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteResult {
    Complete,
    /// The socket took this many bytes.
    Partial(usize),
    /// The peer has closed the connection.
    Closed,
}

impl<S: Read + Write> GroupMember<S> {
    /// Writes as much as the socket takes now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> WriteResult {
        loop {
            return match self.socket.write(bytes) {
                Ok(len) if len == bytes.len() => WriteResult::Complete,
                Ok(len) => WriteResult::Partial(len),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => WriteResult::Partial(0),
                    _ => WriteResult::Closed,
                },
            };
        }
    }

    /// Reads and discards what the peer sent. Returns `false` if it has closed the connection or
    /// sends more than it may.
    pub(super) fn discard_input(&mut self) -> bool {
        let mut scratch = [0; 1024];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => return false,
                Ok(len) => self.ignored_input += len as u32,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            if self.ignored_input > limits::IGNORED_INPUT_BYTES {
                return false;
            }
        }
    }
}

impl<S> GroupMember<S> {
    /// Its index among the live members of its group.
    pub(super) fn live_index(&self) -> Option<usize> {
        (self.live_index != NOT_LIVE).then_some(self.live_index as usize)
    }

    pub(super) fn set_live_index(&mut self, index: u32) {
        self.live_index = index;
    }

    /// Whether its socket has not taken everything yet.
    pub(super) fn has_unwritten(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| !progress.unwritten.is_empty())
    }

    /// Becomes live at this index.
    pub(super) fn join(&mut self, index: u32) {
        self.live_index = index;
        if let Some(progress) = &mut self.progress {
            progress.reading = None;
            progress.ahead_index = None;
            if progress.unwritten.is_empty() && !progress.is_runnable {
                self.progress = None;
            }
        }
    }

    /// Reads on its own from now on: from `position`, or from where it already reads.
    pub(super) fn leave(&mut self, position: Option<Subscription>) {
        self.live_index = NOT_LIVE;
        let progress = self.progress_mut();
        progress.ahead_index = None;
        if let Some(position) = position {
            progress.reading = Some(position);
        }
    }

    /// Has received everything, and waits until its group has come as far.
    pub(super) fn wait_for_group(&mut self, ahead_index: u32) {
        self.progress_mut().ahead_index = Some(ahead_index);
    }

    pub(super) fn ahead_index(&self) -> Option<u32> {
        self.progress.as_ref()?.ahead_index
    }

    pub(super) fn subscription(&self) -> Option<Subscription> {
        self.progress.as_ref()?.reading
    }

    pub(super) fn progress_mut(&mut self) -> &mut MemberProgress {
        self.progress.get_or_insert_with(|| {
            Box::new(MemberProgress {
                reading: None,
                unwritten: Bytes::new(),
                stalled_since: 0,
                is_runnable: false,
                ahead_index: None,
                is_last: false,
            })
        })
    }

    /// When a heartbeat is due. None is due to a member that reads on its own or has unwritten
    /// bytes: something is written to it anyway.
    pub(super) fn heartbeat_at(
        &self,
        settings: &ManagerSettings,
        last_pass_end: u64,
        now: u64,
    ) -> u64 {
        let quiet = self.live_index != NOT_LIVE && !self.has_unwritten();
        let last_traffic = if quiet { self.last_write.max(last_pass_end) } else { now };
        settings.heartbeat_at(self.jitter, last_traffic).unwrap_or(u64::MAX)
    }
}
