//! Timers: one entry for each connection, grouped by tick.

use std::collections::BTreeMap;

use crate::limits;

/// A time in ticks of [`limits::TIMER_TICK`].
pub(crate) type Tick = u64;

/// Connections by the tick at which their timer fires.
///
/// An entry is not removed with its connection, or when the connection's timer is set again. The
/// caller of [`take_due`](Self::take_due) compares its tick with the one that was set last.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeMap<Tick, Vec<u32>>,
}

impl Timers {
    /// Sets a timer to `millis` or up to a tick later. Returns the tick.
    pub(crate) fn set(&mut self, connection: u32, millis: u64) -> Tick {
        let tick = millis.div_ceil(limits::TIMER_TICK.as_millis() as u64);
        self.at.entry(tick).or_default().push(connection);
        tick
    }

    /// Takes at most `most` of the connections whose timer fires at `now`, with their tick.
    pub(crate) fn take_due(&mut self, now: u64, most: usize) -> Option<(Tick, Vec<u32>)> {
        let mut entry = self.at.first_entry()?;
        let tick = *entry.key();
        if millis(tick) > now {
            return None;
        }
        let connections = entry.get_mut();
        if connections.len() <= most {
            return Some((tick, entry.remove()));
        }
        let rest = connections.len() - most;
        Some((tick, connections.split_off(rest)))
    }

    /// When the next timer fires, in milliseconds.
    pub(crate) fn next(&self) -> Option<u64> {
        self.at.first_key_value().map(|(&tick, _)| millis(tick))
    }
}

fn millis(tick: Tick) -> u64 {
    tick.saturating_mul(limits::TIMER_TICK.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_at_its_tick_and_not_before() {
        let mut timers = Timers::default();
        let tick = timers.set(7, 120);
        assert_eq!(timers.next(), Some(150));
        assert!(timers.take_due(149, 10).is_none());
        assert_eq!(timers.take_due(150, 10), Some((tick, vec![7])));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn connections_of_one_tick_are_taken_in_batches() {
        let mut timers = Timers::default();
        for connection in 0..5 {
            timers.set(connection, 50);
        }
        let mut taken = Vec::new();
        while let Some((_, batch)) = timers.take_due(50, 2) {
            assert!(batch.len() <= 2);
            taken.extend(batch);
        }
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
    }
}
