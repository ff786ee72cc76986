//! Both stores in turn, medians, ratios, and the table of them in Markdown.

use std::time::Duration;

/// A row of the table.
pub(crate) struct Row {
    what: String,
    /// Operations a second.
    ours: f64,
    plain: f64,
    /// The ratio that was promised.
    bar: Option<f64>,
}

/// Times `ours` and `plain` in turn, `rounds` times each, the first of a round the second of the
/// next. Each gives the time that `count` operations took.
pub(crate) fn compare(
    what: &str,
    bar: Option<f64>,
    rounds: usize,
    count: u64,
    mut ours: impl FnMut() -> Duration,
    mut plain: impl FnMut() -> Duration,
) -> Row {
    let (mut of_ours, mut of_plain) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            of_ours.push(ours());
            of_plain.push(plain());
        } else {
            of_plain.push(plain());
            of_ours.push(ours());
        }
    }
    let rate = |times| count as f64 / median(times).as_secs_f64();
    let row = Row { what: what.to_owned(), ours: rate(of_ours), plain: rate(of_plain), bar };
    println!("{}", row.markdown());
    row
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

impl Row {
    fn markdown(&self) -> String {
        let ratio = self.ours / self.plain;
        let bar = self.bar.map_or_else(
            || "–".to_owned(),
            |bar| {
                let by = if ratio >= bar { "met" } else { "**missed**" };
                format!("≥ {bar}×, {by}")
            },
        );
        let (ours, plain) = (figure(self.ours), figure(self.plain));
        format!("| {} | {ours} | {plain} | **{ratio:.2}×** | {bar} |", self.what)
    }
}

/// Three figures that count, in thousands or millions.
fn figure(per_second: f64) -> String {
    let (value, unit) = match per_second {
        some if some >= 1e6 => (some / 1e6, " M"),
        some if some >= 1e3 => (some / 1e3, " k"),
        some => (some, ""),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}{unit}")
}

/// Prints the whole table, to be pasted into `docs/benchmarks.md`.
pub(crate) fn print(rows: &[Row], rounds: usize) {
    println!("\nOperations a second, medians of {rounds} runs, in turn:\n");
    println!("| | onceward | redb | ratio | promised |\n|---|---|---|---|---|");
    for row in rows {
        println!("{}", row.markdown());
    }
}
