//! The scenarios: what is done to a server while it is measured.

use clap::ValueEnum;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publish to all subscribers
    Fanout,
    /// Open connections without events
    Idle,
    /// Close and reopen connections while others read
    Churn,
    /// Let all subscribers reconnect at once, and resume
    Storm,
    /// Let some readers never read
    Slow,
    /// Publish to single topics
    Topics,
    /// Publish from many connections, and time the responses
    Publish,
    /// Spread connections over several processes
    Million,
}

impl Scenario {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
