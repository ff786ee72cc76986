//! The write path: durable cycles beside the floor, bytes on the device, pauses, and the sweep.
//!
//! `cargo bench --bench cycles` prints every table; words behind `--` choose among `cycles`,
//! `alone`, `pauses` and `sweep`. What each row does stands in `docs/benchmarks.md`.

#![allow(clippy::cast_precision_loss, reason = "rates are printed with three figures")]

mod device;
mod floor;
#[path = "../support/hands.rs"]
mod hands;
#[path = "../support/keys.rs"]
#[allow(dead_code)] // Shared with benches that look records up, too.
mod keys;
mod ours;
mod tables;

use std::fmt::Display;
use std::time::Duration;

use tempfile::TempDir;

/// Octets of a payload.
const PAYLOAD: usize = 512;

/// The value, or the end of the run: a benchmark that met a fault has measured nothing.
#[track_caller]
fn sure<T, E: Display>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// A directory under `target/`, on the disk the project stands on, gone when it is dropped.
fn directory() -> TempDir {
    sure(tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")))
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// How long each of a round's runs takes.
    slice: Duration,
    /// Runs of each, of which the tables give the median.
    rounds: usize,
    /// How long the store is under load while pauses are looked for.
    pauses: Duration,
    /// Records that expire, and live, in the sweep.
    expiring: u64,
    living: [u64; 2],
}

const FULL: Scale = Scale {
    slice: Duration::from_millis(1500),
    rounds: 5,
    pauses: Duration::from_secs(20),
    expiring: 1_000_000,
    living: [1_000_000, 10_000_000],
};

/// Enough to see that it works.
const TRIAL: Scale = Scale {
    slice: Duration::from_millis(20),
    rounds: 1,
    pauses: Duration::from_millis(50),
    expiring: 500,
    living: [500, 1_000],
};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_trial = words.iter().any(|word| word == "--test");
    let mut scale = if is_trial { TRIAL } else { FULL };
    if let Some(rounds) = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()) {
        scale.rounds = rounds;
    }
    let any = words.iter().any(|word| !word.starts_with("--"));
    let asked = |word: &str| !any || words.iter().any(|it| it == word);
    if asked("alone") {
        tables::alone(scale);
    }
    if asked("cycles") {
        tables::cycles(scale);
    }
    if asked("pauses") {
        tables::pauses(scale);
    }
    if asked("sweep") {
        tables::sweep(scale);
    }
}
