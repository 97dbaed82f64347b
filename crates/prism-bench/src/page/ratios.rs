//! Plots of ratios with their intervals and goals: dots and whiskers.

use super::svg::{Anchor, Drawing};
use crate::bench_result::BenchResult;
use crate::compare::{MetricComparison, RunPair};
use crate::goals::{self, Goal, Verdict};
use crate::metric::{Better, Metric, digits, metric};
use crate::stats::Estimate;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 240.0;
const RIGHT: f64 = 720.0;
const TOP: f64 = 26.0;
const ROW: f64 = 34.0;

/// The target that is the ceiling of what a server can reach.
const CEILING: &str = "raw";

/// Ratios beyond this, or its inverse, are drawn at the edge.
const RATIO_MAX: f64 = 32.0;

/// Marks of the axis; the first row that has room is taken.
const MARKS: &[&[f64]] = &[
    &[0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2],
    &[0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5],
    &[0.1, 0.2, 0.33, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0],
    &[0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
];

/// The width of the number at a mark.
const MARK_WIDTH: f64 = 42.0;

/// A row of the plot.
struct Row<'a> {
    compared: &'a MetricComparison,
    metric: &'static Metric,
    ratio: Estimate,
    goal: Option<Goal>,
    /// The ratio of each pair.
    each: Vec<f64>,
    /// Whether the other server is the ceiling.
    is_to_ceiling: bool,
}

/// The logarithmic scale of the axis.
struct Scale {
    low: f64,
    high: f64,
}

/// The plot of all ratios of a result, if there are any.
pub(super) fn plot(result: &BenchResult) -> Option<String> {
    let rows: Vec<Row<'_>> =
        result.compared.iter().filter_map(|compared| Row::new(result, compared)).collect();
    let pair = result.pairs.first()?;
    if rows.is_empty() {
        return None;
    }
    let scale = Scale::of(&rows);
    let bottom = TOP + ROW * rows.len() as f64;
    let mut drawing = Drawing::default();
    for mark in scale.marks() {
        let x = scale.x(mark);
        let class = if mark == 1.0 { "one" } else { "grid" };
        drawing.line(class, (x, TOP), (x, bottom));
        drawing.text("small", (x, bottom + 16.0), Anchor::Middle, &format!("{mark}x"));
    }
    let other = &pair.b.target;
    drawing.text("small", (LEFT, TOP - 12.0), Anchor::Start, &format!("less than {other}"));
    drawing.text("small", (RIGHT, TOP - 12.0), Anchor::End, &format!("more than {other}"));
    for (number, row) in rows.iter().enumerate() {
        row.draw(&mut drawing, &scale, TOP + ROW * (number as f64 + 0.5));
    }
    let what = format!("ratios of {} to {}", pair.a.target, pair.b.target);
    Some(drawing.finish(WIDTH, bottom + 24.0, &what))
}

/// Whether a metric says more in this scenario than the other ones do.
fn is_shown(result: &BenchResult, metric: &str) -> bool {
    let scenario = result.scenario.as_str();
    match metric {
        // Where all subscribers receive every event it is proportional to the time of a delivery.
        "CPU us/publish" => matches!(scenario, "topics" | "publish"),
        "CPU us/delivery" | "user us/delivery" => scenario != "topics",
        // With a fixed rate it is that rate.
        "deliveries/s" => result.rate.is_none() && scenario != "churn",
        // The inverse of the events per second.
        "replay s" => false,
        "anonymous B/connection" => false,
        "RSS growth MB" => scenario == "slow",
        // There a server is compared to itself with fewer connections, and the first ones cost
        // more.
        "RSS B/connection" | "connects/s" | "CPU us/connect" => {
            !matches!(scenario, "slow" | "topics" | "publish")
        }
        _ => true,
    }
}

/// Whether a ratio is better than 1; `None` if its interval contains 1.
fn is_good(better: Better, ratio: Estimate) -> Option<bool> {
    let more = match (ratio.low > 1.0, ratio.high < 1.0) {
        (true, _) => true,
        (_, true) => false,
        _ => return None,
    };
    match better {
        Better::More => Some(more),
        Better::Less => Some(!more),
        Better::Neither => None,
    }
}

/// Compares a ratio to its goal, by the worse end of its interval.
pub(super) fn verdict(goal: Goal, better: Better, ratio: Estimate) -> Verdict {
    let worse_end = if better == Better::More { ratio.low } else { ratio.high };
    goal.verdict(better, ratio.median, worse_end)
}

impl<'a> Row<'a> {
    fn new(result: &BenchResult, compared: &'a MetricComparison) -> Option<Self> {
        let metric = metric(&compared.name).filter(|it| it.better != Better::Neither)?;
        if !is_shown(result, metric.name) {
            return None;
        }
        let ratio = compared.ratio.filter(|it| it.low > 0.0)?;
        let of_pair = |pair: &RunPair| {
            let ratio = (metric.value)(&pair.a)? / (metric.value)(&pair.b)?;
            (ratio.is_finite() && ratio > 0.0).then_some(ratio)
        };
        let each = result.pairs.iter().filter_map(of_pair).collect();
        let goal = goals::goal(result, &compared.name);
        let is_to_ceiling = result.pairs.first().is_some_and(|pair| pair.b.target == CEILING);
        Some(Self { compared, metric, ratio, goal, each, is_to_ceiling })
    }

