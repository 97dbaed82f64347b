//! The progress bar on standard error.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Least time between two redraws: drawing takes processor time from the measurement.
const REDRAW: Duration = Duration::from_millis(200);

/// The progress of all runs. Without a terminal nothing is drawn.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    drawn: Cell<Instant>,
    discarded: Cell<u32>,
}

impl Progress {
    /// A bar for this many runs.
    pub(crate) fn new(runs: u32) -> Result<Self> {
        let bar = ProgressBar::new(u64::from(runs));
        bar.set_style(ProgressStyle::with_template(
            "{bar:24} {pos}/{len} runs, {eta} left  {msg}",
        )?);
        Ok(Self { bar, drawn: Cell::new(Instant::now()), discarded: Cell::new(0) })
    }

    /// Shows what is going on, unless the bar was redrawn just now.
    pub(crate) fn show(&self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        if now.duration_since(self.drawn.get()) >= REDRAW {
            self.drawn.set(now);
            self.bar.set_message(text());
        }
    }

    /// Counts a run as finished.
    pub(crate) fn finish_run(&self) {
        self.bar.inc(1);
    }

    /// Counts a run as discarded: it will be repeated.
    pub(crate) fn discard_run(&self) {
        self.discarded.set(self.discarded.get() + 1);
        self.bar.println("a run is repeated: too much of the machine went to others");
    }

    /// Number of runs that were discarded.
    pub(crate) fn discarded(&self) -> u32 {
        self.discarded.get()
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
