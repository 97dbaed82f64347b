//! What is printed: a table for people, or JSON for programs.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::{Scenario, Settings};
use crate::compare::{Compared, METRICS, Pair};
use crate::run::Run;
use crate::sample;
use crate::stats::Estimate;

/// The text of a table, its columns aligned.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(at, (cell, &width))| match at {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            println!("{}", cells.join("  ").trim_end());
        }
    }
}

/// Prints runs of one server.
pub(crate) fn runs(
    runs: &[Run],
    scenario: Scenario,
    settings: &Settings,
    discarded: u32,
) -> Result<()> {
    if settings.json {
        let mut report = head(scenario, settings, discarded);
        report["runs"] = json!(runs);
        return print_json(&report);
    }
    print_head(scenario, settings);
    let mut table = Table::default();
    let numbers = (1..=runs.len()).map(|number| format!("run {number}"));
    table.row(
        [runs.first().map_or_else(String::new, |run| run.target.clone())]
            .into_iter()
            .chain(numbers),
    );
    for metric in METRICS {
        let values: Option<Vec<f64>> = runs.iter().map(metric.value).collect();
        if let Some(values) = values {
            let cells = values.into_iter().map(digits);
            table.row([metric.name.to_owned()].into_iter().chain(cells));
        }
    }
    let mut others = |name: &str, value: fn(&Run) -> String| {
        table.row([name.to_owned()].into_iter().chain(runs.iter().map(value)));
    };
    if scenario == Scenario::Idle {
        others("kernel B/connection, both ends", |run| digits(run.kernel_per_connection));
    }
    others("threads", |run| run.threads.map_or_else(String::new, |it| it.to_string()));
    others("stolen %", |run| digits(100.0 * run.noise.stolen));
    others("other processes %", |run| {
        run.noise.foreign.map_or_else(String::new, |it| digits(100.0 * it))
    });
    table.print();
    print_remarks(&runs.iter().collect::<Vec<_>>(), discarded);
    Ok(())
}

/// Prints the comparison of two servers.
pub(crate) fn comparison(
    pairs: &[Pair],
    compared: &[Compared],
    scenario: Scenario,
    settings: &Settings,
    discarded: u32,
) -> Result<()> {
    if settings.json {
        let mut report = head(scenario, settings, discarded);
        report["pairs"] = json!(pairs);
        report["compared"] = json!(compared);
        return print_json(&report);
    }
    print_head(scenario, settings);
    let Some(first) = pairs.first() else { return Ok(()) };
    let (a, b) = (&first.a.target, &first.b.target);
    println!("medians of {} pairs of runs; in brackets the interval of 90 %\n", pairs.len());
    let mut table = Table::default();
    let ratio = "ratio".to_owned();
    table.row([String::new(), a.clone(), b.clone(), ratio, "difference".to_owned()]);
    for it in compared {
        table.row([
            it.name.to_owned(),
            digits(it.a),
            digits(it.b),
            it.ratio.map_or_else(String::new, interval),
            it.difference.map_or_else(String::new, interval),
        ]);
    }
    table.print();
    for (name, side) in [(a, (|pair| &pair.a) as fn(&Pair) -> &Run), (b, |pair| &pair.b)] {
        println!("\n{name}:");
        print_remarks(&pairs.iter().map(side).collect::<Vec<_>>(), 0);
    }
    print_discarded(discarded);
    Ok(())
}

fn head(scenario: Scenario, settings: &Settings, discarded: u32) -> Value {
    let load = &settings.load;
    json!({
        "machine": sample::machine(),
        "scenario": scenario_name(scenario),
        "connections": settings.connections,
        "in_flight": load.rate.is_none().then_some(load.in_flight),
        "rate": load.rate,
        "payload": load.payload,
        "publishers": load.publishers,
        "workers": settings.placement.workers,
        "pinned": !settings.placement.no_pin,
        "discarded_runs": discarded,
    })
}

fn print_head(scenario: Scenario, settings: &Settings) {
    let Settings { connections, load, .. } = settings;
    println!("{}", sample::machine());
    match (scenario, load.rate) {
        (Scenario::Idle, _) => println!("{connections} idle connections"),
        (Scenario::Fanout, Some(rate)) => println!(
            "{connections} connections, {rate} messages a second, {} bytes each",
            load.payload
        ),
        (Scenario::Fanout, None) => println!(
            "{connections} connections, {} in flight, {} bytes each",
            load.in_flight, load.payload
        ),
    }
}

/// What is to be known about some runs to judge their figures.
fn print_remarks(runs: &[&Run], discarded: u32) {
    let sum = |value: fn(&Run) -> u64| runs.iter().map(|run| value(run)).sum::<u64>();
    if runs.iter().any(|run| run.delivery.is_some()) {
        println!(
            "{} deliveries: {} lost, {} doubled, {} reordered, {} damaged",
            sum(|run| run.delivery.as_ref().map_or(0, |it| it.deliveries)),
            sum(|run| run.faults.lost),
            sum(|run| run.faults.doubled),
            sum(|run| run.faults.reordered),
            sum(|run| run.faults.damaged),
        );
    }
    let bound = sum(|run| u64::from(run.delivery.as_ref().is_some_and(|it| it.client_bound)));
    if bound > 0 {
        println!("{bound} of {} runs were client-bound: the client was the limit", runs.len());
    }
    let noisy = sum(|run| u64::from(run.noisy));
    if noisy > 0 {
        println!("{noisy} of {} runs were noisy even after repeating them", runs.len());
    }
    let worst = |value: fn(&Run) -> f64| runs.iter().map(|run| value(run)).fold(0.0, f64::max);
    println!(
        "at worst {:.1} % of the processors' time was stolen, {:.1} % went to other processes",
        100.0 * worst(|run| run.noise.stolen),
        100.0 * worst(|run| run.noise.foreign.unwrap_or(0.0)),
    );
    print_discarded(discarded);
}

fn print_discarded(discarded: u32) {
    if discarded > 0 {
        println!("\nruns discarded and repeated for noise: {discarded}");
    }
}

fn print_json(report: &Value) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

fn scenario_name(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Fanout => "fanout",
        Scenario::Idle => "idle",
    }
}

fn interval(estimate: Estimate) -> String {
    let Estimate { median, low, high } = estimate;
    format!("{} [{}, {}]", digits(median), digits(low), digits(high))
}

/// A number with three digits that say something, and its thousands apart.
fn digits(number: f64) -> String {
    let size = number.abs();
    if size < 1000.0 {
        let decimals = if size < 10.0 { 2 } else { usize::from(size < 100.0) };
        return format!("{number:.decimals$}");
    }
    let plain = format!("{size:.0}");
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_they_deserve() {
        let numbers = [0.0, 1.234, -0.857, 45.67, 456.7, 4567.8, -123_456.0, 1_234_567.0];
        let texts = ["0.00", "1.23", "-0.86", "45.7", "457", "4,568", "-123,456", "1,234,567"];
        assert_eq!(numbers.map(digits), texts);
    }
}
