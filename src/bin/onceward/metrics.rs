//! What the gateway has done, counted.
//!
//! Each count is one relaxed atomic, so counting costs nanoseconds and never waits; read together
//! they are of no single moment. Labels come from the fixed lists below and from nowhere else: no key,
//! no scope and no path ever stands in one.

mod text;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

pub(crate) use text::{Now, render};

/// The counts of this process, which is one gateway.
pub(crate) static METRICS: Metrics = Metrics::new();

/// What became of keyed requests, in the words of the log, and the class of each.
const DECISIONS: [(&str, Class); 18] = [
    ("fresh", Class::Executed),
    ("fresh-body-omitted", Class::Executed),
    ("fresh-not-recorded", Class::Executed),
    ("fresh-not-retained", Class::Executed),
    ("released", Class::Executed),
    ("left-in-doubt", Class::Executed),
    ("timed-out", Class::Executed),
    ("replayed", Class::Replayed),
    ("mismatch", Class::Refused),
    ("in-flight", Class::Refused),
    ("in-doubt", Class::Refused),
    ("not-retained", Class::Refused),
    ("corrupt", Class::Refused),
    ("refused", Class::Refused),
    ("too-many-in-flight", Class::Refused),
    ("store-failed", Class::Refused),
    // The upstream, asked who the caller is, refused him.
    ("before-the-store", Class::Refused),
    ("other", Class::Refused),
];

/// Why keys had no effect, in the words of the log.
const IGNORED: [&str; 3] = ["no-principal", "route", "method"];

/// The upper ends of the buckets, in milliseconds; the last bucket has none.
const BUCKETS_MS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000, 60_000];

/// What a request's duration is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The upstream's work, and two writes.
    Executed,
    /// A read.
    Replayed,
    /// Neither.
    Refused,
}

const CLASSES: [(&str, Class); 3] =
    [("executed", Class::Executed), ("replayed", Class::Replayed), ("refused", Class::Refused)];

/// How a request to the upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// With this status.
    Status(StatusCode),
    /// With the word that nothing was done.
    NotExecuted,
    /// With a status by which a gateway further in lost the request.
    LostFurtherIn,
    /// Not at all, and nothing was sent.
    Unreachable,
    /// Not at all, and something was.
    Broken,
    /// Not in time, or not before whoever asked was gone.
    LetGo,
}

const UPSTREAM: [&str; 10] = [
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "not-executed",
    "lost-further-in",
    "unreachable",
    "broken",
    "let-go",
];

/// Whether a decision has a count of its own.
#[cfg(test)]
pub(crate) fn is_counted(decision: &str) -> bool {
    DECISIONS.iter().any(|(word, _)| *word == decision)
}

impl Answered {
    fn place(self) -> usize {
        match self {
            Self::Status(status) => usize::from(status.as_u16() / 100).saturating_sub(1).min(4),
            Self::NotExecuted => 5,
            Self::LostFurtherIn => 6,
            Self::Unreachable => 7,
            Self::Broken => 8,
            Self::LetGo => 9,
        }
    }
}

/// Counts by a label of a fixed list.
struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Counts<N> {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }

    fn add(&self, place: usize) {
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn read(&self) -> [u64; N] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

/// Durations in buckets of fixed ends.
struct Histogram {
    /// Not cumulative; the last one has no end.
    buckets: Counts<{ BUCKETS_MS.len() + 1 }>,
    sum_us: AtomicU64,
}

impl Histogram {
    const fn new() -> Self {
        Self { buckets: Counts::new(), sum_us: AtomicU64::new(0) }
    }

    fn observe(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // An end belongs to its bucket.
        self.buckets.add(BUCKETS_MS.partition_point(|end_ms| end_ms * 1000 < took_us));
        self.sum_us.fetch_add(took_us, Relaxed);
    }
}

/// What is counted.
pub(crate) struct Metrics {
    decisions: Counts<{ DECISIONS.len() }>,
    ignored: Counts<{ IGNORED.len() }>,
    unkeyed_passed: AtomicU64,
    unkeyed_refused: AtomicU64,
    upstream: Counts<{ UPSTREAM.len() }>,
    durations: [Histogram; CLASSES.len()],
}

impl Metrics {
    const fn new() -> Self {
        Self {
            decisions: Counts::new(),
            ignored: Counts::new(),
            unkeyed_passed: AtomicU64::new(0),
            unkeyed_refused: AtomicU64::new(0),
            upstream: Counts::new(),
            durations: [const { Histogram::new() }; CLASSES.len()],
        }
    }

    /// A request with a key was answered after `took`; `decision` is the log's word for how.
    pub(crate) fn keyed(&self, decision: &str, took: Duration) {
        if let Some(place) = IGNORED.iter().position(|word| *word == decision) {
            self.ignored.add(place);
            return;
        }
        let place = DECISIONS.iter().position(|(word, _)| *word == decision);
        let place = place.unwrap_or(DECISIONS.len() - 1);
        self.decisions.add(place);
        let class = DECISIONS.get(place).map(|(_, class)| *class);
        let histogram = CLASSES.iter().zip(&self.durations).find(|((_, it), _)| Some(*it) == class);
        if let Some((_, histogram)) = histogram {
            histogram.observe(took);
        }
    }

    /// A request without a key was answered: passed on, or refused because there must be one.
    pub(crate) fn unkeyed(&self, refused: bool) {
        let count = if refused { &self.unkeyed_refused } else { &self.unkeyed_passed };
        count.fetch_add(1, Relaxed);
    }

    /// A request to the upstream ended: a client's, or one of the gateway's own questions.
    fn upstream(&self, answered: Answered) {
        self.upstream.add(answered.place());
    }
}

/// A request to the upstream until it ends. One that is dropped before was let go of.
pub(crate) struct Asking(());

impl Asking {
    /// It begins.
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// It ended so.
    pub(crate) fn ended(self, answered: Answered) {
        std::mem::forget(self);
        METRICS.upstream(answered);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        METRICS.upstream(Answered::LetGo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_whose_end_it_does_not_pass() {
        let histogram = Histogram::new();
        for (took_us, bucket) in
            [(0, 0), (1000, 0), (1001, 1), (2000, 1), (60_000_000, 12), (60_000_001, 13)]
        {
            let before = histogram.buckets.read();
            histogram.observe(Duration::from_micros(took_us));
            let after = histogram.buckets.read();
            assert_eq!(after[bucket], before[bucket] + 1, "{took_us} µs");
        }
        assert!(BUCKETS_MS.is_sorted());
    }

    #[test]
    fn each_answer_has_a_label_of_its_own() {
        let status = |code| Answered::Status(StatusCode::from_u16(code).unwrap());
        for (answered, label) in [
            (status(101), "1xx"),
            (status(201), "2xx"),
            (status(503), "5xx"),
            (status(999), "5xx"),
            (Answered::NotExecuted, "not-executed"),
            (Answered::LostFurtherIn, "lost-further-in"),
            (Answered::Unreachable, "unreachable"),
            (Answered::Broken, "broken"),
            (Answered::LetGo, "let-go"),
        ] {
            assert_eq!(UPSTREAM[answered.place()], label);
        }
    }

    #[test]
    fn an_unknown_decision_is_counted_all_the_same() {
        let metrics = Metrics::new();
        metrics.keyed("new-word", Duration::ZERO);
        assert_eq!(metrics.decisions.read()[DECISIONS.len() - 1], 1);
        assert_eq!(DECISIONS[DECISIONS.len() - 1].0, "other");
    }
}
