//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use onceward::Stats;

use super::{BUCKETS_MS, CLASSES, DECISIONS, IGNORED, Metrics, UPSTREAM};

/// What is so at this moment, besides what was counted.
pub(crate) struct Now {
    pub(crate) stats: Stats,
    /// Claims, grants and unfinished completions, counted by the gateway.
    pub(crate) at_work: usize,
    pub(crate) ready: bool,
    pub(crate) draining: bool,
}

/// The exposition of `metrics` and of what is so `now`.
pub(crate) fn render(metrics: &Metrics, now: &Now) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    requests(&mut text, metrics);
    process(&mut text, now);
    store(&mut text, &now.stats);
    text.0
}

fn requests(text: &mut Text, metrics: &Metrics) {
    let decisions = DECISIONS.iter().map(|(word, _)| *word);
    text.counters(
        "onceward_requests_total",
        "Requests with a key that had an effect, by what was decided about them.",
        "decision",
        decisions.zip(metrics.decisions.read()),
    );
    text.counters(
        "onceward_keys_ignored_total",
        "Requests whose key had no effect, by the reason.",
        "reason",
        IGNORED.into_iter().zip(metrics.ignored.read()),
    );
    let load = |count: &AtomicU64| count.load(Relaxed);
    text.counters(
        "onceward_unkeyed_requests_total",
        "Requests without a key: passed on, or refused because there must be one.",
        "outcome",
        [("passed", load(&metrics.unkeyed_passed)), ("refused", load(&metrics.unkeyed_refused))],
    );
    text.counters(
        "onceward_upstream_requests_total",
        "Requests sent to the upstream, the gateway's own among them, by how they ended.",
        "outcome",
        UPSTREAM.into_iter().zip(metrics.upstream.read()),
    );
    let name = "onceward_request_duration_seconds";
    let help = "Time from the head of a request whose key had an effect to that of its response.";
    text.family(name, "histogram", help);
    for ((class, _), histogram) in CLASSES.iter().zip(&metrics.durations) {
        let mut count = 0;
        let mut ends = BUCKETS_MS.iter().map(|end_ms| seconds(*end_ms, 1000));
        for bucket in histogram.buckets.read() {
            count += bucket;
            let end = ends.next().unwrap_or_else(|| "+Inf".to_owned());
            text.line(format_args!("{name}_bucket{{class=\"{class}\",le=\"{end}\"}} {count}"));
        }
        let sum = seconds(histogram.sum_us.load(Relaxed), 1_000_000);
        text.line(format_args!("{name}_sum{{class=\"{class}\"}} {sum}"));
        text.line(format_args!("{name}_count{{class=\"{class}\"}} {count}"));
    }
}

fn process(text: &mut Text, now: &Now) {
    text.family("onceward_build_info", "gauge", "Always 1; the version is in the label.");
    let version = env!("CARGO_PKG_VERSION");
    text.line(format_args!("onceward_build_info{{version=\"{version}\"}} 1"));
    for (name, value, help) in [
        ("onceward_work_in_progress", now.at_work as u64, "Claims and keyed requests at work."),
        ("onceward_ready", now.ready.into(), "1 while /readyz answers 200."),
        ("onceward_draining", now.draining.into(), "1 since the gateway was told to stop."),
    ] {
        text.single(name, "gauge", help, value);
    }
}

fn store(text: &mut Text, stats: &Stats) {
    let name = "onceward_store_keys";
    let help = "Keys in the store, expired ones not yet swept among them, by state.";
    text.family(name, "gauge", help);
    for (state, keys) in [
        ("complete", stats.records.saturating_sub(stats.in_doubt)),
        ("in-doubt", stats.in_doubt),
        ("in-flight", stats.in_flight),
    ] {
        text.line(format_args!("{name}{{state=\"{state}\"}} {keys}"));
    }
    for (name, value, help) in [
        ("poisoned", stats.poisoned.into(), "1 once writes have ended: one failed."),
        (
            "suspect",
            stats.suspect_until_ms.is_some().into(),
            "1 while damage in the log makes the store refuse keys it does not know.",
        ),
        ("epoch", stats.epoch, "How often the store was opened."),
        ("index_bytes", stats.index_bytes, "Memory the index takes."),
        ("log_bytes", stats.log_bytes, "Disk the log takes, the space prepared ahead included."),
        ("tree_bytes", stats.tree_bytes, "Disk the tree takes."),
        ("segments", stats.segments, "Segments of the log."),
        (
            "cold_keys",
            stats.cold_records,
            "Complete keys that are on disk alone, not in the index.",
        ),
        (
            "unread_pieces",
            stats.unread_pieces,
            "Pieces of the tree still to be read since the start.",
        ),
        ("checkpoint_lag_frames", stats.checkpoint_lag, "Frames that no checkpoint has yet."),
    ] {
        text.single(&format!("onceward_store_{name}"), "gauge", help, value);
    }
    for (name, value, help) in [
        ("commit_groups", stats.groups, "Groups of frames committed."),
        ("frames", stats.frames, "Frames committed."),
        ("written_bytes", stats.bytes_written, "Bytes of groups written."),
        ("zeroed_bytes", stats.bytes_zeroed, "Bytes of zeros written ahead of groups."),
        ("syncs", stats.syncs, "Syncs of the log."),
        ("claims", stats.claims, "Claims granted."),
        ("completions", stats.completions, "Results kept, those of resolutions included."),
        ("tombstones", stats.tombstones, "Results not kept, and tombstones written for them."),
        ("releases", stats.releases, "Keys released, those of resolutions included."),
        ("left_in_doubt", stats.left_in_doubt, "Keys whose work ended without an outcome."),
        ("resolutions", stats.resolutions, "Keys in doubt that were resolved."),
        ("expired", stats.expired, "Expired records forgotten."),
        ("freed_bytes", stats.bytes_freed, "Bytes given back to the disk."),
        ("segments_removed", stats.segments_removed, "Segments taken off the log by sweeps."),
        ("segments_reused", stats.segments_reused, "Segments made of the files of such."),
    ] {
        let help = format!("{help} Since the store was opened.");
        text.single(&format!("onceward_store_{name}_total"), "counter", &help, value);
    }
}

/// `value` parts of a second, of which it has `parts`, as a decimal number.
fn seconds(value: u64, parts: u64) -> String {
    let digits = parts.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / parts, value % parts);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The exposition in the making. Names, labels and help are literals without `\`, `"` and line ends,
/// so nothing needs escaping.
struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }

    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family(name, "counter", help);
        for (value, count) in counts {
            self.line(format_args!("{name}{{{label}=\"{value}\"}} {count}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_of_a_store_is_a_series() {
        let stats = Stats::default();
        let shown = format!("{stats:#?}");
        let figures = shown.lines().filter(|line| line.starts_with("    ")).count();
        let mut text = Text(String::new());
        store(&mut text, &stats);
        let series: Vec<&str> = text.0.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(series.len(), figures, "{series:#?} of {shown}");
    }

    #[test]
    fn seconds_are_exact_and_short() {
        for (value, parts, text) in [
            (0, 1000, "0"),
            (1, 1000, "0.001"),
            (2500, 1000, "2.5"),
            (60_000, 1000, "60"),
            (1_000_001, 1_000_000, "1.000001"),
        ] {
            assert_eq!(seconds(value, parts), text);
        }
    }
}
