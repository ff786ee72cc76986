//! What came of the checks, by number: a table, or JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::checks::Check;
use super::numbers::{self, UNSEEN};
use super::suite::{Checked, Stop, Suite};

/// A check that ran.
pub(crate) struct Ran {
    pub(crate) check: Check,
    pub(crate) came: Checked,
}

/// What is said of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    NotApplicable,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotApplicable => "n/a",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotApplicable => "not-applicable",
        }
    }
}

/// A number, what is said of it, and why.
struct Row {
    number: String,
    verdict: Verdict,
    why: String,
}

/// The rows of all that ran: numbers asked for (`only`; all when empty), in order.
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(suite: &Suite, ran: &[Ran], only: &[String]) -> Self {
        let asked = |number: &String| only.is_empty() || only.contains(number);
        let row = |number: String| {
            let (verdict, why) = judged(suite, ran, &number);
            Row { number, verdict, why }
        };
        Self { rows: numbers::all().filter(asked).map(row).collect() }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// Whether no number failed.
    pub(crate) fn is_clean(&self) -> bool {
        self.count(Verdict::Fail) == 0
    }

    /// How many failed, in words.
    pub(crate) fn failures(&self) -> String {
        format!("{} of {} requirements are not met", self.count(Verdict::Fail), self.rows.len())
    }

    /// Writes a line for each number.
    pub(crate) fn table(&self, out: &mut impl Write) -> io::Result<()> {
        for Row { number, verdict, why } in &self.rows {
            writeln!(out, "{number:<4} {:<5} {why}", verdict.word())?;
        }
        writeln!(
            out,
            "{} passed, {} failed, {} not applicable",
            self.count(Verdict::Pass),
            self.count(Verdict::Fail),
            self.count(Verdict::NotApplicable)
        )?;
        out.flush()
    }

    /// The same as JSON.
    pub(crate) fn json(&self, suite: &Suite) -> Value {
        let row = |row: &Row| json!({ "number": row.number, "result": row.verdict.name(), "why": row.why });
        json!({
            "profile": suite.profile.name,
            "http": if suite.http2 { "2" } else { "1.1" },
            "contract": suite.contract,
            "passed": self.count(Verdict::Pass),
            "failed": self.count(Verdict::Fail),
            "not_applicable": self.count(Verdict::NotApplicable),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// A failed check fails its numbers; one that passed passes those that no other failed.
fn judged(suite: &Suite, ran: &[Ran], number: &str) -> (Verdict, String) {
    if !numbers::concerns(&suite.profile, number) {
        return (Verdict::NotApplicable, "of another document".to_owned());
    }
    if let Some((_, why)) = UNSEEN.iter().find(|(unseen, _)| *unseen == number) {
        return (Verdict::NotApplicable, (*why).to_owned());
    }
    let of_it = || ran.iter().filter(|ran| ran.check.numbers.contains(&number));
    let mut failed = of_it().filter_map(|ran| match &ran.came {
        Err(Stop::Failed(why)) => Some(format!("{}: {why}", ran.check.what)),
        _ => None,
    });
    if let Some(why) = failed.next() {
        return (Verdict::Fail, why);
    }
    let passed: Vec<&str> =
        of_it().filter(|ran| ran.came.is_ok()).map(|ran| ran.check.what).collect();
    if !passed.is_empty() {
        return (Verdict::Pass, passed.join("; "));
    }
    let why = of_it().find_map(|ran| match &ran.came {
        Err(Stop::NotApplicable(why)) => Some(why.clone()),
        _ => None,
    });
    (Verdict::NotApplicable, why.unwrap_or_else(|| "no check of it ran".to_owned()))
}
