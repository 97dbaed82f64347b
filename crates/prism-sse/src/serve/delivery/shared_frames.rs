//! The frames that members on their own read from the log lately.
//!
//! When many readers reconnect at once, most of them resume at the same position. Records never
//! change, so that the bytes that one of them reads from there are the same for all. They are taken
//! from the log and joined once.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::connection::next_bytes::EventBatch;
use crate::limits;
use crate::subscription::Subscription;

pub(super) struct SharedFrames {
    /// Bytes of the smallest frame that is kept. A smaller one is cheaper to read than to keep.
    pub(super) min_bytes: usize,
    /// By group and by the index in the log from which the frame was read.
    frames: HashMap<(u32, u64), SharedFrame>,
    /// The keys of `frames`, the oldest first.
    order: VecDeque<(u32, u64)>,
}

struct SharedFrame {
    bytes: Bytes,
    events: u32,
    event_bytes: u64,
    /// The position behind the frame.
    end: Subscription,
}

impl SharedFrames {
    pub(super) fn new() -> Self {
        let min_bytes = limits::FRAME_BYTES / 2;
        Self { min_bytes, frames: HashMap::new(), order: VecDeque::new() }
    }

    /// The frame that another member read from position `at`, if it is kept. Moves `at` behind it.
    pub(super) fn read(&self, group: u32, at: &mut Subscription) -> Option<EventBatch> {
        let frame = self.frames.get(&(group, at.next()))?;
        at.jump_to(frame.end.next(), frame.end.last_sent());
        let SharedFrame { events, event_bytes, .. } = *frame;
        Some(EventBatch { bytes: frame.bytes.clone(), events, event_bytes, offsets: Vec::new() })
    }

    /// Keeps what was read from index `from` on, unless it is small or a single event, whose bytes
    /// the log shares already.
    pub(super) fn add(&mut self, group: u32, from: u64, batch: &EventBatch, end: Subscription) {
        if batch.bytes.len() < self.min_bytes || batch.events == 1 {
            return;
        }
        let EventBatch { events, event_bytes, .. } = *batch;
        let frame = SharedFrame { bytes: batch.bytes.clone(), events, event_bytes, end };
        if self.frames.insert((group, from), frame).is_none() {
            self.order.push_back((group, from));
        }
        if self.order.len() > limits::SHARED_FRAMES {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.frames.remove(&oldest));
        }
    }

    /// Drops the frames of a group that was removed, because another group may get its key.
    pub(super) fn forget_group(&mut self, group: u32) {
        self.order.retain(|&(of, _)| of != group);
        self.frames.retain(|&(of, _), _| of != group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_kept_for_one_group_and_up_to_a_bound() {
        let mut shared = SharedFrames::new();
        let bytes = Bytes::from(vec![0; limits::FRAME_BYTES]);
        let batch = EventBatch { bytes, events: 2, event_bytes: 0, offsets: Vec::new() };
        shared.add(1, 5, &batch, Subscription::at(7, 70));
        assert!(shared.read(2, &mut Subscription::at(5, 50)).is_none());
        let mut at = Subscription::at(5, 50);
        assert_eq!(shared.read(1, &mut at).map(|batch| batch.events), Some(2));
        assert_eq!((at.next(), at.last_sent()), (7, 70));
        for from in 0..2 * limits::SHARED_FRAMES as u64 {
            shared.add(3, from, &batch, Subscription::at(from + 2, 0));
        }
        assert_eq!(shared.frames.len(), limits::SHARED_FRAMES);
        assert!(shared.read(1, &mut Subscription::at(5, 50)).is_none());
        shared.forget_group(3);
        assert!(shared.frames.is_empty() && shared.order.is_empty());
    }
}
