//! The table in Markdown, with what was met and what was missed, and a chart of each row.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::bars::{Against, Bar, Measure, PEERS, ROWS, Row, Unit};
use crate::chart::{self, Group};
use crate::results::Results;
use crate::scale::Scale;
use crate::work::{sure, there};

const BEGIN: &str = "<!-- peers: begin -->\n";
const END: &str = "<!-- peers: end -->\n";

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where results, table and charts are kept.
pub(crate) struct Place {
    pub(crate) results: PathBuf,
    charts: PathBuf,
    /// The page that has the table between two marks.
    page: Option<PathBuf>,
}

impl Place {
    /// The repository's own.
    pub(crate) fn kept() -> Self {
        let docs = repository().join("docs");
        Self {
            results: repository().join("peers/results.json"),
            charts: docs.join("charts"),
            page: Some(docs.join("benchmarks.md")),
        }
    }

    /// That of a run: figures of small counts are kept nowhere but in its own directory.
    pub(crate) fn of(scale: &Scale) -> Self {
        if !scale.quick {
            return Self::kept();
        }
        let own = scale.directory.join("quick");
        Self { results: own.join("results.json"), charts: own.join("charts"), page: None }
    }
}

/// Prints the table, puts it into the page, and draws the charts beside it.
#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
pub(crate) fn render(results: &Results, place: &Place) {
    let charts = &place.charts;
    sure(std::fs::create_dir_all(charts));
    let abouts = || ROWS.iter().filter_map(|row| results.rows.get(row.name));
    let machines: BTreeSet<&str> = abouts().map(|about| about.machine.as_str()).collect();
    let machines: Vec<&str> = machines.into_iter().collect();
    let mut text = format!("On {}.\n", machines.join("; and on "));
    for row in ROWS {
        let Some(about) = results.rows.get(row.name) else { continue };
        put(&mut text, &format!("\n### {}\n\n", row.title));
        put(&mut text, &format!("{}; ", about.scale));
        if about.quick {
            put(&mut text, "small counts, to see that it works; ");
        }
        // Rows that are measured together are counted to the first of them.
        if about.seconds > 0.0 {
            put(&mut text, &format!("{:.1} minutes; ", about.seconds / 60.0));
        }
        if machines.len() > 1 {
            put(&mut text, &format!("{}; ", about.machine));
        }
        put(&mut text, &format!("commit {}.\n", about.commit));
        if measured(row, results).next().is_none() {
            continue;
        }
        put(&mut text, "\n");
        put(&mut text, &apart(row, results, &about.commit));
        table(row, results, &mut text);
        bars(row, results, &mut text);
        let groups = groups(row, results);
        if !groups.is_empty() {
            let better =
                if row.unit.more_is_better() { "longer is better" } else { "shorter is better" };
            let file = charts.join(format!("{}.svg", row.name));
            sure(std::fs::write(file, chart::svg(row.title, better, &groups)));
            put(&mut text, &format!("\n![{}](charts/{}.svg)\n", row.title, row.name));
        }
    }
    println!("{text}");
    let Some(page) = &place.page else { return };
    let old = sure(std::fs::read_to_string(page));
    let (before, rest) = there(old.split_once(BEGIN), "docs/benchmarks.md has no place for it");
    let (_, after) = there(rest.split_once(END), "docs/benchmarks.md has no place for it");
    sure(std::fs::write(page, format!("{before}{BEGIN}{text}{END}{after}")));
}

fn put(text: &mut String, more: &str) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{more}");
}

/// A line about those whose figures are of another commit than the row's, or of a server whose version
/// is known.
fn apart(row: &Row, results: &Results, commit: &str) -> String {
    let (mut said, mut servers) = (Vec::new(), BTreeSet::new());
    for (peer, name) in columns(row, results) {
        let of =
            row.measures.iter().filter(|measure| results.median(measure.metric, peer).is_some());
        let sources: BTreeSet<_> = of.map(|it| results.source(it.metric, peer)).collect();
        let commits: BTreeSet<&str> =
            sources.iter().map(|source| source.map_or(commit, |it| it.commit.as_str())).collect();
        if commits.iter().any(|other| *other != commit) {
            let commits: Vec<&str> = commits.into_iter().collect();
            said.push(format!("{name} at commit {}", commits.join(" and ")));
        }
        let started = sources.iter().flatten().map(|source| source.server.as_str());
        servers.extend(started.filter(|server| !server.is_empty()).map(str::to_owned));
    }
    said.extend(servers);
    if said.is_empty() { String::new() } else { format!("{}.\n\n", said.join("; ")) }
}

/// Those who have a figure in the row.
fn columns(row: &Row, results: &Results) -> Vec<(&'static str, &'static str)> {
    let has = |peer: &str| {
        row.measures.iter().any(|measure| results.median(measure.metric, peer).is_some())
    };
    PEERS.iter().filter(|(peer, _)| has(peer)).copied().collect()
}

