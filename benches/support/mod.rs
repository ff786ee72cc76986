//! What the benchmarks share: keys, the two stores under the same work, and the table of ratios.

pub(crate) mod hands;
pub(crate) mod keys;
pub(crate) mod ours;
pub(crate) mod plain;
pub(crate) mod summary;

use std::fmt::Display;

use tempfile::TempDir;

/// Octets of a payload.
pub(crate) const PAYLOAD: usize = 512;
/// Most claims in flight while a store is filled.
pub(crate) const FILLERS: usize = 1024;

/// The value, or the end of the run: a benchmark that met a fault has measured nothing.
#[track_caller]
pub(crate) fn sure<T, E: Display>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// A directory under `target/`, on the disk the project stands on, gone when it is dropped.
pub(crate) fn directory() -> TempDir {
    sure(tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")))
}

/// Reads every byte of `payload`.
pub(crate) fn read_all(payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let sum = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add);
    rest.iter().map(|octet| u64::from(*octet)).fold(sum, u64::wrapping_add)
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Records there are for lookups.
    pub(crate) records: u64,
    /// Lookups that are timed together.
    pub(crate) lookups: usize,
    /// Cycles, one after another, that are timed together.
    pub(crate) single_cycles: u64,
    /// Cycles of many tasks that are timed together.
    pub(crate) cycles: u64,
    /// Records that expire at a time; five times as many live.
    pub(crate) expiring: u64,
    /// Runs of each, of which the summary gives the median.
    pub(crate) rounds: usize,
}

impl Scale {
    /// What `cargo bench` measures.
    pub(crate) const FULL: Self = Self {
        records: 1_000_000,
        lookups: 250_000,
        single_cycles: 1_000,
        cycles: 65_536,
        expiring: 100_000,
        rounds: 7,
    };
    /// Enough to see that it works.
    pub(crate) const TRIAL: Self = Self {
        records: 2_000,
        lookups: 500,
        single_cycles: 20,
        cycles: 1_024,
        expiring: 500,
        rounds: 1,
    };
}
