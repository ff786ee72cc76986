//! The rows: what was measured of the store and of the floor, in turn, and the table of them.

use std::fmt::Write;

use serde_json::{Value, json};

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// So many a second: more is better.
    Rate,
    /// Seconds: fewer are better.
    Time,
}

/// What one side of a row came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// Of each round.
    values: Vec<f64>,
    /// Nanoseconds, where each operation was timed.
    latencies_ns: Vec<u64>,
}

impl Side {
    pub(super) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    pub(super) fn extend_latencies(&mut self, latencies_ns: impl IntoIterator<Item = u64>) {
        self.latencies_ns.extend(latencies_ns);
    }

    fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    }

    /// Microseconds within which so many hundredths of the operations ended.
    fn within_us(&self, hundredths: usize) -> Option<f64> {
        let mut latencies = self.latencies_ns.clone();
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1)?;
        let at = (latencies.len() * hundredths / 100).min(last);
        latencies.get(at).map(|ns| *ns as f64 / 1e3)
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) ours: Side,
    pub(super) floor: Side,
}

impl Row {
    pub(super) fn new(name: impl Into<String>, unit: Unit) -> Self {
        Self { name: name.into(), unit, ours: Side::default(), floor: Side::default() }
    }

    /// The store's speed as a part of the floor's: 1 is as fast as can be.
    fn of_floor(&self) -> f64 {
        let (ours, floor) = (self.ours.median(), self.floor.median());
        let (part, whole) = match self.unit {
            Unit::Rate => (ours, floor),
            Unit::Time => (floor, ours),
        };
        if whole > 0.0 { part / whole } else { 0.0 }
    }

    /// The row as an object. `docs/operating.md` promises its members.
    fn json(&self) -> Value {
        let unit = match self.unit {
            Unit::Rate => "1/s",
            Unit::Time => "s",
        };
        json!({
            "name": self.name,
            "unit": unit,
            "onceward": self.ours.median(),
            "floor": self.floor.median(),
            "of_floor": self.of_floor(),
            "p50_us": self.ours.within_us(50),
            "p99_us": self.ours.within_us(99),
            "floor_p50_us": self.floor.within_us(50),
            "floor_p99_us": self.floor.within_us(99),
        })
    }

    fn line(&self) -> String {
        let figure = |side: &Side| match self.unit {
            Unit::Rate => rate(side.median()),
            Unit::Time => time(side.median() * 1e6),
        };
        let within = |side: &Side| {
            [50, 99].map(|share| side.within_us(share).map_or_else(|| "-".to_owned(), time))
        };
        let ([p50, p99], [floor_p50, floor_p99]) = (within(&self.ours), within(&self.floor));
        let (name, ours, floor) = (&self.name, figure(&self.ours), figure(&self.floor));
        let of_floor = format!("{:.2}", self.of_floor());
        cells([name, &ours, &floor, &of_floor, &p50, &p99, &floor_p50, &floor_p99])
    }
}

/// The rows as objects.
pub(super) fn json(rows: &[Row]) -> Value {
    rows.iter().map(Row::json).collect()
}

/// The rows in lines, for a person.
pub(super) fn table(rows: &[Row]) -> Vec<String> {
    let heading = ["", "ONCEWARD", "FLOOR", "OF FLOOR", "P50", "P99", "FLOOR P50", "FLOOR P99"];
    std::iter::once(cells(heading)).chain(rows.iter().map(Row::line)).collect()
}

fn cells([name, rest @ ..]: [&str; 8]) -> String {
    let mut line = format!("{name:<26}");
    // Writing to a text never fails.
    for cell in rest {
        let _ = write!(line, "  {cell:>9}");
    }
    line.trim_end().to_owned()
}

/// Three figures that count.
fn rate(each_second: f64) -> String {
    let (value, unit) = match each_second {
        some if some >= 1e6 => (some / 1e6, " M/s"),
        some if some >= 1e3 => (some / 1e3, " k/s"),
        some => (some, " /s"),
    };
    three(value, unit)
}

fn time(us: f64) -> String {
    let (value, unit) = match us {
        some if some >= 1e6 => (some / 1e6, " s"),
        some if some >= 1e3 => (some / 1e3, " ms"),
        some => (some, " µs"),
    };
    three(value, unit)
}

fn three(value: f64, unit: &str) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: Unit) -> Row {
        let mut row = Row::new("a row", unit);
        for (ours, floor) in [(1_000.0, 2_000.0), (9_000.0, 1_000.0), (5_000.0, 10_000.0)] {
            row.ours.push(ours);
            row.floor.push(floor);
        }
        row.ours.extend_latencies((1..=100).map(|us| us * 1_000));
        row
    }

    #[test]
    fn a_row_has_medians_and_their_ratio() {
        let rate = row(Unit::Rate).json();
        assert_eq!((&rate["onceward"], &rate["floor"]), (&json!(5_000.0), &json!(2_000.0)));
        assert_eq!((&rate["of_floor"], &rate["p50_us"]), (&json!(2.5), &json!(51.0)));
        assert_eq!((&rate["p99_us"], &rate["floor_p50_us"]), (&json!(100.0), &Value::Null));
        // Of times, the shorter one is the better one.
        assert_eq!(row(Unit::Time).json()["of_floor"], json!(0.4));
    }

    #[test]
    fn the_columns_of_a_table_stand_under_their_names() {
        let lines = table(&[row(Unit::Rate)]);
        let ends = |line: &str, word: &str| {
            line.find(word).map(|at| line[..at].chars().count() + word.chars().count())
        };
        assert_eq!(ends(&lines[0], "ONCEWARD"), ends(&lines[1], "5.00 k/s"));
        assert_eq!(ends(&lines[0], " P99"), ends(&lines[1], "100 µs"));
    }

    #[test]
    fn three_figures_count() {
        assert_eq!(
            (rate(12.34), rate(5_678.0), rate(1.5e6)),
            ("12.3 /s".into(), "5.68 k/s".into(), "1.50 M/s".into())
        );
        assert_eq!((time(0.5), time(123_456.0)), ("0.50 µs".into(), "123 ms".into()));
    }
}
