//! The project's goals for its figures, so that a page can compare results to them.

use std::fmt;

use crate::bench_result::BenchResult;
use crate::metric::Better;

/// The goal of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Goal {
    /// The value that must be reached.
    pub(crate) must: f64,
    /// The value to aim for beyond that, if there is one.
    pub(crate) aim: Option<f64>,
}

/// How a ratio compares to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The whole interval reaches the aim, or the required value if there is no aim.
    Aim,
    /// The median reaches the required value.
    Must,
    /// The median misses the required value.
    Missed,
}

/// A goal, and the results it applies to.
struct Rule {
    scenario: &'static str,
    /// The prefixes of the labels of both runs.
    a: &'static str,
    b: &'static str,
    load: LoadFilter,
    metric: &'static str,
    goal: Goal,
}

/// The loads that a goal applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoadFilter {
    Any,
    /// One message in flight.
    One,
    /// 64 messages in flight, to this many subscribers or more.
    Many(usize),
    /// A fixed rate of messages.
    Rate,
}

const SERVE: &str = "prism-serve";
const HUB: &str = "prism-hub";
const LAYER: &str = "prism-layer";

const fn rule(
    (scenario, a, b): (&'static str, &'static str, &'static str),
    load: LoadFilter,
    metric: &'static str,
    must: f64,
    aim: Option<f64>,
) -> Rule {
    Rule { scenario, a, b, load, metric, goal: Goal { must, aim } }
}

/// All goals. If several apply, the first one counts.
const RULES: &[Rule] = &[
    rule(("fanout", SERVE, "raw"), LoadFilter::One, "CPU us/delivery", 1.15, Some(1.05)),
    rule(("fanout", SERVE, "raw"), LoadFilter::Many(5000), "deliveries/s", 8.0, Some(12.0)),
    rule(("fanout", SERVE, "raw"), LoadFilter::Many(0), "deliveries/s", 6.0, Some(12.0)),
    rule(("fanout", SERVE, "axum-idiom"), LoadFilter::Many(0), "deliveries/s", 1.5, None),
    rule(("fanout", SERVE, "axum-idiom"), LoadFilter::Many(0), "p50 ms", 0.75, None),
    rule(("fanout", SERVE, "raw"), LoadFilter::Rate, "p50 ms", 1.15, None),
    rule(("fanout", SERVE, "raw"), LoadFilter::Rate, "p99 ms", 1.3, Some(1.1)),
    rule(("fanout", LAYER, "axum-idiom"), LoadFilter::One, "CPU us/delivery", 1.0, Some(0.85)),
    rule(("fanout", LAYER, "axum-idiom"), LoadFilter::Many(0), "deliveries/s", 1.0, Some(1.5)),
    rule(("churn", SERVE, "raw"), LoadFilter::Any, "connects/s", 0.6, Some(0.8)),
    rule(("churn", SERVE, "raw"), LoadFilter::Any, "churned/s", 0.6, Some(0.8)),
    rule(("idle", SERVE, "raw"), LoadFilter::Any, "connects/s", 0.6, Some(0.8)),
    rule(("storm", SERVE, "raw"), LoadFilter::Any, "replayed events/s", 0.5, Some(0.8)),
    rule(("slow", "prism", "prism"), LoadFilter::Any, "p99 ms", 1.5, None),
    rule(("publish", HUB, "bare-publish"), LoadFilter::Any, "publishes/s", 0.9, Some(1.0)),
    rule(("million", SERVE, "raw"), LoadFilter::Any, "broadcast s", 1.3, Some(1.1)),
];

/// The goal of a metric's ratio in a result, if it has one.
pub(crate) fn goal(result: &BenchResult, metric: &str) -> Option<Goal> {
    let pair = result.pairs.first()?;
    let applies = |rule: &&Rule| {
        rule.scenario == result.scenario
            && rule.metric == metric
            && pair.a.target.starts_with(rule.a)
            && pair.b.target.starts_with(rule.b)
            && rule.load.matches(result)
    };
    RULES.iter().find(applies).map(|rule| rule.goal)
}

impl LoadFilter {
    fn matches(self, result: &BenchResult) -> bool {
        match self {
            Self::Any => true,
            Self::Rate => result.rate.is_some(),
            Self::One => result.in_flight == Some(1),
            Self::Many(connections) => {
                result.in_flight == Some(64) && result.connections >= connections
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
    /// Compares a median and the worse end of its interval to the goal.
    pub(crate) fn verdict(self, better: Better, median: f64, worse_end: f64) -> Verdict {
        let reaches = |value: f64, goal: f64| match better {
            Better::More => value >= goal,
            Better::Less | Better::Neither => value <= goal,
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
    use crate::bench_result::tests::bench_result;
    use crate::metric::metric;

    #[test]
    fn goals_name_existing_metrics() {
        for rule in RULES {
            let metric = metric(rule.metric).unwrap();
            let Goal { must, aim } = rule.goal;
            let aim = aim.unwrap_or(must);
            assert!(if metric.better == Better::Less { aim <= must } else { aim >= must });
        }
    }

    #[test]
    fn the_goal_depends_on_the_load() {
        let mut pairs = bench_result("fanout", "prism-serve", "raw");
        let must = |result: &BenchResult, metric| goal(result, metric).map(|goal| goal.must);
        (pairs.connections, pairs.in_flight) = (10_000, Some(64));
        assert_eq!(must(&pairs, "deliveries/s"), Some(8.0));
        pairs.connections = 1000;
        assert_eq!(must(&pairs, "deliveries/s"), Some(6.0));
        assert_eq!(must(&pairs, "CPU us/delivery"), None);
        pairs.in_flight = Some(1);
        assert_eq!(must(&pairs, "deliveries/s"), None);
        assert_eq!(must(&pairs, "CPU us/delivery"), Some(1.15));
        let slow = bench_result("slow", "prism-layer", "prism-layer, all read");
        assert_eq!(must(&slow, "p99 ms"), Some(1.5));
        assert_eq!(must(&bench_result("slow", "raw", "raw, all read"), "p99 ms"), None);
    }

    #[test]
    fn a_verdict_depends_on_which_direction_is_better() {
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
