//! What a delivery shard knows: its managers, groups and members, and the queues of what is due.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use super::attached_manager::{AttachedManager, WakeQueue};
use super::group::{AudienceGroup, GroupReplay};
use super::member::GroupMember;
use super::pinned_buffers::PinnedBuffers;
use super::shared_frames::SharedFrames;
use crate::limits;
use crate::manager::{ManagerInner, Timers};

/// All connections of one shard. Managers, groups and members refer to each other by their keys.
pub(crate) struct DeliveryShard<S> {
    pub(super) managers: Slab<AttachedManager>,
    /// The keys of managers, by the address of what their handles share.
    pub(super) manager_keys: HashMap<usize, u32>,
    /// Managers that woke the shard since they were last taken from here.
    pub(super) wake_queue: Arc<WakeQueue>,
    /// Managers that are to be polled.
    pub(super) due_managers: VecDeque<u32>,
    /// When a manager is to be polled because a record has become too old.
    pub(super) expiry_timers: Timers,
    /// Managers without connections here. They are dropped at the end of a turn: each may be the
    /// last handle on its manager, which may still be in use until then.
    pub(super) detached_managers: Vec<Arc<ManagerInner>>,
    pub(super) groups: Slab<AudienceGroup>,
    pub(super) members: Slab<GroupMember<S>>,
    /// Groups with a pass under way.
    pub(super) passes: VecDeque<u32>,
    /// Groups that are due and pause between two passes: until when, the manager, the group.
    pub(super) paused_groups: VecDeque<(u64, u32, u32)>,
    /// Members outside their group that can take a step.
    pub(super) runnable: VecDeque<u32>,
    /// Members whose socket takes no more, by the moment since which it took nothing.
    pub(super) stalled: BTreeSet<(u64, u32)>,
    /// When the heartbeat, the end or the stall of a member is to be looked at.
    pub(super) member_timers: Timers,
    /// When a group is to be told its position.
    pub(super) mark_timers: Timers,
    pub(super) pinned: PinnedBuffers,
    pub(super) shared_frames: SharedFrames,
    /// What groups are about to read with the manager's lock released.
    pub(super) group_replays: Vec<GroupReplay>,
    /// Work that replays took in this turn.
    pub(super) replay_work: u64,
    /// The end of the drain, once it has begun.
    pub(super) drain_end: Option<u64>,
}

/// When a shard is to have its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextTurn {
    /// At once: there is more to do.
    Now,
    /// After other threads had the processor: events that they are about to publish then go out
    /// together with the present ones.
    AfterYield,
    /// At this moment of the shard's clock, or earlier if it is woken or a socket is ready.
    At(u64),
    /// Once it is woken or a socket is ready.
    WhenWoken,
}

impl<S> DeliveryShard<S> {
    /// A shard that is woken through `waker` and keeps at most `pinned_bytes` of half-written
    /// events.
    pub(crate) fn new(waker: Waker, pinned_bytes: usize) -> Self {
        Self {
            managers: Slab::new(),
            manager_keys: HashMap::new(),
            wake_queue: Arc::new(WakeQueue::new(waker)),
            due_managers: VecDeque::new(),
            expiry_timers: Timers::default(),
            detached_managers: Vec::new(),
            groups: Slab::new(),
            members: Slab::new(),
            passes: VecDeque::new(),
            paused_groups: VecDeque::new(),
            runnable: VecDeque::new(),
            stalled: BTreeSet::new(),
            member_timers: Timers::default(),
            mark_timers: Timers::default(),
            pinned: PinnedBuffers::new(pinned_bytes),
            shared_frames: SharedFrames::new(),
            group_replays: Vec::new(),
            replay_work: 0,
            drain_end: None,
        }
    }

    /// The key that the next adopted connection gets.
    pub(crate) fn next_key(&self) -> u32 {
        self.members.vacant_key() as u32
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }
}

/// Time without progress after which a member is closed, in milliseconds.
pub(super) fn stall_ms() -> u64 {
    limits::STALL.as_millis() as u64
}
