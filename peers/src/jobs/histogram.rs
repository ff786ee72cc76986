//! How long things took, in buckets of about three percent.

use std::time::Duration;

/// Buckets for each doubling.
const PARTS: usize = 32;
const BUCKETS: usize = 64 * PARTS;

#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    all: u64,
    most_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], all: 0, most_ns: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
            self.all += 1;
            self.most_ns = self.most_ns.max(ns);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.all += other.all;
        self.most_ns = self.most_ns.max(other.most_ns);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// The time in nanoseconds within which `part` of all were done: of all of them, the longest as it
    /// was; of fewer, the middle of its bucket.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let wanted = (self.all as f64 * part).ceil() as u64;
        if wanted >= self.all {
            return self.most_ns as f64;
        }
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return middle(bucket);
            }
        }
        0.0
    }
}

/// Parts of all, and what the times within which they were done are called.
pub(crate) const PARTS_TOLD: [(&str, f64); 4] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("most", 1.0)];

/// The bucket of `ns`: the place of its highest bit, and the five bits behind it.
fn bucket(ns: u64) -> usize {
    let ns = ns.max(PARTS as u64);
    let high = ns.ilog2() as usize;
    let behind = (ns >> (high - 5)) as usize & (PARTS - 1);
    high * PARTS + behind
}

/// What stands in the middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let (high, behind) = (bucket / PARTS, bucket % PARTS);
    let unit = 2_f64.powi(i32::try_from(high).unwrap_or(0) - 5);
    (PARTS as f64 + behind as f64 + 0.5) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent() {
        let mut histogram = Histogram::default();
        for us in 1..=10_000 {
            histogram.add(Duration::from_micros(us));
        }
        for (part, us) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let found = histogram.quantile(part) / 1000.0;
            assert!((found / us - 1.0).abs() < 0.03, "{part}: {found} for {us}");
        }
    }

    #[test]
    fn the_longest_is_told_as_it_was() {
        let (mut histogram, mut other) = (Histogram::default(), Histogram::default());
        assert_eq!(histogram.quantile(1.0).to_bits(), 0_f64.to_bits());
        for us in [1, 20_123, 7] {
            histogram.add(Duration::from_micros(us));
        }
        other.add(Duration::from_nanos(20_123_001));
        assert_eq!(histogram.quantile(1.0).to_bits(), 20_123_000_f64.to_bits());
        histogram.merge(&other);
        other.merge(&histogram);
        for each in [histogram, other] {
            assert_eq!(each.quantile(1.0).to_bits(), 20_123_001_f64.to_bits());
        }
    }
}
