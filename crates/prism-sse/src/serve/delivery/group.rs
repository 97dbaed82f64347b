//! The connections of one audience in one shard, and the fan-out pass that writes to them.

use crate::connection::next_bytes::EventBatch;
use crate::manager::AudienceKey;
use crate::subscription::Subscription;
use crate::subscription::replay::Replay;

pub(super) struct AudienceGroup {
    pub(super) manager: u32,
    pub(super) audience: AudienceKey,
    /// The position of live members, once the pass under way has reached them.
    pub(super) subscription: Subscription,
    /// Members that have received everything before the pass under way.
    pub(super) live: Vec<u32>,
    /// Members that have read further than the group. They join when the group has come as far.
    pub(super) ahead: Vec<u32>,
    pub(super) pass: Option<FanOutPass>,
    /// Events may have come since the last pass began.
    pub(super) is_due: bool,
    pub(super) members: usize,
    /// When a pass last ended. It counts as traffic for the heartbeats of live members.
    pub(super) last_pass_end: u64,
    /// Tick of the timer of its next mark.
    pub(super) mark_tick: u64,
}

/// What a group is about to read with the manager's lock released.
pub(super) struct GroupReplay {
    pub(super) key: u32,
    pub(super) replay: Box<Replay>,
    /// Where the group stood before.
    pub(super) begin: Subscription,
    /// Index up to which it reads.
    pub(super) end: u64,
}

/// Bytes that are being written to all live members of a group.
pub(super) struct FanOutPass {
    pub(super) batch: EventBatch,
    /// The log had more bytes than one pass takes.
    pub(super) is_full: bool,
    /// The group's position before these bytes.
    pub(super) begin: Subscription,
    /// The live members with an index below this are still to get the bytes. Members are served
    /// from the last to the first, so that the one that `swap_remove` moves was served already.
    pub(super) left: usize,
}

impl AudienceGroup {
    /// The position of the live member at `index`.
    pub(super) fn position_of(&self, index: usize) -> Subscription {
        match &self.pass {
            Some(pass) if index < pass.left => pass.begin,
            _ => self.subscription,
        }
    }

    /// Removes the live member at `index`. Returns the members that were moved, with their new
    /// index.
    pub(super) fn remove_live(
        &mut self,
        index: usize,
    ) -> impl Iterator<Item = (u32, usize)> + use<> {
        let mut hole = index;
        let mut moved = [None, None];
        if let Some(pass) = &mut self.pass
            && index < pass.left
        {
            // The last member that is not served yet fills the hole, and leaves one at the border
            // between both parts, which a served member may fill.
            pass.left -= 1;
            hole = pass.left;
            if index != hole {
                self.live[index] = self.live[hole];
                moved[0] = Some((self.live[index], index));
            }
        }
        self.live.swap_remove(hole);
        moved[1] = self.live.get(hole).map(|&member| (member, hole));
        moved.into_iter().flatten()
    }
}