/// The measures that anybody has a figure of.
fn measured<'a>(row: &'a Row, results: &Results) -> impl Iterator<Item = &'a Measure> {
    row.measures.iter().filter(|measure| results.metrics.contains_key(measure.metric))
}

fn table(row: &Row, results: &Results, text: &mut String) {
    let columns = columns(row, results);
    put(text, "| |");
    for (_, name) in &columns {
        put(text, &format!(" {name} |"));
    }
    put(text, &format!("\n|---|{}\n", "---|".repeat(columns.len())));
    for measure in measured(row, results) {
        put(text, &format!("| {} |", measure.label));
        let ours = results.median(measure.metric, "onceward");
        for (peer, _) in &columns {
            let Some(value) = results.median(measure.metric, peer) else {
                put(text, " – |");
                continue;
            };
            let figure = figure(row.unit, value);
            let spread = match results.spread(measure.metric, peer) {
                Some(spread) if results.samples(measure.metric, peer) > 1 => {
                    format!(" ±{:.0}%", 50.0 * spread)
                }
                _ => String::new(),
            };
            match ours {
                Some(ours) if *peer != "onceward" => {
                    let more = row.unit.more_is_better();
                    let ratio = if more { ours / value } else { value / ours };
                    put(text, &format!(" {figure}{spread} ({ratio:.2}×) |"));
                }
                _ => put(text, &format!(" **{figure}**{spread} |")),
            }
        }
        put(text, "\n");
    }
}

fn bars(row: &Row, results: &Results, text: &mut String) {
    let held: Vec<String> = row.bars.iter().filter_map(|bar| held(row, bar, results)).collect();
    if !held.is_empty() {
        put(text, &format!("\n| bar | reached | |\n|---|---|---|\n{}", held.concat()));
    }
}

/// A line about a bar, when there are figures to hold to it.
fn held(row: &Row, bar: &Bar, results: &Results) -> Option<String> {
    let ours = results.median(bar.metric, "onceward")?;
    let other = match bar.against {
        Against::Peer(peer, metric) => results.median(metric, peer)?,
        Against::Own(metric) => results.median(metric, "onceward")?,
        Against::Number(number) => number,
        Against::Best(metric) => {
            let peers = PEERS.iter().filter(|(peer, _)| !matches!(*peer, "onceward" | "floor"));
            let figures = peers.filter_map(|(peer, _)| results.median(metric, peer));
            figures.max_by(f64::total_cmp)?
        }
    };
    // A cost is how much longer one takes, which of rates is the other way about.
    let ratio = if bar.is_cost { other / ours } else { ours / other };
    let met = if bar.at_least { ratio >= bar.factor } else { ratio <= bar.factor };
    let met = if met { "met" } else { "**missed**" };
    let spread = match bar.against {
        Against::Number(_) => results.most(bar.metric, "onceward").filter(|most| *most > ours),
        _ => None,
    };
    let reached = match (bar.against, spread) {
        (Against::Number(_), Some(most)) if !row.unit.more_is_better() && !bar.at_least => {
            format!("{}, at worst {}", figure(row.unit, ours), figure(row.unit, most))
        }
        (Against::Number(_), _) => figure(row.unit, ours),
        _ => format!("{ratio:.2}×"),
    };
    let sign = if bar.at_least { "≥" } else { "≤" };
    Some(format!("| {sign} {} | {reached} | {met} |\n", bar.says))
}

fn groups(row: &Row, results: &Results) -> Vec<Group> {
    let columns = columns(row, results);
    let group = |measure: &Measure| {
        let bar = |(peer, name): &(&'static str, &'static str)| {
            let value = results.median(measure.metric, peer)?;
            Some(chart::Bar { name, value, label: figure(row.unit, value) })
        };
        Group { label: measure.label, bars: columns.iter().filter_map(bar).collect() }
    };
    measured(row, results).map(group).collect()
}

/// Three figures that count, and the unit.
fn figure(unit: Unit, value: f64) -> String {
    let (value, unit) = match unit {
        Unit::Rate if value >= 1e6 => (value / 1e6, " M/s"),
        Unit::Rate if value >= 1e3 => (value / 1e3, " k/s"),
        Unit::Rate => (value, "/s"),
        Unit::Microseconds if value >= 1e3 => (value / 1e3, " ms"),
        Unit::Microseconds => (value, " µs"),
        Unit::Milliseconds => (value, " ms"),
        Unit::Plain if value >= 1e6 => (value / 1e6, " M"),
        Unit::Octets | Unit::Plain => (value, ""),
        Unit::Ratio => (value, "×"),
    };
    let decimals = if value.abs() < 10.0 { 2 } else { usize::from(value.abs() < 100.0) };
    format!("{value:.decimals$}{unit}")
}
