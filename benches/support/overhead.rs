//! What the measurements of overhead share: their scale, the rows, and the table.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The value, or the end of the run: a benchmark that met a fault has measured nothing.
#[track_caller]
pub(crate) fn sure<T, E: Display>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Requests that are timed together, in process.
    pub(crate) calls: u64,
    /// Requests that are timed together, over the network.
    pub(crate) requests: u64,
    /// Tasks, or connections, that make them.
    pub(crate) tasks: u64,
    /// Runs of each, in turn, of which the table gives the median.
    pub(crate) rounds: usize,
}

impl Scale {
    /// What `cargo bench` measures.
    pub(crate) const FULL: Self = Self { calls: 40_000, requests: 20_000, tasks: 64, rounds: 5 };
    /// Enough to see that it works.
    pub(crate) const TRIAL: Self = Self { calls: 256, requests: 256, tasks: 16, rounds: 1 };
}

/// What one run took, for each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) processor: Duration,
    pub(crate) wall: Duration,
}

/// A row: its name and its runs. The first row is what the others are compared with.
pub(crate) struct Row {
    name: &'static str,
    runs: Vec<Took>,
}

impl Row {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, runs: Vec::new() }
    }

    pub(crate) fn push(&mut self, took: Took) {
        self.runs.push(took);
    }

    /// The median of the runs, in microseconds.
    fn median(&self, of: fn(&Took) -> Duration) -> f64 {
        let mut times: Vec<Duration> = self.runs.iter().map(of).collect();
        times.sort_unstable();
        times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

/// Times `work`, which makes `requests` of them, by the wall and by `processor`, a clock of
/// processor time.
pub(crate) async fn timed(
    requests: u64,
    processor: impl Fn() -> Duration,
    work: impl Future<Output = ()>,
) -> Took {
    let (began, busy) = (Instant::now(), processor());
    work.await;
    let (wall, busy) = (began.elapsed(), processor().saturating_sub(busy));
    let each = |time: Duration| time.div_f64(requests as f64);
    Took { processor: each(busy), wall: each(wall) }
}

/// Prints the rows, the first of which is bare.
pub(crate) fn print(what: &str, rows: &[Row]) {
    let bare = rows.first().map_or(0.0, |row| row.median(|took| took.processor));
    println!("\n| {what} | processor, µs a request | more than bare, µs | wall, µs a request |");
    println!("|---|---|---|---|");
    for row in rows {
        let (processor, wall) = (row.median(|took| took.processor), row.median(|took| took.wall));
        let more = processor - bare;
        println!("| {} | {processor:.1} | {more:+.1} | {wall:.1} |", row.name);
    }
}
