//! What was measured, kept in a file so that a run can go on where it was broken off and the table
//! be drawn again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::work::sure;

/// Samples by peer.
pub(crate) type Samples = BTreeMap<String, Vec<f64>>;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// By row: how it was measured.
    pub(crate) rows: BTreeMap<String, Row>,
    /// By metric.
    pub(crate) metrics: BTreeMap<String, Samples>,
    /// By metric and peer: what its samples are of, where that was kept; of the row's commit else.
    #[serde(default)]
    pub(crate) sources: BTreeMap<String, BTreeMap<String, Source>>,
    #[serde(skip)]
    file: PathBuf,
}

/// What samples are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Source {
    pub(crate) commit: String,
    /// The version of a server that was started, as it says it itself; empty for all else.
    pub(crate) server: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    /// The newest commit that what was measured is of, with a plus when it had been changed since.
    pub(crate) commit: String,
    pub(crate) machine: String,
    /// Whether it was measured with small counts.
    pub(crate) quick: bool,
    /// Records there were, payload, seconds: in words.
    pub(crate) scale: String,
    /// How long it took, in seconds, with the filling of stores.
    pub(crate) seconds: f64,
}

impl Row {
    /// Whether what other peers have of `other` may stand beside what is measured now, their commit
    /// said with it.
    pub(crate) fn is_comparable(&self, other: &Self) -> bool {
        self.is_like(&Self { commit: self.commit.clone(), ..other.clone() })
    }

    /// Whether samples of `other` may stand beside those of this one.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        *self == Self { seconds: self.seconds, ..other.clone() }
    }
}

