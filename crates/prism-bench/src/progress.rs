//! The bar on standard error that says how far the runs are.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Drawing takes time from what is measured.
const REDRAW: Duration = Duration::from_millis(200);

/// How far the runs are. Without a terminal it says nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    drawn: Cell<Instant>,
    discarded: Cell<u32>,
}

impl Progress {
    /// A bar for so many runs.
    pub(crate) fn new(runs: u32) -> Result<Self> {
        let bar = ProgressBar::new(u64::from(runs));
        bar.set_style(ProgressStyle::with_template(
            "{bar:24} {pos}/{len} runs, {eta} left  {msg}",
        )?);
        Ok(Self { bar, drawn: Cell::new(Instant::now()), discarded: Cell::new(0) })
    }

    /// Says what is going on, if it was not said just now.
    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        if now.duration_since(self.drawn.get()) >= REDRAW {
            self.drawn.set(now);
            self.bar.set_message(text());
        }
    }

    /// Says that a run is over.
    pub(crate) fn finish_run(&self) {
        self.bar.inc(1);
    }

    /// Says that a run was thrown away.
    pub(crate) fn discard_run(&self) {
        self.discarded.set(self.discarded.get() + 1);
        self.bar.println("a run is repeated: too much of the machine went to others");
    }

    /// How many runs were thrown away.
    pub(crate) fn discarded(&self) -> u32 {
        self.discarded.get()
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
