//! The messages in flight: published, and not yet delivered to all of their subscribers.

use std::collections::VecDeque;

use crate::check::Sequences;
use crate::receive::Stamp;

/// The messages in flight of all sequences.
#[derive(Debug)]
pub(super) struct InFlight {
    sequences: Sequences,
    subscribers: usize,
    by_sequence: Vec<SequenceInFlight>,
    /// Number of messages in flight.
    pub(super) messages: usize,
}

/// The messages of one sequence, from the oldest one in flight on.
#[derive(Clone, Debug, Default)]
struct SequenceInFlight {
    /// The number of the oldest message in flight.
    first: u32,
    /// How many subscribers each message is still to be delivered to.
    missing: VecDeque<u32>,
}

impl InFlight {
    /// No messages.
    pub(super) fn new(sequences: Sequences, subscribers: usize) -> Self {
        let by_sequence = vec![SequenceInFlight::default(); sequences.count()];
        Self { sequences, subscribers, by_sequence, messages: 0 }
    }

    /// Adds the next message of a sequence. One without subscribers is not in flight.
    pub(super) fn publish(&mut self, sequence: usize) {
        let readers = self.sequences.readers(sequence, self.subscribers);
        let in_flight = &mut self.by_sequence[sequence];
        in_flight.missing.push_back(u32::try_from(readers).unwrap_or(u32::MAX));
        self.messages += usize::from(readers > 0);
        in_flight.remove_delivered();
    }

    /// Counts a message as delivered to one more subscriber.
    pub(super) fn deliver(&mut self, stamp: Stamp) {
        let in_flight = &mut self.by_sequence[stamp.sequence as usize];
        let Some(index) = stamp.number.checked_sub(in_flight.first) else { return };
        let Some(missing) = in_flight.missing.get_mut(index as usize) else { return };
        *missing -= 1;
        self.messages -= usize::from(*missing == 0);
        in_flight.remove_delivered();
    }
}

impl SequenceInFlight {
    /// Removes the oldest messages that were delivered to all of their subscribers.
    fn remove_delivered(&mut self) {
        while self.missing.front() == Some(&0) {
            self.missing.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_in_flight_until_all_subscribers_have_it() {
        let mut in_flight = InFlight::new(Sequences::PerPublisher(2), 2);
        let deliver = |in_flight: &mut InFlight, sequence, number| {
            in_flight.deliver(Stamp { sequence, number, due: 0 });
            in_flight.messages
        };
        in_flight.publish(0);
        in_flight.publish(0);
        in_flight.publish(1);
        assert_eq!(in_flight.messages, 3);
        assert_eq!(deliver(&mut in_flight, 0, 1), 3);
        assert_eq!(deliver(&mut in_flight, 0, 1), 2);
        assert_eq!(deliver(&mut in_flight, 1, 0), 2);
        assert_eq!(deliver(&mut in_flight, 0, 0), 2);
        assert_eq!(deliver(&mut in_flight, 0, 0), 1);
        assert_eq!(in_flight.by_sequence[0].first, 2);
        assert_eq!(deliver(&mut in_flight, 1, 0), 0);
    }

    #[test]
    fn a_message_without_subscribers_is_not_in_flight() {
        let mut in_flight = InFlight::new(Sequences::PerTopic(3), 2);
        in_flight.publish(2);
        assert_eq!(in_flight.messages, 0);
        in_flight.publish(1);
        assert_eq!(in_flight.messages, 1);
        in_flight.deliver(Stamp { sequence: 1, number: 0, due: 0 });
        assert_eq!(in_flight.messages, 0);
    }
}
