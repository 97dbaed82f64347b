//! When to look at which connection again: one entry a connection, in ticks.

use std::collections::BTreeMap;

use crate::limits;

/// A moment in ticks of [`limits::TICK`].
pub(crate) type Tick = u64;

/// Connections by the tick at which they are next looked at.
///
/// An entry is not removed when its connection goes: the connection's slot tells whether the entry
/// is still meant.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeMap<Tick, Vec<u32>>,
}

impl Timers {
    /// Looks at `connection` at `millis` or up to a tick later. Returns the tick.
    pub(crate) fn set(&mut self, connection: u32, millis: u64) -> Tick {
        let tick = millis.div_ceil(limits::TICK.as_millis() as u64);
        self.at.entry(tick).or_default().push(connection);
        tick
    }

    /// Takes at most `most` of the connections that are due at `now`, with their tick.
    pub(crate) fn take_due(&mut self, now: u64, most: usize) -> Option<(Tick, Vec<u32>)> {
        let mut entry = self.at.first_entry()?;
        let tick = *entry.key();
        if millis(tick) > now {
            return None;
        }
        let waiting = entry.get_mut();
        if waiting.len() <= most {
            return Some((tick, entry.remove()));
        }
        let rest = waiting.len() - most;
        Some((tick, waiting.split_off(rest)))
    }

    /// The next moment at which a connection is due, in milliseconds.
    pub(crate) fn next(&self) -> Option<u64> {
        self.at.first_key_value().map(|(&tick, _)| millis(tick))
    }
}

fn millis(tick: Tick) -> u64 {
    tick.saturating_mul(limits::TICK.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_due_at_its_tick_and_not_before() {
        let mut timers = Timers::default();
        let tick = timers.set(7, 120);
        assert_eq!(timers.next(), Some(150));
        assert!(timers.take_due(149, 10).is_none());
        assert_eq!(timers.take_due(150, 10), Some((tick, vec![7])));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_crowd_is_taken_in_portions() {
        let mut timers = Timers::default();
        for connection in 0..5 {
            timers.set(connection, 50);
        }
        let mut taken = Vec::new();
        while let Some((_, portion)) = timers.take_due(50, 2) {
            assert!(portion.len() <= 2);
            taken.extend(portion);
        }
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
    }
}
