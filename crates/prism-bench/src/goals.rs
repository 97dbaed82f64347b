//! What the project wants of its figures, so that a page can say how far they are from it.

use std::fmt;

use crate::metric::Better;
use crate::record::Record;

/// A ratio that is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Goal {
    /// What must be reached.
    pub(crate) must: f64,
    /// What is hoped for, if it is more.
    pub(crate) aim: Option<f64>,
}

/// How far a ratio is from its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The whole interval reaches the aim, or what must be if there is no aim.
    Aim,
    /// The median reaches what must be.
    Must,
    Missed,
}

/// When a goal applies.
struct Rule {
    scenario: &'static str,
    /// What the compared ones' names begin with.
    a: &'static str,
    b: &'static str,
    load: Load,
    metric: &'static str,
    goal: Goal,
}

/// The loads that goals tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Any,
    /// One message under way.
    One,
    /// 64 messages under way, to this many subscribers or more.
    Many(usize),
    /// Messages at a fixed rate.
    Rate,
}

const SERVE: &str = "prism-serve";
const HUB: &str = "prism-hub";
const LAYER: &str = "prism-layer";

const fn rule(
    (scenario, a, b): (&'static str, &'static str, &'static str),
    load: Load,
    metric: &'static str,
    must: f64,
    aim: Option<f64>,
) -> Rule {
    Rule { scenario, a, b, load, metric, goal: Goal { must, aim } }
}

/// All goals; of several that apply, the first counts.
const RULES: &[Rule] = &[
    rule(("fanout", SERVE, "raw"), Load::One, "CPU us/delivery", 1.15, Some(1.05)),
    rule(("fanout", SERVE, "raw"), Load::Many(5000), "deliveries/s", 8.0, Some(12.0)),
    rule(("fanout", SERVE, "raw"), Load::Many(0), "deliveries/s", 6.0, Some(12.0)),
    rule(("fanout", SERVE, "axum-idiom"), Load::Many(0), "deliveries/s", 1.5, None),
    rule(("fanout", SERVE, "axum-idiom"), Load::Many(0), "p50 ms", 0.75, None),
    rule(("fanout", SERVE, "raw"), Load::Rate, "p50 ms", 1.15, None),
    rule(("fanout", SERVE, "raw"), Load::Rate, "p99 ms", 1.3, Some(1.1)),
    rule(("fanout", LAYER, "axum-idiom"), Load::One, "CPU us/delivery", 1.0, Some(0.85)),
    rule(("fanout", LAYER, "axum-idiom"), Load::Many(0), "deliveries/s", 1.0, Some(1.5)),
    rule(("churn", SERVE, "raw"), Load::Any, "connects/s", 0.6, Some(0.8)),
    rule(("churn", SERVE, "raw"), Load::Any, "churned/s", 0.6, Some(0.8)),
    rule(("idle", SERVE, "raw"), Load::Any, "connects/s", 0.6, Some(0.8)),
    rule(("storm", SERVE, "raw"), Load::Any, "replayed events/s", 0.5, Some(0.8)),
    rule(("slow", "prism", "prism"), Load::Any, "p99 ms", 1.5, None),
    rule(("publish", HUB, "bare-publish"), Load::Any, "publishes/s", 0.9, Some(1.0)),
    rule(("million", SERVE, "raw"), Load::Any, "broadcast s", 1.3, Some(1.1)),
];

/// What is wanted of the ratio of a metric in these pairs.
pub(crate) fn goal(record: &Record, metric: &str) -> Option<Goal> {
    let pair = record.pairs.first()?;
    let applies = |rule: &&Rule| {
        rule.scenario == record.scenario
            && rule.metric == metric
            && pair.a.target.starts_with(rule.a)
            && pair.b.target.starts_with(rule.b)
            && rule.load.is_of(record)
    };
    RULES.iter().find(applies).map(|rule| rule.goal)
}

impl Load {
    fn is_of(self, record: &Record) -> bool {
        match self {
            Self::Any => true,
            Self::Rate => record.rate.is_some(),
            Self::One => record.in_flight == Some(1),
            Self::Many(connections) => {
                record.in_flight == Some(64) && record.connections >= connections
            }
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must {}", self.must)?;
        self.aim.map_or(Ok(()), |aim| write!(f, ", aim {aim}"))
    }
}

impl Goal {
    /// How far a median and the worse end of its interval are from this.
    pub(crate) fn verdict(self, better: Better, median: f64, worse_end: f64) -> Verdict {
        let reaches = |value: f64, wanted: f64| match better {
            Better::More => value >= wanted,
            Better::Less | Better::Neither => value <= wanted,
        };
        let best = self.aim.unwrap_or(self.must);
        if reaches(median, best) && reaches(worse_end, best) {
            Verdict::Aim
        } else if reaches(median, self.must) {
            Verdict::Must
        } else {
            Verdict::Missed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::metric;
    use crate::record::tests::record;

    #[test]
    fn goals_are_of_metrics_that_exist() {
        for rule in RULES {
            let metric = metric(rule.metric).unwrap();
            let Goal { must, aim } = rule.goal;
            let aim = aim.unwrap_or(must);
            assert!(if metric.better == Better::Less { aim <= must } else { aim >= must });
        }
    }

    #[test]
    fn the_goal_depends_on_the_load() {
        let mut pairs = record("fanout", "prism-serve", "raw");
        let must = |record: &Record, metric| goal(record, metric).map(|goal| goal.must);
        (pairs.connections, pairs.in_flight) = (10_000, Some(64));
        assert_eq!(must(&pairs, "deliveries/s"), Some(8.0));
        pairs.connections = 1000;
        assert_eq!(must(&pairs, "deliveries/s"), Some(6.0));
        assert_eq!(must(&pairs, "CPU us/delivery"), None);
        pairs.in_flight = Some(1);
        assert_eq!(must(&pairs, "deliveries/s"), None);
        assert_eq!(must(&pairs, "CPU us/delivery"), Some(1.15));
        let slow = record("slow", "prism-layer", "prism-layer, all read");
        assert_eq!(must(&slow, "p99 ms"), Some(1.5));
        assert_eq!(must(&record("slow", "raw", "raw, all read"), "p99 ms"), None);
    }

    #[test]
    fn a_verdict_looks_at_the_better_direction() {
        let low = Goal { must: 1.15, aim: Some(1.05) };
        let verdict = |median, worse| low.verdict(Better::Less, median, worse);
        assert_eq!(verdict(1.0, 1.04), Verdict::Aim);
        assert_eq!(verdict(1.0, 1.06), Verdict::Must);
        assert_eq!(verdict(1.2, 1.3), Verdict::Missed);
        let high = Goal { must: 0.5, aim: Some(0.8) };
        assert_eq!(high.verdict(Better::More, 0.9, 0.85), Verdict::Aim);
        assert_eq!(high.verdict(Better::More, 0.6, 0.4), Verdict::Must);
        assert_eq!(high.verdict(Better::More, 0.4, 0.3), Verdict::Missed);
        let plain = Goal { must: 1.5, aim: None };
        assert_eq!(plain.verdict(Better::Less, 1.2, 1.4), Verdict::Aim);
        assert_eq!(plain.verdict(Better::Less, 1.2, 1.6), Verdict::Must);
    }
}
