//! What members on their own way read lately.
//!
//! When many come back at once, most come back from the same place. Records never change, so that
//! what one of them reads from there is what the others read; it is taken from the log and joined
//! once.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::connection::next_bytes::EventBatch;
use crate::limits;
use crate::subscription::Subscription;

pub(super) struct Recent {
    /// Bytes of the shortest passage that is worth it.
    pub(super) least: usize,
    /// By group and by the place it was read from.
    passages: HashMap<(u32, u64), Passage>,
    /// The oldest first.
    order: VecDeque<(u32, u64)>,
}

struct Passage {
    bytes: Bytes,
    events: u32,
    event_bytes: u64,
    end: Subscription,
}

impl Recent {
    pub(super) fn new() -> Self {
        let least = limits::FRAME_BYTES / 2;
        Self { least, passages: HashMap::new(), order: VecDeque::new() }
    }

    /// What was read from where `at` stands, which then stands behind it.
    pub(super) fn read(&self, group: u32, at: &mut Subscription) -> Option<EventBatch> {
        let passage = self.passages.get(&(group, at.next()))?;
        at.jump_to(passage.end.next(), passage.end.last_sent());
        let Passage { events, event_bytes, .. } = *passage;
        Some(EventBatch { bytes: passage.bytes.clone(), events, event_bytes, offsets: Vec::new() })
    }

    /// Remembers what was read from index `from`, if that was much.
    pub(super) fn add(&mut self, group: u32, from: u64, batch: &EventBatch, end: Subscription) {
        if batch.bytes.len() < self.least || batch.events == 1 {
            return;
        }
        let EventBatch { events, event_bytes, .. } = *batch;
        let passage = Passage { bytes: batch.bytes.clone(), events, event_bytes, end };
        if self.passages.insert((group, from), passage).is_none() {
            self.order.push_back((group, from));
        }
        if self.order.len() > limits::RECENT_PASSAGES {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.passages.remove(&oldest));
        }
    }

    /// Forgets a group whose place another one may get.
    pub(super) fn forget(&mut self, group: u32) {
        self.order.retain(|&(of, _)| of != group);
        self.passages.retain(|&(of, _), _| of != group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_read_is_remembered_for_one_group_and_not_for_ever() {
        let mut recent = Recent::new();
        let bytes = Bytes::from(vec![0; limits::FRAME_BYTES]);
        let batch = EventBatch { bytes, events: 2, event_bytes: 0, offsets: Vec::new() };
        recent.add(1, 5, &batch, Subscription::at(7, 70));
        assert!(recent.read(2, &mut Subscription::at(5, 50)).is_none());
        let mut at = Subscription::at(5, 50);
        assert_eq!(recent.read(1, &mut at).map(|batch| batch.events), Some(2));
        assert_eq!((at.next(), at.last_sent()), (7, 70));
        for from in 0..2 * limits::RECENT_PASSAGES as u64 {
            recent.add(3, from, &batch, Subscription::at(from + 2, 0));
        }
        assert_eq!(recent.passages.len(), limits::RECENT_PASSAGES);
        assert!(recent.read(1, &mut Subscription::at(5, 50)).is_none());
        recent.forget(3);
        assert!(recent.passages.is_empty() && recent.order.is_empty());
    }
}