    /// Its class in the style sheet.
    fn class(&self) -> &'static str {
        match (self.goal, is_good(self.metric.better, self.ratio)) {
            (Some(goal), _) => match verdict(goal, self.metric.better, self.ratio) {
                Verdict::Aim | Verdict::Must => "good",
                Verdict::Missed => "bad",
            },
            (None, Some(true)) => "good",
            // To be behind the ceiling is expected.
            (None, Some(false)) if self.is_to_ceiling => "plain",
            (None, Some(false)) => "bad",
            (None, None) => "unclear",
        }
    }

    fn draw(&self, drawing: &mut Drawing, scale: &Scale, y: f64) {
        let (better, ratio) = (self.metric.better, self.ratio);
        let class = self.class();
        let arrow = if better == Better::More { "\u{2191}" } else { "\u{2193}" };
        let name = &self.compared.name;
        drawing.text("", (0.0, y + 4.5), Anchor::Start, name);
        drawing.text("small", (LEFT - 14.0, y + 4.5), Anchor::End, &format!("{arrow} better"));
        let goals = self.goal.into_iter().flat_map(|goal| {
            [Some(("must", goal.must)), goal.aim.map(|aim| ("aim", aim))].into_iter().flatten()
        });
        for (class, value) in goals {
            let x = scale.x(value);
            drawing.line(class, (x, y - 13.0), (x, y + 13.0));
        }
        for &one in &self.each {
            drawing.dot(&format!("{class} pair"), (scale.x(one), y), 4.0);
        }
        let [low, middle, high] = [ratio.low, ratio.median, ratio.high].map(|it| scale.x(it));
        drawing.line(&format!("{class} whisker"), (low, y), (high, y));
        drawing.dot(class, (middle, y), 6.0);
        drawing.text(class, (RIGHT + 18.0, y + 4.5), Anchor::Start, &times(ratio.median));
        let goal = self.goal.map_or_else(String::new, |goal| format!("  {goal}"));
        let beside = format!("[{}, {}]{goal}", digits(ratio.low), digits(ratio.high));
        drawing.text("small", (RIGHT + 80.0, y + 4.5), Anchor::Start, &beside);
    }
}

impl Scale {
    fn of(rows: &[Row<'_>]) -> Self {
        let goals = |row: &Row<'_>| {
            row.goal.map_or([1.0; 2], |goal| [goal.must, goal.aim.unwrap_or(goal.must)])
        };
        let all = rows.iter().flat_map(|row| {
            [row.ratio.low, row.ratio.high].into_iter().chain(goals(row)).chain(row.each.clone())
        });
        let (low, high) = all.fold((1.0f64, 1.0f64), |(low, high), it| (low.min(it), high.max(it)));
        // Room on both sides, so that even equal servers have a plot.
        let low = (low / 1.08).clamp(1.0 / RATIO_MAX, 0.9);
        Self { low, high: (high * 1.08).clamp(1.1, RATIO_MAX) }
    }

    fn x(&self, ratio: f64) -> f64 {
        let part = (ratio.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        LEFT + part * (RIGHT - LEFT)
    }

    fn marks(&self) -> Vec<f64> {
        let within = |marks: &&[f64]| -> Vec<f64> {
            let marks = marks.iter().copied();
            marks.filter(|mark| (self.low..=self.high).contains(mark)).collect()
        };
        let has_room = |marks: &Vec<f64>| {
            marks.windows(2).all(|pair| self.x(pair[1]) - self.x(pair[0]) >= MARK_WIDTH)
        };
        MARKS.iter().map(within).find(has_room).unwrap_or_else(|| vec![1.0])
    }
}

/// The text of a ratio.
pub(super) fn times(ratio: f64) -> String {
    format!("{}x", digits(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_result::tests::bench_result;

    #[test]
    fn ratios_are_drawn_with_their_goals() {
        let result = bench_result("fanout", "prism-serve", "raw");
        let svg = plot(&result).unwrap();
        assert!(svg.contains("CPU us/delivery") && svg.contains("class=\"must\""), "{svg}");
        assert!(svg.contains("must 1.15, aim 1.05"), "{svg}");
        assert!(!svg.contains("client busy"), "what is neither good nor bad has no place");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn an_interval_around_one_is_not_significant() {
        let ratio = |low, high| Estimate { median: 1.0, low, high };
        assert_eq!(is_good(Better::Less, ratio(0.9, 1.1)), None);
        assert_eq!(is_good(Better::Less, ratio(0.8, 0.9)), Some(true));
        assert_eq!(is_good(Better::More, ratio(0.8, 0.9)), Some(false));
        assert_eq!(is_good(Better::More, ratio(1.1, 1.2)), Some(true));
    }

    #[test]
    fn a_scale_has_a_few_marks_and_one_in_its_middle() {
        for (low, high) in [(0.9, 1.1), (0.5, 1.2), (0.2, 12.0), (1.0 / 32.0, 32.0)] {
            let scale = Scale { low, high };
            let marks = scale.marks();
            assert!((2..=12).contains(&marks.len()), "{marks:?}");
            assert!(marks.contains(&1.0) && marks.is_sorted(), "{marks:?}");
        }
        let scale = Scale { low: 0.5, high: 2.0 };
        assert!((scale.x(1.0) - (LEFT + RIGHT) / 2.0).abs() < 1e-9);
        assert_eq!((scale.x(0.01), scale.x(99.0)), (LEFT, RIGHT));
    }
}
