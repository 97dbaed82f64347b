//! A result as a table on the terminal.

use crate::bench_result::BenchResult;
use crate::check::Faults;
use crate::compare::RunPair;
use crate::metric::{METRICS, digits};
use crate::run::Run;
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

/// Prints a result.
pub(crate) fn print(result: &BenchResult) {
    println!("{}\n{}", result.machine, result.load);
    if result.pairs.is_empty() {
        print_runs(result);
    } else {
        print_pairs(result);
    }
    if result.discarded_runs > 0 {
        println!("\nruns discarded and repeated for noise: {}", result.discarded_runs);
    }
}

fn print_runs(result: &BenchResult) {
    let runs = &result.runs;
    let mut table = Table::default();
    let mut row = |name: &str, cells: Vec<String>| {
        table.row([name.to_owned()].into_iter().chain(cells));
    };
    let numbers = (1..=runs.len()).map(|number| format!("run {number}"));
    row(runs.first().map_or("", |run| &run.target), numbers.collect());
    for metric in METRICS {
        let values: Option<Vec<f64>> = runs.iter().map(metric.value).collect();
        if let Some(values) = values {
            row(metric.name, values.into_iter().map(digits).collect());
        }
    }
    let mut others = |name: &str, value: fn(&Run) -> String| {
        row(name, runs.iter().map(value).collect());
    };
    if matches!(result.scenario.as_str(), "idle" | "million") {
        others("kernel B/connection, both ends", |run| digits(run.kernel_per_connection));
    }
    others("threads", |run| run.threads.map_or_else(String::new, |it| it.to_string()));
    others("stolen %", |run| digits(100.0 * run.noise.stolen));
    others("other processes %", |run| {
        run.noise.foreign.map_or_else(String::new, |it| digits(100.0 * it))
    });
    table.print();
    for remark in remarks(&runs.iter().collect::<Vec<_>>()) {
        println!("{remark}");
    }
}

fn print_pairs(result: &BenchResult) {
    let Some(first) = result.pairs.first() else { return };
    let (a, b) = (&first.a.target, &first.b.target);
    let count = result.pairs.len();
    println!("medians of {count} pairs of runs; in brackets the interval of 90 %\n");
    let mut table = Table::default();
    let ratio = "ratio".to_owned();
    table.row([String::new(), a.clone(), b.clone(), ratio, "difference".to_owned()]);
    for it in &result.compared {
        table.row([
            it.name.clone(),
            digits(it.a),
            digits(it.b),
            it.ratio.map_or_else(String::new, interval),
            it.difference.map_or_else(String::new, interval),
        ]);
    }
    table.print();
    for (name, side) in [(a, (|pair| &pair.a) as fn(&RunPair) -> &Run), (b, |pair| &pair.b)] {
        println!("\n{name}:");
        for remark in remarks(&result.pairs.iter().map(side).collect::<Vec<_>>()) {
            println!("{remark}");
        }
    }
}

/// Remarks about deliveries, faults and noise of some runs.
pub(crate) fn remarks(runs: &[&Run]) -> Vec<String> {
    let count = |is: fn(&Run) -> bool| runs.iter().filter(|run| is(run)).count();
    let mut remarks = Vec::new();
    let deliveries: u64 = runs.iter().filter_map(|run| run.deliveries()).sum();
    if deliveries > 0 {
        let faults = runs.iter().fold(Faults::default(), |all, run| all.with(run.faults));
        let faults = faults.named().map(|(name, count)| format!("{count} {name}"));
        remarks.push(format!("{} deliveries: {}", digits(deliveries as f64), faults.join(", ")));
    }
    let bound = count(Run::is_client_bound);
    if bound > 0 {
        remarks.push(format!(
            "{bound} of {} runs were client-bound: the client was the bottleneck",
            runs.len()
        ));
    }
    let noisy = count(|run| run.noisy);
    if noisy > 0 {
        remarks
            .push(format!("{noisy} of {} runs were noisy even after repeating them", runs.len()));
    }
    let worst = |value: fn(&Run) -> f64| runs.iter().map(|run| value(run)).fold(0.0, f64::max);
    remarks.push(format!(
        "at worst {:.1} % of the processors' time was stolen, {:.1} % went to other processes",
        100.0 * worst(|run| run.noise.stolen),
        100.0 * worst(|run| run.noise.foreign.unwrap_or(0.0)),
    ));
    remarks
}

/// The text of a median and its interval.
pub(crate) fn interval(estimate: Estimate) -> String {
    let Estimate { median, low, high } = estimate;
    format!("{} [{}, {}]", digits(median), digits(low), digits(high))
}