impl Results {
    /// What `file` has; nothing, if there is none.
    pub(crate) fn load(file: &Path) -> Self {
        let read = match std::fs::read_to_string(file) {
            Ok(text) => sure(serde_json::from_str(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => panic!("{}: {error}", file.display()),
        };
        Self { file: file.to_owned(), ..read }
    }

    pub(crate) fn save(&self) {
        let mut text = sure(serde_json::to_string_pretty(self));
        text.push('\n');
        sure(std::fs::write(&self.file, text));
    }

    /// Forgets what there is of `prefix`, a metric or the head of several.
    pub(crate) fn forget(&mut self, prefix: &str) {
        self.forget_of(prefix, |_| true);
    }

    /// Forgets what the peers that `goes` names have of `prefix`.
    pub(crate) fn forget_of(&mut self, prefix: &str, goes: impl Fn(&str) -> bool) {
        self.metrics.retain(|metric, samples| {
            let touched = begins(metric, prefix);
            samples.retain(|peer, _| !touched || !goes(peer));
            !samples.is_empty()
        });
        self.sources.retain(|metric, sources| {
            let touched = begins(metric, prefix);
            sources.retain(|peer, _| !touched || !goes(peer));
            !sources.is_empty()
        });
    }

    /// Says of all there is of `prefix` that it is of `commit`, where nothing else is known of it.
    pub(crate) fn date(&mut self, prefix: &str, commit: &str) {
        for (metric, samples) in self.metrics.iter().filter(|(metric, _)| begins(metric, prefix)) {
            let sources = self.sources.entry(metric.clone()).or_default();
            for peer in samples.keys() {
                sources
                    .entry(peer.clone())
                    .or_insert_with(|| Source { commit: commit.to_owned(), server: String::new() });
            }
        }
    }

    /// The samples `peer` has of each metric that begins with `prefix`; the fewest, if they differ.
    pub(crate) fn samples(&self, prefix: &str, peer: &str) -> usize {
        let of = self.metrics.iter().filter(|(metric, _)| begins(metric, prefix));
        of.filter_map(|(_, samples)| samples.get(peer)).map(Vec::len).min().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, metric: &str, peer: &str, value: f64, source: &Source) {
        let samples = self.metrics.entry(metric.to_owned()).or_default();
        samples.entry(peer.to_owned()).or_default().push(value);
        let sources = self.sources.entry(metric.to_owned()).or_default();
        sources.insert(peer.to_owned(), source.clone());
    }

    /// What the samples `peer` has of `metric` are of, where that was kept.
    pub(crate) fn source(&self, metric: &str, peer: &str) -> Option<&Source> {
        self.sources.get(metric)?.get(peer)
    }

    pub(crate) fn median(&self, metric: &str, peer: &str) -> Option<f64> {
        median(self.metrics.get(metric)?.get(peer)?)
    }

    /// The largest sample.
    pub(crate) fn most(&self, metric: &str, peer: &str) -> Option<f64> {
        let samples = self.metrics.get(metric)?.get(peer)?;
        samples.iter().copied().max_by(f64::total_cmp)
    }

    /// How far the largest sample lies from the smallest, as a part of the median.
    pub(crate) fn spread(&self, metric: &str, peer: &str) -> Option<f64> {
        let samples = self.metrics.get(metric)?.get(peer)?;
        let least = samples.iter().copied().min_by(f64::total_cmp)?;
        let most = samples.iter().copied().max_by(f64::total_cmp)?;
        Some((most - least) / median(samples)?)
    }
}

/// Whether `metric` is `prefix`, or a part of it.
fn begins(metric: &str, prefix: &str) -> bool {
    metric.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(sorted.len() / 2 - 1).map(|lower| f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_of_what_was_measured() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn samples_of_another_commit_or_machine_or_scale_stand_in_no_row() {
        let row = |commit: &str, machine: &str, scale: &str, seconds| Row {
            commit: commit.to_owned(),
            machine: machine.to_owned(),
            scale: scale.to_owned(),
            quick: false,
            seconds,
        };
        let one = row("a", "m", "s", 1.0);
        assert!(one.is_like(&row("a", "m", "s", 2.0)));
        for other in [row("b", "m", "s", 1.0), row("a", "n", "s", 1.0), row("a", "m", "t", 1.0)] {
            assert!(!one.is_like(&other), "{other:?}");
        }
        assert!(!one.is_like(&Row { quick: true, ..one.clone() }));
        assert!(one.is_comparable(&row("b", "m", "s", 2.0)));
        assert!(!one.is_comparable(&row("a", "n", "s", 1.0)));
        assert!(!one.is_comparable(&row("a", "m", "t", 1.0)));
    }

    #[test]
    fn a_row_is_forgotten_with_its_parts_and_no_other() {
        let mut results = Results::default();
        let source = Source::default();
        results.add("s1/hit/1", "redb", 1.0, &source);
        results.add("s1/hit/1", "redb", 2.0, &source);
        results.add("s10/cycles/device", "redb", 3.0, &source);
        assert_eq!(results.samples("s1", "redb"), 2);
        assert_eq!(results.most("s1/hit/1", "redb"), Some(2.0));
        results.forget("s1");
        assert_eq!(results.source("s1/hit/1", "redb"), None);
        assert_eq!(results.source("s10/cycles/device", "redb"), Some(&source));
        assert_eq!(results.samples("s1", "redb"), 0);
        assert_eq!(results.median("s10/cycles/device", "redb"), Some(3.0));
    }

    #[test]
    fn a_peer_that_is_measured_anew_leaves_the_others_with_their_commit() {
        let mut results = Results::default();
        let source = |commit: &str| Source { commit: commit.to_owned(), ..Source::default() };
        results.add("s1/hit/1", "redb", 1.0, &source("a"));
        results.add("s1/hit/1", "lmdb", 2.0, &source("b"));
        results.add("s2/head/1", "redb", 3.0, &source("a"));
        results.sources.clear();
        results.date("s1", "old");
        results.forget_of("s1", |peer| peer == "redb");
        assert_eq!(results.median("s1/hit/1", "redb"), None);
        assert_eq!(results.median("s2/head/1", "redb"), Some(3.0));
        assert_eq!(results.source("s1/hit/1", "lmdb"), Some(&source("old")));
        assert_eq!(results.source("s2/head/1", "redb"), None);
        results.add("s1/hit/1", "lmdb", 2.0, &source("new"));
        results.date("s1", "old");
        assert_eq!(results.source("s1/hit/1", "lmdb"), Some(&source("new")));
    }

    #[test]
    fn a_file_from_before_sources_were_kept_is_read() {
        let old = r#"{"rows": {}, "metrics": {"s1/hit/1": {"redb": [1.0]}}}"#;
        let results: Results = sure(serde_json::from_str(old));
        assert_eq!(results.median("s1/hit/1", "redb"), Some(1.0));
        assert_eq!(results.source("s1/hit/1", "redb"), None);
    }
}
