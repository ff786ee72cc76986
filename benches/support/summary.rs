//! Both stores in turn, medians, ratios, and the table of them in Markdown.

use std::time::Duration;

/// A row of the table.
pub(crate) struct Row {
    what: String,
    /// Operations a second.
    ours: Rate,
    plain: Rate,
    /// The ratio there is to be.
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
    let row = Row {
        what: what.to_owned(),
        ours: Rate::of(count, of_ours),
        plain: Rate::of(count, of_plain),
        bar,
    };
    println!("{}", row.markdown());
    row
}

/// Operations a second.
struct Rate {
    median: f64,
    /// How far the fastest run is from the slowest, as a part of the median: how quiet it was.
    spread: f64,
}

impl Rate {
    fn of(count: u64, times: Vec<Duration>) -> Self {
        let mut rates: Vec<f64> =
            times.into_iter().map(|time| count as f64 / time.as_secs_f64()).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| rates.get(place).copied().unwrap_or_default();
        let median = at(rates.len() / 2);
        Self { median, spread: (at(rates.len().saturating_sub(1)) - at(0)) / median }
    }
}

impl std::fmt::Display for Rate {
    /// Three figures that count, in thousands or millions, and the spread in percent.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (value, unit) = match self.median {
            some if some >= 1e6 => (some / 1e6, " M"),
            some if some >= 1e3 => (some / 1e3, " k"),
            some => (some, ""),
        };
        let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.decimals$}{unit} ({:.0}%)", 100.0 * self.spread)
    }
}

impl Row {
    fn markdown(&self) -> String {
        let ratio = self.ours.median / self.plain.median;
        let bar = self.bar.map_or_else(
            || "–".to_owned(),
            |bar| {
                let by = if ratio >= bar { "met" } else { "**missed**" };
                format!("≥ {bar}×, {by}")
            },
        );
        let (ours, plain) = (&self.ours, &self.plain);
        format!("| {} | {ours} | {plain} | **{ratio:.2}×** | {bar} |", self.what)
    }
}

/// Prints the whole table, to be pasted into `docs/benchmarks.md`.
pub(crate) fn print(rows: &[Row], rounds: usize, trial: bool) {
    if trial {
        println!("\nA trial: too small for its figures to mean anything.");
    }
    println!(
        "\nOperations a second: medians of {rounds} runs in turn (and the spread of the runs).\n"
    );
    println!("| | onceward | redb | ratio | bar |\n|---|---|---|---|---|");
    for row in rows {
        println!("{}", row.markdown());
    }
}
