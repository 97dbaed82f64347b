//! Bar charts of one metric of several servers, with a dot for each run.

use super::svg::{Anchor, Drawing};
use crate::bench_result::BenchResult;
use crate::metric::{digits, metric};
use crate::run::Run;
use crate::stats;

const WIDTH: f64 = 340.0;
const ROW: f64 = 40.0;
const THICK: f64 = 15.0;
/// The width of the number right of the longest bar.
const NUMBER: f64 = 68.0;

/// Number of colours in the style sheet.
const COLOURS: usize = 4;

/// A bar chart: a metric, and another one that is a part of it and drawn darker.
struct Panel {
    title: &'static str,
    metric: &'static str,
    part: Option<&'static str>,
    /// The scenarios that it is drawn for; none means all that have the metric.
    scenarios: &'static [&'static str],
}

const fn panel(
    title: &'static str,
    metric: &'static str,
    part: Option<&'static str>,
    scenarios: &'static [&'static str],
) -> Panel {
    Panel { title, metric, part, scenarios }
}

const PUBLISHING: &[&str] = &["fanout", "slow"];

const PANELS: &[Panel] = &[
    panel(
        "Server CPU per delivery in µs (dark: user mode)",
        "CPU us/delivery",
        Some("user us/delivery"),
        &["fanout", "slow", "million"],
    ),
    panel("Server CPU per publish in µs", "CPU us/publish", None, &["topics"]),
    panel("Latency in ms: p99 (dark: median)", "p99 ms", Some("p50 ms"), &[]),
    panel("Deliveries a second", "deliveries/s", None, PUBLISHING),
    panel("Replayed events a second", "replayed events/s", None, &[]),
    panel("Server CPU per replayed event in µs", "CPU us/replayed event", None, &[]),
    panel("Live again: the next event, in ms", "live again ms", None, &[]),
    panel("Reopened connections a second", "churned/s", None, &[]),
    panel("Server CPU per reopened connection in µs", "CPU us/churned", None, &[]),
    panel("One broadcast reaches all, in s", "broadcast s", None, &[]),
    panel("Whole machine, bytes for each connection", "machine B/connection", None, &[]),
    panel("Server memory growth under load in MB", "RSS growth MB", None, &["slow"]),
    panel("Server memory per connection in bytes", "RSS B/connection", None, &["idle", "million"]),
    panel("Connects a second", "connects/s", None, &["idle", "churn", "million"]),
    panel("Server CPU per connect in µs", "CPU us/connect", None, &["idle", "churn", "million"]),
];

/// The values of one server.
struct Group<'a> {
    label: &'a str,
    values: Vec<f64>,
    middle: f64,
    part: Option<f64>,
}

/// Titles and charts of all metrics that these results have, which are of one scenario.
pub(super) fn plots(results: &[&BenchResult]) -> Vec<(&'static str, String)> {
    let Some(first) = results.first() else { return Vec::new() };
    let labels = labels(results);
    let is_shown =
        |it: &&Panel| it.scenarios.is_empty() || it.scenarios.contains(&first.scenario.as_str());
    let draw = |panel: &Panel| {
        let groups: Vec<Group<'_>> =
            labels.iter().filter_map(|label| group(results, label, panel)).collect();
        // Without a positive value there is nothing to draw.
        let any = groups.iter().any(|group| group.middle > 0.0);
        any.then(|| (panel.title, plot(panel.title, &groups, &labels)))
    };
    PANELS.iter().filter(is_shown).filter_map(draw).collect()
}

/// The labels of all runs, in order of appearance.
fn labels<'a>(results: &[&'a BenchResult]) -> Vec<&'a str> {
    let mut labels = Vec::new();
    for run in results.iter().flat_map(|result| result.all_runs()) {
        if !labels.contains(&run.target.as_str()) {
            labels.push(run.target.as_str());
        }
    }
    labels
}

fn group<'a>(results: &[&BenchResult], label: &'a str, panel: &Panel) -> Option<Group<'a>> {
    let values = |name: &str| -> Vec<f64> {
        let Some(metric) = metric(name) else { return Vec::new() };
        let runs = results.iter().flat_map(|result| result.all_runs());
        let of_label = |run: &&Run| run.target == label;
        runs.filter(of_label).filter_map(metric.value).collect()
    };
    let part = panel.part.and_then(|part| stats::median(&values(part)));
    let values = values(panel.metric);
    Some(Group { label, middle: stats::median(&values)?, values, part })
}

fn plot(title: &str, groups: &[Group<'_>], labels: &[&str]) -> String {
    let most = groups.iter().flat_map(|group| &group.values).fold(0.0f64, |most, it| most.max(*it));
    let x = |value: f64| (value.max(0.0) / most) * (WIDTH - NUMBER);
    let mut drawing = Drawing::default();
    for (row, group) in groups.iter().enumerate() {
        let top = row as f64 * ROW;
        let place = labels.iter().position(|label| *label == group.label).unwrap_or_default();
        let colour = place % COLOURS;
        let bar = (0.0, top + 19.0);
        drawing.text("small", (0.0, top + 13.0), Anchor::Start, group.label);
        let whole = if group.part.is_some() { "s" } else { "c" };
        drawing.bar(&format!("{whole}{colour}"), bar, x(group.middle), THICK);
        if let Some(part) = group.part {
            drawing.bar(&format!("c{colour}"), bar, x(part), THICK);
        }
        if group.values.len() > 1 {
            for &value in &group.values {
                drawing.dot("run", (x(value), bar.1 + THICK / 2.0), 1.8);
            }
        }
        let reach = group.values.iter().fold(group.middle, |most, it| most.max(*it));
        let number = (x(reach) + 8.0, bar.1 + THICK - 3.0);
        drawing.text("", number, Anchor::Start, &digits(group.middle));
    }
    drawing.finish(WIDTH, groups.len() as f64 * ROW, title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_result::tests::bench_result;

    #[test]
    fn every_panel_shows_a_metric() {
        for panel in PANELS {
            assert!(metric(panel.metric).is_some(), "{}", panel.metric);
            assert!(panel.part.is_none_or(|part| metric(part).is_some()), "{:?}", panel.part);
        }
    }

    #[test]
    fn a_server_has_one_bar_however_often_it_was_measured() {
        let results = [bench_result("fanout", "a", "raw"), bench_result("fanout", "b", "raw")];
        let results: Vec<&BenchResult> = results.iter().collect();
        assert_eq!(labels(&results), ["a", "raw", "b"]);
        let plots = plots(&results);
        let (title, svg) = &plots[0];
        assert!(title.starts_with("Server CPU per delivery"));
        assert_eq!(svg.matches("<rect class=\"s").count(), 3, "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
        assert!(plots.iter().all(|(title, _)| !title.contains("Replayed")));
    }
}
