//! Results as one HTML file with plots, without any other resource.

mod bars;
mod ratios;
mod svg;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use self::svg::escape;
use crate::bench_result::BenchResult;
use crate::check::Faults;
use crate::goals::{self, Verdict};
use crate::metric::{Better, digits, metric};
use crate::run::Run;
use crate::table;

const STYLE: &str = include_str!("page/style.css");

/// The legend of the plots of ratios.
const LEGEND: &str = "<p class=\"legend\">Ratios of one server to another: \
    <i class=\"good\"></i> better, or its goal is reached; \
    <i class=\"bad\"></i> worse, or its goal is missed; \
    <i class=\"plain\"></i> behind the ceiling, without a goal; \
    <i class=\"unclear\"></i> not significant. A dot is the median of all pairs, its line the 90 % \
    interval, a faint dot one pair; a solid mark must be reached, a dashed one is the aim.</p>";

/// Draws these results into a file.
pub(crate) fn write(results: &[BenchResult], path: &Path) -> Result<()> {
    let name = path.display();
    fs::write(path, document(results)).with_context(|| format!("cannot write {name}"))
}

fn document(results: &[BenchResult]) -> String {
    let mut machines: Vec<&str> = results.iter().map(|result| result.machine.as_str()).collect();
    machines.dedup();
    let machines = escape(&machines.join("; "));
    let sections: String = groups(results).iter().map(|group| section(group)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>prism-bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>Server-Sent Events, measured</h1>\n<p class=\"muted\">{machines}</p>\n{}\n{LEGEND}\n\
         </header>\n\
         <main>\n{sections}</main>\n<footer><p>Ratios are taken within adjacent pairs of runs, \
         A B, B A, ...; their intervals by the bootstrap. Absolute figures move with the machine \
         and the minute: compare by the ratios.</p></footer>\n</body>\n</html>\n",
        tiles(results)
    )
}

/// Groups the results of one scenario and load.
fn groups(results: &[BenchResult]) -> Vec<Vec<&BenchResult>> {
    let mut groups: Vec<Vec<&BenchResult>> = Vec::new();
    for result in results {
        let is_same = |group: &&mut Vec<&BenchResult>| {
            let first = group[0];
            first.scenario == result.scenario && first.load == result.load
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(result),
            None => groups.push(vec![result]),
        }
    }
    groups
}

/// The summary: the number of checked deliveries and their faults, and the verdict on each goal.
fn tiles(results: &[BenchResult]) -> String {
    let runs = || results.iter().flat_map(BenchResult::all_runs);
    let deliveries: u64 = runs().filter_map(Run::deliveries).sum();
    let faults = runs().fold(Faults::default(), |all, run| all.with(run.faults));
    let wrong: u64 = faults.named().iter().map(|(_, count)| count).sum();
    let mut tiles = String::from("<div class=\"tiles\">\n");
    if deliveries > 0 {
        let class = if faults.any() { "bad" } else { "good" };
        let named = faults.named().map(|(name, count)| format!("{count} {name}")).join(", ");
        let checked = digits(deliveries as f64);
        tile(
            &mut tiles,
            class,
            &wrong.to_string(),
            &format!("faults in {checked} deliveries"),
            &named,
        );
    }
    for result in results {
        for compared in &result.compared {
            let goal = goals::goal(result, &compared.name).zip(compared.ratio);
            let Some((goal, ratio)) = goal else { continue };
            let Some(pair) = result.pairs.first() else { continue };
            let better = metric(&compared.name).map_or(Better::Less, |metric| metric.better);
            let (class, verdict) = match ratios::verdict(goal, better, ratio) {
                Verdict::Aim => ("good", "reached by the whole interval"),
                Verdict::Must if goal.aim.is_some() => ("good", "reached, aim not yet"),
                Verdict::Must => ("good", "reached by the median"),
                Verdict::Missed => ("bad", "missed"),
            };
            let what = format!("{}, {} / {}", compared.name, pair.a.target, pair.b.target);
            let why = format!("{}: {goal}: {verdict}", result.scenario);
            tile(&mut tiles, class, &ratios::times(ratio.median), &what, &why);
        }
    }
    tiles + "</div>"
}

fn tile(tiles: &mut String, class: &str, number: &str, what: &str, why: &str) {
    let [number, what, why] = [number, what, why].map(escape);
    *tiles +=
        &format!("<div class=\"tile {class}\"><b>{number}</b>{what}<span>{why}</span></div>\n");
}

/// The section of one scenario and load.
fn section(group: &[&BenchResult]) -> String {
    let Some(first) = group.first() else { return String::new() };
    let mut section = format!(
        "<section>\n<h2>{}</h2>\n<p class=\"muted\">{}</p>\n",
        title(&first.scenario),
        escape(&first.load)
    );
    for result in group {
        section += &comparison(result);
    }
    section += "<div class=\"bars\">\n";
    for (title, plot) in bars::plots(group) {
        section += &format!(
            "<div class=\"panel\"><figure><h3>{}</h3>{plot}</figure></div>\n",
            escape(title)
        );
    }
    section += "</div>\n";
    for result in group {
        section += &origin(result);
    }
    section + "</section>\n"
}

