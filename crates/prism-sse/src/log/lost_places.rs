//! The places that were lost when an order was replaced.
//!
//! An engine should never begin an epoch of the same number again. One that does, behind a lower
//! place than before, hands out the places in between a second time. Their ids are ambiguous then,
//! so that all of them stay a gap.

use std::collections::VecDeque;

use crate::limits;
use crate::steps;
use crate::wire::{Epoch, Position};

/// The lost places of the epochs that were replaced last.
#[derive(Debug, Default)]
pub(super) struct LostPlaces(VecDeque<LostSpan>);

/// The places of an epoch after `after` and up to `until`.
#[derive(Debug)]
struct LostSpan {
    epoch: Epoch,
    after: u64,
    until: u64,
}

impl LostPlaces {
    /// An order ended at `applied`, and one replaces it that begins after `after`. `epochs` are
    /// those of the old one, each with the place after which it began.
    pub(super) fn replace(&mut self, epochs: &VecDeque<(Epoch, u64)>, applied: u64, after: u64) {
        steps::count(self.0.len() + epochs.len());
        for span in &mut self.0 {
            span.after = span.after.min(after);
        }
        let ends = epochs.iter().skip(1).map(|&(_, begin)| begin).chain([applied]);
        for (&(epoch, _), until) in epochs.iter().zip(ends) {
            self.add(LostSpan { epoch, after, until });
        }
    }

    /// Whether the place was lost.
    pub(super) fn contains(&self, position: Position) -> bool {
        let Position { epoch, seq } = position;
        self.0.iter().any(|it| it.epoch == epoch && it.after < seq && seq <= it.until)
    }

    fn add(&mut self, span: LostSpan) {
        if let Some(known) = self.0.iter_mut().find(|known| known.epoch == span.epoch) {
            known.until = known.until.max(span.until);
            return;
        }
        if self.0.len() == limits::EPOCHS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_above_the_lowest_beginning_since_stays_lost() {
        let [one, two] = [1, 2].map(Epoch::new);
        let mut lost = LostPlaces::default();
        lost.replace(&[(one, 0), (two, 40)].into(), 100, 50);
        let contains = |lost: &LostPlaces, epoch, seq| lost.contains(Position { epoch, seq });
        assert!(!contains(&lost, two, 50) && contains(&lost, two, 51) && contains(&lost, two, 100));
        assert!(!contains(&lost, two, 101) && !contains(&lost, one, 40));
        // The order between lost places of an epoch counts, whatever epoch is replaced.
        lost.replace(&[(Epoch::new(3), 50)].into(), 60, 45);
        assert!(contains(&lost, two, 46) && !contains(&lost, two, 45));
    }
}
