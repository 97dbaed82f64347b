//! What one run measures: a server, and how many connections and topics it has.

use crate::cli::{Scenario, Settings, Target};

/// The baseline of `topics` has this part of the subscribers and of the topics.
const BASELINE_DIVISOR: usize = 10;

/// What one run measures. The two runs of a pair have different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunConfig {
    pub(crate) target: Target,
    /// Tells the two runs of a pair apart.
    pub(crate) label: String,
    /// Number of connections that read.
    pub(crate) readers: usize,
    /// Number of connections that never read.
    pub(crate) non_reading: usize,
    /// Number of topics, if subscribers select one.
    pub(crate) topics: Option<usize>,
}

impl RunConfig {
    /// What the settings ask for.
    pub(crate) fn new(target: Target, scenario: Scenario, settings: &Settings) -> Self {
        let connections = settings.connections(scenario);
        let options = &settings.scenarios;
        let non_reading = match scenario {
            Scenario::Slow => (connections as f64 * options.slow).ceil() as usize,
            _ => 0,
        };
        let topics = (scenario == Scenario::Topics)
            .then(|| options.topics.map_or(connections, |topics| topics as usize).max(1));
        let label = target.name();
        let readers = connections.saturating_sub(non_reading);
        Self { target, label, readers, non_reading, topics }
    }

    /// What this is compared to where a server is compared to itself: the same readers without the
    /// connections that never read, or a tenth of the readers and of the topics.
    pub(crate) fn baseline(&self) -> Self {
        let label = self.target.name();
        match self.topics {
            None => Self { non_reading: 0, label: format!("{label}, all read"), ..self.clone() },
            Some(topics) => {
                let readers = (self.readers / BASELINE_DIVISOR).max(1);
                Self {
                    label: format!("{label}, {readers} connections"),
                    readers,
                    topics: Some((topics / BASELINE_DIVISOR).max(1)),
                    ..self.clone()
                }
            }
        }
    }

    /// Number of all connections of subscribers.
    pub(crate) fn connections(&self) -> usize {
        self.readers + self.non_reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings;

    #[test]
    fn connections_that_never_read_are_a_part_of_all() {
        let settings = settings(&["-n", "101", "--slow", "0.1"]);
        let config = RunConfig::new(Target::Raw, Scenario::Slow, &settings);
        assert_eq!((config.readers, config.non_reading, config.connections()), (90, 11, 101));
        let baseline = config.baseline();
        assert_eq!((baseline.readers, baseline.non_reading), (90, 0));
        assert_eq!(baseline.label, "raw, all read");
        assert_eq!(RunConfig::new(Target::Raw, Scenario::Fanout, &settings).non_reading, 0);
    }

    #[test]
    fn each_reader_has_a_topic_by_default() {
        let config = |arguments: &[&str]| {
            RunConfig::new(Target::PrismLayer, Scenario::Topics, &settings(arguments))
        };
        assert_eq!(config(&["-n", "500"]).topics, Some(500));
        let some = config(&["-n", "500", "--topics", "50"]);
        let baseline = some.baseline();
        assert_eq!((some.topics, baseline.topics, baseline.readers), (Some(50), Some(5), 50));
        assert_eq!(baseline.label, "prism-layer, 50 connections");
    }
}