/// The title of a scenario, for readers who do not know it.
fn title(scenario: &str) -> &'static str {
    match scenario {
        "fanout" => "Fan-out: every event to every subscriber",
        "idle" => "Idle: connections without events",
        "churn" => "Churn: connections are closed and reopened while others read",
        "storm" => "Storm: all subscribers reconnect at once and are sent what they missed",
        "slow" => "Slow readers: some never read, which must not affect the others",
        "topics" => "Topics: each event has few of many subscribers",
        "million" => "A million: more connections than one process may have",
        _ => "Measurement",
    }
}

fn comparison(result: &BenchResult) -> String {
    let Some(pair) = result.pairs.first() else { return String::new() };
    let Some(plot) = ratios::plot(result) else { return String::new() };
    let [a, b] = [&pair.a, &pair.b].map(|run| escape(&run.target));
    let caption = escape(&caption(result));
    format!(
        "<div class=\"panel ratios\"><figure><h3>{a} / {b}</h3>\
         <figcaption>{caption}</figcaption>{plot}</figure></div>\n"
    )
}

/// The caption of a plot of ratios.
fn caption(result: &BenchResult) -> String {
    let mut caption = format!("{} pairs of runs", result.pairs.len());
    let count = |is: fn(&Run) -> bool| result.all_runs().filter(|run| is(run)).count();
    for (runs, what) in
        [(count(Run::is_client_bound), "were client-bound"), (count(|run| run.noisy), "were noisy")]
    {
        if runs > 0 {
            caption += &format!("; {runs} of {} runs {what}", result.all_runs().count());
        }
    }
    caption
}

/// How a result was measured, and its numbers.
fn origin(result: &BenchResult) -> String {
    let mut origin = String::from("<details><summary>");
    let what = match result.pairs.first() {
        Some(pair) => format!("{} / {}", pair.a.target, pair.b.target),
        None => result.runs.first().map_or_else(String::new, |run| run.target.clone()),
    };
    origin += &format!("{}: how it was measured, and the numbers</summary>\n", escape(&what));
    origin += &format!("<code class=\"command\">{}</code>\n", escape(&result.command));
    origin += &format!("<p class=\"muted\">{}</p>\n<ul>\n", escape(&result.machine));
    for remark in table::remarks(&result.all_runs().collect::<Vec<_>>()) {
        origin += &format!("<li>{}</li>\n", escape(&remark));
    }
    if result.discarded_runs > 0 {
        origin += &format!(
            "<li>{} runs were discarded and repeated for noise</li>\n",
            result.discarded_runs
        );
    }
    let placement = if result.pinned { "pinned to processors" } else { "on any processor" };
    origin += &format!("<li>{} server threads, {placement}</li>\n</ul>\n", result.workers);
    origin + "<div class=\"wide\"><table>\n" + &numbers(result) + "</table></div>\n</details>\n"
}

fn numbers(result: &BenchResult) -> String {
    let row = |cell: &str, cells: Vec<String>| {
        let cells: String =
            cells.iter().map(|text| format!("<{cell}>{}</{cell}>", escape(text))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let Some(pair) = result.pairs.first() else {
        let rows = crate::metric::METRICS.iter().filter_map(|metric| {
            let values = result.runs.iter().map(metric.value).collect::<Option<Vec<f64>>>()?;
            let name = [metric.name.to_owned()].into_iter();
            Some(row("td", name.chain(values.into_iter().map(digits)).collect()))
        });
        return rows.collect();
    };
    let [a, b] = [&pair.a, &pair.b].map(|run| run.target.clone());
    let head = row("th", vec![String::new(), a, b, "ratio".to_owned(), "difference".to_owned()]);
    let rows = result.compared.iter().map(|it| {
        let intervals =
            [it.ratio, it.difference].map(|it| it.map_or_else(String::new, table::interval));
        let [ratio, difference] = intervals;
        row("td", vec![it.name.clone(), digits(it.a), digits(it.b), ratio, difference])
    });
    head + &rows.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_result::tests::bench_result;

    #[test]
    fn a_page_is_well_formed_and_has_no_other_resource() {
        let results =
            [bench_result("fanout", "prism-serve", "raw"), bench_result("slow", "<b>", "raw")];
        let page = document(&results);
        for tag in ["html", "body", "main", "section", "svg", "div", "figure", "details", "table"] {
            let open = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(page.contains("prism-bench compare prism-serve raw --scenario fanout"));
        assert!(page.contains("2 x A &amp; B") && page.contains("&lt;b&gt;"));
        for outside in ["<b>&", "<script", "src=", "href=", "http", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn results_of_one_load_are_one_section() {
        let mut other = bench_result("fanout", "axum-idiom", "raw");
        let same = bench_result("fanout", "prism-layer", "raw");
        assert_eq!(groups(&[same.clone(), other.clone()]).len(), 1);
        other.load = "another".to_owned();
        assert_eq!(groups(&[same, other]).len(), 2);
    }

    #[test]
    fn a_goal_has_a_tile() {
        let tiles = tiles(&[bench_result("fanout", "prism-serve", "raw")]);
        assert!(tiles.contains("must 1.15, aim 1.05: reached, aim not yet"), "{tiles}");
        assert!(tiles.contains("faults in 1,800,000 deliveries"), "{tiles}");
    }
}
